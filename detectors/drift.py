"""Has the level of a rate changed for good? A note for people, never a page.

river's ADWIN keeps a window of block rates as long as they agree and drops the older part when they
do not (Bifet and Gavalda, "Learning from time-changing data with adaptive windowing", 2007). Its
window cannot be stored, so what it was fed is kept beside it, bounded, and fed again on restore.
ADWIN says that the level moved; since when is read from the blocks, and by how much from blocks of
the same time of day: every evening is another level than its afternoon, and no news.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from river import base

from detectors.columns import Floats, pack, unpack
from detectors.model import State, Verdict
from detectors.series import feature
from detectors.verdicts import percent

if TYPE_CHECKING:
    from river.drift import ADWIN

_KIND = ("tocsin-level", 2)
_DAY_S = 86_400
_NEAR_S = 3_600
_STEADY = 2.0


@dataclass(frozen=True, slots=True)
class LevelChange:
    """The rate settled at another level."""

    onset: int
    """Unix seconds; start of the first block of the new level."""
    before: float
    after: float
    reason: str


class LevelDetector(base.AnomalyDetector):
    """Notes that the level of k / n has changed; its verdicts never fire.

    A bucket is `{"t": start in unix seconds, "k": flagged, "n": all}`. Buckets are gathered into
    blocks of at least `block_n` interactions and `block_s` seconds. What is new is compared with
    what was at the same time of day, so nothing is noted in the first day.

    >>> detector = LevelDetector()
    >>> for minute in range(3 * 1440):
    ...     detector.learn_one({"t": 60 * minute, "k": 5 if minute < 2 * 1440 else 20, "n": 50})
    ...     if detector.change:
    ...         print(detector.change.reason, "from minute", detector.change.onset // 60)
    level changed from 10.0 % to 40.0 % from minute 2880
    """

    PARAMETERS: ClassVar[dict[str, str]] = {
        "delta": "ADWIN's chance of seeing a change where there is none, per test",
        "block_n": "least interactions of a block",
        "block_s": "least seconds of a block",
        "min_ratio": "smaller moves of the level are not worth a note",
        "max_blocks": "blocks remembered; the older half is forgotten when they are full",
    }

    def __init__(
        self,
        delta: float = 0.0001,
        block_n: int = 200,
        block_s: int = 1_800,
        min_ratio: float = 1.3,
        max_blocks: int = 2_016,
    ) -> None:
        self.delta = delta
        self.block_n = block_n
        self.block_s = block_s
        self.min_ratio = min_ratio
        self.max_blocks = max_blocks
        self._starts: list[int] = []
        self._rates: list[float] = []
        self._level: float | None = None
        self._noted: float | None = None
        self._doubt_until: int | None = None
        self._adwin = self._fresh()
        self._open_start: int | None = None
        self._open_k = 0.0
        self._open_n = 0.0
        self._last: int | None = None
        self._change: LevelChange | None = None
        self._verdict: Verdict | None = None

    def _fresh(self) -> ADWIN:
        # It brings all of SciPy: a third of the time from a restart to the first queued page.
        from river.drift import ADWIN

        return ADWIN(delta=self.delta, clock=1, min_window_length=3, grace_period=10)

    @property
    def change(self) -> LevelChange | None:
        """The change that the last bucket brought to light, if it did."""
        return self._change

    @property
    def verdict(self) -> Verdict | None:
        """What was said of the last bucket learned; warming or quiet, None before the first."""
        return self._verdict

    def learn_one(self, x: Mapping[Any, float]) -> None:
        """Take in one bucket.

        Raises:
            ValueError: `x` lacks t, k or n, or breaks `0 <= k <= n` or the order of time.
        """
        start, k, n = self._read(x)
        score = self._distance(k, n)
        self._change = None
        if self._block_is_full(start):
            self._close_block()
        if self._open_start is None:
            self._open_start = start
        self._open_k += k
        self._open_n += n
        self._last = start
        self._verdict = self._say(score, k, n)

    def score_one(self, x: Mapping[Any, float]) -> float:
        """How far the bucket's rate is from the level, as an absolute natural logarithm.

        Raises:
            ValueError: as `learn_one`.
        """
        _, k, n = self._read(x)
        return self._distance(k, n)

    def _read(self, x: Mapping[Any, float]) -> tuple[int, float, float]:
        start, k, n = int(feature(x, "t")), feature(x, "k"), feature(x, "n")
        if not (0 <= k <= n and math.isfinite(n)):
            raise ValueError(f"counts must be finite with 0 <= k <= n, not {k} of {n}")
        if self._last is not None and start <= self._last:
            raise ValueError(f"bucket {start} is not after {self._last}")
        return start, k, n

    def _distance(self, k: float, n: float) -> float:
        if self._level is None or n <= 0:
            return 0.0
        return abs(math.log((k + 0.5) / (n + 1.0) / self._level))

    def _block_is_full(self, start: int) -> bool:
        if self._open_start is None or self._open_n < self.block_n:
            return False
        return start - self._open_start >= self.block_s

    def _close_block(self) -> None:
        assert self._open_start is not None
        # Half an event keeps the level above 0, where a ratio of levels has no meaning.
        rate = (self._open_k + 0.5) / (self._open_n + 1.0)
        self._starts.append(self._open_start)
        self._rates.append(rate)
        self._open_start, self._open_k, self._open_n = None, 0.0, 0.0
        self._adwin.update(self._stable(rate))
        if self._adwin.drift_detected:
            self._doubt_until = self._starts[-1] + _DAY_S
        if self._doubt_until is not None:
            self._settle(self._doubt_until)
        if len(self._rates) >= self.max_blocks:
            self._remember(self.max_blocks // 2)
        self._level = sum(self._rates) / len(self._rates)

    def _settle(self, until: int) -> None:
        """Is it news, or what each day brings? Asked again for a day, block by block."""
        factors = self._of_the_day()
        kept = self._newest_level(np.array(self._rates) / factors)
        self._change = self._compare(kept)
        if self._change is not None:
            self._remember(kept)
        if self._change is not None or self._starts[-1] >= until:
            self._doubt_until = None

    def _of_the_day(self) -> Floats:
        """For each block, its hour's share of the level; 1 where days are not known yet."""
        rates, hours = np.array(self._rates), np.array(self._starts) % _DAY_S // _NEAR_S
        mean = rates.mean()
        count = np.bincount(hours, minlength=24)
        total = np.bincount(hours, rates, minlength=24)
        factors: Floats = ((total + _STEADY * mean) / (count + _STEADY) / mean)[hours]
        return factors

    def _stable(self, rate: float) -> float:
        """The rate on a scale where chance alone has variance 1 whatever the rate is.

        ADWIN's bound has a term for the range of its values, taken to be 1; on plain rates of a few
        per cent that term would hide all but the largest moves.
        """
        return 2.0 * math.sqrt(self.block_n) * math.asin(math.sqrt(rate))

    @staticmethod
    def _newest_level(rates: Floats) -> int:
        """How many of the newest blocks belong to the new level: the split that explains most.

        ADWIN says that there is a split, but drops whole groups of blocks, so not exactly where.
        """
        count = np.arange(1, len(rates))
        left = np.cumsum(rates)[:-1]
        right = rates.sum() - left
        explained = left**2 / count + right**2 / (len(rates) - count)
        return len(rates) - 1 - int(explained.argmax())

    def _times(self, kept: int) -> float | None:
        """How many times the rate of its time of day the new level is; None while not known."""
        clock, rates = np.array(self._starts) % _DAY_S, np.array(self._rates)
        away = np.abs(clock[-kept:, None] - clock[None, :-kept])
        near = np.minimum(away, _DAY_S - away) <= max(_NEAR_S, self.block_s)
        known = near.any(axis=1)
        if known.sum() * 2 < kept:
            return None
        usual = (near @ rates[:-kept])[known] / near.sum(axis=1)[known]
        return float(rates[-kept:][known].sum() / usual.sum())

    def _compare(self, kept: int) -> LevelChange | None:
        times = self._times(kept)
        if times is None:
            return None
        was = sum(self._rates[:-kept]) / len(self._rates[:-kept])
        # Measured from the level last noted, so that many small steps are noted in the end.
        before, after = self._noted if self._noted is not None else was, was * times
        self._noted = before
        if max(after / before, before / after) < self.min_ratio:
            return None
        self._noted = after
        reason = f"level changed from {percent(before)} to {percent(after)}"
        return LevelChange(self._starts[-kept], before, after, reason)

    def _remember(self, blocks: int) -> None:
        """Keep the newest blocks only, in the lists and in ADWIN alike."""
        self._starts, self._rates = self._starts[-blocks:], self._rates[-blocks:]
        self._feed()

    def _feed(self) -> None:
        self._adwin = self._fresh()
        for rate in self._rates:
            self._adwin.update(self._stable(rate))

    def _say(self, score: float, k: float, n: float) -> Verdict:
        level, change = self._level, self._change
        state = State.QUIET if level is not None else State.WARMING
        reason = f"level {percent(level)}" if level is not None else "no block is complete yet"
        observed = k / n if n > 0 else 0.0
        expected = (level or 0.0) * n
        return Verdict(
            state=state,
            score=score,
            threshold=math.log(self.min_ratio),
            direction="up" if observed >= (level or 0.0) else "down",
            observed=observed,
            baseline=level or 0.0,
            k=int(k),
            n=int(n),
            expected=expected,
            excess=k - expected,
            window_buckets=1,
            onset=change.onset if change else None,
            reason=change.reason if change else reason,
        )

    def snapshot(self) -> bytes:
        """Everything learned, as plain data."""
        header = {
            "open": [self._open_start, self._open_k, self._open_n],
            "last": self._last,
            "noted": self._noted,
            "doubt_until": self._doubt_until,
        }
        starts, rates = np.array(self._starts, np.int64), np.array(self._rates, np.float64)
        return pack(_KIND, header, {"starts": starts, "rates": rates})

    def restore(self, data: bytes) -> None:
        """Go on from a snapshot; the verdict comes with the next bucket.

        Raises:
            ValueError: `data` is no snapshot of this kind and version.
        """
        header, arrays = unpack(_KIND, data)
        self._starts = [int(start) for start in arrays["starts"]]
        self._rates = [float(rate) for rate in arrays["rates"]]
        self._open_start, self._open_k, self._open_n = header["open"]
        self._last, self._noted = header["last"], header["noted"]
        self._doubt_until = header["doubt_until"]
        self._change = self._verdict = None
        self._level = sum(self._rates) / len(self._rates) if self._rates else None
        self._feed()
