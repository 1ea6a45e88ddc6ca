"""Sums of k and n over the last span of event time, and how long a condition has held.

What the rules that people know are made of (`static`, `burn_rate`).
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from detectors.series import feature

_BINS = 60
CLEAR_S = 900
"""A condition must be gone for so long before the firing ends, seconds, as with rates that are
learnt: near its limit a rate crosses it every few minutes."""


def bucket(x: Mapping[Any, float], last: int | None) -> tuple[int, float, float]:
    """`t`, `k` and `n` of a bucket that comes after the one that began at `last`.

    Raises:
        ValueError: one is missing, `0 <= k <= n` does not hold, or time does not grow.
    """
    start, k, n = int(feature(x, "t")), feature(x, "k"), feature(x, "n")
    if not (0 <= k <= n and math.isfinite(n)):
        raise ValueError(f"counts must be finite with 0 <= k <= n, not {k} of {n}")
    if last is not None and start <= last:
        raise ValueError(f"bucket {start} is not after {last}")
    return start, k, n


class Window:
    """K and n of the last `length_s` seconds, in 60 bins at most.

    The newest bin is not full, so a long window ends up to a sixtieth short: 3 days are 71 to 72 h.

    >>> window = Window(300, bucket_s=60)
    >>> for minute in range(10):
    ...     window.add(60 * minute, 1, 20)
    >>> window.ahead(600)
    (4.0, 80.0)
    """

    __slots__ = ("_bins", "_count", "_k", "_n", "_span")

    def __init__(self, length_s: int, *, bucket_s: int) -> None:
        self._span = max(bucket_s, -(-length_s // _BINS))
        self._count = -(-length_s // self._span)
        self._bins: deque[list[float]] = deque()
        self._k = self._n = 0.0

    def ahead(self, start: int) -> tuple[float, float]:
        """What is left of k and n when the bucket that begins at `start` comes."""
        oldest = start // self._span - self._count + 1
        k, n = self._k, self._n
        for index, old_k, old_n in self._bins:
            if index >= oldest:
                break
            k, n = k - old_k, n - old_n
        return k, n

    def add(self, start: int, k: float, n: float) -> None:
        """Take in one bucket."""
        index = start // self._span
        self._k, self._n = self.ahead(start)
        while self._bins and self._bins[0][0] <= index - self._count:
            self._bins.popleft()
        if n > 0:
            if self._bins and self._bins[-1][0] == index:
                self._bins[-1][1] += k
                self._bins[-1][2] += n
            else:
                self._bins.append([index, k, n])
            self._k, self._n = self._k + k, self._n + n

    def dump(self) -> list[list[float]]:
        """The bins, for a snapshot."""
        return [list(one) for one in self._bins]

    def load(self, bins: Sequence[Sequence[float]]) -> None:
        """Go on from a snapshot.

        Raises:
            ValueError: these are no bins.
        """
        if any(len(one) != 3 for one in bins):
            raise ValueError("a bin has three numbers")
        self._bins = deque([int(index), float(k), float(n)] for index, k, n in bins)
        self._k, self._n = sum(b[1] for b in self._bins), sum(b[2] for b in self._bins)


@dataclass(slots=True)
class Hold:
    """Whether a condition has held for long enough to fire, and not yet been gone for long."""

    since: int | None = None
    """Start of the first bucket of the run that holds, or that fires; None: neither."""
    firing: bool = False
    calm: int | None = None
    """Start of the run of buckets, while firing, in which it does not hold."""

    def learn(self, start: int, end: int, holds: bool, *, hold_s: int, clear_s: int) -> None:
        """Take in one bucket, from `start` to `end`."""
        if holds:
            self.calm = None
            self.since = start if self.since is None else self.since
            self.firing = self.firing or end - self.since >= hold_s
        elif self.firing:
            self.calm = start if self.calm is None else self.calm
            if end - self.calm >= clear_s:
                self.since, self.firing, self.calm = None, False, None
        else:
            self.since = None

    def dump(self) -> list[int | None]:
        """For a snapshot."""
        return [self.since, int(self.firing), self.calm]

    @staticmethod
    def load(data: Sequence[Any]) -> Hold:
        """From a snapshot.

        Raises:
            ValueError: it is none.
        """
        if len(data) != 3:
            raise ValueError("a hold has three values")
        since, firing, calm = data
        times = [None if at is None else int(at) for at in (since, calm)]
        return Hold(times[0], bool(firing), times[1])
