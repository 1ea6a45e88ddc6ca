"""The loops of a process, and how they end."""

from __future__ import annotations

import threading
from pathlib import Path

from monitor.metrics import Metrics
from monitor.processes.loops import Loops
from monitor.watchdog import Watchdog

LATE_S = 5.0


def test_a_process_without_loops_waits_to_be_told_to_stop(tmp_path: Path) -> None:
    """A control process that only serves people stays until its supervisor ends it."""
    stopping = threading.Event()
    loops = Loops(Metrics(), Watchdog(60.0, tmp_path / "stacks"), stopping)
    loops.start({})
    joining = threading.Thread(target=loops.join)
    joining.start()
    joining.join(1.0)
    assert joining.is_alive()
    stopping.set()
    joining.join(LATE_S)
    assert not joining.is_alive()
    assert not loops.broken
