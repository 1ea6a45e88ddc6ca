"""From a decision to messages in the outbox: who is told what about an incident.

The decisions themselves are pure (`alerting.pages`, `alerting.routes`); this module reads what they
need from the open transaction and writes their outcome into it: outbox rows, the incident's
`paged_at`, and the timeline entries that say why.
"""

from __future__ import annotations

import string
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from urllib.parse import quote

from monitor.alerting import pages, routes
from monitor.alerting.alerts import Alert, labels
from monitor.alerting.budget import Budgets
from monitor.alerting.digest import Daily
from monitor.alerting.fitting import ChangeFact
from monitor.incidents import actions
from monitor.incidents.model import Incident, Origin, Rung
from monitor.incidents.timeline import Entry
from monitor.notify.channel import Kind, Link, Message
from monitor.store import ring_rows
from monitor.store.store import Tx


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """What the configuration says about paging."""

    route: routes.Route
    group_by: tuple[str, ...] = ("environment", "feature")
    escalation: tuple[Rung, ...] = ()
    """Rungs after the first page, for as long as nobody acknowledges."""
    links: Mapping[str, str] = field(default_factory=dict)
    """Templates by name: `https://wiki/runbooks/$signal`; see `render_links`."""
    capped: bool = True
    """False for a profile that pages at once (the demo, tests), which says so."""
    budgets: Budgets = field(default_factory=Budgets)
    """What each team bears, and whose an incident is."""
    digest: Daily | None = None
    """Who is told once a day of what woke nobody."""


def render_links(templates: Mapping[str, str], incident: Incident) -> tuple[Link, ...]:
    """Links from configuration; `$incident $signal $environment $feature` are percent-encoded."""
    values = {
        "incident": incident.name,
        "signal": incident.signal or "",
        "environment": incident.dimensions.get("environment", ""),
        "feature": incident.dimensions.get("feature", ""),
    }
    safe = {name: quote(value, safe="") for name, value in values.items()}
    return tuple(
        Link(name, string.Template(template).safe_substitute(safe))
        for name, template in templates.items()
    )


def trusted_labels(incident: Incident) -> dict[str, str]:
    """What routes, receivers and runbooks match an incident by."""
    return labels(incident.signal or "declared", incident.dimensions, incident.severity)


def message(
    incident: Incident,
    kind: Kind,
    receiver: str,
    alerts: Sequence[Alert],
    changes: Sequence[ChangeFact],
    policy: Policy,
    *,
    key: str,
    now: datetime,
    offers: tuple[str, ...] = (),
    news: str = "",
) -> Message:
    """The message to one receiver; `key` tells apart messages of one incident to it."""
    return Message(
        id=f"{incident.uuid}:{receiver}:{key}",
        kind=kind,
        dedup_key=pages.dedup_key(incident),
        incident=incident.name,
        severity=incident.severity,
        state=str(incident.state),
        title=incident.title,
        lines=pages.lines(alerts, changes),
        labels=trusted_labels(incident),
        links=render_links(policy.links, incident),
        command=f"tocsin open {incident.name}",
        occurred_at=now,
        uuid=incident.uuid,
        offers=offers,
        acknowledged=pages.acknowledged(incident),
        news=news,
    )


@dataclass(frozen=True, slots=True)
class _Facts:
    """What the messages of one moment say alike, to whomever they go."""

    alerts: Sequence[Alert] = ()
    changes: Sequence[ChangeFact] = ()
    offers: tuple[str, ...] = ()
    lines: tuple[str, ...] = ()
    """In place of what the alerts say."""


class Pager:
    """Queues what an incident owes its receivers, within a transaction."""

    def __init__(self, policy: Policy) -> None:
        self.policy = policy

    def consider(self, tx: Tx, incident: Incident, now: datetime) -> Incident:
        """Page if one is due; the incident after it. The timeline keeps the reason either way."""
        if incident.paged_at is not None:
            return incident
        alerts = tx.incidents.alerts_of(incident.uuid)
        before = self._shift(tx, incident, now)
        due = pages.due(incident, alerts, before, now, capped=self.policy.capped)
        if not due.page:
            key = f"not-paged:{due.reason}"
            entry = Entry(
                kind="TICKET",
                text=f"not paged: {due.reason}",
                actor="tocsin",
                occurred_at=now,
                key=key,
            )
            tx.incidents.append(incident.uuid, (entry,), now)
            return incident
        begun = actions.begins_to_page(incident, now)
        tx.incidents.append(incident.uuid, begun.entries, now)
        return self.page(tx, begun.incident, now, due.reason)

    def _shift(self, tx: Tx, incident: Incident, now: datetime) -> list[datetime]:
        """When the incident's team was paged for a budgeted cause within a shift."""
        budgets = self.policy.budgets
        team = budgets.team_of(trusted_labels(incident))
        return [
            one.paged_at
            for one in tx.incidents.paged(now - pages.SHIFT)
            if one.paged_at is not None and budgets.team_of(trusted_labels(one)) == team
        ]

    def page(self, tx: Tx, incident: Incident, now: datetime, reason: str) -> Incident:
        """Ring the receivers of the incident's route; its escalation begins with the first page."""
        hops = routes.route(self.policy.route, trusted_labels(incident))
        first = Rung(0, tuple(hop.receiver for hop in hops))
        paged, rung = incident, tx.rings.of(incident.uuid)
        if incident.paged_at is None:
            paged = replace(incident, paged_at=now, escalation=(first, *self.policy.escalation))
            tx.incidents.save(paged)
            if rung:
                if left := tx.rings.ringing(incident.uuid):
                    # A provider that knows it as acknowledged would ring nobody.
                    self.tell_over(tx, incident, now, only=left)
                tx.rings.date_anew(incident.uuid, None, now)
                rung = tx.rings.of(incident.uuid)
        self.ring(tx, paged, first.receivers, now, reason, rung=rung)
        return paged

    def ring(
        self,
        tx: Tx,
        incident: Incident,
        receivers: Sequence[str],
        now: datetime,
        reason: str,
        *,
        rung: Mapping[str, ring_rows.Rung] | None = None,
        anew: bool = True,
    ) -> None:
        """Queue a trigger to each of `receivers`, and say so on the timeline.

        Args:
            tx: the open transaction.
            incident: open.
            receivers: whom.
            now: the time of the decision.
            reason: why.
            rung: who was rung so far, where the caller has looked already.
            anew: also whoever has been rung and told of no end since has to get up once more.
        """
        if not receivers:
            text = f"nobody to page: the route names no receiver ({reason})"
            entry = Entry(kind="PAGE", text=text, actor="tocsin", occurred_at=now)
            tx.incidents.append(incident.uuid, (entry,), now)
            return
        rung = tx.rings.of(incident.uuid) if rung is None else rung
        facts = self._facts(tx, incident, {*rung_for(rung, incident), *receivers}, now)
        ringing = tx.rings.ringing(incident.uuid) if rung and anew else {}
        # Who rings may have a clock behind that of who paged: it is a ring of this outage.
        dated = max(now, incident.paged_at or now)
        for receiver in receivers:
            count = rung[receiver].count if receiver in rung else 0
            key = f"trigger:{incident.severity.lower()}:{count + 1}"
            dedup = pages.dedup_key(incident)
            if dedup in ringing.get(receiver, ()):
                dedup += f":{count + 1}"  # under a key that is open there nobody would be rung
            self._put(
                tx, incident, Kind.TRIGGER, receiver, key, now, facts, dedup=dedup, dated=dated
            )
        text = f"{', '.join(receivers)}: {reason}"
        entry = Entry(kind="PAGE", text=text, actor="tocsin", occurred_at=now)
        tx.incidents.append(incident.uuid, (entry,), now)

    def reroute(self, tx: Tx, incident: Incident, gone: str, now: datetime) -> list[str]:
        """Page, in place of a receiver that is no longer configured, whom the route names now."""
        hops = routes.route(self.policy.route, trusted_labels(incident))
        rung = rung_for(tx.rings.of(incident.uuid), incident)
        instead = [hop.receiver for hop in hops if hop.receiver not in rung]
        if instead:
            self.ring(tx, incident, instead, now, f"{gone} is no longer configured")
        return instead

    def tell(
        self,
        tx: Tx,
        incident: Incident,
        kind: Kind,
        now: datetime,
        key: str,
        *,
        news: str = "",
        only: Collection[str] | None = None,
    ) -> None:
        """Send `kind` to every receiver that was rung; nothing for an incident never paged.

        Args:
            tx: the open transaction.
            incident: as it is now.
            kind: what the message asks of them.
            now: the time of the decision.
            key: tells this message apart from others of its kind.
            news: what somebody just did, in one line.
            only: none but these; None for all that were rung.
        """
        rung = tx.rings.of(incident.uuid)
        told = [receiver for receiver in rung if only is None or receiver in only]
        facts = self._facts(tx, incident, rung_for(rung, incident), now) if told else _Facts()
        for receiver in told:
            # A severity that rose rang under a new key; every key that rang must hear the end.
            for number, dedup in enumerate(tx.outbox.trigger_keys(incident.uuid, receiver), 1):
                tag = f"{kind}:{key}:{number}"
                self._put(tx, incident, kind, receiver, tag, now, facts, dedup=dedup, news=news)

    def tell_normal(self, tx: Tx, incident: Incident, now: datetime, *, news: str = "") -> None:
        """Tell who was rung that nothing of it fires.

        For what somebody acknowledged this is not yet the end: what fires again within `FLAPPING`
        rings nobody, so nobody may have been told that it is over. `run_timers` tells it then.

        Args:
            tx: the open transaction.
            incident: as it is now.
            now: the time of the decision.
            news: how it ended, if not by itself.
        """
        if incident.acknowledged_at is None or not tx.rings.ringing(incident.uuid):
            self.tell_over(tx, incident, now, news=news)
        else:
            key = f"quiet-{tx.rings.told(incident.uuid)}"
            news = news or "nothing of it fires now"
            self.tell(tx, incident, Kind.UPDATE, now, key, news=news)

    def tell_over(
        self,
        tx: Tx,
        incident: Incident,
        now: datetime,
        *,
        news: str = "",
        only: Collection[str] | None = None,
    ) -> None:
        """Tell who was rung that it is over. Each end has a key of its own, also of one moment."""
        key = f"normal-{tx.rings.told(incident.uuid)}"
        self.tell(tx, incident, Kind.RESOLVE, now, key, news=news, only=only)

    def tell_again(self, tx: Tx, incident: Incident, now: datetime) -> None:
        """Tell who was told that nothing of it fires, and need not be rung, that it does again."""
        key = f"again-{tx.rings.told(incident.uuid)}"
        self.tell(tx, incident, Kind.UPDATE, now, key, news="fires again")

    def tell_closed(self, tx: Tx, incident: Incident, now: datetime) -> None:
        """Tell whoever was not told of its end that it has closed itself."""
        if left := tx.rings.unended(incident.uuid):
            self.tell_over(tx, incident, now, only=left)

    def climb(
        self, tx: Tx, incident: Incident, now: datetime, *, by: str = "", live: bool = True
    ) -> str | None:
        """Ring the next rung of the escalation; whom, or None when there is none (left, due).

        Args:
            tx: the open transaction.
            incident: paged, open.
            now: rungs whose time has come are due.
            by: a person who asks for it, whatever the time.
            live: False for a recording, whose clock goes in steps: there nothing is late.
        """
        if incident.paged_at is None:
            return None
        rung_so_far = tx.rings.of(incident.uuid)
        found = pages.next_rung(
            incident.escalation,
            rung_for(rung_so_far, incident),
            incident.paged_at,
            None if by else now,
        )
        if found is None:
            return None
        rung, new = found
        if by:
            reason = f"escalated by {by}"
        else:
            reason = f"nobody acknowledged in {rung.after_s} s"
            reason += pages.late(rung, incident.paged_at, now) if live else ""
        self.ring(tx, incident, new, now, reason, rung=rung_so_far)
        return ", ".join(new)

    def _facts(self, tx: Tx, incident: Incident, rung: Collection[str], now: datetime) -> _Facts:
        """What every message of this moment says; `rung` are all that this outage has rung."""
        since = (incident.impact_at or incident.detected_at) - pages.CHANGE_WINDOW
        changes = [
            ChangeFact(row.kind, row.title, row.at, row.dimensions)
            for row in tx.incidents.changes(since=since, until=now)
            if concerns(row.dimensions, incident.dimensions)
        ]
        offers = pages.offers(incident, rung)
        if incident.origin is not Origin.TOCSIN:
            return _Facts(tx.incidents.alerts_of(incident.uuid), changes, offers)
        # No alert speaks for it: what the auditor found does, and the cure.
        found = tx.incidents.timeline(incident.uuid, limit=1)
        lines = tuple(entry.entry.text for entry in found)
        return _Facts((), changes, offers, lines)

    def _put(
        self,
        tx: Tx,
        incident: Incident,
        kind: Kind,
        receiver: str,
        key: str,
        now: datetime,
        facts: _Facts,
        *,
        dedup: str,
        news: str = "",
        dated: datetime | None = None,
    ) -> None:
        made = message(
            incident,
            kind,
            receiver,
            facts.alerts,
            facts.changes,
            self.policy,
            key=key,
            now=now,
            offers=facts.offers,
            news=news,
        )
        made = replace(made, dedup_key=dedup, lines=facts.lines or made.lines)
        tx.outbox.put(incident.uuid, receiver, made, now, dated)


def rung_for(rung: Mapping[str, ring_rows.Rung], incident: Incident) -> set[str]:
    """Who was rung for the outage of an incident that lasts."""
    return pages.rung_since({name: one.last_at for name, one in rung.items()}, incident.paged_at)


def concerns(change: Mapping[str, str], dimensions: Mapping[str, str]) -> bool:
    """Whether a change could concern an incident: no dimension of both says otherwise."""
    return all(dimensions.get(name, value) == value for name, value in change.items())
