"""A step that waited for its turn is asked about again: what could happen twice does not begin."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest

from monitor.carrier import Asked
from monitor.config.settings import resolve
from monitor.processes.loops import Step, owned
from monitor.processes.posts import LEASE, Post
from monitor.runs import opened
from runbooks.allow import NOTHING
from runbooks.engine import unbegun
from tests.integration.process_stage import wait_for
from tests.integration.run_stage import Bench, bench


@dataclass
class Hands:
    """A clock that a test moves."""

    at: datetime

    def now(self) -> datetime:
        return self.at

    def move(self, seconds: float) -> None:
        self.at += timedelta(seconds=seconds)


@dataclass
class Machine:
    """One process with the lease of the runs, turned by the test as its loops would."""

    bench: Bench
    clock: Hands
    step: Step

    @property
    def post(self) -> Post:
        assert isinstance(self.bench.post, Post)
        return self.bench.post

    def turn(self) -> None:
        self.post.look(self.clock.at)
        self.step(self.clock.at)


@pytest.fixture
def clock() -> Hands:
    return Hands(datetime.now(UTC))


@pytest.fixture
def machines(tmp_path: Path, clock: Hands) -> Iterator[tuple[Machine, Machine]]:
    """Two processes on one store, the first of them owns the runs."""
    with ExitStack() as stack:

        def machine(name: str) -> Machine:
            made = bench(tmp_path, name, clock.now)
            stack.callback(made.close)
            assert isinstance(made.post, Post)

            def step(now: datetime) -> bool:
                made.runs.step(now)
                return True

            return Machine(made, clock, owned(made.post, step, made.runs.forget))

        one, other = machine("a"), machine("b")
        one.turn()
        other.turn()
        assert (one.post.held, other.post.held) == (True, False)
        yield one, other


def told(made: Bench, count: int) -> None:
    """Wait until so many attempts are said not to have been carried out."""
    wait_for(lambda: len(made.told()) >= count, f"{count} attempts are told")


def overdue(machine: Machine) -> str:
    """An incident whose confirmed step waited until its deadline was over."""
    ref = machine.bench.started()
    for _ in range(15):
        machine.clock.move(3)
        machine.turn()
    assert machine.bench.state(ref) == "failed"
    assert any("nobody could begin it in time" in text for text in machine.bench.told())
    return ref


def test_what_waits_when_its_owner_is_lost_runs_once_at_the_next(
    machines: tuple[Machine, Machine], clock: Hands
) -> None:
    """The pool hangs and another machine takes over: it finds the step not begun, and begins it;
    the first one, free again, does not."""
    one, other = machines
    with one.bench.busy():
        ref = one.bench.started()
        clock.move(LEASE.total_seconds() + 1)
        other.turn()
        assert other.post.held
        wait_for(lambda: other.bench.state(ref) == "succeeded", "the new owner runs it")
    one.bench.close()
    assert other.bench.marks() == 1
    assert other.bench.state(ref) == "succeeded", "the new owner's word stands"


def test_a_step_confirmed_before_the_owners_first_look_runs_once(
    machines: tuple[Machine, Machine], clock: Hands
) -> None:
    """Nobody owns the runs when it is confirmed, or their owner has not looked around yet: it is
    not taken for one that died with its process."""
    one, other = machines
    one.post.let_go()
    ref = other.bench.started()
    clock.move(3)
    other.post.look(clock.at)
    assert other.post.held
    early = other.bench.started()
    for _ in range(3):
        other.turn()
    wait_for(lambda: other.bench.state(ref) == "succeeded", "it is carried out")
    wait_for(lambda: other.bench.state(early) == "succeeded", "it is carried out")
    assert other.bench.marks() == 2


def test_a_step_that_was_begun_is_not_begun_by_the_next_owner(
    machines: tuple[Machine, Machine], clock: Hands
) -> None:
    """Whether it had an effect nobody knows: a person looks and says."""
    one, other = machines
    with one.bench.busy():
        ref = one.bench.started()
        with one.bench.store.read() as tx:
            run = tx.runs.live()[0]
        (effect,) = unbegun(*opened(run), clock.at, one.bench.configured.settings.runbooks.allow)
        assert one.bench.runs._begin(Asked(run.id, effect, one.post.epoch)) == ""
        assert "begun before" in one.bench.runs._begin(Asked(run.id, effect, one.post.epoch))
        clock.move(LEASE.total_seconds() + 1)
        other.turn()
        assert other.bench.state(ref) == "unknown"
    one.bench.close()
    assert other.bench.marks() == 0


def test_an_attempt_that_waited_too_long_has_failed_and_can_be_run_again(
    machines: tuple[Machine, Machine],
) -> None:
    """It was not carried out, which is more than `unknown` says; its turn passes it over, and the
    person's repeat runs once."""
    one, _ = machines
    with one.bench.busy():
        ref = overdue(one)
        one.bench.desk().start_run(ref, runbook="leave-a-mark")
        one.bench.desk().step(ref, number=1, action="run", confirm="y")
    wait_for(lambda: one.bench.state(ref) == "succeeded", "it is run again")
    assert one.bench.marks() == 1


def test_a_run_that_was_aborted_begins_nothing(machines: tuple[Machine, Machine]) -> None:
    """The abort came while the step waited for its turn."""
    one, _ = machines
    with one.bench.busy():
        ref = one.bench.started()
        one.bench.desk().abort_run(ref, reason="wrong place")
    told(one.bench, 1)
    assert one.bench.marks() == 0


def test_what_the_operator_no_longer_allows_does_not_begin(
    machines: tuple[Machine, Machine],
) -> None:
    """A reload took the command off the list while it waited."""
    one, _ = machines
    settings = one.bench.configured.settings
    none = msgspec.structs.replace(settings.runbooks, allow=NOTHING)
    with one.bench.busy():
        ref = one.bench.started()
        one.bench.runs.take(resolve(msgspec.structs.replace(settings, runbooks=none)), {})
    wait_for(lambda: one.bench.state(ref) == "failed", "it is said")
    assert one.bench.marks() == 0


def test_a_job_that_comes_back_runs_once_what_waited(
    machines: tuple[Machine, Machine], clock: Hands
) -> None:
    """It went and came back while the pool hung: what was asked before is asked for anew."""
    one, other = machines
    with one.bench.busy():
        ref = one.bench.started()
        clock.move(LEASE.total_seconds() + 1)
        other.post.look(clock.at)
        assert other.post.held
        other.post.let_go()
        one.turn()
        one.turn()
        assert one.post.epoch == 3
        assert one.bench.state(ref) == "running"
    wait_for(lambda: one.bench.state(ref) == "succeeded", "it is carried out")
    one.bench.close()
    assert one.bench.marks() == 1


def test_what_a_process_that_ends_did_not_begin_is_begun_by_the_next(
    machines: tuple[Machine, Machine], clock: Hands
) -> None:
    """After an orderly stop nobody has to find out whether it happened."""
    one, other = machines
    ended = threading.Thread(target=one.bench.runs.close)
    with one.bench.busy():
        ref = one.bench.started()
        ended.start()
        wait_for(one.bench.runs._carrier._closing.is_set, "it is told to end")
    ended.join()
    assert one.bench.marks() == 0
    one.post.let_go()
    clock.move(3)
    other.turn()
    wait_for(lambda: other.bench.state(ref) == "succeeded", "the next owner runs it")
    assert other.bench.marks() == 1


def test_a_process_that_ends_ends_its_command_in_time(machines: tuple[Machine, Machine]) -> None:
    """A command that would go on for 20 s is ended with it; nobody is left behind, and a person is
    asked what became of it."""
    one, other = machines
    (one.bench.mark.parent / "mark").write_text('#!/bin/sh\nsleep 20\necho once >> "$1"\n')
    ref = one.bench.started()
    wait_for(one.bench.runs._carrier.under_way, "it runs")
    began = time.monotonic()
    one.bench.runs.close()
    assert time.monotonic() - began < 9
    assert (other.bench.state(ref), other.bench.marks()) == ("unknown", 0)
    with other.bench.store.read() as tx:
        said = [e.entry.text for e in tx.incidents.timeline(tx.incidents.open()[0].uuid)]
    assert any("because the daemon ended" in text for text in said)


def test_nothing_begins_while_the_store_does_not_answer(
    tmp_path: Path, machines: tuple[Machine, Machine], clock: Hands
) -> None:
    """Whether it may is not known; when the store is back in time it is carried out, once."""
    one, _ = machines
    with one.bench.busy():
        ref = one.bench.started()
        for machine in machines:
            machine.bench.store.engine.dispose()
        (tmp_path / "x.db").rename(tmp_path / "away.db")
        (tmp_path / "x.db").write_bytes(b"no database, but long enough to look like one" * 9)
    queue = one.bench.runs._carrier._pool._work_queue
    wait_for(queue.empty, "its turn comes")
    clock.move(5)
    assert one.bench.marks() == 0
    one.bench.store.engine.dispose()
    (tmp_path / "away.db").rename(tmp_path / "x.db")
    wait_for(lambda: one.bench.state(ref) == "succeeded", "it is carried out")
    assert one.bench.marks() == 1


def test_an_abort_ends_the_command_that_runs(machines: tuple[Machine, Machine]) -> None:
    """Asked at another machine's desk, too; its outcome is unknown, and the timeline says why."""
    one, other = machines
    script = one.bench.mark.with_name("mark")
    script.write_text('#!/bin/sh\necho begun >> "$1"\nsleep 60\necho ended >> "$1"\n')
    ref = one.bench.started()
    wait_for(lambda: one.bench.marks() == 1, "it has begun")
    other.bench.desk().abort_run(ref, reason="wrong place")
    one.turn()
    wait_for(lambda: one.bench.runs._carrier.under_way() == [], "it is ended", 30)
    with one.bench.store.read() as tx:
        (incident,) = tx.incidents.open()
        said = [e.entry.text for e in tx.incidents.timeline(incident.uuid)]
    assert any("because the run was aborted" in text for text in said), said
    assert one.bench.marks() == 1
    assert one.bench.state(ref) == "unknown"
