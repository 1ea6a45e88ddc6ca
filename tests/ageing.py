"""Stores in which something ages: the same clock, a round carried out, everything that is there.

    python -m tests.ageing URL

carries out a round as another process, and says so after each of its transactions.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

import sqlalchemy as sa

from monitor.config.settings import Configured, Settings, resolve
from monitor.metrics import Metrics
from monitor.processes.posts import Guard, Sole
from monitor.retention import SETTLE, Retention, horizon
from monitor.store import tables as t
from monitor.store.store import Store
from monitor.stream.cells import Bucket, Emission, Progress
from tests.making import T0

CONFIGURED = resolve(Settings(store="sqlite:///x.db"))
KEPT = CONFIGURED.settings.store_retention
NOW = T0 + timedelta(days=40)
"""When everything of T0 has aged."""
HORIZON = int((NOW - KEPT).timestamp())
BUCKET = 60


def decided(store: Store, until: datetime, configured: Configured = CONFIGURED) -> int:
    """Everything before `until` is decided; the pipeline."""
    with store.write() as tx:
        pipeline = tx.stream.pipeline(configured.plan, until)
        tx.decisions.move(pipeline, int(until.timestamp()), until)
    return pipeline


def bucket(start: int, counts: Mapping[tuple[str, ...], int]) -> Bucket:
    """A bucket with these interactions, by dimension values."""
    made = Bucket(start, first_offset=0, clock=Progress().clock)
    made.base.update((key, [count]) for key, count in counts.items())
    return made


def counted(
    store: Store, pipeline: int, starts: Sequence[int], features: Sequence[str] = ("chat",)
) -> None:
    """A cell for each feature and an event that came late, in each of these buckets, all closed."""
    counts: dict[tuple[str, ...], int] = {("prod", name, "m", "", ""): 5 for name in features}
    with store.write() as tx:
        for number, start in enumerate(starts, 1):
            progress = Progress(hi=number, low_water=number, closed=start + BUCKET)
            found = [(number - 1, start)]
            emission = Emission(progress, [bucket(start, counts)], found, [], [])
            tx.stream.save(pipeline, "t", 0, emission)


def room(
    store: Store, configured: Configured = CONFIGURED, post: Guard | None = None
) -> tuple[Retention, Metrics]:
    """What ages a store, and its metrics."""
    metrics = Metrics()
    return Retention(store, lambda: configured, post or Sole(), metrics), metrics


def aged(store: Store, now: datetime = NOW, configured: Configured = CONFIGURED) -> Metrics:
    """Carry out a whole round; its metrics."""
    retention, metrics = room(store, configured)
    retention.step(now - SETTLE)
    with store.read() as tx:
        pipeline = tx.stream.known_pipeline(configured.plan)
        position = None if pipeline is None else tx.decisions.position(pipeline)
    assert position is not None
    wanted = horizon(position, now, configured.settings.store_retention)
    for _ in range(10_000):
        retention.step(now)
        if metrics.value("tocsin_kept_since_timestamp_seconds") == wanted:
            return metrics
    raise AssertionError("the round has no end")


def rows(store: Store, table: sa.Table) -> set[tuple[object, ...]]:
    """All rows of a table."""
    with store.engine.connect() as connection:
        return {tuple(row) for row in connection.execute(sa.select(table))}


def everything(store: Store) -> dict[str, set[tuple[object, ...]]]:
    """All rows of all tables that a daemon may read and that tell no time of their own."""
    return {name: rows(store, table) for name, table in t.metadata.tables.items()}


def main(url: str) -> None:
    """Age until somebody ends it, for a test that kills."""
    store = Store(url)
    retention, metrics = room(store)
    retention.step(NOW - SETTLE)
    while not metrics.value("tocsin_kept_since_timestamp_seconds"):
        retention.step(NOW)
        print("step", flush=True)
    print("done", flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
