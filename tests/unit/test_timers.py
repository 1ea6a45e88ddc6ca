"""Timers with very many due at once: a call ends in its time, and the next ones do the rest."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from monitor.alerting.routes import Route
from monitor.config.settings import Settings, resolve
from monitor.incidents.model import Rung, State
from monitor.paging import Pager
from monitor.store.store import Store
from monitor.timers import Hands, run_timers
from tests.making import T0, incident, minutes

MANY = 1000
SECONDS = 1.0
LOOK_S = 0.004
"""What goes by on the steady clock between two looks at it: an incident's worth of work."""
AT_MOST_S = SECONDS + 5 * LOOK_S
PAGER = Pager(replace(resolve(Settings()).policy, route=Route(receivers=("oncall",))))


class Clocks:
    """A steady clock that moves with each look, and a wall clock that tests set."""

    def __init__(self) -> None:
        self.steady_s = 0.0
        self.hands = Hands(self.look)

    def look(self) -> float:
        self.steady_s += LOOK_S
        return self.steady_s

    def call(self, store: Store, now: datetime) -> float:
        """Run the timers once: how long it took."""
        began = self.steady_s
        with store.write() as tx:
            run_timers(tx, PAGER, now, seconds=SECONDS, hands=self.hands)
        return self.steady_s - began


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    made = Store(f"sqlite:///{tmp_path / 'x.db'}")
    yield made
    made.close()


def fill(store: Store, count: int, first: int = 1, **changes: object) -> None:
    """Open incidents."""
    with store.write() as tx:
        for number in range(first, first + count):
            tx.incidents.add(incident(uuid=f"{number}", number=number, **changes))


def closed(store: Store) -> int:
    """How many are."""
    with store.read() as tx:
        return len(tx.incidents.search(states=[State.CLOSED], limit=2 * MANY))


def told(store: Store) -> list[str]:
    """What timelines say of the clock."""
    with store.read() as tx:
        return [
            line.entry.text
            for one in tx.incidents.search(limit=2 * MANY)
            for line in tx.incidents.timeline(one.uuid)
            if line.entry.kind == "CLOCK"
        ]


def test_what_is_quiet_closes_in_several_calls(store: Store) -> None:
    """A thousand that close by themselves hold no other writer up for longer than a call's time."""
    fill(store, MANY, normal_at=T0 - minutes(120))
    clocks, done = Clocks(), [0]
    while done[-1] < MANY:
        assert clocks.call(store, T0) <= AT_MOST_S
        done.append(closed(store))
        assert done[-1] > done[-2]
    assert len(done) > 4


def test_what_is_quiet_keeps_no_rung_waiting(store: Store) -> None:
    """An escalation that is due is rung by the first call, whatever else there is to do."""
    fill(store, MANY, normal_at=T0 - minutes(120))
    rungs = (Rung(60, ("second",)),)
    fill(store, 1, first=MANY + 1, paged_at=T0 - minutes(5), escalation=rungs)
    Clocks().call(store, T0)
    assert closed(store) < MANY
    with store.read() as tx:
        rung = [queued.receiver for queued in tx.outbox.of_incident(f"{MANY + 1}")]
    assert rung == ["second"]


def test_a_clock_put_back_dates_all_at_once_and_tells_it_in_several_calls(store: Store) -> None:
    """No rung of a thousand waits for the timelines, and each of those says it once in the end."""
    fill(store, MANY, paged_at=T0, escalation=(Rung(7200, ("second",)),))
    clocks = Clocks()
    clocks.call(store, T0)
    back = T0 - minutes(60)
    assert clocks.call(store, back) <= AT_MOST_S
    with store.read() as tx:
        dated = {call.paged_at for call in tx.incidents.unanswered()}
    assert len(dated) == 1
    assert abs(dated.pop() - back) < timedelta(seconds=2 * SECONDS)
    said = [len(told(store))]
    while said[-1] < MANY:
        assert clocks.call(store, back) <= AT_MOST_S
        said.append(len(told(store)))
        assert said[-1] > said[-2]
    assert len(said) > 4
    clocks.call(store, back)
    assert len(told(store)) == MANY
