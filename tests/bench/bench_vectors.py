"""Do detectors of vectors find what no rate finds?

    python -m tests.bench.bench_vectors [--seeds 5 6 7] [--per-minute 200]   # QUICK=1: a slice

Weeks of six rates of a feature (`vector_scenes`), judged at the same budget of false tickets, each
by the largest score that keeps it on event-free weeks of the same seed. All see what the rate
bank expected of each minute, in blocks of 20 minutes, after two days; a week is not judged.

rates            the product's own test of each rate, both directions; the largest of the six
max              the largest of the six residuals (log of k to expected, over its deviation)
sum of squares   of the same, which knows nothing of how they go together
half-space trees river's, on the residuals' normal quantiles: they lie in [0, 1]
covariance       `detectors.vectors`

Beside rates and covariance, which are as shipped, three weights of smoothing are shown: let the
best count. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from river.anomaly import HalfSpaceTrees

from detectors.columns import Floats
from detectors.profiles import PAGE
from detectors.rate import RateBank
from detectors.vectors import VectorDetector
from tests.bench.vector_scenes import DAY, KINDS, NAMES, WARM_DAYS, BadDay, Scene, scene

BLOCK = 20
BUDGET = 0.2
"""False tickets a feature and week: one a week for a team with five features."""
LEARNED = 2 * DAY // BLOCK
JUDGED = WARM_DAYS * DAY // BLOCK
REARMED = 120 // BLOCK
GRACE = 60 // BLOCK
SMOOTHINGS = (1.0, 0.2, 0.05)
TREES = ((250, 10, 8), (500, 25, 6))
"""Window, trees, height: river's own, and wider ones."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What there is to judge; arrays of shape (features, rates, blocks), `rates` without rates."""

    k: Floats
    n: Floats
    e: Floats
    rates: Floats
    """Largest score of the rate bank in the block."""
    days: tuple[BadDay, ...]

    @property
    def residuals(self) -> Floats:
        """Log ratios over their deviation in the week that is not judged."""
        log: Floats = np.log((self.k + 0.5) / (self.e + 0.5))
        log /= log[:, :, LEARNED:JUDGED].std(axis=2)[:, :, None]
        log[:, :, :LEARNED] = 0.0
        return log


def watch(made: Scene) -> Seen:
    """Run the rate bank over it, minute by minute."""
    features, rates, minutes = made.k.shape
    blocks = minutes // BLOCK
    # A threshold out of the way, because scores stop a little above it.
    alarm = replace(PAGE.alarm, watch="both", threshold=60.0)
    bank = RateBank(replace(PAGE, alarm=alarm))
    ids = [f"{feature}/{name}" for feature in range(features) for name in NAMES]
    e, score = np.zeros((features, rates, blocks)), np.zeros((features, blocks))
    k, n = (np.ascontiguousarray(one.reshape(-1, minutes).T) for one in (made.k, made.n))
    for minute in range(minutes):
        verdicts = bank.step(60 * minute, 60, ids, k[minute], n[minute])
        block = minute // BLOCK
        e[:, :, block] += (verdicts.fraction * n[minute]).reshape(features, rates)
        most = verdicts.score.reshape(features, rates).max(axis=1)
        score[:, block] = np.maximum(score[:, block], most)
    shape = (features, rates, blocks, BLOCK)
    sum_k, sum_n = (one.reshape(shape).sum(axis=3).astype(float) for one in (made.k, made.n))
    return Seen(sum_k, sum_n, e, score, made.days)


def smoothed(values: Floats, weight: float) -> Floats:
    """Exponentially, over blocks."""
    out = values.copy()
    for at in range(1, out.shape[-1]):
        out[..., at] = (1 - weight) * out[..., at - 1] + weight * values[..., at]
    return out


def covariance(seen: Seen) -> Floats:
    """The detector as shipped, fed blocks."""
    features, _, blocks = seen.k.shape
    score = np.zeros((features, blocks))
    for feature in range(features):
        detector = VectorDetector(block_s=60 * BLOCK)
        for block in range(LEARNED, blocks):
            bucket = {"t": 60.0 * BLOCK * block}
            for place, name in enumerate(NAMES):
                for letter, counts in (("k", seen.k), ("n", seen.n), ("e", seen.e)):
                    bucket[f"{letter}.{name}"] = float(counts[feature, place, block])
            detector.learn_one(bucket)
            assert detector.verdict is not None
            score[feature, block - 1] = detector.verdict.score  # of the block that this one closes
    return score


def trees(residuals: Floats, window: int, count: int, height: int) -> Floats:
    """river's half-space trees, one forest a feature."""
    features, _, blocks = residuals.shape
    unit = np.vectorize(lambda z: 0.5 * math.erfc(-z / math.sqrt(2)))(residuals)
    score = np.zeros((features, blocks))
    for feature in range(features):
        forest = HalfSpaceTrees(n_trees=count, height=height, window_size=window, seed=1)
        for block in range(LEARNED, blocks):
            x = dict(zip(NAMES, unit[feature, :, block].tolist(), strict=True))
            score[feature, block] = forest.score_one(x)
            forest.learn_one(x)
    return score


def tickets(score: Floats, threshold: float) -> list[list[int]]:
    """Blocks where each feature's score comes over the threshold, after two hours below it."""
    found = []
    for row in score:
        over = np.flatnonzero(row >= threshold).tolist()
        before = [-REARMED - 1, *over[:-1]] if over else []
        found.append([at for at, was in zip(over, before, strict=True) if at - was > REARMED])
    return found


def threshold_at(score: Floats, budget: float) -> float:
    """The lowest threshold from above that keeps the budget of tickets."""
    judged = score[:, JUDGED:]
    allowed = budget * judged.size * BLOCK / (7 * DAY)
    kept = np.inf
    for candidate in np.unique(judged)[::-1]:
        if sum(map(len, tickets(judged, candidate))) > allowed:
            break
        kept = candidate
    return float(kept) * (1 + 1e-9)


def delays(score: Floats, days: Sequence[BadDay], threshold: float) -> dict[str, list[float]]:
    """Minutes to the first ticket of each bad day, by kind; infinite where there is none."""
    begun = tickets(score, threshold)
    found: dict[str, list[float]] = {kind: [] for kind in KINDS}
    for day in days:
        first, last = day.start // BLOCK, day.end // BLOCK + GRACE
        hits = [at for at in begun[day.feature] if first <= at < last]
        found[day.kind].append((hits[0] - first + 1) * BLOCK if hits else np.inf)
    return found


Table = dict[str, dict[str, list[float]]]


def judge(quiet: Seen, bad: Seen) -> Table:
    """Delays by detector and kind at the budget."""
    scores: dict[str, tuple[Floats, Floats]] = {
        "rates": (quiet.rates, bad.rates),
        "covariance": (covariance(quiet), covariance(bad)),
    }
    calm, moved = quiet.residuals, bad.residuals
    forests = [(trees(calm, *size), trees(moved, *size), size) for size in TREES]
    for weight in SMOOTHINGS:
        scores[f"max @{weight}"] = (
            np.abs(smoothed(calm, weight)).max(axis=1),
            np.abs(smoothed(moved, weight)).max(axis=1),
        )
        scores[f"sum of squares @{weight}"] = (
            smoothed((calm**2).sum(axis=1), weight),
            smoothed((moved**2).sum(axis=1), weight),
        )
        for one, two, size in forests:
            name = f"half-space trees {size} @{weight}"
            scores[name] = (smoothed(one, weight), smoothed(two, weight))
    return {
        name: delays(hit, bad.days, threshold_at(null, BUDGET))
        for name, (null, hit) in scores.items()
    }


def as_shipped(quiet: Seen, bad: Seen) -> dict[str, Any]:
    """What the threshold of the detector itself costs and finds."""
    score, weeks = covariance(quiet)[:, JUDGED:], quiet.k.shape[0] * (quiet.k.shape[2] - JUDGED)
    false = sum(map(len, tickets(score, VectorDetector().threshold)))
    found = delays(covariance(bad), bad.days, VectorDetector().threshold)
    return {"false": false, "weeks": weeks * BLOCK / (7 * DAY), "delays": found}


def summary(found: dict[str, list[float]]) -> dict[str, dict[str, float | None]]:
    """Share found and median delay in minutes, misses included."""
    row = {}
    for kind, times in found.items():
        median = float(np.median(times))
        row[kind] = {
            "found": round(float(np.isfinite(times).mean()), 3),
            "median_min": median if np.isfinite(median) else None,
        }
    return row


def run(seeds: Sequence[int], *, per_minute: float, features: int, days: int) -> dict[str, Any]:
    """All seeds together, for the last line of a bench."""
    total: Table = {}
    shipped: list[dict[str, Any]] = []
    for seed in seeds:
        began = time.monotonic()
        quiet, bad = (
            watch(scene(seed, features=features, days=days, per_minute=per_minute, bad=one))
            for one in (False, True)
        )
        for name, found in judge(quiet, bad).items():
            row = total.setdefault(name, {kind: [] for kind in KINDS})
            for kind in KINDS:
                row[kind] += found[kind]
        shipped.append(as_shipped(quiet, bad))
        print(f"  seed {seed}: {len(bad.days)} bad days ({time.monotonic() - began:.0f} s)")
    carried = {kind: [at for one in shipped for at in one["delays"][kind]] for kind in KINDS}
    weeks = sum(one["weeks"] for one in shipped)
    rate = sum(one["false"] for one in shipped) / weeks
    table = {name: summary(found) for name, found in total.items()}
    for name, kinds in {**table, f"as shipped, {rate:.2f} false": summary(carried)}.items():
        told = (f"{kind} {100 * (one['found'] or 0):3.0f} %" for kind, one in kinds.items())
        print(f"  {name:36} {'  '.join(told)}   double in {kinds['double']['median_min']} min")
    return {
        "per_minute": per_minute,
        "budget_per_feature_week": BUDGET,
        "at_budget": table,
        "as_shipped": {"false_per_feature_week": round(rate, 3), **summary(carried)},
    }


def main() -> None:
    """Print it; the last line is JSON."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[5, 6, 7])
    parser.add_argument("--per-minute", type=float, nargs="+", default=[200.0, 20.0])
    args = parser.parse_args()
    quick = bool(os.environ.get("QUICK"))
    seeds, features, days = (args.seeds[:1], 8, 19) if quick else (args.seeds, 12, 31)
    result = []
    for per_minute in args.per_minute[: 1 if quick else None]:
        print(f"{per_minute:g} interactions a minute and more, {BUDGET} false tickets a week")
        result.append(run(seeds, per_minute=per_minute, features=features, days=days))
    print(json.dumps({"vectors": result}))


if __name__ == "__main__":
    main()
