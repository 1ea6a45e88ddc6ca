"""What a person can ask and do, with their principal and permission: the one door for people.

Each command is one transaction: it is written before it is confirmed, and answered with what
happened. The daemon serves a desk on its socket; without a daemon the owner of the store may open
one directly (`open_direct`, break-glass), and the timeline says so.
"""

from __future__ import annotations

import os
import pwd
import uuid
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Literal

import msgspec

from monitor import views
from monitor.alerting.grouping import about
from monitor.alerting.pages import PAGING_SEVERITIES
from monitor.clock import WallClock
from monitor.config.secret import SecretUnavailableError
from monitor.config.settings import Settings, resolve
from monitor.config.shelf import Shelf
from monitor.desk import charting
from monitor.desk import reading as desk_views
from monitor.desk.access import AccessDesk
from monitor.desk.config import ConfigDesk
from monitor.desk.rules import RuleDesk
from monitor.desk.runs import RunDesk
from monitor.health import overview
from monitor.incidents import actions
from monitor.incidents.actions import Refusal, Step
from monitor.incidents.model import OPEN, SEVERITIES, Incident, Origin, State
from monitor.incidents.timeline import Entry
from monitor.notify.channel import Kind
from monitor.paging import concerns
from monitor.profiles import PROFILES
from monitor.review.facts import gather
from monitor.review.render import render
from monitor.runs import RunUnreadableError, opened
from monitor.store.errors import StoreUnknown
from monitor.store.finding_rows import QUARANTINE_KEPT
from monitor.store.store import Store, StoreError, Tx, owner
from monitor.views import DeskError, Done, Principal

MAX_TEXT = 32 * 1024
CHANGE_TOLD = 200
"""Open incidents whose timeline names a new change: others wait while they are written."""


Role = Literal["reader", "responder", "admin"]


@dataclass(frozen=True, slots=True)
class Rights:
    """Who has which role, by local user name."""

    admins: Sequence[str]
    responders: Sequence[str]
    owner_uid: int
    """The user that runs the daemon is an admin."""

    def role(self, name: str, uid: int) -> Role:
        """`reader`, `responder` or `admin`."""
        if uid in {self.owner_uid, 0} or name in self.admins:
            return "admin"
        if not self.responders or name in self.responders:
            return "responder"
        return "reader"


class Desk(RunDesk, ConfigDesk, AccessDesk, RuleDesk):
    """A desk that speaks for one principal."""

    # -- questions ------------------------------------------------------------------------------

    def whoami(self) -> Principal:
        """Who the desk takes you for."""
        return self._who

    def overview(self) -> views.Overview:
        """The state of everything."""
        with self._reading() as tx:
            return overview(
                tx,
                self._configured,
                self._clock(),
                self._who.name,
                live=self._live,
                daemon=self._who.via != "direct",
                more=self._parts,
            )

    def incidents(
        self,
        *,
        state: str = "",
        severity: str = "",
        since: datetime | None = None,
        mine: bool = False,
        limit: int = 200,
    ) -> list[views.IncidentRow]:
        """Newest first."""
        _known("state", state, ("open", *State))
        _known("severity", severity, SEVERITIES)
        states = [str(s) for s in OPEN] if state == "open" else [state] if state else []
        with self._reading() as tx:
            found = tx.incidents.search(
                states=states,
                severity=severity,
                since=since,
                person=self._who.name if mine else "",
                limit=min(limit, 1000),
            )
            now = self._clock()
            return [
                _unique(desk_views.incident_row(tx, self._configured, i, now), i) for i in found
            ]

    def incident(self, ref: str) -> views.IncidentView:
        """All of one incident but its timeline."""
        with self._reading() as tx:
            incident = self._find(tx, ref)
            now = self._clock()
            rows = tx.runs.of_incident(incident.uuid)
            run = None
            if rows:
                with suppress(RunUnreadableError):  # the timeline says so
                    run = desk_views.run_view(*opened(rows[0]), self._allow, now)
            view = desk_views.incident_view(tx, self._configured, incident, now, run)
            return msgspec.structs.replace(view, row=_unique(view.row, incident))

    def timeline(self, ref: str, *, after: int = 0, limit: int = 500) -> list[views.TimelineEntry]:
        """Entries with a higher `seq` than `after`."""
        with self._reading() as tx:
            incident = self._find(tx, ref)
            items = tx.incidents.timeline(incident.uuid, after=after, limit=min(limit, 5000))
            return [desk_views.timeline_entry(item) for item in items]

    def chart(self, ref: str, *, minutes: int = 60) -> views.Chart:
        """The signal of an incident."""
        with self._reading() as tx:
            incident = self._find(tx, ref)
            span = min(max(minutes, 10), 7 * 24 * 60)
            return charting.chart(tx, self._configured, incident, self._clock(), span)

    def signals(self) -> list[views.SignalNow]:
        """Every series at the last decided bucket."""
        with self._reading() as tx:
            return desk_views.signals_now(tx, self._configured)

    def changes(self, *, since: datetime | None = None) -> list[views.ChangeView]:
        """Recorded changes, newest first."""
        with self._reading() as tx:
            return [desk_views.change_view(row) for row in tx.incidents.changes(since=since)]

    def notes(self, *, since: datetime | None = None) -> list[views.NoteView]:
        """Levels that changed for good and what fits, newest first."""
        with self._reading() as tx:
            return [desk_views.note_view(row) for row in tx.notes.since(since)]

    def quarantine(self, *, limit: int = 100) -> list[views.QuarantineRow]:
        """The newest findings in records that are not what they should be."""
        with self._reading() as tx:
            found = tx.stream.quarantined(min(max(limit, 0), QUARANTINE_KEPT))
            return [desk_views.quarantine_row(row) for row in found]

    def review(self, ref: str, *, form: str = "md") -> str:
        """The review as text."""
        if form not in {"md", "json"}:
            raise DeskError("invalid", f"unknown form {form!r}", "md or json")
        with self._reading() as tx:
            incident = self._find(tx, ref)
            return render(gather(tx, self._configured, incident, self._clock()), form)

    # -- commands on incidents ------------------------------------------------------------------

    def declare(self, *, title: str, severity: str, feature: str = "") -> Done:
        """Open an incident that no detector found."""
        self._must("responder")
        text = " ".join(title.split())[:200]
        if not text:
            raise DeskError("invalid", "an incident needs a title")
        if severity not in SEVERITIES:
            raise DeskError("invalid", f"unknown severity {severity!r}", ", ".join(SEVERITIES))
        now = self._clock()
        with self._writing() as tx:
            number = tx.incidents.next_number()
            incident = Incident(
                uuid=uuid.uuid4().hex,
                number=number,
                title=text,
                severity=severity,
                origin=Origin.DECLARED,
                detected_at=now,
                impact_at=now,
                dimensions={"feature": feature} if feature else {},
                groups=frozenset({f"declared:{number}"}),
            )
            entry = Entry(kind="DECLARED", text=text, actor=self._who.name, occurred_at=now)
            tx.incidents.add(incident)
            tx.incidents.append(incident.uuid, (entry, *self._glass(now)), now)
            self._pager.consider(tx, incident, now)
            paging = "" if severity in PAGING_SEVERITIES else f"; {severity} pages nobody"
            return self._done(tx, f"{incident.name} declared{paging}", incident)

    def acknowledge(self, ref: str) -> Done:
        """Stop the pager."""
        return self._act(
            ref, lambda i, now: actions.acknowledge(i, self._who.name, now, via=self._who.via)
        )

    def take(self, ref: str) -> Done:
        """Take command; acknowledges too."""
        return self._act(ref, lambda i, now: actions.take(i, self._who.name, now))

    def note(self, ref: str, *, text: str) -> Done:
        """Add a note."""
        if len(text) > MAX_TEXT:
            raise DeskError("invalid", f"a note is at most {MAX_TEXT} characters")
        return self._act(ref, lambda i, now: actions.note(i, text, self._who.name, now))

    def set_severity(self, ref: str, *, severity: str, reason: str) -> Done:
        """Change the severity; a rise rings again."""
        return self._act(
            ref, lambda i, now: actions.set_severity(i, severity, reason, self._who.name, now)
        )

    def escalate(self, ref: str, *, reason: str = "") -> Done:
        """Page the next escalation step now."""
        self._must("responder")
        now = self._clock()
        with self._writing() as tx:
            incident = self._find(tx, ref)
            if not incident.is_open:
                self._refuse(Refusal(f"{incident.name} is {incident.state}"))
            by = self._who.name + (f" ({reason})" if reason else "")
            if incident.paged_at is None:
                self._pager.page(tx, incident, now, f"escalated by {by}")
                return self._done(tx, f"{incident.name}: paged", incident)
            told = tuple(tx.outbox.triggers(incident.uuid))
            rung = self._pager.climb(tx, incident, now, by=by)
            if rung is None:
                self._refuse(
                    Refusal(
                        "everybody of the escalation policy has been paged",
                        "call somebody, or add a step to paging.escalation",
                    )
                )
            news = f"escalated by {by} at {now:%H:%M} UTC: paged {rung}"
            stamp = f"escalated-{now.timestamp():.3f}"
            self._pager.tell(tx, incident, Kind.UPDATE, now, stamp, news=news, only=told)
            return self._done(tx, f"{incident.name}: paged {rung}", incident)

    def mitigate(self, ref: str, *, reason: str = "") -> Done:
        """The impact has stopped."""
        return self._act(ref, lambda i, now: actions.mitigate(i, reason, self._who.name, now))

    def resolve(self, ref: str, *, verdict: str, reason: str = "") -> Done:
        """End the work."""
        return self._act(
            ref, lambda i, now: actions.resolve(i, verdict, reason, self._who.name, now)
        )

    def reopen(self, ref: str, *, reason: str) -> Done:
        """Back to work."""
        return self._act(
            ref, lambda i, now: actions.reopen(i, reason, self._who.name, now), ended=True
        )

    def close(self, ref: str, *, reason: str = "") -> Done:
        """File a resolved incident."""
        return self._act(
            ref, lambda i, now: actions.close(i, reason, self._who.name, now), ended=True
        )

    def add_change(
        self,
        *,
        kind: str,
        title: str,
        at: datetime | None = None,
        dimensions: dict[str, str] | None = None,
    ) -> Done:
        """Record a release, a flag, a threshold.

        It is noted on the newest `CHANGE_TOLD` open incidents that it may concern: those whose
        onset is no more than an hour after it and whose dimensions do not exclude it.
        """
        self._must("responder")
        words = " ".join(title.split())[:200]
        if not words or not kind.strip():
            raise DeskError("invalid", "a change needs a kind and a title")
        now = self._clock()
        when = _moment(at) if at is not None else now
        with self._writing() as tx:
            number = tx.incidents.add_change(
                kind=kind.strip()[:40],
                title=words,
                at=when,
                dimensions=dimensions or {},
                actor=self._who.name,
                now=now,
            )
            entry = Entry(
                kind="CHANGE",
                text=f"{kind.strip()[:40]} {words}",
                actor=self._who.name,
                occurred_at=when,
                key=f"change:{number}",
                data={"dimensions": dimensions or {}},
            )
            concerned = [
                incident
                for incident in reversed(tx.incidents.open())
                if when >= (incident.impact_at or incident.detected_at) - timedelta(hours=1)
                and concerns(dimensions or {}, incident.dimensions)
            ]
            for incident in concerned[:CHANGE_TOLD]:
                tx.incidents.append(incident.uuid, (entry,), now)
            tx.touch()
            most = f"; noted on the newest {CHANGE_TOLD} of {len(concerned)} open incidents"
            return Done(
                text=f"CHG-{number} recorded" + (most if len(concerned) > CHANGE_TOLD else ""),
                revision=tx.revision(),
                daemon=self._who.via != "direct",
            )

    # -- inside ---------------------------------------------------------------------------------

    def _act(
        self,
        ref: str,
        act: Callable[[Incident, datetime], Step | Refusal],
        *,
        ended: bool = False,
    ) -> Done:
        self._must("responder")
        now = self._clock()
        with self._writing() as tx:
            before = self._ended(tx, ref) if ended else self._find(tx, ref)
            result = act(before, now)
            if isinstance(result, Refusal):
                self._refuse(result)
            if result.incident.is_open and not before.is_open:
                result = self._again(tx, result, now)
            entries = result.entries + (self._glass(now) if result.entries else ())
            tx.incidents.apply(replace(result, entries=entries), now)
            self._tell(tx, before, result.incident, now)
            if before.verdict != result.incident.verdict:
                self._spent(tx, result.incident, now)
            return self._done(tx, result.text, result.incident)

    @staticmethod
    def _again(tx: Tx, step: Step, now: datetime) -> Step:
        """Say of what is opened again that nothing of it fires, so that a later outage is seen."""
        alerts = tx.incidents.alerts_of(step.incident.uuid)
        if not alerts or any(one.firing for one in about(alerts)):
            return step
        normal = actions.signal_normal(step.incident, now)
        return replace(step, incident=normal.incident, entries=step.entries + normal.entries)

    def _tell(self, tx: Tx, before: Incident, after: Incident, now: datetime) -> None:
        """Let the receivers know what changed for them."""
        stamp = f"{now.timestamp():.3f}"
        if before.acknowledged_at is None and after.acknowledged_at is not None:
            self._pager.tell(tx, after, Kind.ACKNOWLEDGE, now, stamp)
        if after.severity < before.severity:
            self._pager.page(tx, after, now, f"severity raised to {after.severity}")
        elif (
            after.severity != before.severity
            or after.mitigated_at != before.mitigated_at
            or (after.is_open and not before.is_open)
        ):
            self._pager.tell(tx, after, Kind.UPDATE, now, stamp)
        if before.resolved_at is None and after.resolved_at is not None:
            self._pager.tell(tx, after, Kind.RESOLVE, now, f"resolved-{stamp}")


def _unique(row: views.IncidentRow, incident: Incident) -> views.IncidentRow:
    return msgspec.structs.replace(row, uuid=incident.uuid)


def _known(what: str, word: str, words: Sequence[str]) -> None:
    """Refuse a filter that could match nothing; an empty one asks for all."""
    if word and word not in words:
        raise DeskError("invalid", f"unknown {what} {word!r}", ", ".join(words))


def open_direct(store_url: str, settings: Settings | None = None) -> Desk:
    """Break-glass: a desk on the store itself, as the local user, without a daemon.

    Args:
        store_url: the store.
        settings: the configuration of this store, where there is one. The profile is the one that
            the store was judged under.

    Raises:
        Problems: a file that the configuration names has mistakes.
        OSError: one cannot be read.
        DeskError: the store is none or cannot be opened, or a living daemon owns it.
    """
    settings = settings or Settings(store=store_url)
    try:
        if (pid := owner(store_url)) is not None:
            raise DeskError(
                "unavailable",
                f"a daemon (pid {pid}) owns this store, but its socket does not answer"
                " or may not be used",
                "name its socket with --socket, or stop the daemon first",
            )
        secret = settings.store_password
        store = Store(store_url, password=None if secret is None else secret.reveal)
        with store.read() as tx:
            profile = tx.decisions.profile()
    except (StoreError, SecretUnavailableError) as problem:
        code = "invalid" if isinstance(problem, StoreUnknown) else "unavailable"
        raise DeskError(code, str(problem), "name another one with --store") from None
    if profile in PROFILES:
        settings = msgspec.structs.replace(settings, profile=profile)
    name = pwd.getpwuid(os.getuid()).pw_name
    return Desk(
        store,
        resolve(settings),
        Shelf(settings.runbooks.folders),
        Principal(name=name, role="admin", via="direct"),
        WallClock().now,
    )


def _moment(at: datetime) -> datetime:
    """A time that somebody names, in UTC.

    Raises:
        DeskError: `invalid`, it has no zone, or what is written with it could not be read again.
    """
    try:
        made = at.astimezone(UTC)
    except OverflowError:
        made = None
    if made is None or at.tzinfo is None or not 1970 <= made.year < 9999:
        raise DeskError("invalid", "no time of a change", "write it like 2026-11-22T09:00:00Z")
    return made
