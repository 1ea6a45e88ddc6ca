"""What a person can ask and do, with their principal and permission: the one door for people.

Each command is one transaction: it is written before it is confirmed, and answered with what
happened. The daemon serves a desk on its socket; without a daemon the owner of the store may open
one directly (`open_direct`, break-glass), and the timeline says so.
"""

from __future__ import annotations

import os
import pwd
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Literal, NoReturn

import msgspec

from monitor import desk_views, views
from monitor.clock import WallClock
from monitor.health import overview
from monitor.incidents import actions
from monitor.incidents.actions import Refusal, Step
from monitor.incidents.model import OPEN, SEVERITIES, Incident, Origin
from monitor.incidents.timeline import Entry
from monitor.notify.channel import Kind
from monitor.paging import Pager
from monitor.profiles import PROFILES
from monitor.review.facts import gather
from monitor.review.render import render
from monitor.runs import opened, store_advance
from monitor.settings import Configured, Settings, resolve
from monitor.shelf import Shelf
from monitor.store.run_rows import RunRow
from monitor.store.store import Store, StoreUnavailable, Tx
from monitor.views import DeskError, Done, Principal, StepAction
from runbooks import events
from runbooks.engine import advance, encode_run, new_run
from runbooks.runs import Facts

Perform = Callable[[str, Sequence[events.Effect]], None]
MAX_TEXT = 32 * 1024


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


def _no_daemon(_run: str, _effects: Sequence[events.Effect]) -> None:
    raise DeskError(
        "unavailable",
        "recorded, but no daemon runs that could carry it out",
        "start one: tocsin run",
    )


class Desk:
    """A desk that speaks for one principal."""

    def __init__(
        self,
        store: Store,
        configured: Configured,
        shelf: Shelf,
        principal: Principal,
        clock: Callable[[], datetime],
        *,
        perform: Perform = _no_daemon,
        live: bool = True,
    ) -> None:
        self._store = store
        self._configured = configured
        self._shelf = shelf
        self._who = principal
        self._clock = clock
        self._perform = perform
        self._live = live
        self._pager = Pager(configured.policy)
        self._allow = configured.settings.runbooks.allow

    # -- questions ------------------------------------------------------------------------------

    def whoami(self) -> Principal:
        """Who the desk takes you for."""
        return self._who

    def overview(self) -> views.Overview:
        """The state of everything."""
        with self._reading() as tx:
            return overview(tx, self._configured, self._clock(), self._who.name, live=self._live)

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
            return [desk_views.incident_row(tx, self._configured, i, now) for i in found]

    def incident(self, ref: str) -> views.IncidentView:
        """All of one incident but its timeline."""
        with self._reading() as tx:
            incident = self._find(tx, ref)
            now = self._clock()
            rows = tx.runs.of_incident(incident.uuid)
            run = None
            if rows:
                book, value = opened(rows[0])
                run = desk_views.run_view(book, value, self._allow, now)
            return desk_views.incident_view(tx, self._configured, incident, now, run)

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
            return desk_views.chart(tx, self._configured, incident, self._clock(), span)

    def signals(self) -> list[views.SignalNow]:
        """Every series at the last decided bucket."""
        with self._reading() as tx:
            return desk_views.signals_now(tx, self._configured)

    def changes(self, *, since: datetime | None = None) -> list[views.ChangeView]:
        """Recorded changes, newest first."""
        with self._reading() as tx:
            return [desk_views.change_view(row) for row in tx.incidents.changes(since=since)]

    def runbooks(self, ref: str = "") -> list[views.RunbookRow]:
        """Those that match the incident first."""
        suggested: list[str] = []
        if ref:
            with self._reading() as tx:
                suggested = [book.id for book in self._shelf.matching(self._labels(tx, ref))]
        order = {name: place for place, name in enumerate(suggested)}
        books = sorted(self._shelf.all(), key=lambda b: (order.get(b.id, len(order)), b.id))
        defaults = self._configured.settings.runbooks.defaults
        return [
            views.RunbookRow(
                id=book.id,
                version=book.spec.version,
                title=book.title,
                suggested=book.id in order,
                params=[
                    desk_views.param_view(name, param, defaults.get(name))
                    for name, param in book.spec.params.items()
                ],
            )
            for book in books
        ]

    def runbook_text(self, runbook: str) -> str:
        """The file."""
        try:
            return self._shelf.source(runbook)
        except KeyError:
            raise DeskError(
                "not_found", f"no runbook {runbook!r}", "list them: tocsin runbook list"
            ) from None

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
            tx.incidents.save(incident)
            tx.incidents.append(incident.uuid, (entry, *self._glass(now)), now)
            self._pager.consider(tx, incident, now)
            return self._done(tx, f"{incident.name} declared", incident)

    def acknowledge(self, ref: str) -> Done:
        """Stop the pager."""
        return self._act(ref, lambda i, now: actions.acknowledge(i, self._who.name, now))

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
        """Page the next rung now."""
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
            rung = self._pager.climb(tx, incident, now, by=by)
            if rung is None:
                self._refuse(
                    Refusal(
                        "everybody of the escalation policy has been paged",
                        "call somebody, or add a rung to paging.escalation",
                    )
                )
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
        return self._act(ref, lambda i, now: actions.reopen(i, reason, self._who.name, now))

    def close(self, ref: str, *, reason: str = "") -> Done:
        """File a resolved incident."""
        return self._act(ref, lambda i, now: actions.close(i, reason, self._who.name, now))

    def add_change(
        self,
        *,
        kind: str,
        title: str,
        at: datetime | None = None,
        dimensions: dict[str, str] | None = None,
    ) -> Done:
        """Record a release, a flag, a threshold."""
        self._must("responder")
        words = " ".join(title.split())[:200]
        if not words or not kind.strip():
            raise DeskError("invalid", "a change needs a kind and a title")
        now = self._clock()
        when = at or now
        with self._writing() as tx:
            number = tx.incidents.add_change(
                kind=kind.strip()[:40],
                title=words,
                at=when,
                dimensions=dimensions or {},
                actor=self._who.name,
                now=now,
            )
            for incident in tx.incidents.open():
                onset = incident.impact_at or incident.detected_at
                if when >= onset - timedelta(hours=1):
                    entry = Entry(
                        kind="CHANGE",
                        text=f"{kind.strip()[:40]} {words}",
                        actor=self._who.name,
                        occurred_at=when,
                        key=f"change:{number}",
                        data={"dimensions": dimensions or {}},
                    )
                    tx.incidents.append(incident.uuid, (entry,), now)
            tx.touch()
            return Done(text=f"CHG-{number} recorded", revision=tx.revision())

    # -- commands on runs -----------------------------------------------------------------------

    def start_run(
        self, ref: str, *, runbook: str, params: dict[str, str | int | bool] | None = None
    ) -> Done:
        """Start a runbook for an incident."""
        self._must("responder")
        book = self._shelf.get(runbook)
        if book is None:
            raise DeskError("not_found", f"no runbook {runbook!r}", "tocsin runbook list")
        now = self._clock()
        with self._writing() as tx:
            incident = self._find(tx, ref)
            if not incident.is_open:
                self._refuse(Refusal(f"{incident.name} is {incident.state}"))
            if any(row.live for row in tx.runs.of_incident(incident.uuid)):
                self._refuse(Refusal("a run is open already", "abort it first, with a reason"))
            run = new_run(book, f"run-{uuid.uuid4().hex[:8]}", self._facts(tx, incident), now)
            row = RunRow(
                id=run.id,
                incident=incident.uuid,
                runbook=book.id,
                state=str(run.state),
                body=encode_run(run),
                source=self._shelf.source(book.id),
                deadline_at=None,
                started_at=now,
                live=True,
            )
            event = events.Start(
                actor=self._who.name,
                params=params or {},
                configured=self._configured.settings.runbooks.defaults,
            )
            change = advance(book, run, event, now, self._allow)
            if change.refusal is not None:
                self._refuse(Refusal(change.refusal.text, change.refusal.hint))
            store_advance(tx, row, book, change, now)
            tx.incidents.append(incident.uuid, self._glass(now), now)
            done = self._done(tx, f"{book.id} v{book.spec.version} started", incident)
        self._perform_all(run.id, change.effects)
        return done

    def step(
        self,
        ref: str,
        *,
        number: int,
        action: StepAction,
        note: str = "",
        confirm: str = "",
        captured: dict[str, str] | None = None,
    ) -> Done:
        """Act on a step of the incident's run."""
        self._must("responder")
        now = self._clock()
        with self._writing() as tx:
            incident, row = self._live_run(tx, ref)
            book, run = opened(row)
            if not 1 <= number <= len(run.steps):
                raise DeskError("not_found", f"the run has steps 1 to {len(run.steps)}")
            name = run.steps[number - 1].id
            who = self._who.name
            event: events.PersonEvent
            match action:
                case "run":
                    again = str(run.steps[number - 1].state) in {"failed", "unknown"}
                    event = events.RunStep(
                        step=name, actor=who, confirm=confirm or None, again=again
                    )
                case "done":
                    event = events.Done(step=name, actor=who, note=note, captured=captured or {})
                case "fail":
                    event = events.Fail(step=name, actor=who, reason=note)
                case "skip":
                    event = events.Skip(step=name, actor=who, reason=note)
                case "undo":
                    event = events.Undo(step=name, actor=who, confirm=confirm or None, note=note)
            change = advance(book, run, event, now, self._allow)
            if change.refusal is not None:
                self._refuse(Refusal(change.refusal.text, change.refusal.hint))
            store_advance(tx, row, book, change, now)
            done = self._done(tx, f"step {number} {name}: {action}", incident)
        self._perform_all(row.id, change.effects)
        return done

    def abort_run(self, ref: str, *, reason: str) -> Done:
        """Stop the run."""
        self._must("responder")
        now = self._clock()
        with self._writing() as tx:
            incident, row = self._live_run(tx, ref)
            book, run = opened(row)
            event = events.Abort(actor=self._who.name, reason=reason)
            change = advance(book, run, event, now, self._allow)
            if change.refusal is not None:
                self._refuse(Refusal(change.refusal.text, change.refusal.hint))
            store_advance(tx, row, book, change, now)
            return self._done(tx, "run aborted", incident)

    # -- inside ---------------------------------------------------------------------------------

    def _perform_all(self, run: str, effects: Sequence[events.Effect]) -> None:
        if any(isinstance(effect, events.StartAttempt) for effect in effects):
            self._perform(run, effects)

    def _act(self, ref: str, act: Callable[[Incident, datetime], Step | Refusal]) -> Done:
        self._must("responder")
        now = self._clock()
        with self._writing() as tx:
            before = self._find(tx, ref)
            result = act(before, now)
            if isinstance(result, Refusal):
                self._refuse(result)
            entries = result.entries + (self._glass(now) if result.entries else ())
            tx.incidents.apply(replace_entries(result, entries), now)
            self._tell(tx, before, result.incident, now)
            return self._done(tx, result.text, result.incident)

    def _tell(self, tx: Tx, before: Incident, after: Incident, now: datetime) -> None:
        """Let the receivers know what changed for them."""
        stamp = f"{now.timestamp():.3f}"
        if before.acknowledged_at is None and after.acknowledged_at is not None:
            self._pager.tell(tx, after, Kind.ACKNOWLEDGE, now, "1")
        if after.severity < before.severity:
            self._pager.page(tx, after, now, f"severity raised to {after.severity}")
        elif after.severity != before.severity or after.mitigated_at != before.mitigated_at:
            self._pager.tell(tx, after, Kind.UPDATE, now, stamp)
        if before.resolved_at is None and after.resolved_at is not None:
            self._pager.tell(tx, after, Kind.RESOLVE, now, f"resolved-{stamp}")

    def _live_run(self, tx: Tx, ref: str) -> tuple[Incident, RunRow]:
        incident = self._find(tx, ref)
        rows = [row for row in tx.runs.of_incident(incident.uuid) if row.live]
        if not rows:
            self._refuse(
                Refusal(
                    f"{incident.name} has no open run",
                    f"start one: tocsin inc step {incident.name} --start RUNBOOK",
                )
            )
        return incident, rows[0]

    def _facts(self, tx: Tx, incident: Incident) -> Facts:
        alerts = tx.incidents.alerts_of(incident.uuid)
        lead = next((a for a in alerts if a.signal == incident.signal), None)
        baseline = lead.reading.baseline if lead is not None else None
        signal = next((s for s in self._configured.plan.signals if s.name == incident.signal), None)
        ratio = max(signal.min_ratio, 1.5) if signal is not None else 1.5
        return Facts(
            id=incident.name,
            severity=incident.severity,
            signal=incident.signal or "",
            series=dict(incident.dimensions),
            baseline=baseline,
            threshold=None if baseline is None else min(1.0, baseline * ratio),
        )

    def _labels(self, tx: Tx, ref: str) -> Mapping[str, str]:
        incident = self._find(tx, ref)
        return {
            "signal": incident.signal or "declared",
            "severity": incident.severity,
            **incident.dimensions,
        }

    def _find(self, tx: Tx, ref: str) -> Incident:
        text = ref.strip().upper().removeprefix("INC-")
        found: Incident | None = None
        if text == "LATEST":
            found = tx.incidents.latest()
        elif text.isdigit() and len(text) < 10:
            found = tx.incidents.by_number(int(text))
        if found is None:
            raise DeskError("not_found", f"no incident {ref!r}", "list them: tocsin inc list")
        return found

    def _glass(self, now: datetime) -> tuple[Entry, ...]:
        if self._who.via != "direct":
            return ()
        text = "done without a daemon, on the store itself (break-glass)"
        return (Entry(kind="DIRECT", text=text, actor=self._who.name, occurred_at=now),)

    def _done(self, tx: Tx, text: str, incident: Incident) -> Done:
        tx.touch()
        return Done(text=text, incident=incident.name, revision=tx.revision())

    def _must(self, role: str) -> None:
        order = ("reader", "responder", "admin")
        if order.index(self._who.role) < order.index(role):
            raise DeskError(
                "forbidden",
                f"{self._who.name} may only read",
                "ask for the responder role: desk.responders in the configuration",
            )

    @staticmethod
    def _refuse(refusal: Refusal) -> NoReturn:
        raise DeskError("refused", refusal.message, refusal.hint)

    def _reading(self) -> _Guarded:
        return _Guarded(self._store, writing=False)

    def _writing(self) -> _Guarded:
        return _Guarded(self._store, writing=True)


class _Guarded:
    """A transaction whose failures are the desk's: nothing was written, and it says so."""

    def __init__(self, store: Store, *, writing: bool) -> None:
        self._manager = store.write() if writing else store.read()

    def __enter__(self) -> Tx:
        try:
            return self._manager.__enter__()
        except StoreUnavailable as problem:
            raise DeskError("unavailable", str(problem), "nothing was written; try again") from None

    def __exit__(self, *details: object) -> bool | None:
        try:
            return self._manager.__exit__(*details)  # type: ignore[arg-type] # handed through as given
        except StoreUnavailable as problem:
            raise DeskError("unavailable", str(problem), "nothing was written; try again") from None


def replace_entries(step: Step, entries: tuple[Entry, ...]) -> Step:
    """`step` with other entries."""
    return replace(step, entries=entries)


def open_direct(store_url: str) -> Desk:
    """Break-glass: a desk on the store itself, as the local user, without a daemon.

    Raises:
        StoreError: the store cannot be opened.
    """
    store = Store(store_url)
    with store.read() as tx:
        profile = tx.decisions.profile()
    settings = Settings(store=store_url)
    if profile in PROFILES:
        settings = msgspec.structs.replace(settings, profile=profile)
    name = pwd.getpwuid(os.getuid()).pw_name
    return Desk(
        store,
        resolve(settings),
        Shelf(),
        Principal(name=name, role="admin", via="direct"),
        WallClock().now,
    )
