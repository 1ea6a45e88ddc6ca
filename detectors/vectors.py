"""Do rates that usually move together still do so? A ticket for people, never a page.

Jailbreak attempts come in waves; each raises what the guardrail blocks and what the model refuses.
When refusals stop following, every rate is still within its own usual range: only the vector of
them has never been seen. The distance is Mahalanobis' (1936) of the log ratios of k to what was
expected, with an exponentially weighted covariance, smoothed over blocks (Lowry et al., "A
multivariate exponentially weighted moving average control chart", 1992).

Chance is kept apart from the covariance: few interactions scatter more than many, and without that
a quiet night looks like a rare vector. river's `EwaCovariance` can neither do so, nor learn some
blocks less than others, nor be stored; its `HalfSpaceTrees` sees rates part, but hardly anything
else (`bench_vectors`).
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from river import base

from detectors.columns import Floats, pack, unpack
from detectors.model import State, Verdict
from detectors.series import feature

LEAST_EXPECTED = 3.0
"""Expected k below which a block says nothing of a rate."""
BLOCK_S = 1_200
"""Seconds that are judged together, unless said otherwise."""

_KIND = ("tocsin-vector", 2)
_LEAST_VARIANCE = 0.0015  # nothing is known to better than about 4 %
_FLOOR = 0.3  # counts below this share of the expected do not make the scatter larger
_SUSPICION = 0.5  # share of the threshold from which blocks hardly teach
_REST = 0.2  # share of it below which nothing has begun
_OVER = 0.6  # share of it below which a firing is over
_ROOM = 2.0  # the distance stops at this many thresholds, to come down soon after an incident
_FAR = 4.0  # nor does one block this many times its usual squared distance
_HARDLY = 0.1
_BLIND = 1e6  # variance of what was not seen


@dataclass(frozen=True, slots=True)
class VectorConfig:
    """How the vectors of an installation are learned and tested. Blocks are those with traffic."""

    threshold: float = 1.2
    """Least smoothed distance, in standard deviations of one block."""
    trial_blocks: int = 144
    """For so long it is only looked which rates can be judged, and how often: two days."""
    warm_blocks: int = 216
    """For so long after that it is learned how they move: three days."""
    rates: int = 12
    """Of a vector, at most: those that most is expected of."""

    def __post_init__(self) -> None:
        if not self.threshold > 0 or min(self.trial_blocks, self.warm_blocks) < 1 or self.rates < 2:
            raise ValueError("a vector needs a threshold above 0, blocks to learn and two rates")


class VectorDetector(base.AnomalyDetector):
    """Distance of several rates at once from how they usually move together.

    A bucket is `{"t": start in unix seconds, "k": flagged, "n": all}` for one rate, and for
    several `{"t": ..., "k.NAME": ..., "n.NAME": ...}` with the same names in every bucket;
    `e.NAME`, the expected k of a baseline that knows the time of day, may come with each.

    >>> detector = VectorDetector(block_s=600, warm_blocks=50)
    >>> for minute in range(2_000):
    ...     wave = 1 + 0.5 * math.sin(minute / 50)
    ...     follows = wave if minute < 1_500 else 2 - wave
    ...     detector.learn_one({"t": 60 * minute, "k.blocked": round(200 * wave), "n.blocked": 999,
    ...                         "k.refused": round(400 * follows), "n.refused": 999})
    >>> detector.verdict.reason.split(":")[0]
    'rates no longer move together'
    """

    PARAMETERS: ClassVar[dict[str, str]] = {
        "threshold": "least smoothed distance for firing, in standard deviations of one block",
        "block_s": "seconds of a block, the buckets that are judged together",
        "smoothing": "weight of the newest block in the smoothed distance, 0 to 1",
        "half_life_blocks": "half-life of what is usual, in blocks",
        "warm_blocks": "blocks to learn before the first verdict",
    }

    def __init__(
        self,
        threshold: float = 1.2,
        block_s: int = BLOCK_S,
        smoothing: float = 0.05,
        half_life_blocks: int = 460,
        warm_blocks: int = 216,
    ) -> None:
        if not (threshold > 0 and 0 < smoothing <= 1):
            raise ValueError("threshold must be above 0 and smoothing in (0, 1]")
        if min(block_s, half_life_blocks, warm_blocks) < 1:
            raise ValueError("block_s, half_life_blocks and warm_blocks must be at least 1")
        self.threshold = threshold
        self.block_s = block_s
        self.smoothing = smoothing
        self.half_life_blocks = half_life_blocks
        self.warm_blocks = warm_blocks
        self._names: tuple[str, ...] | None = None
        self._last: int | None = None
        self._block: int | None = None
        self._onset: int | None = None
        self._since: int | None = None
        """Start of the first block since when the distance has not been at rest."""
        self._blocks = 0
        self._smooth = 0.0
        self._arrays = _fresh(0)
        self._said: tuple[int, float, float] | None = None
        """Place of the rate that stood out in the last block, by how much, and its surprise."""
        self._verdict: Verdict | None = None

    @property
    def verdict(self) -> Verdict | None:
        """What was said of the last bucket learned; None before the first."""
        return self._verdict

    def learn_one(self, x: Mapping[Any, float]) -> None:
        """Take in one bucket.

        Raises:
            ValueError: `x` lacks a number, has other names than before, or breaks `0 <= k <= n` or
                the order of time.
        """
        start, names, counts = self._read(x)
        if self._names is None:
            self._names, self._arrays = names, _fresh(len(names))
        block = start // self.block_s
        if self._block is not None and block != self._block:
            self._close(self._block * self.block_s)
        self._block, self._last = block, start
        self._arrays["sums"] += counts
        self._verdict = self._say(counts)

    def close(self) -> None:
        """Judge the block that was begun: no bucket of it is to come."""
        if self._block is not None:
            self._close(self._block * self.block_s)
            self._block = None
            self._verdict = self._say(self._arrays["block"])

    def score_one(self, x: Mapping[Any, float]) -> float:
        """The smoothed distance once `x` is learned: it moves where `x` begins a new block.

        Raises:
            ValueError: as `learn_one`.
        """
        self._read(x)
        ahead = copy.deepcopy(self)
        ahead.learn_one(x)
        assert ahead.verdict is not None
        return ahead.verdict.score

    def _read(self, x: Mapping[Any, float]) -> tuple[int, tuple[str, ...], Floats]:
        """Start, names, and k, n and expected k (nan: not given), shape (3, names)."""
        start = int(feature(x, "t"))
        names = tuple(sorted(str(key)[1:] for key in x if key == "k" or str(key)[:2] == "k."))
        if not names or self._names not in (None, names):
            raise ValueError(f"a bucket needs a number for each rate, got {sorted(map(str, x))}")
        if self._last is not None and start <= self._last:
            raise ValueError(f"bucket {start} is not after {self._last}")
        rows = [
            [feature(x, f"k{name}"), feature(x, f"n{name}"), float(x.get(f"e{name}", math.nan))]
            for name in names
        ]
        counts = np.array(rows).T
        k, n = counts[:2]
        if not ((k >= 0).all() and (k <= n).all() and np.isfinite(n).all()):
            raise ValueError("counts must be finite with 0 <= k <= n")
        return start, names, counts

    # -- a block ----------------------------------------------------------------------------------

    def _close(self, start: int) -> None:
        """Judge the block that is complete, then learn it."""
        a = self._arrays
        k, n, given = a["sums"].copy()
        level = np.divide(a["level_k"] + 0.5, a["level_n"] + 1.0)
        e = np.where(np.isnan(given), n * level, given)
        a["sums"][:] = 0.0
        seen = e >= LEAST_EXPECTED
        r = np.log((k + 0.5) / (e + 0.5))
        chance = 1.0 / (np.maximum(k, _FLOOR * e) + 1.0)
        squared = 0.0
        dimensions = int(seen.sum())
        if self._blocks >= self.warm_blocks and dimensions >= min(2, len(k)):
            squared = self._judge(start, r, np.where(seen, chance, _BLIND), dimensions)
            a["block"][:] = k, n, e
        elif self._onset is None:
            self._said = None
            a["block"][:] = k, n, e
        if seen.all() or self._blocks == 0 or np.isnan(given).any():
            usual = self._smooth < _SUSPICION * self.threshold and squared < _FAR * len(k)
            self._learn(k, n, r, chance, 1.0 if usual else _HARDLY, seen=bool(seen.all()))

    def _judge(self, start: int, r: Floats, chance: Floats, dimensions: int) -> float:
        """The squared distance of a block, taken into the smoothed one."""
        inverse = np.linalg.inv(self._usual() + np.diag(chance))
        off = r - self._arrays["mean"]
        pull = inverse @ off
        squared = float(off @ pull)
        excess = (squared - dimensions) / math.sqrt(2.0 * dimensions)
        was = self._smooth
        smooth = was + self.smoothing * (excess - was)
        self._smooth = min(smooth, _ROOM * self.threshold)
        # Off what the other rates lead one to expect, and that over its standard deviation.
        alone = np.diag(inverse)
        surprise = pull / np.sqrt(alone)
        blame = self._arrays["blame"]
        blame += self.smoothing * (surprise**2 - blame)
        lead = int(blame.argmax())
        self._said = (lead, float(pull[lead] / alone[lead]), float(surprise[lead]))
        if self._smooth < _REST * self.threshold:
            self._since = None
        elif self._since is None:
            self._since = start
        if self._onset is None and self._smooth >= self.threshold:
            self._onset = self._since
        elif self._smooth < _OVER * self.threshold:
            self._onset = None
        return squared

    def _usual(self) -> Floats:
        """Covariance of the rates themselves: what was seen, less what chance alone makes."""
        a = self._arrays
        values, vectors = np.linalg.eigh(a["covariance"] - np.diag(a["chance"]))
        usual: Floats = (vectors * np.maximum(values, _LEAST_VARIANCE)) @ vectors.T
        return usual

    def _learn(
        self, k: Floats, n: Floats, r: Floats, chance: Floats, weight: float, *, seen: bool
    ) -> None:
        a = self._arrays
        keep = 0.5 ** (weight / self.half_life_blocks)
        a["level_k"][:] = a["level_k"] * keep + weight * k
        a["level_n"][:] = a["level_n"] * keep + weight * n
        if not seen:
            return
        self._blocks += 1
        # A plain mean at first: an exponential one would take the first block for the rule.
        share = max(1.0 - keep, weight / self._blocks)
        off = r - a["mean"]
        a["mean"] += share * off
        a["covariance"][:] = (1.0 - share) * (a["covariance"] + share * np.outer(off, off))
        a["chance"] += share * (chance - a["chance"])

    # -- what is said -----------------------------------------------------------------------------

    def _say(self, counts: Floats) -> Verdict:
        """The last block's odd rate where there is one, else the bucket's first."""
        assert self._names is not None
        firing = self._onset is not None
        lead = self._said[0] if self._said is not None else 0
        judged = self._said is not None
        k, n, e = (self._arrays["block"] if judged else counts)[:, lead]
        e = 0.0 if math.isnan(e) else float(e)
        state = State.FIRING if firing else State.QUIET
        if self._blocks < self.warm_blocks:
            state = State.WARMING
        up = self._said[1] >= 0 if self._said is not None else k >= e
        return Verdict(
            state=state,
            score=max(self._smooth, 0.0),
            threshold=self.threshold,
            direction="up" if up else "down",
            observed=float(k / n) if n > 0 else 0.0,
            baseline=e / n if n > 0 else 0.0,
            k=int(k),
            n=int(n),
            expected=e,
            excess=int(k) - e,
            window_buckets=1,
            onset=self._onset,
            reason=self._reason(state),
        )

    def _reason(self, state: State) -> str:
        if state is State.WARMING:
            share = 100 * self._blocks / self.warm_blocks
            return f"still learning what moves together: {share:.0f} % of the blocks"
        score = f"distance {max(self._smooth, 0.0):.2f} of {self.threshold:.2f}"
        if state is State.QUIET or self._said is None or self._names is None:
            return f"the rates move together as usual; {score}"
        lead, off, surprise = self._said
        name = self._names[lead].lstrip(".") or "the rate"
        side = "above" if off >= 0 else "below"
        return (
            f"rates no longer move together: {name} is {100 * abs(math.expm1(off)):.0f} % {side} "
            f"what the others lead one to expect ({abs(surprise):.1f} standard deviations); {score}"
        )

    def snapshot(self) -> bytes:
        """Everything learned, as plain data."""
        header = {
            "names": self._names,
            "last": self._last,
            "block": self._block,
            "onset": self._onset,
            "since": self._since,
            "blocks": self._blocks,
            "smooth": self._smooth,
            "said": self._said,
        }
        # Not given is nan, which JSON has no word for; the arrays have.
        return pack(_KIND, header, self._arrays)

    def restore(self, data: bytes) -> None:
        """Go on from a snapshot; the verdict comes with the next bucket, unless one was closed.

        Raises:
            ValueError: `data` is no snapshot of this kind and version.
        """
        header, arrays = unpack(_KIND, data)
        self._names = tuple(header["names"]) if header["names"] is not None else None
        self._last, self._block, self._onset = header["last"], header["block"], header["onset"]
        self._since = header["since"]
        self._blocks, self._smooth = header["blocks"], header["smooth"]
        said = header["said"]
        self._said = (said[0], said[1], said[2]) if said is not None else None
        self._arrays = {name: np.array(one) for name, one in arrays.items()}
        closed = self._last is not None and self._block is None
        self._verdict = self._say(self._arrays["block"]) if closed else None


def _fresh(rates: int) -> dict[str, Floats]:
    """Nothing learned about so many rates."""
    shapes: dict[str, tuple[int, ...]] = {
        "sums": (3, rates),
        "block": (3, rates),
        "level_k": (rates,),
        "level_n": (rates,),
        "mean": (rates,),
        "covariance": (rates, rates),
        "chance": (rates,),
        "blame": (rates,),
    }
    return {name: np.zeros(shape) for name, shape in shapes.items()}
