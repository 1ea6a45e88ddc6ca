"""Decide and deliver over never-events that wait: the child of `tests.bench.bench_pages`.

A program of its own, run by its path, so that it can be given another tree of the product.
"""

from __future__ import annotations

import signal
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

from monitor.clock import WallClock
from monitor.config.settings import load, resolve
from monitor.daemon import Control, build_control
from monitor.metrics import Metrics
from monitor.processes.loops import PAUSE_S, Loops
from monitor.store.store import Store
from monitor.stream.cells import Emission, Occurrence, Progress
from monitor.watchdog import Watchdog

START = datetime(2026, 11, 16, 9, tzinfo=UTC)
RULE = "denied_tool_ran"


def fill(store: Store, count: int) -> None:
    """So many never-events, each of a source of its own."""
    occurrences = [
        Occurrence(
            rule=RULE,
            source=f"//bench/{number:06}",
            bucket=int(START.timestamp()),
            offset=number,
            at=START + timedelta(seconds=number),
            dimensions={"environment": "prod", "feature": f"feature-{number % 7}"},
            event_id=f"bench-{number:06}",
        )
        for number in range(count)
    ]
    with store.write() as tx:
        tx.stream.save(1, "bench", 0, Emission(Progress(hi=count), [], [], occurrences, []))


def work(control: Control) -> None:
    """Until told to stop."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: control.stopping.set())
    loops = Loops(control.metrics, Watchdog(60.0, Path("stacks")), control.stopping)
    freed = getattr(control.deliver, "freed", lambda _: False)  # a tree of before it waits longer
    print("go", flush=True)

    def decide(now: datetime) -> bool:
        done = control.decide.step(now)
        return done.buckets > 0 or not done.caught_up

    def deliver(now: datetime) -> bool:
        return control.deliver.step(now) > 0 or freed(PAUSE_S)

    loops.start({"decide": decide, "deliver": deliver})
    loops.join()
    for name in ("decide", "deliver"):
        samples = {
            s.name.rpartition("_")[2]: s.value
            for m in control.metrics.loop_seconds.collect()
            for s in m.samples
            if s.labels.get("loop") == name and "bucket" not in s.name
        }
        print(name, samples, flush=True)


def main() -> None:
    """Arguments: the configuration's file, and how many."""
    settings, _ = load(Path(sys.argv[1]))
    store = Store(settings.store)
    fill(store, int(sys.argv[2]))
    clock = WallClock()
    control = build_control(resolve(settings), store=store, clock=clock, metrics=Metrics())
    try:
        work(control)
    finally:
        control.close()


if __name__ == "__main__":
    main()
