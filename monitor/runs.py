"""Loop 4: runbook runs, their waits and deadlines.

A run lives here and not in a terminal: whoever looks away, hangs up or dies changes nothing. Each
transition is one transaction with its timeline entries; what must be done in the world is done
after the commit, and comes back as another event.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime

import msgspec

from monitor.carrier import NOT_OURS, Asked, Carrier, Leave, withheld
from monitor.config.settings import Configured
from monitor.incidents import actions as incident_actions
from monitor.incidents.timeline import Entry
from monitor.notify.channel import Channel
from monitor.processes.gates import gated
from monitor.processes.posts import Guard, Sole
from monitor.store.lease_rows import Fenced
from monitor.store.run_rows import RunRow
from monitor.store.store import Store, StoreUnavailable, Tx
from monitor.stream.series import dims_of
from monitor.stream.signals import Plan
from monitor.text import vis
from monitor.views import Health
from monitor.warden import uptime
from monitor.watchdog import tick
from runbooks.allow import AllowList
from runbooks.engine import advance, decode_run, encode_run, next_deadline, unbegun
from runbooks.events import (
    Advance,
    AttemptBegun,
    AttemptFinished,
    Effect,
    Event,
    Recovered,
    SignalObserved,
    StartAttempt,
    Tick,
)
from runbooks.load import load_runbook
from runbooks.model import Runbook
from runbooks.outlook import verification
from runbooks.problems import Problems
from runbooks.runs import Run, RunState, StepState, Watching

logger = logging.getLogger(__name__)

LIVE = frozenset({RunState.PENDING, RunState.RUNNING, RunState.WAITING_INPUT, RunState.PAUSED})
POOLED = 5
"""Buckets whose counts are pooled into one sample of a waited-for signal."""
_KINDS = {"run": "RUN", "step": "STEP", "attempt": "STEP", "signal": "SIGNAL", "capture": "STEP"}


class RunUnreadableError(Exception):
    """A stored run, or its runbook, is not what this release can read; the message says why.

    Another release wrote it, or our checks have become stricter.
    """


def opened(row: RunRow) -> tuple[Runbook, Run]:
    """The runbook a run was pinned to, and the run.

    Raises:
        RunUnreadableError: one of them cannot be read.
    """
    run = decoded(row)
    try:
        return load_runbook(row.source, f"run {row.id}"), run
    except Problems as found:
        first = found.problems[0]
        raise _unreadable(row, f"its runbook, line {first.line}: {first.text}") from None


def decoded(row: RunRow) -> Run:
    """The run alone.

    Raises:
        RunUnreadableError: it cannot be read.
    """
    try:
        return decode_run(row.body)
    except (msgspec.MsgspecError, RecursionError) as problem:
        raise _unreadable(row, str(problem)) from None


def _unreadable(row: RunRow, why: str) -> RunUnreadableError:
    return RunUnreadableError(vis(f"run {row.id} cannot be read: {why}", limit=300))


def store_advance(tx: Tx, row: RunRow, book: Runbook, change: Advance, now: datetime) -> None:
    """Write a transition: the run, its timeline entries, and a verification that passed."""
    run = change.run
    save_run(tx, row, run)
    entries = [
        Entry(
            kind=_KINDS.get(entry.kind, "STEP"),
            text=entry.text,
            actor=entry.actor if entry.actor != "engine" else "tocsin",
            occurred_at=now,
            data={"run": run.id, "step": entry.step, **entry.data},
        )
        for entry in change.entries
    ]
    tx.incidents.append(row.incident, entries, now)
    proof = verification(book, run)
    before = verification(book, decode_run(row.body))
    incident = tx.incidents.get(row.incident)
    if proof.passed and not before.passed and incident is not None:
        step = incident_actions.verified(incident, proof.reason, "tocsin", now)
        tx.incidents.apply(step, now)
    tx.touch()


def save_run(tx: Tx, row: RunRow, run: Run) -> None:
    """Write the run value."""
    tx.runs.save(
        RunRow(
            id=row.id,
            incident=row.incident,
            runbook=row.runbook,
            state=str(run.state),
            body=encode_run(run),
            source=row.source,
            deadline_at=next_deadline(run),
            started_at=row.started_at,
            live=run.state in LIVE,
        )
    )


class Runs:
    """Carries out attempts, feeds waits, and lets deadlines come true."""

    def __init__(
        self,
        store: Store,
        allow: AllowList,
        clock: Callable[[], datetime],
        plan: Plan,
        *,
        post: Guard | None = None,
    ) -> None:
        """Args: `clock` tells the time of outcomes; `post` whether the runs are ours to work."""
        self.gate = threading.Lock()
        """Held during a step."""
        self._store = store
        self._allow = allow
        self._clock = clock
        self._bucket_s = plan.bucket_s
        self._signals = {signal.name: signal for signal in plan.rates()}
        self._recovered = False
        self._aside: dict[str, RunRow] = {}
        """Runs that could not be worked on, by id, as they were then."""
        self._post = post or Sole()
        self._carrier = Carrier(begin=self._begin, finished=self._finished)

    @gated
    def step(self, now: datetime) -> None:
        """Feed waits with new samples and apply deadlines.

        A run that breaks us is put aside until somebody changes it or another process owns the
        runs: it must not end the loops that page, at each start again.

        Raises:
            StoreUnavailable: nothing was changed.
            Fenced: the runs are somebody else's now.
        """
        with self._store.read() as tx:
            rows = tx.runs.live()
        for row in rows:
            tick()
            if self._aside.get(row.id) == row:
                continue
            try:
                self._work(row, now)
            except (StoreUnavailable, Fenced):
                raise
            except Exception as problem:  # noqa: BLE001 - whatever it is, pages wait behind it
                self._put_aside(row, problem, now)
            else:
                self._aside.pop(row.id, None)
        self._aside = {row.id: self._aside[row.id] for row in rows if row.id in self._aside}
        self._recovered = True
        self._stop_aborted()

    def _work(self, row: RunRow, now: datetime) -> None:
        if self._recovered and row.id not in self._aside:
            self._pick_up(row, now)
        else:
            self._apply(row.id, Recovered(self._carrier.asked_of(row.id)), now)
        self._watch(row.id, now)
        if row.deadline_at is not None and row.deadline_at <= now:
            self._apply(row.id, Tick(), now)

    def _put_aside(self, row: RunRow, problem: Exception, now: datetime) -> None:
        """Leave a run as it is stored, for a release that can go on with it; say so once."""
        known, why = isinstance(problem, RunUnreadableError), str(problem)
        if not known:
            why = vis(f"run {row.id} broke: {type(problem).__name__}: {problem}", limit=300)
        if row.id not in self._aside:
            logger.error("put aside: %s", why, exc_info=None if known else problem)
        text = f"runbook {row.runbook} stands still: {why}"
        entry = Entry(
            kind="RUN",
            text=text,
            actor="tocsin",
            occurred_at=now,
            key=f"aside:{row.id}",
            data={"run": row.id},
        )
        with self._store.write() as tx:
            self._post.guard(tx)
            tx.incidents.append(row.incident, (entry,), now)
            tx.touch()
        self._aside[row.id] = row

    def health(self, _tx: Tx, _now: datetime) -> Health:
        """A line for the overview."""
        aside = sorted(self._aside)
        if not aside:
            return Health(name="runs", state="ok", text="none was put aside")
        named = ", ".join(aside[:3]) + (", ..." if len(aside) > 3 else "")
        text = f"{len(aside)} open runs stand still, this release cannot go on with them: {named}"
        return Health(name="runs", state="warn", text=f"{text}; the timeline says why")

    def _stop_aborted(self) -> None:
        """End the commands of runs that were aborted, at whichever machine's desk."""
        for asked in self._carrier.under_way():
            with self._store.read() as tx:
                row = tx.runs.get(asked.run)
            if row is None or row.state == RunState.ABORTED:
                self._carrier.stop(asked)

    def take(self, configured: Configured, _channels: Mapping[str, Channel]) -> None:
        """Use another allow-list; the gate is held, and what is under way goes on."""
        self._allow = configured.settings.runbooks.allow

    def forget(self) -> None:
        """Take the next step as the first: others may have worked the runs meanwhile."""
        self._recovered = False
        self._aside = {}
        self._carrier.withdraw()

    def perform(self, run: str, effects: Sequence[Effect]) -> None:
        """Do in the world what a stored transition asks for; returns at once.

        Where the runs are not ours this does nothing: their owner finds the attempt in the row.
        """
        epoch = self._post.epoch
        if not epoch:
            return
        for effect in effects:
            if isinstance(effect, StartAttempt):
                self._carrier.ask(Asked(run, effect, epoch))

    def _pick_up(self, row: RunRow, now: datetime) -> None:
        """Begin what another machine's desk has written down: only we carry anything out."""
        if any(step.state is StepState.RUNNING for step in decoded(row).steps):
            book, run = opened(row)
            self.perform(row.id, unbegun(book, run, now, self._allow))

    def close(self) -> None:
        """Wait for attempts under way; the next owner begins what has not begun."""
        self._carrier.close()

    def _begin(self, asked: Asked) -> Leave:
        """Whether it may begin, by what is stored now; when it may, that is written down.

        An owner that comes after us, or our own next start, asks a person about what was begun and
        carries out itself what was not.

        Raises:
            StoreUnavailable: nobody knows; it does not begin.
        """
        effect = asked.effect
        with self._store.write() as tx:
            at, now = uptime(), self._clock()  # a transaction may have waited for its turn
            ours = self._post.holds(tx, asked.epoch, now)
            row = tx.runs.get(asked.run)
            if row is None:
                return Leave(at, withheld(None, effect, now, self._allow, ours=ours))
            try:
                book, run = opened(row)
            except RunUnreadableError:  # another release's by now, which begins it
                return Leave(at, NOT_OURS)
            why = withheld(run, effect, now, self._allow, ours=ours)
            if not why:
                event = AttemptBegun(step=effect.step, attempt=effect.attempt)
                change = advance(book, run, event, now, self._allow)
                if change.refusal is not None:
                    return Leave(at, change.refusal.text)
                store_advance(tx, row, book, change, now)
        return Leave(at, why)

    def _finished(self, asked: Asked, finished: AttemptFinished) -> None:
        """The run takes it; where that is no longer ours to say, the timeline has it as a fact.

        Raises:
            StoreUnavailable: nothing was written.
        """
        try:
            taken = self._apply(asked.run, finished, self._clock())
        except (Fenced, RunUnreadableError):
            taken = False
        if taken:
            return
        with self._store.write() as tx:
            row = tx.runs.get(asked.run)
            if row is None:
                return
            entry = Entry(
                kind="STEP",
                text=f"attempt {finished.attempt} of step {finished.step} {_said(finished)}",
                actor="tocsin",
                occurred_at=self._clock(),
                key=f"ended:{asked.run}:{finished.step}:{finished.attempt}",
                data={"run": asked.run, "step": finished.step, "attempt": finished.attempt},
            )
            tx.incidents.append(row.incident, (entry,), self._clock())
            tx.touch()

    def _apply(self, run: str, event: Event, now: datetime) -> bool:
        """Take one event; whether the run did."""
        with self._store.write() as tx:
            self._post.guard(tx)
            row = tx.runs.get(run)
            if row is None:
                return False
            book, value = opened(row)
            change = advance(book, value, event, now, self._allow)
            if change.refusal is not None:
                logger.info("run %s: %s", run, change.refusal.text)
                return False
            if change.run != value:
                store_advance(tx, row, book, change, now)
        self.perform(run, change.effects)
        return True

    def _watch(self, run: str, now: datetime) -> None:
        with self._store.read() as tx:
            row = tx.runs.get(run)
            if row is None:
                return
            value = decoded(row)
            samples = [
                sample
                for step in value.steps
                if step.state is StepState.RUNNING and step.watching is not None
                for sample in self._samples(tx, step.id, step.watching, now)
            ]
        for sample in samples:
            self._apply(run, sample, now)

    def _samples(
        self, tx: Tx, step: str, watching: Watching, now: datetime
    ) -> list[SignalObserved]:
        since = watching.last_at or watching.started_at
        step_s = self._bucket_s
        newest = int(now.timestamp())
        first = int(since.timestamp()) // step_s * step_s - POOLED * step_s
        signal = self._signals.get(watching.signal)
        if signal is None:
            return []
        wanted = dims_of(signal, watching.series)
        found = tx.decisions.points(watching.signal, first, newest)
        pairs = {
            bucket: next(((p.k, p.n) for p in points if p.dims == wanted), (0, 0))
            for bucket, points in found.items()
        }
        samples = []
        for bucket in sorted(pairs):
            at = datetime.fromtimestamp(bucket + step_s, UTC)
            if at > since:
                rate = _pooled(pairs, bucket, step_s)
                samples.append(SignalObserved(step=step, value=rate, at=at))
        return samples


def _said(finished: AttemptFinished) -> str:
    """What became of an attempt, as "attempt 1 of step x ..."."""
    if finished.unknown:
        return f"has an unknown outcome: {finished.detail}"
    if finished.ok:
        return f"was carried out, status {finished.status}"
    return f"was not carried out: {finished.detail.removeprefix('not carried out: ')}"


def _pooled(pairs: Mapping[int, tuple[int, int]], bucket: int, step_s: int) -> float | None:
    """The rate over the last few buckets: one bucket of a small surface is mostly noise."""
    window = [pairs.get(bucket - i * step_s, (0, 0)) for i in range(POOLED)]
    n = sum(pair[1] for pair in window)
    return sum(pair[0] for pair in window) / n if n else None
