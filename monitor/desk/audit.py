"""Writes down whom the desk turned away, at a bounded rate, so that nobody can fill the disk."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from datetime import datetime

from monitor.clock import WallClock
from monitor.desk.limits import Buckets
from monitor.desk.methods import COMMANDS
from monitor.metrics import Metrics
from monitor.store.audit_rows import Audited
from monitor.store.store import Store, StoreUnavailable

logger = logging.getLogger(__name__)
_WALL = WallClock()


class Auditor:
    """The audit of one daemon; without a store it only counts, without metrics not even that.

    Lines are never removed, so their number is bounded: `a_day` of strangers and `a_day` of people
    who were recognised, after a burst of as many; of one address or person 1 in 5 minutes, after a
    burst of 20. What is left out is counted in the next line that is written, and always in the
    metrics. At 1,000 a day a year of attacks is some 200 MB.

    Args:
        store: where lines go.
        metrics: where refusals and requests are counted.
        now: aware UTC.
        seconds: a clock that does not go back.
        a_day: lines.
    """

    def __init__(
        self,
        store: Store | None = None,
        metrics: Metrics | None = None,
        *,
        now: Callable[[], datetime] = _WALL.now,
        seconds: Callable[[], float] = time.monotonic,
        a_day: int = 1000,
    ) -> None:
        self._store = store
        self._metrics = metrics
        self._now = now
        self._seconds = seconds
        self._lock = threading.Lock()
        self._left_out = 0
        self._all = Buckets(per_s=a_day / 86_400, burst=a_day)
        self._each = Buckets(per_s=1 / 300, burst=20)

    def asked(self, door: str, method: str) -> None:
        """Somebody was let in and asks for `method`."""
        if self._metrics is not None:
            kind = "command" if method in COMMANDS else "query"
            self._metrics.desk_requests.labels(door, kind).inc()

    def refused(
        self, door: str, via: str, who: str, action: str, reason: str, detail: str = ""
    ) -> None:
        """Somebody was turned away.

        Args:
            door: `socket` or `tls`.
            via: the door and an address.
            who: the principal, or `-`.
            action: the method, or `-`.
            reason: one word.
            detail: words of this program.
        """
        if self._metrics is not None:
            self._metrics.desk_refusals.labels(door, reason).inc()
        if self._store is None:
            return
        left_out = self._turn(via, who)
        if left_out is None:
            return
        if left_out:
            words = f"{left_out} refusals before this one were not written down"
            detail = f"{detail}; {words}" if detail else words
        try:
            with self._store.write() as tx:
                tx.audit.add(Audited(self._now(), who, via, action, reason, detail))
        except StoreUnavailable as problem:
            with self._lock:
                self._left_out += left_out + 1
            logger.warning("a refusal (%s) was not written down: %s", reason, problem)

    def crowded(self, door: str) -> None:
        """A connection was one too many; counted only, since it comes before any request."""
        if self._metrics is not None:
            self._metrics.desk_refusals.labels(door, "connections").inc()

    def _turn(self, via: str, who: str) -> int | None:
        """How many were left out before this one; None when this one is too."""
        at = self._seconds()
        one, kind = (f"person {who}", "people") if who != "-" else (via, "strangers")
        with self._lock:
            if self._each.take(one, at) or self._all.take(kind, at):
                self._left_out += 1
                return None
            left_out, self._left_out = self._left_out, 0
            return left_out
