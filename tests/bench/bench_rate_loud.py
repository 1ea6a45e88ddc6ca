"""Is the `loud` profile silent on quiet days, and quick on a strong move?

    python -m tests.bench.bench_rate_loud [--seeds 200]

Quiet: eight hours of 15 signals x 4 features, each signal at its usual rate (times 0.5 to 2) and
each feature at 10 to 100 interactions a minute, the rate wandering by +-10 %, the volume in bursts.
Moved: six such hours, then five times the rate for one hour, then one hour as before, for single
series of given volume and rate. QUICK=1 takes 20 seeds. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import os
from dataclasses import dataclass

import numpy as np

from detectors.columns import Bools, Floats, Ints
from detectors.profiles import LOUD
from tests.bench.bench_rate_quality import judge

SIGNAL_RATES = np.array(
    [0.06, 5e-4, 0.01, 0.002, 0.01, 0.02, 0.005, 0.005, 5e-4, 0.03, 0.02, 0.01, 1e-4, 0.05, 0.001]
)
"""Refusals, violations delivered and blocked, guardrail outage, tool misuse, and so on."""
FEATURES = 4
HOURS = 8


@dataclass(frozen=True, slots=True)
class Noise:
    """What ordinary traffic does by itself."""

    wander: float = 0.10
    """Standard deviation of the log rate, correlated over an hour."""
    clump: float = 0.0
    """Beta-binomial correlation of the interactions of one minute."""
    bursts: float = 0.05
    """Relative variance of the volume from minute to minute."""


def traffic(
    seed: int, volume: Floats, rate: Floats, factor: Floats, noise: Noise
) -> tuple[Ints, Ints]:
    """Counts k and n, shape (series, minutes). `factor` moves the rate, shape (minutes,)."""
    rng = np.random.default_rng(seed)
    rows, minutes = len(volume), len(factor)
    clock = np.arange(minutes) / 1440 + rng.random((rows, 1))
    mean = volume[:, None] * (1 + 0.3 * np.sin(2 * np.pi * clock))
    n = rng.poisson(mean * rng.gamma(1 / noise.bursts, noise.bursts, mean.shape))
    keep = np.exp(-1 / 60)
    wander = rng.normal(0, noise.wander, mean.shape)
    wander[:, 1:] *= np.sqrt(1 - keep**2)
    for at in range(1, minutes):
        wander[:, at] += keep * wander[:, at - 1]
    p = np.clip(rate[:, None] * np.exp(wander) * factor, 1e-9, 0.97)
    if noise.clump:
        size = (1 - noise.clump) / noise.clump
        p = rng.beta(p * size, (1 - p) * size)
    return rng.binomial(n, p), n


def quiet(seeds: int, seed: int, noise: Noise) -> dict[str, float]:
    """Series and files that fired though nothing happened."""
    rng = np.random.default_rng([seed, 1])
    signals = len(SIGNAL_RATES)
    volume = np.exp(rng.uniform(np.log(10), np.log(100), seeds * FEATURES)).repeat(signals)
    rate = np.tile(SIGNAL_RATES, seeds * FEATURES) * np.exp(rng.uniform(-0.7, 0.7, len(volume)))
    k, n = traffic(seed, volume, rate, np.ones(60 * HOURS), noise)
    fired: Bools = np.asarray(judge(LOUD, k, n).firing.any(axis=1))
    files = int(fired.reshape(seeds, -1).any(axis=1).sum())
    return {"series": len(fired), "series_fired": int(fired.sum()), "files_with_a_fire": files}


def moved(volume: float, rate: float, times: float, seeds: int) -> dict[str, float]:
    """How often and how soon a move of six hours' quiet is found, and as how many episodes."""
    factor = np.ones(60 * HOURS)
    factor[360:420] = times
    rows = np.ones(seeds)
    k, n = traffic(int(volume * 1000 + rate * 1000), rows * volume, rows * rate, factor, Noise())
    begun = judge(LOUD, k, n).episodes()
    delays = np.array([one[one >= 360][0] - 359 if (one >= 360).any() else np.inf for one in begun])
    return {
        "per_minute": volume,
        "rate": rate,
        "found_in_10_min": float((delays <= 10).mean()),
        "median_delay": float(np.median(delays)) if np.isfinite(np.median(delays)) else -1.0,
        "one_episode": float(np.mean([len(one) == 1 for one in begun])),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=200)
    args = parser.parse_args()
    seeds = 20 if os.environ.get("QUICK") else args.seeds
    calm = {
        "ordinary": quiet(seeds, 9, Noise()),
        "rough": quiet(seeds, 10, Noise(wander=0.15, clump=5e-4)),
    }
    for name, row in calm.items():
        print(name, row)
    table = []
    for volume in (10.0, 20.0, 40.0, 100.0):
        for rate in (0.01, 0.02, 0.05, 0.1, 0.2):
            table.append(moved(volume, rate, 5.0, seeds))
            print({key: round(value, 3) for key, value in table[-1].items()})
    print(json.dumps({"quiet": calm, "moved": table}))


if __name__ == "__main__":
    main()
