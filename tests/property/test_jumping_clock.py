"""A wall clock that is put back and forth: no page and no escalation stands still for it."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from monitor.alerting.routes import Route
from monitor.config.settings import Settings, resolve
from monitor.deliver import LONGEST_RETRY_S, Deliver
from monitor.incidents.model import Rung
from monitor.metrics import Metrics
from monitor.notify.channel import Message, Outcome, Retry, Sent, Unknown
from monitor.paging import Pager
from monitor.store.outbox import LEASE
from monitor.store.store import Store, StoreUnavailable
from monitor.timers import AHEAD, JUMP, TOGETHER_S, Hands, counts_from, run_timers
from tests.making import T0, incident

TICK_S = 20.0
RUNG_S = 900
POLICY = replace(
    resolve(Settings(profile="loud")).policy,
    route=Route(receivers=("oncall",)),
    escalation=(Rung(RUNG_S, ("second",)),),
)
JUMPS = st.lists(
    st.tuples(st.integers(0, 60), st.sampled_from([-86400, -7200, -600, -60, 60, 7200])),
    max_size=4,
)
"""(tick, seconds by which the wall clock jumps then)."""


class Phone:
    """A provider that says what the test tells it to; `tried` are steady seconds."""

    kind = "log"

    def __init__(self, machine: Machine, name: str) -> None:
        self.name = name
        self.machine = machine
        self.tried: list[float] = []

    def send(self, message: Message, now: datetime) -> Outcome:
        self.tried.append(self.machine.steady_s)
        return self.machine.says

    def close(self) -> None:
        """Nothing is held."""


class Machine:
    """Timers and deliveries of one machine: time passes, and its wall clock is set by somebody."""

    def __init__(self, folder: Path) -> None:
        self.steady_s = 0.0
        self.off_s = 0.0
        self.says: Outcome = Sent()
        self.store = Store(f"sqlite:///{folder / 'x.db'}")
        self.pager = Pager(POLICY)
        self.phones = {name: Phone(self, name) for name in ("oncall", "second")}
        self.hands = self.look_anew()
        self.deliver = Deliver(
            self.store,
            self.phones,
            self.pager,
            Metrics(),
            self.wall,
            steady=lambda: self.steady_s,
        )

    def look_anew(self) -> Hands:
        return Hands(lambda: self.steady_s)

    def wall(self) -> datetime:
        return T0 + timedelta(seconds=self.steady_s + self.off_s)

    def page(self) -> None:
        made = incident()
        with self.store.write() as tx:
            tx.incidents.save(made)
            self.pager.page(tx, made, self.wall(), "test")

    def tick(self) -> None:
        self.steady_s += TICK_S
        with self.store.write() as tx:
            run_timers(tx, self.pager, self.wall(), hands=self.hands)
        self.deliver.step(self.wall())
        self.deliver.settle()

    def close(self) -> None:
        self.deliver.close()
        self.store.close()


@given(jumps=JUMPS, answer=st.sampled_from([Retry("503"), Retry("429", 1e9), Unknown("none")]))
@example(jumps=[(1, -60), (3, -60)], answer=Retry("429", 1e9))
@settings(max_examples=15, deadline=None)
def test_no_page_waits_longer_than_its_longest_wait(
    jumps: list[tuple[int, int]], answer: Outcome
) -> None:
    """Between two attempts lies no more than the back-off's cap, and what the wall clock was put
    back by meanwhile; that adds the cap at most, wherever the clock goes."""
    with tempfile.TemporaryDirectory() as folder:
        machine = Machine(Path(folder))
        machine.says = answer
        machine.page()
        at = dict(jumps)
        for tick in range(80):
            machine.off_s += at.get(tick, 0)
            if machine.wall() - T0 > timedelta(hours=20):
                break  # a page of a day ago is given up
            machine.tick()
        tried = [0.0, *machine.phones["oncall"].tried, machine.steady_s]
        machine.close()
    gaps = [after - before for before, after in pairwise(tried)]
    put_back = min(LONGEST_RETRY_S, sum(-by for _, by in jumps if by < 0))
    assert max(gaps) <= LONGEST_RETRY_S + put_back + LEASE.total_seconds() + 2 * TICK_S


@given(jumps=JUMPS, watched=st.booleans())
@example(jumps=[(1, -60)], watched=True)
@settings(max_examples=20, deadline=None)
def test_no_rung_is_late_by_the_size_of_a_jump(jumps: list[tuple[int, int]], watched: bool) -> None:
    """A jump that we saw moves nothing; one that nobody saw costs the rung's own time once more.

    Forward, a jump that nobody saw makes a rung early: it looks like time that went by.
    """
    with tempfile.TemporaryDirectory() as folder:
        machine = Machine(Path(folder))
        machine.page()
        machine.tick()
        began = 0.0
        at = dict(jumps)
        for tick in range(400):
            by = at.get(tick, 0)
            machine.off_s += by
            if by and not watched:
                machine.hands = machine.look_anew()  # another decides from now on
            if by < 0:
                began = began if watched else machine.steady_s
            machine.tick()
            if machine.phones["second"].tried:
                break
        machine.close()
    (rung_s,) = machine.phones["second"].tried
    lost = 0.0 if watched else RUNG_S + AHEAD.total_seconds()
    assert rung_s <= max(began, 0.0) + RUNG_S + lost + 2 * TICK_S
    if watched or not any(by > 0 for _, by in jumps):
        assert rung_s >= RUNG_S


@given(
    st.lists(st.tuples(st.floats(0, 90), st.floats(-9e4, 9e4)), max_size=10),
    st.integers(0, 100_000),
)
def test_hands_see_a_clock_that_is_set_and_nothing_else(
    looks: list[tuple[float, float]], paged_s: int
) -> None:
    """What is seen is what it was set by; what counts from a time is moved by no more than that."""
    wall, steady_s = T0, 0.0
    hands = Hands(lambda: steady_s)
    assert not hands.look(wall).by
    for lasts, jump in looks:
        wall += timedelta(seconds=lasts + jump)
        steady_s += lasts
        seen = hands.look(wall)
        far = abs(jump) > JUMP.total_seconds() + 0.001 and lasts < TOGETHER_S - 0.001
        assert not seen.by or abs(seen.by.total_seconds() - jump) < 0.01
        assert seen.by or not far
        paged_at = T0 + timedelta(seconds=paged_s)
        counted = counts_from(paged_at, wall, seen)
        assert counted <= paged_at + max(seen.by, timedelta())
        assert counted <= wall + AHEAD
        assert counted == paged_at or seen.by or paged_at > wall + AHEAD


LADDER = (Rung(900, ("second",)), Rung(1800, ("third",)))


@dataclass
class Desk:
    """A page ten seconds old with two rungs to come, and clocks that a test moves."""

    store: Store
    now: datetime = T0
    steady_s: float = 0.0

    def __post_init__(self) -> None:
        self.pager = Pager(replace(POLICY, escalation=LADDER))
        self.hands = Hands(lambda: self.steady_s, lambda: self.now)
        with self.store.write() as tx:
            tx.incidents.save(incident())
            self.pager.page(tx, incident(), self.now, "test")
        self.go(0)
        self.go(10)

    def go(self, seconds: float, *, set_by: float = 0.0) -> None:
        """Time passes and somebody sets the clock; then the timers run."""
        self.steady_s += seconds
        self.now += timedelta(seconds=seconds + set_by)
        self.turn(self.now)

    def turn(self, now: datetime) -> None:
        with self.store.write() as tx:
            run_timers(tx, self.pager, now, hands=self.hands)

    def fail(self) -> None:
        with self.store.write() as tx:
            run_timers(tx, self.pager, self.now, hands=self.hands)
            raise StoreUnavailable("it went away")

    def rung(self) -> list[str]:
        with self.store.read() as tx:
            return [each.receiver for each in tx.outbox.of_incident(incident().uuid)][1:]


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    store = Store(f"sqlite:///{tmp_path / 'x.db'}")
    yield Desk(store)
    store.close()


def test_a_clock_put_forward_rings_nobody_early(desk: Desk) -> None:
    """Each rung comes after its own time, and the timeline says what was done."""
    desk.go(0.2, set_by=3600)
    for _ in range(3):
        desk.go(0.2)
    assert desk.rung() == []
    with desk.store.read() as tx:
        (told,) = [
            line.entry.text
            for line in tx.incidents.timeline(incident().uuid)
            if line.entry.kind == "CLOCK"
        ]
    assert told == "the clock was put forward: what was paged counts as paged 3600 s later"
    desk.go(880)
    assert desk.rung() == []
    desk.go(20)
    assert desk.rung() == ["second"]
    desk.go(900)
    assert desk.rung() == ["second", "third"]


def test_what_is_really_late_rings_at_once(desk: Desk) -> None:
    """A daemon that was down or stopped, or whose machine slept, for twenty minutes saw both clocks
    go on: that is no jump."""
    desk.go(1200)
    assert desk.rung() == ["second"]
    desk.hands = Hands(lambda: desk.steady_s, lambda: desk.now)
    desk.go(1200)
    assert desk.rung() == ["second", "third"]


def test_a_stop_between_the_loops_look_at_the_clock_and_ours_is_no_jump(desk: Desk) -> None:
    """A loop that was stopped, or waited for the store, with its `now` in hand rings what came due
    meanwhile as soon as it looks again."""
    for stopped_s in (30, 900):
        stale = desk.now
        desk.steady_s += stopped_s
        desk.now += timedelta(seconds=stopped_s)
        desk.turn(stale)
    desk.go(0.2)
    assert desk.rung() == ["second"]


def test_a_jump_whose_transaction_failed_is_seen_again(desk: Desk) -> None:
    """What was dated anew and then rolled back is dated by the next call."""
    desk.steady_s += 1
    desk.now += timedelta(seconds=3601)
    before, desk.hands = desk.hands, desk.hands.copy()
    with pytest.raises(StoreUnavailable):
        desk.fail()
    desk.hands = before
    desk.go(0.2)
    assert desk.rung() == []
    desk.go(890)
    assert desk.rung() == ["second"]
