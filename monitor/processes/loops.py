"""The loops of one process, each a synchronous step on a thread of its own, watched."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from datetime import datetime

from monitor.clock import WallClock
from monitor.metrics import Metrics
from monitor.processes.plight import BUSY_S, Plights
from monitor.processes.posts import Beside, Post
from monitor.store.errors import StoreBusy
from monitor.store.lease_rows import Fenced
from monitor.store.store import StoreUnavailable
from monitor.watchdog import Watchdog, tick

logger = logging.getLogger(__name__)

PAUSE_S = 0.2
"""Between two looks of a loop that found nothing."""
LONG_S = 1.0
"""After a step that took longer the other processes get a chance: SQLite's writers only poll."""
BACKOFF_S = 2.0
"""After the store did not answer."""

Step = Callable[[datetime], bool]
"""One round; whether it found something to do."""


def owned(post: Post | Beside, step: Step, begin: Callable[[], None]) -> Step:
    """A step that is done only while its job is ours.

    Args:
        post: the job.
        step: is done under the job's guard.
        begin: makes the room build its state anew; before the first step of each epoch, and under
            the job's guard, too.
    """
    last = 0

    def run(now: datetime) -> bool:
        nonlocal last
        epoch = post.begin()
        if not epoch:
            return False
        try:
            if epoch != last:
                begin()
                last = epoch
            return step(now)
        except Fenced as problem:
            post.lose(problem)
            return False

    return run


class Loops:
    """Threads that turn until told to stop."""

    def __init__(
        self,
        metrics: Metrics,
        watchdog: Watchdog,
        stopping: threading.Event,
        plights: Plights | None = None,
    ) -> None:
        """Args: `plights` hears what the store refuses; None: nobody does."""
        self._metrics = metrics
        self._plights = plights
        self._watchdog = watchdog
        self._stopping = stopping
        self._threads: list[threading.Thread] = []
        self._started = False
        self.broken = False
        """A loop died of an exception."""

    def start(self, steps: Mapping[str, Step]) -> None:
        """Turn these, by name."""
        for name, step in steps.items():
            thread = threading.Thread(target=self._guarded, args=(name, step), name=name)
            self._threads.append(thread)
            thread.start()
        self._started = True

    @property
    def turning(self) -> bool:
        """Whether all of them were started and none has ended or was told to."""
        alive = all(thread.is_alive() for thread in self._threads)
        return self._started and alive and not self._stopping.is_set()

    def join(self) -> None:
        """Wait to be told to stop, then until all have ended."""
        self._stopping.wait()
        for thread in self._threads:
            thread.join()

    def _guarded(self, name: str, step: Step) -> None:
        self._watchdog.enter(name)
        try:
            self._run(name, step)
        except BaseException:
            # A loop that dies silently is the worst failure: take the whole process down with it.
            logger.exception("the %s loop died", name)
            self.broken = True
            raise
        finally:
            self._watchdog.leave()
            self._stopping.set()

    def _run(self, name: str, step: Step) -> None:
        while not self._stopping.is_set():
            started = time.monotonic()
            tick()
            try:
                busy = step(WallClock().now())
            except StoreUnavailable as problem:
                self._metrics.store_errors.labels(name).inc()
                logger.warning("%s waits for the store: %s", name, problem)
                if self._plights is not None:
                    usual_s = BUSY_S if isinstance(problem, StoreBusy) else 0.0
                    self._plights.suffer(name, str(problem), time.monotonic(), usual_s)
                self._stopping.wait(BACKOFF_S)
                continue
            if self._plights is not None:
                self._plights.recover(name, time.monotonic())
            took = time.monotonic() - started
            self._metrics.loop_seconds.labels(name).observe(took)
            self._metrics.loop_tick.labels(name).set(time.time())
            if not busy or took > LONG_S:
                self._stopping.wait(PAUSE_S)
