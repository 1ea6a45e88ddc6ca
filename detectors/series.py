"""The rate detector for one series, in river's verbs: a bank with a single row."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar

from river import base

from detectors.calibration import CALIBRATED, threshold_for
from detectors.model import Alarm, RateConfig, Verdict, Watch
from detectors.rate import RateBank

_ID = "series"


def feature(x: Mapping[Any, float], name: str) -> float:
    """`x[name]` as a number.

    Raises:
        ValueError: it is missing or no number.
    """
    try:
        return float(x[name])
    except (KeyError, TypeError, ValueError):
        raise ValueError(f"a bucket needs a number {name!r}, got {sorted(map(str, x))}") from None


class RateDetector(base.AnomalyDetector):
    """Sequential test of k of n for one series; `RateBank` is the same test for many.

    It is the test that ships for whole teams, at a budget of false pages, with floors of its own; a
    score of `s` is what a quiet series reaches once in `exp(s)` minutes (`calibration.py`).

    A bucket is `{"t": start in unix seconds, "k": flagged, "n": all}`; `t` is a multiple of
    `bucket_s` and grows. What the parameters mean is said in `PARAMETERS`.

    >>> detector = RateDetector(warm_expected=5.0)
    >>> for minute in range(300):
    ...     detector.learn_one({"t": 60 * minute, "k": 2, "n": 20})
    >>> for minute in range(300, 303):
    ...     detector.learn_one({"t": 60 * minute, "k": 14, "n": 20})
    >>> detector.verdict.state.value
    'firing'
    """

    PARAMETERS: ClassVar[dict[str, str]] = {
        "watch": "which way the rate may not move: up, down or both",
        "budget": "false pages a series-week at which it fires, 0.0001 to 10",
        "min_ratio": "least observed / baseline (for a fall, the inverse)",
        "min_excess": "least interactions above (below) what was expected",
        "min_n": "least interactions in the window",
        "min_duration_buckets": "buckets in a row for which all of it must hold",
        "clear_buckets": "quiet buckets in a row that end the firing",
        "warm_buckets": "buckets with traffic to learn before the first verdict",
        "warm_expected": "flagged interactions to learn before the first verdict",
        "half_life_s": "half-life of the baseline, seconds of time with traffic",
        "delay_s": "how much later a bucket is learned, seconds",
        "bucket_s": "length of a bucket, seconds",
    }

    def __init__(
        self,
        watch: Watch = "up",
        budget: float = 0.1,
        min_ratio: float = 1.3,
        min_excess: float = 2.0,
        min_n: float = 0.0,
        min_duration_buckets: int = 1,
        clear_buckets: int = 15,
        warm_buckets: int = 60,
        warm_expected: float = 30.0,
        half_life_s: int = 172_800,
        delay_s: int = 3_600,
        bucket_s: int = 60,
    ) -> None:
        self.watch = watch
        self.budget = budget
        self.min_ratio = min_ratio
        self.min_excess = min_excess
        self.min_n = min_n
        self.min_duration_buckets = min_duration_buckets
        self.clear_buckets = clear_buckets
        self.warm_buckets = warm_buckets
        self.warm_expected = warm_expected
        self.half_life_s = half_life_s
        self.delay_s = delay_s
        self.bucket_s = bucket_s
        self._bank = RateBank(self._config(), bucket_s=bucket_s)
        self._verdict: Verdict | None = None

    def _config(self) -> RateConfig:
        return replace(
            CALIBRATED,
            alarm=Alarm(
                watch=self.watch,
                threshold=threshold_for(self.budget),
                min_ratio=self.min_ratio,
                min_excess=self.min_excess,
                min_n=self.min_n,
                min_duration_buckets=self.min_duration_buckets,
                clear_buckets=self.clear_buckets,
            ),
            warm_buckets=self.warm_buckets,
            warm_expected=self.warm_expected,
            half_life_s=self.half_life_s,
            delay_s=self.delay_s,
        )

    def learn_one(self, x: Mapping[Any, float]) -> None:
        """Take in one bucket.

        Raises:
            ValueError: `x` lacks t, k or n, or breaks `0 <= k <= n` or the order of time.
        """
        self._verdict = self._step(self._bank, x)

    def score_one(self, x: Mapping[Any, float]) -> float:
        """The score that learning `x` next would give; 0 while warming.

        Raises:
            ValueError: as `learn_one`.
        """
        return self._step(copy.deepcopy(self._bank), x).score

    def _step(self, bank: RateBank, x: Mapping[Any, float]) -> Verdict:
        k, n = feature(x, "k"), feature(x, "n")
        return bank.step(int(feature(x, "t")), self.bucket_s, [_ID], [k], [n])[0]

    @property
    def verdict(self) -> Verdict | None:
        """What was said of the last bucket learned; None before the first."""
        return self._verdict

    def snapshot(self) -> bytes:
        """Everything learned, as plain data."""
        return self._bank.snapshot()

    def restore(self, data: bytes) -> None:
        """Go on from a snapshot; the verdict comes with the next bucket.

        Raises:
            ValueError: `data` is no snapshot of a detector with these settings.
        """
        bank = RateBank.restore(data)
        if bank.config != self._config() or bank.bucket_s != self.bucket_s:
            raise ValueError("the snapshot was taken with other settings")
        self._bank = bank
        self._verdict = None
