"""Has a series or a source gone silent? No data is not zero, and never looks like normal.

Silence is judged by what should have come: ten minutes without one interaction mean nothing at
night on a small surface, and an outage on a large one at noon.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from river import base

from detectors.columns import pack, unpack
from detectors.model import State, Verdict
from detectors.series import feature
from detectors.verdicts import span

_KIND = ("tocsin-absence", 1)
_HOUR = 3_600
_DAY_HOURS = 24
_STEADY_S = 600
_FIRED_WEIGHT = 0.25  # an outage must not become usual, a nightly pause must in the end


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


def expected_between(usual: Sequence[float], start_s: int, end_s: int) -> float:
    """Interactions that usually come from `start_s` to `end_s`.

    Args:
        usual: interactions per hour for each hour of the day in UTC (24), or one number for all.
        start_s: unix seconds.
        end_s: unix seconds.

    Raises:
        ValueError: `usual` has neither 1 nor 24 numbers.

    >>> expected_between([60.0], 0, 1800)
    30.0
    """
    if len(usual) not in (1, _DAY_HOURS):
        raise ValueError(f"usual volume needs 1 or 24 numbers, not {len(usual)}")
    days, rest = divmod(max(end_s - start_s, 0), _DAY_HOURS * _HOUR)
    total = days * sum(usual) * (_DAY_HOURS / len(usual))
    at, end = start_s, start_s + rest
    while at < end:
        until = min(end, (at // _HOUR + 1) * _HOUR)
        total += usual[(at // _HOUR) % len(usual)] * (until - at) / _HOUR
        at = until
    return float(total)


def silence(
    now_s: int,
    last_seen_s: int | None,
    usual: Sequence[float] | None,
    limits: SilenceLimits | None = None,
    *,
    bucket_s: int = 60,
) -> Verdict:
    """Is this series silent for longer than its usual volume allows?

    Args:
        now_s: event time, unix seconds.
        last_seen_s: end of the last bucket with traffic; None if there never was one.
        usual: interactions per hour for each hour of the day in UTC (24) or one number; None while
            not known.
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
    if usual is None:
        score = quiet_s / limits.unknown_after_s
        if score < 1:
            reason = f"{span(quiet_s)} since the last interaction; usual volume not yet known"
            return _verdict(State.WARMING, score, 0.0, buckets, None, reason)
        reason = f"no interaction for {span(quiet_s)}; usual volume not known"
        return _verdict(State.FIRING, score, 0.0, buckets, last_seen_s, reason)
    expected = expected_between(usual, last_seen_s, now_s)
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
    """Learns the usual volume of one series by hour of day and judges its silence.

    A bucket is `{"t": start in unix seconds, "n": interactions}`; a bucket without traffic has
    n = 0 or is left out. Silence that fired teaches a quarter of what other silence does.

    >>> detector = AbsenceDetector()
    >>> for minute in range(600):
    ...     detector.learn_one({"t": 60 * minute, "n": 10})
    >>> for minute in range(600, 606):
    ...     detector.learn_one({"t": 60 * minute, "n": 0})
    >>> detector.verdict.reason
    'no interaction for 6 min where 60 would be usual'
    """

    PARAMETERS: ClassVar[dict[str, str]] = {
        "min_expected": "interactions that should have come before silence counts",
        "min_silence_s": "shortest silence that counts, seconds",
        "unknown_after_s": "silence that counts while the usual volume is unknown, seconds",
        "warm_s": "time to learn before the usual volume is known, seconds",
        "half_life_days": "half-life of the usual volume of an hour of the day",
        "bucket_s": "length of a bucket, seconds",
    }

    def __init__(
        self,
        min_expected: float = 30.0,
        min_silence_s: int = 300,
        unknown_after_s: int = 3_600,
        warm_s: int = 3_600,
        half_life_days: float = 7.0,
        bucket_s: int = 60,
    ) -> None:
        self.min_expected = min_expected
        self.min_silence_s = min_silence_s
        self.unknown_after_s = unknown_after_s
        self.warm_s = warm_s
        self.half_life_days = half_life_days
        self.bucket_s = bucket_s
        self._limits = SilenceLimits(min_expected, min_silence_s, unknown_after_s)
        self._volume = np.zeros(_DAY_HOURS)
        self._seconds = np.zeros(_DAY_HOURS)
        self._known_s = 0.0
        self._end: int | None = None
        self._last_seen: int | None = None
        self._verdict: Verdict | None = None

    def usual(self) -> list[float] | None:
        """Interactions per hour by hour of day (the mean where never seen); None if unknown."""
        if self._known_s < self.warm_s or not self._volume.any():
            return None
        mean = float(self._volume.sum() / self._seconds.sum())
        # A little of the overall mean steadies an hour of the day that is hardly known.
        rate = (self._volume + mean * _STEADY_S) / (self._seconds + _STEADY_S)
        return [float(one) * _HOUR for one in rate]

    def learn_one(self, x: Mapping[Any, float]) -> None:
        """Take in one bucket.

        Raises:
            ValueError: `x` lacks t or n, n is negative, or time does not grow.
        """
        start, n = self._read(x)
        fired = self._verdict is not None and self._verdict.state is State.FIRING
        if n > 0:
            if self._last_seen is not None and start > self._last_seen:
                self._take(self._last_seen, start, 0.0, _FIRED_WEIGHT if fired else 1.0)
            self._take(start, start + self.bucket_s, n, 1.0)
            self._last_seen = start + self.bucket_s
        self._end = start + self.bucket_s
        self._verdict = self._judge(self._end, self._last_seen)

    def score_one(self, x: Mapping[Any, float]) -> float:
        """The score of the silence that would be if `x` came next.

        Raises:
            ValueError: as `learn_one`.
        """
        start, n = self._read(x)
        end = start + self.bucket_s
        return self._judge(end, end if n > 0 else self._last_seen).score

    def _read(self, x: Mapping[Any, float]) -> tuple[int, float]:
        start, n = int(feature(x, "t")), feature(x, "n")
        if not (n >= 0 and math.isfinite(n)):
            raise ValueError(f"n must be finite and not negative, not {n}")
        if self._end is not None and start < self._end:
            raise ValueError(f"bucket {start} begins before {self._end}")
        return start, n

    def _judge(self, now: int, last_seen: int | None) -> Verdict:
        return silence(now, last_seen, self.usual(), self._limits, bucket_s=self.bucket_s)

    def _take(self, start: int, end: int, n: float, weight: float) -> None:
        """Spread `n` interactions over the hours from `start` to `end`."""
        length = end - start
        if length > _DAY_HOURS * _HOUR:  # a longer gap is not this series' usual night
            return
        at = start
        while at < end:
            until = min(end, (at // _HOUR + 1) * _HOUR)
            hour, share = (at // _HOUR) % _DAY_HOURS, weight * (until - at)
            keep = 0.5 ** (share / (_HOUR * self.half_life_days))
            self._volume[hour] = self._volume[hour] * keep + n * share / length
            self._seconds[hour] = self._seconds[hour] * keep + share
            at = until
        self._known_s += weight * length

    @property
    def verdict(self) -> Verdict | None:
        """What was said of the last bucket learned; None before the first."""
        return self._verdict

    def snapshot(self) -> bytes:
        """Everything learned, as plain data."""
        header = {
            "known_s": self._known_s,
            "end": self._end,
            "last_seen": self._last_seen,
        }
        return pack(_KIND, header, {"volume": self._volume, "seconds": self._seconds})

    def restore(self, data: bytes) -> None:
        """Go on from a snapshot.

        Raises:
            ValueError: `data` is no snapshot of this kind and version.
        """
        header, arrays = unpack(_KIND, data)
        volume, seconds = arrays.get("volume"), arrays.get("seconds")
        if volume is None or seconds is None or {volume.shape, seconds.shape} != {(_DAY_HOURS,)}:
            raise ValueError("the snapshot's hours are incomplete")
        self._volume, self._seconds = volume, seconds
        self._known_s = float(header["known_s"])
        self._end, self._last_seen = header["end"], header["last_seen"]
        self._verdict = None if self._end is None else self._judge(self._end, self._last_seen)
