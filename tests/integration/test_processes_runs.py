"""Runbook runs with several processes: the owner carries out what any desk has written down."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from monitor.processes.posts import Sole
from tests.integration.process_stage import wait_for
from tests.integration.run_stage import Bench, Elsewhere, bench, now


@pytest.fixture
def two(tmp_path: Path) -> Iterator[tuple[Bench, Bench]]:
    """The owner of the runs, and a process that stands by."""
    with ExitStack() as stack:
        owner = bench(tmp_path, Sole())
        stack.callback(owner.close)
        standby = bench(tmp_path, Elsewhere())
        stack.callback(standby.close)
        yield owner, standby


def test_a_step_confirmed_at_a_standby_is_carried_out_once_by_the_owner(
    two: tuple[Bench, Bench],
) -> None:
    """The standby writes it down, the owner finds it in the row at its next step."""
    owner, standby = two
    owner.runs.step(now())
    desk = standby.desk()
    ref = desk.declare(title="it burns", severity="SEV2").incident
    assert ref is not None
    desk.start_run(ref, runbook="leave-a-mark")
    desk.step(ref, number=1, action="run", confirm="y")
    assert owner.marks() == 0
    for _ in range(3):
        owner.runs.step(now())
    wait_for(lambda: owner.state(ref) == "succeeded", "its outcome is recorded")
    owner.runs.step(now())
    assert owner.marks() == 1


def test_a_new_owner_carries_out_what_nobody_has_begun(two: tuple[Bench, Bench]) -> None:
    """Written down at a desk while nobody owned the runs: begun at its first look, once."""
    owner, standby = two
    desk = standby.desk()
    ref = desk.declare(title="it burns", severity="SEV2").incident
    assert ref is not None
    desk.start_run(ref, runbook="leave-a-mark")
    desk.step(ref, number=1, action="run", confirm="y")
    owner.runs.step(now())
    wait_for(lambda: owner.state(ref) == "succeeded", "its outcome is recorded")
    owner.runs.forget()
    owner.runs.step(now())
    assert (owner.state(ref), owner.marks()) == ("succeeded", 1)
