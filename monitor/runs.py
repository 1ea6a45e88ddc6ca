"""Loop 4: runbook runs, their waits and deadlines.

A run lives here and not in a terminal: whoever looks away, hangs up or dies changes nothing. Each
transition is one transaction with its timeline entries; what must be done in the world is done
after the commit, and comes back as another event.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

from monitor.actions import carry_out
from monitor.config.settings import Configured
from monitor.faults import fault_point
from monitor.http_client import HttpClient
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
from monitor.watchdog import tick
from runbooks.allow import AllowList
from runbooks.engine import advance, decode_run, encode_run, next_deadline, under_way
from runbooks.events import Advance, Effect, Event, Recovered, SignalObserved, StartAttempt, Tick
from runbooks.load import load_runbook
from runbooks.model import Runbook
from runbooks.outlook import verification
from runbooks.runs import Run, RunState, StepState, Watching

logger = logging.getLogger(__name__)

LIVE = frozenset({RunState.PENDING, RunState.RUNNING, RunState.WAITING_INPUT, RunState.PAUSED})
POOLED = 5
"""Buckets whose counts are pooled into one sample of a waited-for signal."""
_KINDS = {"run": "RUN", "step": "STEP", "attempt": "STEP", "signal": "SIGNAL", "capture": "STEP"}


def opened(row: RunRow) -> tuple[Runbook, Run]:
    """The runbook a run was pinned to, and the run."""
    run = decode_run(row.body)
    return load_runbook(row.source, f"run {row.id}"), run


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
        self._http = HttpClient()
        self._pool = ThreadPoolExecutor(max_workers=4, thread_name_prefix="runs")
        self._recovered = False
        self._post = post or Sole()
        self._begun: set[tuple[str, str, int]] = set()
        """Attempts that this process has begun since the runs are ours."""
        self._lock = threading.Lock()

    @gated
    def step(self, now: datetime) -> None:
        """Feed waits with new samples and apply deadlines.

        Raises:
            StoreUnavailable: nothing was changed.
            Fenced: the runs are somebody else's now.
        """
        with self._store.read() as tx:
            rows = tx.runs.live()
        for row in rows:
            tick()
            if self._recovered:
                self._pick_up(row, now)
            else:
                self._apply(row.id, Recovered(), now)
            self._watch(row.id, now)
            if row.deadline_at is not None and row.deadline_at <= now:
                self._apply(row.id, Tick(), now)
        self._recovered = True

    def take(self, configured: Configured, _channels: Mapping[str, Channel]) -> None:
        """Use another allow-list; the gate is held, and what is under way goes on."""
        self._allow = configured.settings.runbooks.allow

    def forget(self) -> None:
        """Take the next step as the first: others may have worked the runs meanwhile."""
        self._recovered = False
        with self._lock:
            self._begun.clear()

    def perform(self, run: str, effects: Sequence[Effect]) -> None:
        """Do in the world what a stored transition asks for; returns at once.

        Where the runs are not ours this does nothing: their owner finds the attempt in the row.
        """
        if not self._post.held:
            return
        for effect in effects:
            if isinstance(effect, StartAttempt) and self._is_first(run, effect):
                self._pool.submit(self._attempt, run, effect)

    def _is_first(self, run: str, effect: StartAttempt) -> bool:
        name = (run, effect.step, effect.attempt)
        with self._lock:
            known = name in self._begun
            self._begun.add(name)
        return not known

    def _pick_up(self, row: RunRow, now: datetime) -> None:
        """Begin what another machine's desk has written down: only we carry anything out."""
        if any(step.state is StepState.RUNNING for step in decode_run(row.body).steps):
            book, run = opened(row)
            self.perform(row.id, under_way(book, run, now, self._allow))

    def close(self) -> None:
        """Wait for attempts under way."""
        self._pool.shutdown(wait=True, cancel_futures=True)
        self._http.close()

    def _attempt(self, run: str, effect: StartAttempt) -> None:
        fault_point("K11")
        finished = carry_out(effect, self._http)
        fault_point("K12")
        try:
            self._apply(run, finished, self._clock())
        except (StoreUnavailable, Fenced) as problem:
            # The attempt's deadline passes and the engine asks a person what became of it.
            logger.warning("run %s: the outcome was not recorded: %s", run, problem)

    def _apply(self, run: str, event: Event, now: datetime) -> None:
        with self._store.write() as tx:
            self._post.guard(tx)
            row = tx.runs.get(run)
            if row is None:
                return
            book, value = opened(row)
            change = advance(book, value, event, now, self._allow)
            if change.refusal is not None:
                logger.info("run %s: %s", run, change.refusal.text)
                return
            if change.run != value:
                store_advance(tx, row, book, change, now)
        self.perform(run, change.effects)

    def _watch(self, run: str, now: datetime) -> None:
        with self._store.read() as tx:
            row = tx.runs.get(run)
            if row is None:
                return
            value = decode_run(row.body)
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


def _pooled(pairs: Mapping[int, tuple[int, int]], bucket: int, step_s: int) -> float | None:
    """The rate over the last few buckets: one bucket of a small surface is mostly noise."""
    window = [pairs.get(bucket - i * step_s, (0, 0)) for i in range(POOLED)]
    n = sum(pair[1] for pair in window)
    return sum(pair[0] for pair in window) / n if n else None
