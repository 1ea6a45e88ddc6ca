"""How fast pages leave when very many incidents open at once, on SQLite and on PostgreSQL.

Each never-event is paged to a strict Slack and a strict PagerDuty on loopback at once, and to a
webhook by an escalation timer. `python -m tests.bench.bench_pages [COUNT] [--tree FOLDER]`: with
`--tree` the product is taken from another folder, so that two versions can be measured side by
side. The last line is JSON: pages a second of each store, and the daemon's CPU milliseconds a page,
which a busy machine changes less.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

from tests.fault.ground import Ground, Receivers, configuration, receivers
from tests.servers.postgres_server import PostgresServer, PostgresUnavailable

DAEMON = Path(__file__).with_name("pages_daemon.py")
LONGEST_S = 900.0
LOOK_S = 0.5


def run(ground: Ground, paged: Receivers, count: int, tree: str) -> tuple[float, float]:
    """Pages a second, from the first decision to the last page; CPU milliseconds a page."""
    before = _cpu_s()
    settings = configuration(ground, paged)
    config = ground.folder / "tocsin.yaml"
    config.write_text(json.dumps(settings))
    child = subprocess.Popen(
        [sys.executable, str(DAEMON), str(config), str(count)],
        stdout=subprocess.PIPE,
        stderr=(ground.folder / "log").open("wb"),
        env={**os.environ, "PYTHONPATH": tree},
        cwd=ground.folder,
    )
    assert child.stdout is not None
    with child, child.stdout as said:
        try:
            assert said.readline() == b"go\n", (ground.folder / "log").read_text()
            started = time.monotonic()
            while not _done(paged, count) and time.monotonic() - started < LONGEST_S:
                time.sleep(LOOK_S)
            spent = time.monotonic() - started
        finally:
            child.terminate()
        for line in said:
            print("  ", line.decode().rstrip())
    came = _came(paged)
    return came / spent, 1000 * (_cpu_s() - before) / max(came, 1)


def _cpu_s() -> float:
    """Of the children that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _came(paged: Receivers) -> int:
    messages = len(paged.slack.messages) + len(paged.night.documents)
    return messages + len(paged.pagerduty.journal.rows)


def _done(paged: Receivers, count: int) -> bool:
    return _came(paged) >= 3 * count


def main() -> None:
    """Measure both stores, one after the other."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("count", type=int, nargs="?", default=1000)
    parser.add_argument("--tree", default=str(Path(__file__).parents[2]))
    parser.add_argument("--store", choices=("sqlite", "postgresql"), action="append")
    given = parser.parse_args()
    found: dict[str, float] = {}
    cpu: dict[str, float] = {}
    with ExitStack() as stack:
        for name in given.store or ("sqlite", "postgresql"):
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tocsin-pages-")))
            url = f"sqlite:///{folder / 'x.db'}"
            if name == "postgresql":
                try:
                    server = stack.enter_context(PostgresServer())
                except PostgresUnavailable as problem:
                    print(f"postgresql not measured: {problem}")
                    continue
                url = server.url(server.create_database())
            ground = Ground(folder, "127.0.0.1:9", "none", url)
            with receivers(folder) as paged:
                speed, cost = run(ground, paged, given.count, given.tree)
            found[name], cpu[name] = round(speed, 1), round(cost, 1)
            print(f"{name}: {found[name]} pages/s, {cpu[name]} CPU ms a page", flush=True)
    print(json.dumps({"incidents": given.count, "pages_per_s": found, "cpu_ms_a_page": cpu}))


if __name__ == "__main__":
    main()
