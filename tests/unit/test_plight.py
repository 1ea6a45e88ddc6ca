"""What a process says of the store that refuses its work, and what the auditor hears of it."""

from __future__ import annotations

import threading
from datetime import datetime
from pathlib import Path

import pytest

from monitor.metrics import Metrics
from monitor.processes import loops as loops_module
from monitor.processes import plight
from monitor.processes.loops import Loops
from monitor.processes.plight import BUSY_S, QUIET_S, Plight, Plights, longest
from monitor.store.errors import StoreBusy, StoreUnavailable
from monitor.watchdog import Watchdog

LATE_S = 10.0


def test_the_one_that_lasts_longest_is_told(tmp_path: Path) -> None:
    """From the first refusal to the last, with what was said last; steps between two of them, in
    which is prepared what is refused again, do not end it, and a quiet time does."""
    control, ingest = Plights(tmp_path / "control"), Plights(tmp_path / "ingest-0")
    assert longest(tmp_path) is None
    control.suffer("decide", "no room", 5.0)
    ingest.suffer("ingest", "no room", 7.0)
    control.recover("decide", 8.0)
    control.suffer("decide", "no right", 9.0)
    found = Plight(process="control", loop="decide", since_s=5.0, last_s=9.0, problem="no right")
    assert longest(tmp_path) == found
    control.recover("deliver", 9.0 + QUIET_S)
    assert longest(tmp_path) == found
    control.recover("decide", 9.0 + QUIET_S)
    last = longest(tmp_path)
    assert last is not None
    assert (last.process, last.since_s, last.last_s) == ("ingest-0", 7.0, 7.0)


def test_a_process_that_is_started_anew_begins_anew(tmp_path: Path) -> None:
    """What it said before it was killed is over."""
    Plights(tmp_path / "control").suffer("decide", "no room", 5.0)
    Plights(tmp_path / "control")
    assert longest(tmp_path) is None


def test_a_folder_that_is_not_there_breaks_no_loop(tmp_path: Path) -> None:
    """Nobody hears of it then, and the loop goes on; a torn file hides no other."""
    Plights(tmp_path / "none" / "control").suffer("decide", "no room", 5.0)
    assert longest(tmp_path / "none") is None
    (tmp_path / "control").write_bytes(b"[{")
    Plights(tmp_path / "ingest-0").suffer("ingest", "no room", 7.0)
    assert longest(tmp_path) is not None


@pytest.mark.parametrize(("problem", "usual_s"), [(StoreUnavailable, 0.0), (StoreBusy, BUSY_S)])
def test_a_loop_tells_what_is_refused_until_a_step_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, problem: type[StoreUnavailable], usual_s: float
) -> None:
    """A refusal is trouble at once; a store that others write to is only when it lasts."""
    monkeypatch.setattr(loops_module, "BACKOFF_S", 0.01)
    monkeypatch.setattr(plight, "QUIET_S", 0.0)
    stopping, refused, well = threading.Event(), threading.Event(), threading.Event()
    told: list[Plight | None] = []

    def step(_: datetime) -> bool:
        if not refused.is_set():
            refused.set()
            raise problem("no room")
        if not told:
            told.append(longest(tmp_path))
        else:
            well.set()
        return False

    loops = Loops(
        Metrics(), Watchdog(60.0, tmp_path / "stacks"), stopping, Plights(tmp_path / "control")
    )
    loops.start({"decide": step})
    assert well.wait(LATE_S)
    stopping.set()
    loops.join()
    (one,) = told
    assert one is not None
    assert one.lasted_s == -usual_s
    assert longest(tmp_path) is None
