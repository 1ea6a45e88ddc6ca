"""Is an error budget burnt too fast? The multi-window, multi-burn-rate alert of an SLO.

An objective of 99.5 % leaves a budget of 0.5 % of interactions in 30 days; a burn rate of 14.4
spends a fiftieth of it in an hour. A long window says that it matters, a short one that it still
goes on (Beyer et al., "The Site Reliability Workbook", 2018, chapter 5, table 5-8).

The bound that the book leaves to the reader: a rate is never above 1, so that a burn rate is never
above 1 / (1 - objective). A rule beyond that would look like protection and never fire.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from river import base

from detectors.columns import pack, unpack
from detectors.model import State, Verdict
from detectors.verdicts import percent, span
from detectors.window import CLEAR_S, Hold, Window, bucket

_KIND = ("tocsin-burn-rate", 2)
_PERIOD_S = 30 * 86_400
_DIGITS = 9


@dataclass(frozen=True, slots=True)
class Burn:
    """A burn rate and the two windows over which it is too much."""

    factor: float
    long_s: int
    short_s: int

    def __post_init__(self) -> None:
        if not self.factor > 0:
            raise ValueError(f"a burn rate is above 0, not {self.factor:g}")
        if not 0 < self.short_s < self.long_s:
            raise ValueError("the short window is above 0 and shorter than the long one")


FAST = Burn(14.4, 3_600, 300)
"""A fiftieth of 30 days' budget in an hour: somebody should get up."""
SLOW = Burn(6.0, 6 * 3_600, 1_800)
"""A twentieth in six hours: the same."""
CREEPING = Burn(1.0, 3 * 86_400, 6 * 3_600)
"""A tenth in three days: a ticket."""


def check_objective(objective: float, factor: float) -> None:
    """A burn rate must be one that this objective leaves room for.

    Raises:
        ValueError: the objective is no share, or the rule could never fire; the message says what
            objective could.

    >>> check_objective(0.9, 14.4)
    Traceback (most recent call last):
    ValueError: burns at most 10x with an objective of 90 %, so 14.4x can never fire: set an \
objective above 93.06 %, or a burn rate below 10x
    """
    if not 0 < objective < 1:
        raise ValueError(f"an objective is a share of n between 0 and 1, not {objective:g}")
    budget = round(1.0 - objective, _DIGITS)
    if factor * budget >= 1:
        raise ValueError(
            f"burns at most {1 / budget:.3g}x with an objective of {100 * objective:.6g} %, so "
            f"{factor:g}x can never fire: set an objective above {100 * (1 - 1 / factor):.2f} %, "
            f"or a burn rate below {1 / budget:.3g}x"
        )


def _over(length_s: int, seen_s: int) -> str:
    """A window, and how much of it has been seen.

    >>> [_over(259_200, 2_640), _over(300, 2_640)]
    ['44 min of 72 h', '5 min']
    """
    whole, seen = span(length_s), span(min(seen_s, length_s))
    return whole if seen == whole else f"{seen} of {whole}"


class BurnRateDetector(base.AnomalyDetector):
    """Fires while k / n burns the budget of an SLO too fast over a long and a short window.

    A bucket is `{"t": start in unix seconds, "k": bad, "n": all}`. The score is the lesser burn
    rate of the two windows over `factor`, its threshold 1. Below `min_n` interactions, or `min_k`
    bad ones, in the long window nothing is told: one failure of seven is no burnt budget.

    >>> detector = BurnRateDetector(objective=0.99)
    >>> for minute in range(120):
    ...     detector.learn_one({"t": 60 * minute, "k": 1 if minute < 60 else 20, "n": 100})
    >>> detector.verdict.reason
    'burns its budget of 1.0 % 20x as fast as it may (limit 14.4x): 20.0 % bad over 60 min and \
20.0 % over 5 min; 30 days of budget would last 36 h'
    """

    PARAMETERS: ClassVar[dict[str, str]] = {
        "objective": "share of interactions that are to be good",
        "factor": "burn rate from which on it fires; 1 spends the budget in exactly 30 days",
        "long_s": "the long window, seconds: it matters",
        "short_s": "the short window, seconds: it still goes on",
        "min_n": "least interactions in the long window",
        "min_k": "least bad ones in the long window",
        "clear_s": "for how long it must burn slower to end the firing, seconds",
        "bucket_s": "length of a bucket, seconds",
    }

    def __init__(
        self,
        objective: float = 0.95,
        factor: float = 14.4,
        long_s: int = 3_600,
        short_s: int = 300,
        min_n: float = 100.0,
        min_k: float = 5.0,
        clear_s: int = CLEAR_S,
        bucket_s: int = 60,
    ) -> None:
        Burn(factor, long_s, short_s)
        check_objective(objective, factor)
        if min(min_n, min_k, clear_s, bucket_s) < 1:
            raise ValueError("min_n, min_k, clear_s and bucket_s are at least 1")
        self.objective = objective
        self.factor = factor
        self.long_s = long_s
        self.short_s = short_s
        self.min_n = min_n
        self.min_k = min_k
        self.clear_s = clear_s
        self.bucket_s = bucket_s
        self._budget = round(1.0 - objective, _DIGITS)
        self._long = Window(long_s, bucket_s=bucket_s)
        self._short = Window(short_s, bucket_s=bucket_s)
        self._hold = Hold()
        self._first: int | None = None
        self._last: int | None = None
        self._verdict: Verdict | None = None

    @property
    def verdict(self) -> Verdict | None:
        """What was said of the last bucket learned; None before the first."""
        return self._verdict

    @property
    def idle(self) -> bool:
        """Neither firing nor about to."""
        return self._hold.since is None

    def learn_one(self, x: Mapping[Any, float]) -> None:
        """Take in one bucket.

        Raises:
            ValueError: `x` lacks t, k or n, or breaks `0 <= k <= n` or the order of time.
        """
        start, k, n = bucket(x, self._last)
        self._long.add(start, k, n)
        self._short.add(start, k, n)
        long, short = self._long.ahead(start), self._short.ahead(start)
        score, end = self._score(long, short), start + self.bucket_s
        self._first = start if self._first is None else self._first
        self._hold.learn(start, end, score >= 1, hold_s=0, clear_s=self.clear_s)
        self._last = start
        self._verdict = self._say(score, long, short, end - self._first)

    def score_one(self, x: Mapping[Any, float]) -> float:
        """The score that learning `x` next would give.

        Raises:
            ValueError: as `learn_one`.
        """
        start, k, n = bucket(x, self._last)
        long, short = self._long.ahead(start), self._short.ahead(start)
        return self._score((long[0] + k, long[1] + n), (short[0] + k, short[1] + n))

    def _score(self, long: tuple[float, float], short: tuple[float, float]) -> float:
        if long[1] < self.min_n or long[0] < self.min_k or short[1] <= 0:
            return 0.0
        return min(long[0] / long[1], short[0] / short[1]) / self._budget / self.factor

    def _say(
        self, score: float, long: tuple[float, float], short: tuple[float, float], seen_s: int
    ) -> Verdict:
        k, n = long
        expected = self._budget * n
        state = State.QUIET if n >= self.min_n else State.WARMING
        return Verdict(
            state=State.FIRING if self._hold.firing else state,
            score=score,
            threshold=1.0,
            direction="up",
            observed=k / n if n > 0 else 0.0,
            baseline=self._budget,
            k=int(k),
            n=int(n),
            expected=expected,
            excess=int(k) - expected,
            window_buckets=-(-min(seen_s, self.long_s) // self.bucket_s),
            onset=self._hold.since if self._hold.firing else None,
            reason=self._reason(long, short, seen_s),
        )

    def _reason(self, long: tuple[float, float], short: tuple[float, float], seen_s: int) -> str:
        (k, n), over = long, _over(self.long_s, seen_s)
        if n < self.min_n:
            return f"too little traffic to tell: {n:.0f} of {self.min_n:.0f} over {over}"
        burn, now = k / n / self._budget, short[0] / short[1] if short[1] > 0 else 0.0
        what = f"burns its budget of {percent(self._budget)} {burn:.3g}x as fast as it may"
        rates = f"{percent(k / n)} bad over {over} and {percent(now)} over "
        rates += _over(self.short_s, seen_s)
        if not self._hold.firing:
            return f"{what} (limit {self.factor:g}x): {rates}"
        left = span(int(_PERIOD_S / burn)) if burn > 0 else "ever"
        return f"{what} (limit {self.factor:g}x): {rates}; 30 days of budget would last {left}"

    def snapshot(self) -> bytes:
        """Everything learned, as plain data."""
        header = {
            "long": self._long.dump(),
            "short": self._short.dump(),
            "hold": self._hold.dump(),
            "first": self._first,
            "last": self._last,
        }
        return pack(_KIND, header, {})

    def restore(self, data: bytes) -> None:
        """Go on from a snapshot; the verdict comes with the next bucket.

        Raises:
            ValueError: `data` is no snapshot of this kind and version.
        """
        header, _ = unpack(_KIND, data)
        long = Window(self.long_s, bucket_s=self.bucket_s)
        short = Window(self.short_s, bucket_s=self.bucket_s)
        long.load(header["long"])
        short.load(header["short"])
        self._hold, self._long, self._short = Hold.load(header["hold"]), long, short
        self._first, self._last = header["first"], header["last"]
        self._verdict = None
