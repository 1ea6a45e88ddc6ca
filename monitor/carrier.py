"""Carries out runbook attempts, each only while it still may: what waited is asked about again.

Between the transaction that wrote an attempt down and its turn in the pool the job may have gone to
another owner, the deadline may have passed, a person may have aborted the run or started the step
anew. To begin it all the same could do it twice. What must not begin any more is told as such; what
is another owner's by now, that owner finds written down and not begun.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime

from monitor.actions import carry_out, not_begun
from monitor.command import Stop
from monitor.faults import fault_point
from monitor.http_client import HttpClient
from monitor.store.store import StoreUnavailable
from runbooks.allow import AllowList, allowed
from runbooks.events import AttemptFinished, StartAttempt
from runbooks.runs import Outcome, Run, StepState

logger = logging.getLogger(__name__)

WORKERS = 8
"""Attempts at the same time; each is a thread that waits for an answer."""
DRAIN_S = 2.0
"""For what is under way when the process is to end; ending a command takes up to 4 s more."""
BACKOFF_S = 2.0
"""After the store did not answer."""
SURE_S = 5.0
"""What has not begun so long after it was looked whether it may does not begin: a machine that
stood still must not do what a person or another owner has repeated meanwhile."""

NOT_OURS = "the runs were not surely ours any more when its turn came"
"""No reason to fail it: their owner begins it."""

ENDED = "the daemon ended"

Name = tuple[str, str, int]
"""Run, step, number of the attempt."""


@dataclass(frozen=True, slots=True)
class Asked:
    """An attempt to carry out, as it was asked for."""

    run: str
    effect: StartAttempt
    epoch: int
    """Of the job when it was asked for: nobody carries out what another epoch has asked."""

    @property
    def name(self) -> Name:
        """Its identity."""
        return self.run, self.effect.step, self.effect.attempt


@dataclass(frozen=True, slots=True)
class Leave:
    """Whether an attempt may begin."""

    at: float
    """The `uptime` at which it was looked."""
    why: str = ""
    """Why not; empty once it is written down that it has begun."""


def withheld(
    run: Run | None, effect: StartAttempt, now: datetime, allow: AllowList, *, ours: bool
) -> str:
    """Why an attempt must not begin any more; empty when it may.

    It begins only if it can also end before its deadline: after that a person is asked what became
    of it and may run the step again, and two of them would be out in the world.

    Args:
        run: as it is stored now; None when it is gone.
        effect: what was asked for.
        now: aware UTC time.
        allow: the operator's allow-list as it is now.
        ours: the runs are ours, in the epoch in which it was asked for.
    """
    if not ours:
        return NOT_OURS
    step = None if run is None else run.step(effect.step)
    attempt = None if step is None else step.attempt
    if step is None or attempt is None:
        return "its run is gone"
    if attempt.number != effect.attempt:
        return f"attempt {attempt.number} was started meanwhile"
    if now + effect.timeout > attempt.deadline:
        waited = (now - attempt.started_at).total_seconds()
        return (
            f"after {waited:.0f} s of waiting for its turn it could no longer end before its "
            f"deadline at {attempt.deadline:%H:%M:%S} UTC"
        )
    if step.state is not StepState.RUNNING or attempt.outcome is not Outcome.RUNNING:
        return f"the step became {step.state} before its turn came"
    if attempt.begun:
        return "it was begun before"
    decision = allowed(effect.request, allow)
    if not decision.allowed:
        return decision.reason
    if decision.executable != effect.executable:
        return f"the allow-list names {decision.executable} for it meanwhile"
    return ""


class Carrier:
    """A pool of threads and what waits for them; `close` it at the end."""

    def __init__(
        self,
        *,
        begin: Callable[[Asked], Leave],
        finished: Callable[[Asked, AttemptFinished], None],
    ) -> None:
        """Both are called on the pool's threads, and may raise `StoreUnavailable`.

        Args:
            begin: whether it may begin; asked right before.
            finished: it has ended, in one way or another, or was not carried out; called again
                until the store takes it, once more after `close`.
        """
        self._begin = begin
        self._finished = finished
        self._http = HttpClient()
        self._pool = ThreadPoolExecutor(WORKERS, thread_name_prefix="runs")
        self._closing = threading.Event()
        self._lock = threading.Lock()
        self._begun: dict[Name, Asked] = {}
        """What was asked for since the runs are ours."""
        self._waiting: dict[Name, tuple[Asked, Future[None]]] = {}
        """What has not begun."""
        self._out: dict[Name, tuple[Asked, Stop]] = {}
        """What is out in the world, and what ends it."""

    def ask(self, asked: Asked) -> None:
        """Carry it out when its turn comes, if it may; once, however often it is asked for.

        After `close` it does nothing: what starts by itself then only looks, and the next start
        repeats it.
        """
        with self._lock:
            if asked.name not in self._begun and not self._closing.is_set():
                self._begun[asked.name] = asked
                self._waiting[asked.name] = (asked, self._pool.submit(self._turn, asked))

    def withdraw(self) -> None:
        """Cancel what waits, and forget what was asked for."""
        with self._lock:
            self._begun.clear()
            for asked, future in list(self._waiting.values()):
                if future.cancel():
                    del self._waiting[asked.name]

    def asked_of(self, run: str) -> frozenset[tuple[str, int]]:
        """Step and number of the attempts of a run that were asked for since the runs are ours."""
        with self._lock:
            return frozenset((step, number) for of, step, number in self._begun if of == run)

    def under_way(self) -> list[Asked]:
        """The attempts that have begun and not ended."""
        with self._lock:
            return [asked for asked, _ in self._out.values()]

    def stop(self, asked: Asked) -> None:
        """End an attempt that is under way, where it is a command; it reports as ever."""
        with self._lock:
            if asked.name in self._out:
                self._out[asked.name][1].tell("the run was aborted")

    def close(self) -> None:
        """Wait a little for what is under way, then end it; the next owner begins the rest.

        A command that outlived us would have nobody to end it when its time is up, and a drain that
        waited for it would end with SIGKILL: its outcome is unknown either way.
        """
        with self._lock:
            self._closing.set()
        self._pool.shutdown(wait=False, cancel_futures=True)
        until = time.monotonic() + DRAIN_S
        while self._out and time.monotonic() < until:
            time.sleep(0.02)
        with self._lock:
            for _, stop in self._out.values():
                stop.tell(ENDED)
        while self._out:  # a request may be about to go out
            self._http.give_up(f"{ENDED} before there was an answer")
            time.sleep(0.02)
        self._pool.shutdown(wait=True)
        self._http.close()
        self._waiting.clear()

    def _turn(self, asked: Asked) -> None:
        """Without the store nothing begins: whether it may is not known."""
        while not self._closing.is_set():
            try:
                leave = self._begin(asked)
            except StoreUnavailable as problem:
                logger.warning("run %s: %s waits for the store: %s", *asked.name[:2], problem)
                self._closing.wait(BACKOFF_S)
                continue
            self._no_longer_waits(asked, again=leave.why == NOT_OURS)
            if leave.why:
                logger.warning("run %s: %s is not carried out: %s", *asked.name[:2], leave.why)
            if leave.why != NOT_OURS:
                self._report(asked, self._carried_out(asked, leave))
            return

    def _no_longer_waits(self, asked: Asked, *, again: bool) -> None:
        """Args: `again`: it may be asked for again; it may be ours by then, in the same epoch."""
        with self._lock:
            if self._waiting.get(asked.name, (None,))[0] is asked:
                del self._waiting[asked.name]
            if again and self._begun.get(asked.name) is asked:
                del self._begun[asked.name]

    def _carried_out(self, asked: Asked, leave: Leave) -> AttemptFinished:
        stop = Stop(leave.at + SURE_S)
        with self._lock:
            why = leave.why or (ENDED if self._closing.is_set() else "")
            if not why:
                self._out[asked.name] = (asked, stop)
        if why:
            return not_begun(asked.effect, why)
        fault_point("K11")
        try:
            finished = carry_out(asked.effect, self._http, stop)
        finally:
            with self._lock:
                del self._out[asked.name]
        fault_point("K12")
        return finished

    def _report(self, asked: Asked, finished: AttemptFinished) -> None:
        """What happened is kept until it is written: a person would have to find it out."""
        while True:
            last = self._closing.is_set()
            try:
                self._finished(asked, finished)
            except StoreUnavailable as problem:
                text = "run %s: %s ended as ok=%s status=%s, which is not recorded: %s"
                logger.warning(text, *asked.name[:2], finished.ok, finished.status, problem)
            else:
                return
            if last:
                return
            self._closing.wait(BACKOFF_S)
