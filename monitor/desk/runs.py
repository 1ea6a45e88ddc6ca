"""The desk's part about runbooks: which there are, and working one for an incident."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from monitor import views
from monitor.desk import reading as desk_views
from monitor.desk.base import DeskBase
from monitor.incidents.actions import Refusal
from monitor.incidents.model import Incident
from monitor.incidents.timeline import Entry
from monitor.runs import RunUnreadableError, opened, store_advance
from monitor.store.run_rows import RunRow
from monitor.store.store import Tx
from monitor.views import DeskError, Done, StepAction
from runbooks import events
from runbooks.engine import advance, encode_run, new_run
from runbooks.model import Runbook
from runbooks.runs import Facts, Run, RunState


class RunDesk(DeskBase):
    """Questions and commands about runbooks and runs."""

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
                hint = change.refusal.hint
                if change.refusal.code == "value":
                    hint = hint or f"tocsin inc run {incident.name} {book.id} -p NAME=VALUE"
                self._refuse(Refusal(change.refusal.text, hint))
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
            book, run = self._opened(row)
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
            try:
                book, run = opened(row)
            except RunUnreadableError as problem:
                if not reason.strip():
                    self._refuse(Refusal("a reason is needed"))
                self._give_up(tx, row, f"{reason} ({problem})", now)
                return self._done(tx, "run aborted unread", incident)
            event = events.Abort(actor=self._who.name, reason=reason)
            change = advance(book, run, event, now, self._allow)
            if change.refusal is not None:
                self._refuse(Refusal(change.refusal.text, change.refusal.hint))
            store_advance(tx, row, book, change, now)
            return self._done(tx, "run aborted", incident)

    def _perform_all(self, run: str, effects: Sequence[events.Effect]) -> None:
        if any(isinstance(effect, events.StartAttempt) for effect in effects):
            self._perform(run, effects)

    @staticmethod
    def _opened(row: RunRow) -> tuple[Runbook, Run]:
        try:
            return opened(row)
        except RunUnreadableError as problem:
            hint = "work it with the release that wrote it, or abort it, with a reason"
            raise DeskError("refused", str(problem), hint) from None

    def _give_up(self, tx: Tx, row: RunRow, reason: str, now: datetime) -> None:
        """End a run that cannot be read; it stays as it is written."""
        tx.runs.save(replace(row, live=False, state=str(RunState.ABORTED), deadline_at=None))
        entry = Entry(
            kind="RUN",
            text=f"run aborted: {reason}",
            actor=self._who.name,
            occurred_at=now,
            data={"run": row.id},
        )
        tx.incidents.append(row.incident, (entry,), now)
        tx.touch()

    def _live_run(self, tx: Tx, ref: str) -> tuple[Incident, RunRow]:
        incident = self._find(tx, ref)
        rows = [row for row in tx.runs.of_incident(incident.uuid) if row.live]
        if not rows:
            self._refuse(
                Refusal(
                    f"{incident.name} has no open run",
                    f"start one: tocsin inc run {incident.name} RUNBOOK",
                )
            )
        return incident, rows[0]

    def _facts(self, tx: Tx, incident: Incident) -> Facts:
        alerts = tx.incidents.alerts_of(incident.uuid)
        lead = next((a for a in alerts if a.signal == incident.signal), None)
        baseline = lead.reading.baseline if lead is not None else None
        signal = self._configured.counted(incident.signal or "")
        ratio = max(signal.min_ratio, 1.5) if signal is not None else 1.5
        return Facts(
            id=incident.name,
            severity=incident.severity,
            signal=signal.name if signal is not None else incident.signal or "",
            series=dict(incident.dimensions),
            baseline=baseline,
            threshold=None if baseline is None else min(1.0, baseline * ratio),
        )
