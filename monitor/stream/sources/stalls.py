"""Has a partition stopped moving while its log goes on? A net under the client library."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from monitor.stream.sources.source import Lag, Partition


class Stall(Enum):
    """What to do about a partition's progress."""

    NONE = "none"
    """It moves, or there is nothing to read."""
    SEEK = "seek"
    """It stood still for one period: ask for the same position anew."""
    RESTART = "restart"
    """It stood still after that too: leave the group and join again."""


@dataclass(slots=True)
class _Standing:
    position: int
    since: float
    strikes: int = 0


class StallWatch:
    """Looks at lags now and then; `after_s` is how long a partition may stand with data waiting."""

    def __init__(self, after_s: float) -> None:
        """One watch for all partitions of a reader."""
        self._after_s = after_s
        self._standing: dict[Partition, _Standing] = {}

    def look(self, lag: Lag, at: float) -> Stall:
        """What the partition's progress asks for; `at` is a monotonic time in seconds."""
        known = self._standing.get(lag.partition)
        if known is None or known.position != lag.position or lag.position >= lag.end:
            self._standing[lag.partition] = _Standing(lag.position, at)
            return Stall.NONE
        if at - known.since < self._after_s:
            return Stall.NONE
        known.since = at
        known.strikes += 1
        return Stall.SEEK if known.strikes == 1 else Stall.RESTART

    def forget(self) -> None:
        """Begin anew: a pause or a rejoin explains why nothing moved."""
        self._standing.clear()
