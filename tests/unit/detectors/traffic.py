"""Seeded counts for detector tests."""

from __future__ import annotations

import numpy as np

from detectors.columns import Floats, Ints
from detectors.rate import RateBank
from detectors.verdicts import Verdicts

START = 1_699_999_980
"""A Tuesday evening, UTC, on a whole minute."""


def counts(rate: Floats, volume: float, *, seed: int = 1) -> tuple[Ints, Ints]:
    """k and n per bucket for a rate per bucket."""
    rng = np.random.default_rng(seed)
    n = rng.poisson(volume, len(rate))
    return rng.binomial(n, rate), n


def feed(
    bank: RateBank, k: Ints, n: Ints, *, start: int = START, name: str = "a"
) -> list[Verdicts]:
    """Step the bank through one series' buckets."""
    width = bank.bucket_s
    return [
        bank.step(start + width * at, width, [name], [one_k], [one_n])
        for at, (one_k, one_n) in enumerate(zip(k, n, strict=True))
    ]


def episodes(verdicts: list[Verdicts]) -> list[int]:
    """Positions at which the first series began to fire."""
    firing = [False, *(bool(one.firing[0]) for one in verdicts)]
    return [at for at in range(len(verdicts)) if firing[at + 1] and not firing[at]]
