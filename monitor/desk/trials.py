"""Backtests that people and promotions wait for: each in a thread of its own, one at a time.

A month of minutes takes a while; no question to a desk may. So a question waits a little for what
is under way, tells how far it is, and finds it done when it is asked again.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from monitor.detect_views import Backtest
from monitor.views import DeskError

WAIT_S = 6.0
"""A question waits so long: less than any door or client does."""
FRESH = timedelta(minutes=30)
"""A finished backtest is good for so long; after that the traffic since would be missed."""

Progress = Callable[[float], None]
"""Told how much is done, 0 to 1."""
Work = Callable[[Progress], Backtest]


@dataclass(slots=True)
class _Trial:
    """One backtest."""

    until: datetime
    done: float = 0.0
    future: Future[Backtest] = field(default_factory=Future)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a backtest so far."""

    backtest: Backtest | None
    """None while it is under way."""
    progress: float


class Trials:
    """The backtests of one process, by rule and tier."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: dict[tuple[str, str], _Trial] = {}
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="backtest")
        self._closing = False

    def ask(
        self, rule: str, tier: str, until: datetime, work: Work, *, wait_s: float = WAIT_S
    ) -> Outcome:
        """The backtest of a rule at a tier, begun if there is no fresh one.

        Args:
            rule: its name.
            tier: whose thresholds it has; or another word for those it has now.
            until: up to when it goes; one that went up to `FRESH` before is good enough.
            work: makes it, in another thread.
            wait_s: how long to wait for it.

        Raises:
            DeskError: the store did not answer it, or the desk closes.
        """
        trial = self._trial((rule, tier), until, work)
        try:
            return Outcome(trial.future.result(timeout=wait_s), 1.0)
        except TimeoutError:
            return Outcome(None, trial.done)
        except (DeskError, CancelledError) as problem:
            self.forget(rule)
            text = str(problem) or "the desk closes"
            raise DeskError("unavailable", text, "nothing was moved; try again") from None

    def forget(self, rule: str) -> None:
        """A rule was moved, or could not be tested: what is known of it is old."""
        with self._lock:
            self._known = {key: one for key, one in self._known.items() if key[0] != rule}

    def drop(self, rule: str, tier: str) -> None:
        """A finished backtest was told to who asked for it."""
        with self._lock:
            self._known.pop((rule, tier), None)

    def close(self) -> None:
        """Break off what is under way."""
        self._closing = True
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _trial(self, key: tuple[str, str], until: datetime, work: Work) -> _Trial:
        with self._lock:
            known = self._known.get(key)
            if known is not None and abs(until - known.until) <= FRESH:
                return known
            if self._closing:
                raise DeskError("unavailable", "the desk closes", "nothing was moved; try again")
            made = self._known[key] = _Trial(until)

            def told(share: float) -> None:
                made.done = share
                if self._closing:
                    raise DeskError("unavailable", "the desk closes")

            made.future = self._pool.submit(work, told)
            return made
