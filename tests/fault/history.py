"""A past for an empty store: days of points, as a daemon that judged them would have left them.

There are no snapshots beside them, so that whoever starts on this store replays all of it: more
than an installation does that takes one each hour.
"""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import numpy as np

from monitor.config.settings import load, resolve
from monitor.store.decision_rows import Point, Seen
from monitor.store.store import Store
from monitor.stream.signals import Plan
from tests.fault.events import START
from tests.fault.ground import Ground

DAYS, SERIES = 3, 30
FEATURES = 6
"""Series of one signal."""
MEAN_N, SHARE = 200, 0.05
"""Interactions a bucket and series, and how many of them the signal counts."""
SEED = 7


def remember(ground: Ground, settings: dict[str, Any], *, days: int = DAYS) -> None:
    """Write `days` of quiet points of `SERIES` series, which end where the events begin.

    Args:
        ground: its store is empty.
        settings: of the daemon that will find them.
        days: how much of it.
    """
    file = ground.folder / "history.yaml"
    file.write_text(json.dumps(settings))
    plan = resolve(load(file)[0]).plan
    end = int(START.timestamp())
    store = Store(ground.store)
    try:
        for day in range(days, 0, -1):
            with store.write() as tx:
                tx.decisions.save_points(_day(plan, end - day * 86_400))
        with store.write() as tx:
            pipeline = tx.stream.pipeline(plan, START - timedelta(days=days))
            tx.decisions.move(pipeline, end, START)
    finally:
        store.close()


def _day(plan: Plan, begin: int) -> list[Seen]:
    """All points of one day, its first bucket at `begin` (unix seconds)."""
    rng = np.random.default_rng([SEED, begin])
    names = [signal.name for signal in plan.rates()[: SERIES // FEATURES]]
    buckets = range(begin, begin + 86_400, plan.bucket_s)
    n = rng.poisson(MEAN_N, (len(buckets), len(names), FEATURES))
    k = rng.binomial(n, SHARE).tolist()
    found = []
    for at, (bucket, each) in enumerate(zip(buckets, n.tolist(), strict=True)):
        for number, name in enumerate(names):
            points = [
                Point(("prod", f"feature-{f}"), k[at][number][f], each[number][f], SHARE, 0.0, "q")
                for f in range(FEATURES)
            ]
            found.append(Seen(name, bucket, points))
    return found
