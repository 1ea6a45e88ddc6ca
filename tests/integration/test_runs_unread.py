"""A run that this release cannot read stands still, and nothing stands still with it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from monitor.metrics import Metrics
from monitor.processes.loops import Loops
from monitor.processes.posts import Sole
from monitor.runs import Runs
from monitor.store.run_rows import RunRow
from monitor.views import DeskError
from monitor.watchdog import Watchdog
from tests.integration.process_stage import wait_for
from tests.integration.run_stage import Bench, bench

NOW = datetime(2026, 11, 23, tzinfo=UTC)


@pytest.fixture
def one(tmp_path: Path) -> Iterator[Bench]:
    made = bench(tmp_path, Sole())
    yield made
    made.close()


def _row(one: Bench, ref: str) -> RunRow:
    with one.store.read() as tx:
        incident = tx.incidents.by_number(int(ref.removeprefix("INC-")))
        assert incident is not None
        (row,) = tx.runs.of_incident(incident.uuid)
    return row


def _save(one: Bench, row: RunRow) -> None:
    with one.store.write() as tx:
        tx.runs.save(row)


def _started(one: Bench) -> str:
    """An incident whose run waits for a person."""
    desk = one.desk()
    ref = desk.declare(title="it burns", severity="SEV2").incident
    assert ref is not None
    desk.start_run(ref, runbook="leave-a-mark")
    return ref


BROKEN = [
    pytest.param({"body": b"{}"}, id="no-run"),
    pytest.param({"body": b"[" * 100_000}, id="deep"),
    pytest.param({"source": "schema: 0\n"}, id="runbook"),
    pytest.param({"source": ":"}, id="no-yaml"),
]


@pytest.mark.parametrize("changes", BROKEN)
def test_a_run_that_cannot_be_read_holds_up_no_other(
    one: Bench, changes: dict[str, bytes | str]
) -> None:
    """The others are worked on; it is told once, on its timeline and in the overview, and stays as
    it is written."""
    assert one.runs.health(None, NOW).state == "ok"  # type: ignore[arg-type] # it asks no store
    bad, good = _started(one), one.started()
    broken = replace(_row(one, bad), **changes)  # type: ignore[arg-type] # of the cases
    _save(one, broken)
    for _ in range(3):
        one.runs.step(datetime.now(UTC))
    wait_for(lambda: one.state(good) == "succeeded", "it is done")
    one.runs.forget()
    one.runs.step(datetime.now(UTC))
    assert _row(one, bad) == broken
    assert len([text for text in one.said() if "stands still" in text]) == 1
    health = one.runs.health(None, NOW)  # type: ignore[arg-type] # it asks no store
    assert (health.state, broken.id in health.text) == ("warn", True)
    assert one.desk().incident(bad).run is None


def test_a_run_goes_on_once_it_can_be_read(one: Bench) -> None:
    """Another release has written what this one knows again, or this is that release."""
    ref = one.started()
    written = _row(one, ref)
    newer = replace(written, body=written.body.replace(b'"format":1', b'"format":9'))
    assert newer != written
    _save(one, newer)
    other = Runs(one.store, one.runs._allow, one.clock, one.configured.plan)
    other.step(datetime.now(UTC))
    assert other.health(None, NOW).state == "warn"  # type: ignore[arg-type] # it asks no store
    _save(one, written)
    other.step(datetime.now(UTC))
    wait_for(lambda: one.state(ref) == "succeeded", "it is done")
    assert other.health(None, NOW).state == "ok"  # type: ignore[arg-type] # it asks no store
    other.close()


def test_a_run_that_cannot_be_read_ends_no_loop(one: Bench, tmp_path: Path) -> None:
    """The loops beside it are those that page: all turn on."""
    ref = one.started()
    _save(one, replace(_row(one, ref), source="schema: 0\n"))
    stopping, turns = threading.Event(), [0, 0]
    loops = Loops(Metrics(), Watchdog(60.0, tmp_path / "stacks"), stopping)
    runs = Runs(one.store, one.runs._allow, one.clock, one.configured.plan)

    def work(now: datetime) -> bool:
        runs.step(now)
        turns[0] += 1
        return False

    def deliver(_now: datetime) -> bool:
        turns[1] += 1
        return False

    loops.start({"runs": work, "deliver": deliver})
    wait_for(lambda: min(turns) > 2 or stopping.is_set(), "turns")
    stopping.set()
    loops.join()
    runs.close()
    assert not loops.broken
    assert min(turns) > 2


def test_a_person_may_give_up_a_run_that_cannot_be_read(one: Bench) -> None:
    """No step of it can be done; aborted it is out of the way of the next one, and still stored."""
    ref = _started(one)
    row = _row(one, ref)
    _save(one, replace(row, source="schema: 0\n"))
    desk = one.desk()
    with pytest.raises(DeskError, match="cannot be read"):
        desk.step(ref, number=1, action="run", confirm="y")
    desk.abort_run(ref, reason="not this release's")
    after = _row(one, ref)
    assert (after.live, after.state, after.body) == (False, "aborted", row.body)
    desk.start_run(ref, runbook="leave-a-mark")
    desk.step(ref, number=1, action="run", confirm="y")
    wait_for(lambda: one.state(ref) == "succeeded", "it is done")


def test_a_review_says_that_a_run_is_missing(one: Bench) -> None:
    """It is written all the same."""
    ref = _started(one)
    _save(one, replace(_row(one, ref), body=b"{}"))
    assert "a run that this release cannot read" in one.desk().review(ref, form="json")
