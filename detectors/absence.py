"""Has a series or a source gone silent? No data is not zero, and never looks like normal.

Silence is judged by what should have come: ten minutes without one interaction mean nothing at
night on a small surface, and an outage on a large one at noon. `week.py` says what usually comes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from river import base

from detectors.columns import pack, unpack
from detectors.model import State, Verdict
from detectors.series import feature
from detectors.verdicts import span
from detectors.week import HOUR_S, LEARNED_S, Week, hours

_KIND = ("tocsin-absence", 2)
_FIRED_WEIGHT = 0.25  # an outage must not become usual, a nightly pause must in the end
_GUESS_WEIGHT = 1 / 3  # in the first week nobody knows what a Saturday is ...
_GUESS_S = 3 * HOUR_S  # ... and hours after the last interaction even less
_TODAY_HALF_LIFE_S = 2 * HOUR_S


@dataclass(frozen=True, slots=True)
class SilenceLimits:
    """When silence is worth a person."""

    min_expected: float = 30.0
    """Interactions that should have come. 30 are missed by chance once in e^30 for independent
    users; the margin is for volume that is not as usual today."""
    min_silence_s: int = 300
    """Shorter silence is a redeploy or a rebalance."""
    unknown_after_s: int = 3_600
    """What counts as silence where the usual volume is not known."""

    def __post_init__(self) -> None:
        if self.min_expected <= 0 or min(self.min_silence_s, self.unknown_after_s) <= 0:
            raise ValueError("the limits of silence must be above 0")


def silence(
    now_s: int,
    last_seen_s: int | None,
    expected: float | None,
    limits: SilenceLimits | None = None,
    *,
    bucket_s: int = 60,
) -> Verdict:
    """Is this series silent for longer than its usual volume allows?

    Args:
        now_s: event time, unix seconds.
        last_seen_s: end of the last bucket with traffic; None if there never was one.
        expected: interactions that should have come since; None while nobody knows.
        limits: the defaults of `SilenceLimits` if not given.
        bucket_s: only for `window_buckets`.

    The score of a verdict is the number of missed interactions over `min_expected`, its threshold 1
    (with volume unknown: silence over `unknown_after_s`). A series never seen is warming.
    """
    limits = limits or SilenceLimits()
    if last_seen_s is None:
        return _verdict(State.WARMING, 0.0, 0.0, 0, None, "nothing was ever seen")
    quiet_s = max(now_s - last_seen_s, 0)
    buckets = quiet_s // bucket_s
    if expected is None:
        score = quiet_s / limits.unknown_after_s
        if score < 1:
            reason = f"{span(quiet_s)} since the last interaction; usual volume not yet known"
            return _verdict(State.WARMING, score, 0.0, buckets, None, reason)
        reason = f"no interaction for {span(quiet_s)}; usual volume not known"
        return _verdict(State.FIRING, score, 0.0, buckets, last_seen_s, reason)
    score = expected / limits.min_expected
    if quiet_s < limits.min_silence_s:
        score = min(score, quiet_s / limits.min_silence_s * 0.99)
    if score < 1:
        reason = f"{span(quiet_s)} since the last interaction, {expected:.0f} would be usual"
        return _verdict(State.QUIET, score, expected, buckets, None, reason)
    reason = f"no interaction for {span(quiet_s)} where {expected:.0f} would be usual"
    return _verdict(State.FIRING, score, expected, buckets, last_seen_s, reason)


def _verdict(
    state: State, score: float, expected: float, buckets: int, onset: int | None, reason: str
) -> Verdict:
    return Verdict(
        state=state,
        score=score,
        threshold=1.0,
        direction="down",
        observed=0.0,
        baseline=expected / buckets if buckets else 0.0,
        k=0,
        n=0,
        expected=expected,
        excess=-expected,
        window_buckets=buckets,
        onset=onset,
        reason=reason,
    )


class AbsenceDetector(base.AnomalyDetector):
    """Learns the usual volume of one series by hour of the week and judges its silence.

    A bucket is `{"t": start in unix seconds, "n": interactions}`; a bucket without traffic has
    n = 0 or is left out. What should have come is

    - what usually comes in these hours of the week, or in the hour before or after if that is less;
    - of an hour of the week not lived through yet a third of what comes in the same hour of other
      days, and that for three hours after the last interaction only;
    - times today's factor, 1 at most: the share that came of what was to be expected before the
      last interaction, with a half-life of two hours. A holiday with a tenth of the traffic is a
      quiet day, not an outage.

    Silence that fired teaches a quarter of the volume that other silence does, and does not enter
    today's factor.

    >>> detector = AbsenceDetector(bucket_s=600)
    >>> for start in range(0, 8 * 86_400, 600):
    ...     detector.learn_one({"t": start, "n": 100})
    >>> detector.learn_one({"t": 8 * 86_400, "n": 0})
    >>> detector.verdict.reason
    'no interaction for 10 min where 100 would be usual'
    """

    PARAMETERS: ClassVar[dict[str, str]] = {
        "min_expected": "interactions that should have come before silence counts",
        "min_silence_s": "shortest silence that counts, seconds",
        "unknown_after_s": "silence that counts while the usual volume is unknown, seconds",
        "warm_s": "time to learn before the usual volume is known, seconds",
        "half_life_days": "half-life of the usual volume of an hour of the week",
        "bucket_s": "length of a bucket, seconds",
    }

    def __init__(
        self,
        min_expected: float = 30.0,
        min_silence_s: int = 300,
        unknown_after_s: int = 3_600,
        warm_s: int = 3_600,
        half_life_days: float = 21.0,
        bucket_s: int = 60,
    ) -> None:
        self.min_expected = min_expected
        self.min_silence_s = min_silence_s
        self.unknown_after_s = unknown_after_s
        self.warm_s = warm_s
        self.half_life_days = half_life_days
        self.bucket_s = bucket_s
        self._limits = SilenceLimits(min_expected, min_silence_s, unknown_after_s)
        self._week = Week(half_life_days / 7)
        self._known_s = 0.0
        self._came = self._due = 0.0  # of the last hours: what came, what was to be expected
        self._end: int | None = None
        self._last_seen: int | None = None
        self._walked: tuple[int, float] | None = None

    def learn_one(self, x: Mapping[Any, float]) -> None:
        """Take in one bucket.

        Raises:
            ValueError: `x` lacks t or n, n is negative, or time does not grow.
        """
        start, n = self._read(x)
        self._end = end = start + self.bucket_s
        if n == 0:
            return
        if self._last_seen is not None and start > self._last_seen:
            self._learn_silence(self._last_seen, start)
        self._live(start, end, n)
        self._week.learn(start, end, n)
        self._known_s += self.bucket_s
        self._last_seen, self._walked = end, None

    def _learn_silence(self, start: int, end: int) -> None:
        fired = self._judge(end).state is State.FIRING
        if not fired:
            self._live(start, end, 0.0)
        weight = _FIRED_WEIGHT if fired else 1.0
        end = min(end, start + LEARNED_S)
        self._week.learn(start, end, 0.0, weight)
        self._known_s += weight * (end - start)

    def _live(self, start: int, end: int, n: float) -> None:
        """Compare what came with what was to be expected, for today's factor."""
        for hour, seconds in hours(start, end):
            keep = 0.5 ** (seconds / _TODAY_HALF_LIFE_S)
            self._came = self._came * keep + n * seconds / (end - start)
            self._due = self._due * keep + self._week.usual(hour) * seconds

    def score_one(self, x: Mapping[Any, float]) -> float:
        """The score of the silence that would be if `x` came next.

        Raises:
            ValueError: as `learn_one`.
        """
        start, n = self._read(x)
        return 0.0 if n > 0 else self._judge(start + self.bucket_s).score

    def _read(self, x: Mapping[Any, float]) -> tuple[int, float]:
        start, n = int(feature(x, "t")), feature(x, "n")
        if not (n >= 0 and math.isfinite(n)):
            raise ValueError(f"n must be finite and not negative, not {n}")
        if self._end is not None and start < self._end:
            raise ValueError(f"bucket {start} begins before {self._end}")
        return start, n

    def _judge(self, now: int) -> Verdict:
        last, expected = self._last_seen, None
        if last is not None and self._known_s >= self.warm_s:
            expected = self._expected(last, now)
        return silence(now, last, expected, self._limits, bucket_s=self.bucket_s)

    def _expected(self, last_seen: int, now: int) -> float:
        """Interactions that should have come since the last one."""
        at, total = last_seen, 0.0
        if self._walked is not None and self._walked[0] <= now:
            at, total = self._walked
        for hour, seconds in hours(at, now):
            early = min(max(last_seen + _GUESS_S - at, 0), seconds)
            if early:
                total += self._week.least(hour, _GUESS_WEIGHT) * early
            if early < seconds:
                total += self._week.least(hour, 0.0) * (seconds - early)
            at += seconds
            # A long silence is not walked anew each bucket; whole hours alone, so that the sum is
            # the same whoever asked before.
            if at % HOUR_S == 0:
                self._walked = at, total
        few = self.min_expected
        return total * min(1.0, (self._came + few) / (self._due + few))

    @property
    def verdict(self) -> Verdict | None:
        """What is said of the last bucket learned; None before the first."""
        return None if self._end is None else self._judge(self._end)

    def snapshot(self) -> bytes:
        """Everything learned, as plain data."""
        header = {
            "known_s": self._known_s,
            "came": self._came,
            "due": self._due,
            "end": self._end,
            "last_seen": self._last_seen,
        }
        return pack(_KIND, header, self._week.dump())

    def restore(self, data: bytes) -> None:
        """Go on from a snapshot.

        Raises:
            ValueError: `data` is no snapshot of this kind and version.
        """
        header, arrays = unpack(_KIND, data)
        self._week.load(arrays)
        self._known_s = float(header["known_s"])
        self._came, self._due = float(header["came"]), float(header["due"])
        self._end, self._last_seen, self._walked = header["end"], header["last_seen"], None
