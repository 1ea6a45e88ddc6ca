"""Values that were never seen before: a tool, a category, the signature of an attack.

Memory is bounded by what is remembered of each value (64 bits of a hash) and by how many there may
be. Whoever invents names gets one telling an hour, with the number of them in it, and in the end a
full list, which is told too: from then on nothing is new, and a silent detector would be a lie.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any, ClassVar

import numpy as np
from river import base

from detectors.columns import pack, unpack
from detectors.model import State, Verdict
from detectors.series import feature
from detectors.verdicts import span

_KIND = ("tocsin-first-seen", 1)
_CANDIDATES = 50
"""New values kept by name until they are told; of those beyond only the number."""
_PLACES = 3


@dataclass(frozen=True, slots=True)
class Use:
    """How often a value was used at one place in one bucket."""

    value: str
    k: int
    """Of the uses, those that matter more."""
    n: int
    place: tuple[str, ...] = ()


@dataclass(slots=True)
class New:
    """A value that was never seen before."""

    value: str
    first: int
    """Unix seconds; start of the bucket it came in."""
    k: int = 0
    n: int = 0
    places: list[tuple[str, ...]] = field(default_factory=list)
    """Where, in the order of coming; at most three."""

    def take(self, use: Use) -> None:
        """Another use of it."""
        self.k += use.k
        self.n += use.n
        if use.place not in self.places and len(self.places) < _PLACES:
            self.places.append(use.place)


@dataclass(frozen=True, slots=True)
class News:
    """What is told at once."""

    found: tuple[New, ...]
    """The ones that matter most first: by k, then by n, then by time."""
    more: int
    """New values that are not named."""
    since: int
    """Unix seconds; when the first of them came."""
    until: int
    """Unix seconds; uses are counted until then."""
    full: bool = False
    """No further value can be told from others. Said once."""


class FirstSeenDetector(base.AnomalyDetector):
    """Tells values that were never seen before, some at a time.

    A bucket is `{"t": start in unix seconds, VALUE: uses, ...}`; `observe` takes the same with
    places. What comes in the first `warm_s` seconds is learned in silence.

    >>> detector = FirstSeenDetector(warm_s=3600, settle_s=300)
    >>> for minute in range(120):
    ...     new = {"wire_transfer": 1} if minute >= 100 else {}
    ...     detector.learn_one({"t": 60 * minute, "search": 20, **new})
    ...     if detector.news:
    ...         print(minute, detector.verdict.reason)
    104 wire_transfer first seen, 5 uses in 5 min
    """

    PARAMETERS: ClassVar[dict[str, str]] = {
        "warm_s": "what comes within this time of the first bucket is no news, seconds",
        "settle_s": "a new value is told this much later, with how often it was used, seconds",
        "every_s": "least time between two tellings, seconds",
        "capacity": "values remembered; when they are all taken nothing is new any more",
        "bucket_s": "length of a bucket, seconds",
    }

    def __init__(
        self,
        warm_s: int = 86_400,
        settle_s: int = 300,
        every_s: int = 3_600,
        capacity: int = 20_000,
        bucket_s: int = 60,
    ) -> None:
        if min(settle_s, every_s, warm_s) < 0 or min(capacity, bucket_s) < 1:
            raise ValueError("times must not be negative; capacity and bucket_s are at least 1")
        self.warm_s = warm_s
        self.settle_s = settle_s
        self.every_s = every_s
        self.capacity = capacity
        self.bucket_s = bucket_s
        self._known: set[int] = set()
        self._first: int | None = None
        self._last: int | None = None
        self._told: int | None = None
        self._waiting: dict[str, New] = {}
        self._more = 0
        self._full = False
        self._told_full = False
        self._news: News | None = None
        self._verdict: Verdict | None = None

    @property
    def news(self) -> News | None:
        """What the last bucket brought to be told, if it did."""
        return self._news

    @property
    def verdict(self) -> Verdict | None:
        """What was said of the last bucket learned; None before the first."""
        return self._verdict

    @property
    def last(self) -> int | None:
        """Start of the last bucket learned, unix seconds."""
        return self._last

    @property
    def marks(self) -> tuple[int | None, ...]:
        """Another one after each bucket that changed what a restart must know."""
        uses = sum(new.n for new in self._waiting.values())
        known, waiting = len(self._known), len(self._waiting)
        return self._first, known, waiting, self._more + uses, int(self._full), self._told

    def learn_one(self, x: Mapping[Any, float]) -> None:
        """Take in one bucket.

        Raises:
            ValueError: `x` lacks t, a number of uses is negative, or time does not grow.
        """
        start, uses = self._read(x)
        self.observe(start, uses)

    def score_one(self, x: Mapping[Any, float]) -> float:
        """How many values of `x` would be new.

        Raises:
            ValueError: as `learn_one`.
        """
        start, uses = self._read(x)
        if self._warming(start):
            return 0.0
        new = {use.value for use in uses if use.n > 0 and not self._knows(use.value)}
        return float(min(len(new), self.capacity - len(self._known)))

    def _read(self, x: Mapping[Any, float]) -> tuple[int, list[Use]]:
        start = int(feature(x, "t"))
        counts = {str(name): feature(x, name) for name in x if name != "t"}
        if any(not (math.isfinite(n) and n >= 0) for n in counts.values()):
            raise ValueError("uses must be finite and not negative")
        if self._last is not None and start <= self._last:
            raise ValueError(f"bucket {start} is not after {self._last}")
        return start, [Use(value, 0, int(n)) for value, n in counts.items()]

    def observe(self, start: int, uses: Iterable[Use], *, unnamed: int = 0) -> News | None:
        """Take in one bucket with places; what is to be told now.

        Args:
            start: of the bucket, unix seconds; it grows.
            uses: one for each value and place; the order decides which are kept by name.
            unnamed: uses whose value was lost before it came here: the list upstream is full.
        """
        self._first = start if self._first is None else self._first
        warming = self._warming(start)
        used = [use for use in uses if use.n > 0]
        fresh = 0
        for use in used:
            if use.value in self._waiting:
                self._waiting[use.value].take(use)
            elif self._remember(use.value) and not warming:
                fresh += 1
                self._wait(use, start)
        self._full = self._full or unnamed > 0
        self._last = start
        self._news = self._due(start + self.bucket_s)
        self._verdict = self._say(fresh, sum(use.n for use in used), warming=warming)
        return self._news

    def _warming(self, start: int) -> bool:
        return self._first is None or start - self._first < self.warm_s

    def _knows(self, value: str) -> bool:
        return _mark(value) in self._known

    def _remember(self, value: str) -> bool:
        """Whether it is new; a value for which there is no room is not."""
        mark = _mark(value)
        if mark in self._known:
            return False
        if len(self._known) >= self.capacity:
            self._full = True
            return False
        self._known.add(mark)
        return True

    def _wait(self, use: Use, start: int) -> None:
        if len(self._waiting) >= _CANDIDATES:
            # What matters pushes out what does not: a flood of names hides nothing.
            least = min(self._waiting.values(), key=lambda new: (new.k > 0, -new.first))
            self._more += 1
            if least.k > 0 or use.k == 0:
                return
            del self._waiting[least.value]
        self._waiting[use.value] = New(use.value, start, 0, 0)
        self._waiting[use.value].take(use)

    def _due(self, end: int) -> News | None:
        full = self._full and not self._told_full
        if not self._waiting and not full:
            return None
        since = min((new.first for new in self._waiting.values()), default=end - self.bucket_s)
        settled = end - since >= self.settle_s or not self._waiting
        if not settled or (self._told is not None and end - self._told < self.every_s):
            return None
        found = sorted(self._waiting.values(), key=lambda new: (-new.k, -new.n, new.first))
        news = News(tuple(found), self._more, since, end, full)
        self._told, self._told_full = end, self._told_full or full
        self._waiting, self._more = {}, 0
        return news

    def _say(self, fresh: int, uses: int, *, warming: bool) -> Verdict:
        news = self._news
        state = State.WARMING if warming else State.FIRING if news is not None else State.QUIET
        return Verdict(
            state=state,
            score=float(fresh),
            threshold=1.0,
            direction="up",
            observed=min(fresh, uses) / uses if uses else 0.0,
            baseline=0.0,
            k=min(fresh, uses),
            n=uses,
            expected=0.0,
            excess=float(min(fresh, uses)),
            window_buckets=1,
            onset=None if news is None else news.since,
            reason=self._reason(news, warming=warming),
        )

    def _reason(self, news: News | None, *, warming: bool) -> str:
        if warming:
            return f"learning which values there are: {len(self._known)} so far"
        if news is None:
            return f"nothing new; {len(self._known)} values known"
        if not news.found:
            return f"the list of {len(self._known)} values is full: nothing is new any more"
        first, others = news.found[0], len(news.found) + news.more - 1
        uses = f"{first.n} uses in {span(news.until - first.first)}"
        more = f", and {others} more values" if others else ""
        return f"{' '.join(first.value.split())} first seen, {uses}{more}"

    def snapshot(self) -> bytes:
        """Everything learned, as plain data."""
        waiting = [
            [new.value, new.first, new.k, new.n, [list(one) for one in new.places]]
            for new in self._waiting.values()
        ]
        header = {
            "times": [self._first, self._last, self._told],
            "waiting": waiting,
            "more": self._more,
            "full": [self._full, self._told_full],
        }
        return pack(_KIND, header, {"known": np.array(sorted(self._known), np.uint64)})

    def restore(self, data: bytes) -> None:
        """Go on from a snapshot; the verdict comes with the next bucket.

        Raises:
            ValueError: `data` is no snapshot of this kind and version.
        """
        header, arrays = unpack(_KIND, data)
        known = arrays.get("known")
        if known is None or known.dtype != np.uint64:
            raise ValueError("the snapshot has no list of values")
        self._known = {int(mark) for mark in known}
        self._first, self._last, self._told = header["times"]
        self._waiting = {
            value: New(value, first, k, n, [tuple(one) for one in places])
            for value, first, k, n, places in header["waiting"]
        }
        self._more = header["more"]
        self._full, self._told_full = header["full"]
        self._news = self._verdict = None


def _mark(value: str) -> int:
    return int.from_bytes(blake2b(value.encode("utf-8", "surrogatepass"), digest_size=8).digest())
