"""What Alertmanager sends us (webhook receiver, version 4): alerts become an incident a group.

Its route has decided that somebody must hear of it, so a new group pages by our routes. A group's
alerts are kept as alerts of their incident, under the signal `alertmanager`: each is taken once,
an end clears it, and when the whole group has ended the signal is normal, as with our own. What we
sent to Alertmanager ourselves is not taken in again.

Labels and annotations are text from outside. Routes see the severity and the labels that the
configuration names; their values must be known words, anything else is `__other__`.
"""

from __future__ import annotations

import hashlib
import logging
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import msgspec

from monitor.alerting.alerts import Alert, Reading
from monitor.alertmanager.standing import OURS
from monitor.alertmanager.unread import keep_unread
from monitor.alertmanager.webhook import Notification, Received, Status, decode, words
from monitor.config.secret import SecretUnavailableError
from monitor.config.settings import Configured
from monitor.inbound.hooks import Answer, basic, bearer, local
from monitor.incidents import actions
from monitor.incidents.actions import Recurrence
from monitor.incidents.model import Incident, Origin
from monitor.incidents.timeline import Entry
from monitor.metrics import Metrics
from monitor.notify.alertmanager_settings import Receive
from monitor.notify.channel import Kind
from monitor.paging import Pager
from monitor.store.received_rows import KEPT as KEPT_KEYS
from monitor.store.store import Store, Tx
from monitor.stream.signals import DIMENSIONS, Plan

logger = logging.getLogger(__name__)

SIGNAL = "alertmanager"
OTHER = "__other__"
TOLD = 20
"""Entries of one notification on the timeline; the rest is a number."""
KEPT = 500
"""New alerts of one notification that are kept each, the gravest first; the rest is a number."""

SWEEP_EVERY = timedelta(minutes=1)
"""What nobody will end is looked for so often at most: the look is at all that fires."""
NO_TIME = timedelta()
REPEATED_AFTER = timedelta(hours=1)
"""What still fires so long after a person has ended its incident is an incident again."""


@dataclass(frozen=True, slots=True)
class _News:
    """What a notification brings that we did not know."""

    note: Notification
    group: str
    """Digest of the group's key."""
    firing: tuple[Received, ...]
    """All of them; the gravest come first when they are told."""
    resolved: tuple[Received, ...]
    after: str = ""
    """The incident that a person has ended, although what it was about still fires."""

    def entries(self, now: datetime, *, opens: bool) -> list[Entry]:
        """What the timeline says of the alerts that fire."""
        shown = [("ALERT", one.text, _start(one, now)) for one in self.firing[:TOLD]]
        if opens:
            shown[0] = ("DETECT", *shown[0][1:])
        if len(self.firing) > TOLD:
            shown.append(("ALERT", f"and {len(self.firing) - TOLD} more", now))
        if (left_out := len(self.firing) - KEPT) > 0:
            text = (
                f"{left_out} alerts of this group are not kept each (the {KEPT} most severe "
                "of a message are); Alertmanager's own page shows them"
            )
            shown.append(("ALERT", text, now))
        if self.after:
            shown.append(("ALERT", f"Alertmanager repeats it: {self.after} ended too early", now))
        return [_entry(kind, text, at, now) for kind, text, at in shown]


class _Trusted:
    """The labels of alerts that routes may match by, within one transaction."""

    def __init__(self, tx: Tx, settings: Receive, plan: Plan) -> None:
        self._tx = tx
        self._settings = settings
        self._pipeline = tx.stream.known_pipeline(plan)
        self._known: dict[tuple[str, str], str] = {}
        severities = settings.severities.items()
        self._severities = {word.lower(): severity for word, severity in severities}

    def severity(self, one: Received) -> str:
        """Ours for its label."""
        shown = one.labels.get(self._settings.severity_label, "").strip().lower()
        return self._severities.get(shown, self._settings.otherwise)

    def dimensions(self, alerts: Sequence[Received]) -> dict[str, str]:
        """What all of them share."""
        shared = {}
        for name in self._settings.labels:
            given = {one.labels.get(name, "") for one in alerts}
            if len(given) > KEPT:
                continue  # each would be looked up
            values = {self._value(name, value) for value in given}
            if len(values) == 1 and (value := values.pop()):
                shared[name] = value
        return shared

    def _value(self, name: str, value: str) -> str:
        if not value or value in self._settings.labels[name]:
            return value
        if (name, value) not in self._known:
            self._known[name, value] = value if self._seen(name, value) else OTHER
        return self._known[name, value]

    def _seen(self, name: str, value: str) -> bool:
        """Whether the stream has brought this value of a dimension."""
        if name not in DIMENSIONS or self._pipeline is None:
            return False
        return self._tx.stream.first_seen(self._pipeline, name, value) is not None


class AlertmanagerHook:
    """Takes notifications; `receive` is a `monitor.inbound.hooks.Hook`."""

    def __init__(
        self,
        store: Store,
        configured: Callable[[], Configured],
        metrics: Metrics,
        pager: Pager,
        *,
        loopback: bool = False,
    ) -> None:
        """Nothing is opened.

        Args:
            store: where incidents are.
            configured: what is in force; `alertmanager` is read once, the plan with each call.
            metrics: for counting.
            pager: decides what is sent.
            loopback: only this machine can call, so that callers need not say who they are.
        """
        given = configured().settings.alertmanager
        assert given is not None
        assert given.receive is not None
        self._settings: Receive = given.receive
        self._store = store
        self._configured = configured
        self._metrics = metrics
        self._loopback = loopback
        self._pager = pager
        self._swept_at = datetime.min.replace(tzinfo=UTC)

    def receive(self, body: bytes, headers: Mapping[str, str], now: datetime) -> Answer:
        """200 once it is written.

        Raises:
            StoreUnavailable: nothing was written; Alertmanager sends it again.
        """
        if (refused := self.door(headers)) is not None:
            return refused
        try:
            note = decode(body)
        except ValueError as problem:
            return Answer.of(400, f"not a notification of Alertmanager's version 4: {problem}")
        others = [one for one in note.alerts if one.labels.get(OURS) != "1"]
        if not others and not note.unread:
            return Answer.of(200, "nothing to take: no alert but our own")
        with self._store.write() as tx:
            keep_unread(tx, note, self._metrics, now)
            if others:
                self._take(tx, replace(note, alerts=others), now)
        if not note.alerts:
            # Nobody is rung by it: Alertmanager is to count it as failed.
            first = note.unread[0]
            return Answer.of(400, f"no alert of it can be read: {first.path}: {first.why}")
        return Answer.of(200, f"{note.unreadable} alerts not read" if note.unread else "")

    def door(self, headers: Mapping[str, str]) -> Answer | None:
        """What a caller hears who may not call, by the headers alone; None for one who may."""
        try:
            if self._known(headers):
                return None
        except SecretUnavailableError as problem:
            logger.error("the Alertmanager hook cannot check its callers: %s", problem)  # noqa: TRY400 - a traceback says no more
            return Answer.of(503, "the hook's own secret cannot be read")
        return Answer.of(401, "say who you are: bearer token or basic authentication")

    def _known(self, headers: Mapping[str, str]) -> bool:
        token, pair = self._settings.token, self._settings.basic
        if token is None and pair is None:
            return self._loopback and local(headers)
        by_token = token is not None and bearer(headers, token)
        return by_token or (pair is not None and basic(headers, pair.user, pair.password))

    # -- one notification, in one transaction -----------------------------------------------------

    def _take(self, tx: Tx, note: Notification, now: datetime) -> None:
        news = _news(tx, note, now)
        group = news.group
        if (news.firing or news.resolved) and not NO_TIME <= now - self._swept_at < SWEEP_EVERY:
            self._swept_at = now
            _sweep(tx, now)
        incident = tx.kin.open_of(_name(group))
        if incident is None and not news.firing and (ended := _ended_long_ago(tx, group, now)):
            news = replace(news, firing=_fire_still(tx, note, group), after=ended.name)
        if news.firing:
            incident = self._fires(tx, incident, news, now)
        if incident is None:
            return
        self._ends(tx, incident, news, now)
        if note.truncated_alerts and (news.firing or news.resolved):
            text = (
                f"Alertmanager left {note.truncated_alerts} alerts of this group out of its "
                "message (its max_alerts); they are not fetched, its own page shows them"
            )
            tx.incidents.append(incident.uuid, (_entry("ALERT", text, now, now),), now)
        if note.unread and (news.firing or news.resolved):
            text = f"{note.unreadable} alerts of this group cannot be read: tocsin quarantine list"
            tx.incidents.append(incident.uuid, (_entry("ALERT", text, now, now),), now)
        tx.touch()

    def _fires(self, tx: Tx, before: Incident | None, news: _News, now: datetime) -> Incident:
        trusted = _Trusted(tx, self._settings, self._configured().plan)
        news = replace(news, firing=tuple(sorted(news.firing, key=trusted.severity)))
        severity = trusted.severity(news.firing[0])
        entries = news.entries(now, opens=before is None)
        if before is None:
            again = Recurrence(self._opened(tx, news, trusted, now))
            after = again.incident
            tx.incidents.add(after)
        else:
            told = not tx.rings.ringing(before.uuid)
            again = actions.fires_again(before, now, told=told)
            after = replace(again.incident, severity=min(severity, before.severity))
            tx.incidents.save(after)
        tx.incidents.append(after.uuid, (*entries, *again.entries), now)
        for one in news.firing[:KEPT]:
            tx.incidents.save_alert(_alert(after, news.group, one, trusted, now))
        self._metrics.alerts.labels(SIGNAL, "page").inc(len(news.firing))
        if before is None or before.paged_at is None:
            return self._pager.consider(tx, after, now)
        rose = after.severity < before.severity
        if why := f"severity rose to {after.severity}" if rose else again.page:
            return self._pager.page(tx, after, now, why)
        if before.normal_at is not None:
            self._pager.tell_again(tx, after, now)
        else:
            self._pager.tell(tx, after, Kind.UPDATE, now, f"{now.timestamp():.3f}")
        return after

    def _opened(self, tx: Tx, news: _News, trusted: _Trusted, now: datetime) -> Incident:
        severity = trusted.severity(news.firing[0])
        start = min(_start(one, now) for one in news.firing)
        self._metrics.incidents.labels(str(Origin.ALERTMANAGER), severity).inc()
        return Incident(
            uuid=uuid.uuid4().hex,
            number=tx.incidents.next_number(),
            title=_title(news),
            severity=severity,
            origin=Origin.ALERTMANAGER,
            detected_at=start,
            impact_at=start,
            signal=SIGNAL,
            dimensions=trusted.dimensions(news.firing),
            groups=frozenset({_name(news.group)}),
        )

    def _ends(self, tx: Tx, incident: Incident, news: _News, now: datetime) -> None:
        ended = {_row_key(news.group, one) for one in news.resolved}
        alerts = tx.incidents.alerts_of(incident.uuid)
        cleared = [one for one in alerts if one.firing and (news.note.ended or _key(one) in ended)]
        for one in cleared:
            tx.incidents.save_alert(replace(one, cleared_at=now, updated_at=now))
        entries = [_entry("CLEAR", f"ended: {one.reading.reason}", now, now) for one in cleared]
        if len(entries) > TOLD:
            more = _entry("CLEAR", f"and {len(entries) - TOLD} more ended", now, now)
            entries = [*entries[:TOLD], more]
        tx.incidents.append(incident.uuid, entries, now)
        # Of an end that clears nothing the alert was not kept.
        if (cleared or news.resolved) and news.note.ended and incident.normal_at is None:
            tx.incidents.apply(actions.signal_normal(incident, now), now)
            self._pager.tell_normal(tx, incident, now)


def _alert(
    incident: Incident, group: str, one: Received, trusted: _Trusted, now: datetime
) -> Alert:
    fingerprint, detected_at = _row_key(group, one)
    start = _start(one, now)
    severity = trusted.severity(one)
    dimensions = trusted.dimensions([one])
    reading = Reading(
        signal=SIGNAL,
        dimensions=dimensions,
        tier="page",
        severity=severity,
        firing=True,
        at=start,
        onset_at=start,
        k=0,
        n=0,
        rate=0.0,
        baseline=0.0,
        excess=0.0,
        score=0.0,
        threshold=0.0,
        reason=one.text,
    )
    return Alert(
        fingerprint=fingerprint,
        signal=SIGNAL,
        dimensions=dimensions,
        tier="page",
        severity=severity,
        onset_at=start,
        detected_at=detected_at,
        updated_at=now,
        incident=incident.uuid,
        reading=reading,
    )


def _digest(*parts: str) -> str:
    return hashlib.sha256(msgspec.json.encode(parts)).hexdigest()[:32]


def _news(tx: Tx, note: Notification, now: datetime) -> _News:
    """What of a notification we did not know; it counts as known from now on."""
    group = _digest(note.group_key)
    fire = {_taken(group, one, "firing"): one for one in note.alerts if one.status == "firing"}
    end = {_taken(group, one, "resolved"): one for one in note.alerts if one.status == "resolved"}
    new = tx.received.first_of(fire, SIGNAL, now)
    gone = tx.received.first_of(end, SIGNAL, now)
    # A peer that lags may still send that it fires; that is not news any more.
    tx.received.first_of((_taken(group, end[key], "firing") for key in gone), SIGNAL, now)
    return _News(
        note,
        group,
        firing=tuple(one for key, one in fire.items() if key in new),
        resolved=tuple(one for key, one in end.items() if key in gone),
    )


def _fire_still(tx: Tx, note: Notification, group: str) -> tuple[Received, ...]:
    """Those that are repeated, and whose end has not come."""
    ends = {_taken(group, one, "resolved"): one for one in note.alerts if one.status == "firing"}
    ended = tx.received.known(ends)
    return tuple(one for key, one in ends.items() if key not in ended)


def _taken(group: str, one: Received, status: Status) -> str:
    """The key under which this is taken once."""
    return f"{SIGNAL}:{_digest(group, one.fingerprint, one.began.isoformat(), status)}"


def _name(group: str) -> str:
    """The route group of the incidents of a group; they have no other."""
    return f"{SIGNAL}:{group}"


def _ended_long_ago(tx: Tx, group: str, now: datetime) -> Incident | None:
    """The last incident of a group, if a person or time has ended it an hour ago or more."""
    last = tx.kin.ended_of(_name(group), now - KEPT_KEYS)
    ended = None if last is None else last.resolved_at or last.closed_at
    return last if ended is not None and now - ended >= REPEATED_AFTER else None


def _sweep(tx: Tx, now: datetime) -> None:
    """Clear what nobody will end any more: the alerts of incidents that a person has ended."""
    for alert in tx.kin.forsaken():
        if alert.signal == SIGNAL:
            tx.incidents.save_alert(replace(alert, cleared_at=now, updated_at=now))


def _start(one: Received, now: datetime) -> datetime:
    return min(one.began, now)


def _row_key(group: str, one: Received) -> tuple[str, datetime]:
    return _digest(group, one.fingerprint)[:16], one.began


def _key(alert: Alert) -> tuple[str, datetime]:
    return alert.fingerprint, alert.detected_at


def _entry(kind: str, text: str, at: datetime, now: datetime) -> Entry:
    return Entry(kind=kind, text=text, actor=SIGNAL, occurred_at=min(at, now))


def _title(news: _News) -> str:
    names = ("summary", "message", "title", "description")
    said = words(news.note.common_annotations, names, 180)
    said = said or words(news.firing[0].annotations, names, 180) or news.firing[0].name
    firing = sum(one.status == "firing" for one in news.note.alerts)
    more = firing - 1 + news.note.truncated_alerts
    return f"{said} (+{more} more)" if more else said
