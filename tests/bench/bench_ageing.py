"""What a store takes for a cell, and how others wait while one that grew for months is emptied.

`python -m tests.bench.bench_ageing [CELLS]` fills a store on SQLite and one on PostgreSQL with that
many cells that have aged and a tenth as many that have not, has them removed by the daemon's own
loop with its pauses, and lets another writer commit beside it twenty times a second. The last line
is JSON.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import sqlalchemy as sa

from monitor.processes.loops import PAUSE_S
from monitor.retention import SETTLE
from monitor.store import tables as t
from monitor.store.roles import Roles, apply_roles
from monitor.store.store import Store
from tests.ageing import HORIZON, NOW, decided, room
from tests.servers.postgres_server import DAEMON, OWNER, READER, PostgresServer, PostgresUnavailable

TUPLES = 200
"""Cells of a bucket: what `simulate:s2_release` has."""
CHUNK = 20_000
BESIDE_S = 0.05


def fill(store: Store, first: int, many: int) -> None:
    """Cells from a bucket on, as wide as those of the simulator's base cuboid."""
    pipeline = decided(store, NOW)
    counts = json.dumps([4, 4, 0, 4, *[0] * 5, 4, 0, 4, *[0] * 6], separators=(",", ":"))

    def row(number: int) -> dict[str, object]:
        dims = ["prod", "order_help", "gpt-4o", "v12", f"t_{number % TUPLES:016x}"]
        return {
            "pipeline": pipeline,
            "bucket": first + 60 * (number // TUPLES),
            "topic_id": "aW50ZXJhY3Rpb25zIQ",
            "number": 0,
            "cuboid": "base",
            "dims": json.dumps(dims, separators=(",", ":")),
            "counts": counts,
            "hi": number,
        }

    for begin in range(0, many, CHUNK):
        rows = [row(number) for number in range(begin, min(many, begin + CHUNK))]
        with store.engine.begin() as connection:
            connection.execute(t.cells.insert(), rows)


def before_horizon(store: Store, many: int) -> None:
    """Cells that have aged."""
    fill(store, HORIZON - 60 * (many // TUPLES) - 60, many)


def size(store: Store) -> int:
    """Bytes that the cells and their index take."""
    with store.engine.connect() as connection:
        if store.shared:
            query = "SELECT pg_total_relation_size('cells')"
        else:
            query = "SELECT page_count * page_size FROM pragma_page_count(), pragma_page_size()"
        return int(connection.execute(sa.text(query)).scalar_one())


@contextmanager
def beside(store: Store, took: list[float]) -> Iterator[None]:
    """Another writer; how long each of its transactions took, its wait included."""
    stopping = threading.Event()

    def write() -> None:
        while not stopping.wait(BESIDE_S):
            began = time.perf_counter()
            with store.write() as tx:
                tx.touch()
            took.append(time.perf_counter() - began)

    thread = threading.Thread(target=write)
    thread.start()
    try:
        yield
    finally:
        stopping.set()
        thread.join()


def emptied(store: Store, took: list[float]) -> float:
    """Carry out a round with the pauses of the loop; cells removed a second."""
    retention, metrics = room(store)
    retention.step(NOW - SETTLE)
    began = time.perf_counter()
    with beside(store, took):
        while not metrics.value("tocsin_kept_since_timestamp_seconds"):
            retention.step(NOW)
            time.sleep(PAUSE_S)
    gone = metrics.value("tocsin_aged_rows_total", table="cells")
    return gone / (time.perf_counter() - began)


def run(store: Store, cells: int) -> dict[str, float]:
    """All figures of one store."""
    before_horizon(store, cells)
    fill(store, HORIZON, cells // 10)
    before = size(store)
    alone: list[float] = []
    with beside(store, alone):
        time.sleep(10.0)
    took: list[float] = []
    rate = emptied(store, took)
    with store.read() as tx:
        left = tx.stream.cell_count(tx.ageing.pipelines()[0], 0, 2 * HORIZON, 10 * cells)
    assert left == cells // 10, "what is young is there"
    before_horizon(store, cells // 2)  # into what was freed
    return {
        "bytes_a_cell": round(before / (cells * 1.1)),
        "removed_a_second": round(rate),
        "beside_p99_ms": round(1000 * sorted(took)[int(0.99 * len(took))], 1),
        "beside_longest_ms": round(1000 * max(took), 1),
        "alone_p99_ms": round(1000 * sorted(alone)[int(0.99 * len(alone))], 1),
        "alone_longest_ms": round(1000 * max(alone), 1),
        "size_after_refill": round(size(store) / before, 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("cells", type=int, nargs="?", default=1_000_000)
    options = parser.parse_args()
    found: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        store = Store(f"sqlite:///{Path(folder) / 'x.db'}")
        found["sqlite"] = run(store, options.cells)
        store.close()
    try:
        server = PostgresServer()
    except PostgresUnavailable as problem:
        print(f"without PostgreSQL: {problem}", file=sys.stderr)
    else:
        with server:
            name = server.create_database()
            owner = Store(server.url(name, OWNER))
            apply_roles(owner.engine, Roles(DAEMON, READER))
            owner.close()
            store = Store(server.url(name, DAEMON))
            found["postgresql"] = run(store, options.cells)
            store.close()
    print(json.dumps(found))


if __name__ == "__main__":
    main()
