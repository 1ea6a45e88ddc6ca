"""Ageing by a process that is killed again and again: what is left is what one round leaves."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

from monitor.store import tables as t
from monitor.store.decision_rows import Point, Seen
from monitor.store.store import Store
from tests.ageing import HORIZON, NOW, aged, counted, decided, rows
from tests.making import T0, incident

START = int(T0.timestamp())
FEATURES = 500
AGEING = (t.cells, t.points, t.late, t.incidents)


def filled(store: Store) -> None:
    """Ten thousand cells that have aged, five hundred that have not, and an incident's points."""
    pipeline = decided(store, NOW)
    features = [f"f{number}" for number in range(FEATURES)]
    counted(store, pipeline, [*(START + 60 * number for number in range(20)), HORIZON], features)
    with store.write() as tx:
        points = [Point(("prod", name), 1, 9, None, 0.0, "q") for name in features[:9]]
        chat = Point(("prod", "chat"), 3, 9, None, 0.0, "q")
        buckets = [*range(START - 7 * 3600, START + 3600, 60), HORIZON]
        tx.decisions.save_points(Seen("refusal_rate", at, [*points, chat]) for at in buckets)
        ended = T0 + timedelta(minutes=20)
        tx.incidents.save(incident(resolved_at=ended, mitigated_at=ended))


def killed(url: str, steps: int) -> bool:
    """Kill a process that ages after so many of its steps; False where it came to its end."""
    command = [sys.executable, "-m", "tests.ageing", url]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        for _ in range(steps):
            if child.stdout.readline() == "done\n":
                return False
        child.send_signal(signal.SIGKILL)
    assert child.returncode == -signal.SIGKILL
    return True


def test_kills_lose_nothing_that_counts(
    url: str, open_store: Callable[[], Store], tmp_path: Path
) -> None:
    """After each kill all that is young or an incident's is there, and at the end just that."""
    twin = Store(f"sqlite:///{tmp_path / 'twin.db'}")
    filled(twin)
    aged(twin)
    expected = [rows(twin, table) for table in AGEING]
    twin.close()
    assert len(expected[0]) == FEATURES
    assert len(expected[1]) > 400
    store = open_store()
    filled(store)
    before = len(rows(store, t.cells))
    for steps in (1, 3, 2):
        assert killed(url, steps)
        for table, wanted in zip((t.cells, t.late, t.incidents), (0, 2, 3), strict=True):
            assert rows(store, table) >= expected[wanted]
        assert len(rows(store, t.cells)) < before
    while killed(url, 1000):
        pass
    assert [rows(store, table) for table in AGEING] == expected
