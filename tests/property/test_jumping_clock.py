"""A wall clock that is put back and forth: no page and no escalation stands still for it."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.alerting.routes import Route
from monitor.config.settings import Settings, resolve
from monitor.deliver import LONGEST_RETRY_S, Deliver
from monitor.incidents.model import Rung
from monitor.metrics import Metrics
from monitor.notify.channel import Message, Outcome, Retry, Sent, Unknown
from monitor.paging import Pager
from monitor.store.outbox import LEASE
from monitor.store.store import Store
from monitor.timers import AHEAD, PUT_BACK, TOGETHER_S, Hands, counts_from, run_timers
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
        self.deliver = Deliver(self.store, self.phones, self.pager, Metrics(), self.wall)

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
@settings(max_examples=15, deadline=None)
def test_no_page_waits_longer_than_its_longest_wait(
    jumps: list[tuple[int, int]], answer: Outcome
) -> None:
    """Between two attempts lies no more than the back-off's cap, wherever the wall clock goes."""
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
    assert max(gaps) <= LONGEST_RETRY_S + LEASE.total_seconds() + 2 * TICK_S


@given(jumps=JUMPS, watched=st.booleans())
@settings(max_examples=20, deadline=None)
def test_no_rung_is_late_by_the_size_of_a_jump(jumps: list[tuple[int, int]], watched: bool) -> None:
    """A jump that we saw delays nothing; one that nobody saw costs the rung's own time once more.

    A jump forward makes a rung early, as ever.
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
    if not any(by > 0 for _, by in jumps):
        assert rung_s >= RUNG_S


@given(
    st.lists(st.tuples(st.floats(0, 90), st.floats(-9e4, 9e4)), max_size=10),
    st.integers(0, 100_000),
)
def test_hands_see_a_clock_put_back_and_nothing_else(
    looks: list[tuple[float, float]], paged_s: int
) -> None:
    """What is seen is what it was put back by; what counts from a time never gets later by it."""
    wall, steady_s = T0, 0.0
    hands = Hands(lambda: steady_s)
    assert hands.put_back(wall) == timedelta()
    for lasts, jump in looks:
        looked = wall
        wall += timedelta(seconds=lasts + jump)
        steady_s += lasts
        by = hands.put_back(wall)
        seen = jump < -PUT_BACK.total_seconds() - 0.001 and lasts < TOGETHER_S - 0.001
        assert not by or abs(by.total_seconds() + jump) < 0.01
        assert by or not seen
        paged_at = T0 + timedelta(seconds=paged_s)
        counted = counts_from(paged_at, wall, by, looked)
        assert counted <= paged_at
        assert counted <= wall + AHEAD
        assert counted == paged_at or by or paged_at > wall + AHEAD
