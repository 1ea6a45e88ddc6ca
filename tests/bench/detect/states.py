"""States as they are shipped: several alarms on the same series, run side by side in one bank."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from detectors.columns import Bools, Ints
from detectors.model import RateConfig
from detectors.rate import RateBank
from monitor.profiles import PROFILES
from monitor.stream.signals import default_signals
from tests.bench.detect.study import Scene

TYPICAL = ("refusal_rate", "tool_misuse")
"""Offered signals: one with floors of its own, and one that has the profile's."""


def as_paged(signal: str, bucket_s: int = 60) -> RateConfig:
    """The detector of a shipped signal once a person lets it page, floors and watch included.

    Raises:
        KeyError: no such signal is shipped.
    """
    one = {known.name: known for known in default_signals()}[signal]
    profile = PROFILES["page"]
    return replace(profile.rates, alarm=profile.alarm(one, bucket_s))


def firing(configs: Sequence[RateConfig], k: Ints, n: Ints, bucket_s: int = 60) -> list[Bools]:
    """Where each config fires on whole series.

    Args:
        configs: what differs in the alarm only shares a bank, which costs far less than two.
        k: shape (series, buckets).
        n: the same.
        bucket_s: length of a bucket in seconds.

    Returns:
        Shape (series, buckets) for each config.
    """
    learned = [replace(one, alarm=configs[0].alarm) for one in configs]
    found: dict[int, Bools] = {}
    for rest in dict.fromkeys(learned):
        mine = [at for at, one in enumerate(learned) if one == rest]
        found |= zip(mine, _run([configs[at] for at in mine], k, n, bucket_s), strict=True)
    return [found[at] for at in range(len(configs))]


def of_pair(
    configs: Sequence[RateConfig], quiet: Scene, hit: Scene, bucket_s: int = 60
) -> list[tuple[Bools, Bools]]:
    """The same for a quiet scene and one with incidents, of one length."""
    k, n = np.concatenate([quiet.k, hit.k]), np.concatenate([quiet.n, hit.n])
    rows = len(quiet.k)
    return [(one[:rows], one[rows:]) for one in firing(configs, k, n, bucket_s)]


def _run(configs: Sequence[RateConfig], k: Ints, n: Ints, bucket_s: int) -> list[Bools]:
    bank, rows = RateBank(configs[0], bucket_s=bucket_s), len(k)
    ids = [f"{at}/{row}" for at in range(len(configs)) for row in range(rows)]
    for at, name in enumerate(ids):
        bank.add(name, alarm=configs[at // rows].alarm)
    found = np.zeros((len(ids), k.shape[1]), np.bool_)
    by_bucket_k, by_bucket_n = np.ascontiguousarray(k.T), np.ascontiguousarray(n.T)
    for at in range(k.shape[1]):
        k_now, n_now = (np.tile(one[at], len(configs)) for one in (by_bucket_k, by_bucket_n))
        found[:, at] = bank.step(at * bucket_s, bucket_s, ids, k_now, n_now).firing
    return [found[at * rows : (at + 1) * rows] for at in range(len(configs))]
