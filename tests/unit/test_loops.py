"""The loops of a process, and how they end."""

from __future__ import annotations

import signal
import threading
from datetime import datetime
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


def test_a_signal_that_another_thread_gets_ends_the_loops(tmp_path: Path) -> None:
    """A main thread that waits for its loops handles a SIGTERM that the kernel gave to another."""
    stopping, late = threading.Event(), threading.Event()
    turned = threading.Event()
    loops = Loops(Metrics(), Watchdog(60.0, tmp_path / "stacks"), stopping)

    def step(_now: datetime) -> bool:
        turned.set()
        return False

    def tell() -> None:
        turned.wait()
        other = next(one for one in threading.enumerate() if one.name == "turning")
        assert other.ident is not None
        signal.pthread_kill(other.ident, signal.SIGTERM)
        if not stopping.wait(LATE_S):
            late.set()
            stopping.set()

    before = signal.signal(signal.SIGTERM, lambda *_: stopping.set())
    try:
        telling = threading.Thread(target=tell)
        telling.start()
        loops.start({"turning": step})
        loops.join()
        telling.join()
    finally:
        signal.signal(signal.SIGTERM, before)
    assert not late.is_set()
