"""A step that waited for its turn is asked about again: what could happen twice does not begin."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
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
        assert one.bench.runs._begin(Asked(run.id, effect, one.post.epoch)).why == ""
        assert "begun before" in one.bench.runs._begin(Asked(run.id, effect, one.post.epoch)).why
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


def its_turn_comes(one: Machine) -> None:
    """Wait until what waited has left the pool's queue."""
    wait_for(one.bench.runs._carrier._pool._work_queue.empty, "its turn comes")


def test_a_step_whose_begin_is_written_while_the_process_ends_is_not_carried_out(
    machines: tuple[Machine, Machine],
) -> None:
    """It would take as long as it likes, or be ended in its midst: it is not started, which is
    known, so that nobody has to find out."""
    one, other = machines
    with ExitStack() as held:
        with one.bench.busy():
            ref = one.bench.started()
            held.enter_context(other.bench.store.write())
        its_turn_comes(one)
        ended = threading.Thread(target=one.bench.runs.close)
        ended.start()
        wait_for(one.bench.runs._carrier._closing.is_set, "it is told to end")
    ended.join()
    assert (other.bench.state(ref), other.bench.marks()) == ("failed", 0)
    assert any("not carried out: the daemon ended" in text for text in other.bench.told())


def test_a_step_whose_turn_meets_a_lapsed_lease_runs_once_it_is_renewed(
    machines: tuple[Machine, Machine], clock: Hands
) -> None:
    """Nobody else took the job meanwhile, so it is ours in the same epoch."""
    one, _ = machines
    with one.bench.busy():
        ref = one.bench.started()
        clock.move(LEASE.total_seconds() + 1)
    its_turn_comes(one)
    wait_for(lambda: not one.bench.runs._carrier._waiting, "it is turned down")
    for _ in range(2):
        one.turn()
    assert one.post.epoch == 1
    wait_for(lambda: one.bench.state(ref) == "succeeded", "it is carried out")
    one.bench.close()
    assert one.bench.marks() == 1


PATIENT = '#!/bin/sh\nuntil [ -e "$1.go" ]; do sleep 0.1; done\necho once >> "$1"\n'


def under_way(one: Machine) -> tuple[str, Path]:
    """An incident whose step is being carried out, and what it waits for."""
    one.bench.mark.with_name("mark").write_text(PATIENT)
    ref = one.bench.started()
    wait_for(one.bench.runs._carrier.under_way, "it runs")
    return ref, one.bench.mark.with_name("marked.go")


def test_an_outcome_that_could_not_be_written_is_written_when_the_store_is_back(
    tmp_path: Path, machines: tuple[Machine, Machine], caplog: pytest.LogCaptureFixture
) -> None:
    """Nobody has to find out what the daemon knows."""
    one, _ = machines
    ref, go = under_way(one)
    with away(tmp_path, machines):
        go.touch()
        wait_for(lambda: "is not recorded" in caplog.text, "it is not written")
        assert one.bench.marks() == 1
    wait_for(lambda: one.bench.state(ref) == "succeeded", "it is written")


def test_an_outcome_that_is_another_owners_to_ask_about_is_on_the_timeline(
    machines: tuple[Machine, Machine], clock: Hands
) -> None:
    """The new owner asks a person what became of the step, and the person can read it there."""
    one, other = machines
    ref, go = under_way(one)
    clock.move(LEASE.total_seconds() + 1)
    other.turn()
    assert other.bench.state(ref) == "unknown"
    go.touch()
    said = "attempt 1 of step mark was carried out, status 0"
    wait_for(lambda: said in other.bench.said(), "it is said")
    assert other.bench.state(ref) == "unknown", "the new owner's word stands"


@contextmanager
def away(folder: Path, machines: tuple[Machine, Machine]) -> Iterator[None]:
    """The store does not answer meanwhile."""
    database, aside = folder / "x.db", folder / "away.db"
    for machine in machines:
        machine.bench.store.engine.dispose()
    database.rename(aside)
    database.write_bytes(b"no database, but long enough to look like one" * 9)
    yield
    for machine in machines:
        machine.bench.store.engine.dispose()
    aside.rename(database)


def test_nothing_begins_while_the_store_does_not_answer(
    tmp_path: Path, machines: tuple[Machine, Machine], clock: Hands
) -> None:
    """Whether it may is not known; when the store is back in time it is carried out, once."""
    one, _ = machines
    with ExitStack() as stack:
        with one.bench.busy():
            ref = one.bench.started()
            stack.enter_context(away(tmp_path, machines))
        its_turn_comes(one)
        clock.move(5)
        assert one.bench.marks() == 0
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

    def told() -> bool:
        with one.bench.store.read() as tx:
            (incident,) = tx.incidents.open()
            said = [e.entry.text for e in tx.incidents.timeline(incident.uuid)]
        return any("because the run was aborted" in text for text in said)

    wait_for(told, "the timeline says why it ended", 30)
    assert one.bench.marks() == 1
    assert one.bench.state(ref) == "unknown"
