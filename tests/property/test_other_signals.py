"""By whichever signals it is read and judged, in any order: each bucket is judged once, whole."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from monitor.completeness import complete_until
from monitor.store.store import Store
from monitor.stream.cells import Arrival, Progress
from monitor.stream.counting import Counter
from monitor.stream.signals import default_signals, plan
from monitor.stream.tally import Tally
from tests.making import T0, arrival, document

_REFUSALS = next(one for one in default_signals() if one.name == "refusal_rate")
_ADDED = msgspec.structs.replace(_REFUSALS, name="mine", n=_REFUSALS.k)
PLANS = (plan(default_signals()), plan((_ADDED, *default_signals())))
TALLIES = tuple(Tally(one) for one in PLANS)
PARTITIONS = (0, 1)
SECONDS = 900
_TOPICS = itertools.count()

LOGS = st.lists(
    st.tuples(st.integers(0, 60), st.sampled_from(["answered", "refused"])), min_size=8, max_size=25
)
WHICH = st.sampled_from([0, 1])


@dataclass(frozen=True, slots=True)
class Turn:
    """What befalls one partition, and then the decider: each thing or not."""

    number: int
    owner: int | None
    """The plan of a new one; the one before it is killed, or only thought to be."""
    reads: int
    saves: bool
    old_saves: bool
    decides: int | None


TURNS = st.lists(
    st.builds(
        Turn,
        number=st.sampled_from(PARTITIONS),
        owner=st.none() | WHICH,
        reads=st.integers(0, 8),
        saves=st.booleans(),
        old_saves=st.booleans(),
        decides=st.none() | WHICH,
    ),
    min_size=4,
    max_size=25,
)


class Log:
    """Records that come in order, each so many seconds after the one before."""

    def __init__(self, gaps: list[tuple[int, str]]) -> None:
        self.arrivals: list[Arrival] = []
        at = T0
        for gap, status in (*gaps, (SECONDS, "answered")):
            at = min(at + timedelta(seconds=gap), T0 + timedelta(seconds=SECONDS))
            offset = len(self.arrivals)
            made = document(at, key=f"e{offset}", status=status)
            self.arrivals.append(arrival(offset, made, stamp=at))

    def feed(self, counter: Counter, count: int) -> None:
        """Hand the next `count` records to a counter."""
        for one in self.arrivals[counter.next_offset :][:count]:
            counter.add(one)


class Topic:
    """Two partitions in a real store, who owns them, and what was judged."""

    def __init__(self, store: Store, logs: list[Log]) -> None:
        self._store = store
        self._logs = logs
        self._id = f"topic-{next(_TOPICS)}"
        self._owners: dict[int, tuple[int, Counter]] = {}
        self._before: dict[int, tuple[int, Counter]] = {}
        self.judged: dict[int, tuple[int, int]] = {}
        with store.write() as tx:
            at = T0 + timedelta(seconds=next(_TOPICS))
            tx.stream.known(self._id, self._id, PARTITIONS, at)
            tx.stream.liveness(self._id, self._id, [(n, 0, 1) for n in PARTITIONS], at)

    def own(self, number: int, which: int) -> None:
        """A new owner, by the signals of plan `which`."""
        with self._store.write() as tx:
            key = (tx.stream.pipeline(PLANS[which], T0), self._id, number)
            tx.heirs.inherit(PLANS[which], *key)
            progress, words = tx.stream.progress(*key), tx.stream.words(*key)
        if number in self._owners:
            self._before[number] = self._owners[number]
        self._owners[number] = (which, Counter(TALLIES[which], progress or Progress(), words))

    def read(self, number: int, count: int) -> None:
        """The owner reads on."""
        self._logs[number].feed(self._owners[number][1], count)

    def save(self, number: int, *, old: bool = False) -> None:
        """The owner writes, or the one before it that knows of nothing."""
        owner = (self._before if old else self._owners).get(number)
        if owner is not None:
            with self._store.write() as tx:
                pipeline = tx.stream.pipeline(PLANS[owner[0]], T0)
                tx.stream.save(pipeline, self._id, number, owner[1].take())

    def decide(self, which: int) -> None:
        """Judge what is complete, by the signals of plan `which`."""
        chosen, now = PLANS[which], T0 + timedelta(days=1)
        refused = chosen.numerators["refusal_rate"]
        with self._store.write() as tx:
            pipeline = tx.stream.pipeline(chosen, T0)
            position = tx.heirs.position(pipeline, chosen.bucket_s)
            end = complete_until(tx.stream.partitions(pipeline), now)
            if end is None or end <= (position or 0):
                return
            for bucket, found in tx.stream.counts(pipeline, position or 0, end).items():
                assert bucket not in self.judged, "twice"
                self.judged[bucket] = (
                    sum(cell[0] for cell in found.base.values()),
                    sum(cell[refused] for cell in found.base.values()),
                )
            tx.decisions.move(pipeline, end, now)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """A real store."""
    made = Store(f"sqlite:///{tmp_path / 'x.db'}")
    yield made
    made.close()


def whole(store: Store, logs: list[Log]) -> dict[int, tuple[int, int]]:
    """What is judged by one undisturbed reader."""
    topic = Topic(store, logs)
    for number in PARTITIONS:
        topic.own(number, 0)
        topic.read(number, len(logs[number].arrivals))
        topic.save(number)
    topic.decide(0)
    return topic.judged


def emptied(store: Store) -> None:
    """Positions are the installation's: each example has its own."""
    with store.engine.begin() as connection:
        for table in ("position", "cells", "progress", "partitions", "snapshots"):
            connection.exec_driver_sql(f"DELETE FROM {table}")


@settings(
    max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(first=LOGS, second=LOGS, turns=TURNS, last=WHICH)
def test_each_bucket_is_judged_once_and_whole(
    store: Store,
    first: list[tuple[int, str]],
    second: list[tuple[int, str]],
    turns: list[Turn],
    last: int,
) -> None:
    """Owners that are killed and follow each other by one set of signals or another, one partition
    by these and one by those, an owner that wakes up late, and a decider of either kind."""
    logs = [Log(first), Log(second)]
    emptied(store)
    expected = whole(store, logs)
    emptied(store)
    topic = Topic(store, logs)
    for number in PARTITIONS:
        topic.own(number, 0)
    for turn in turns:
        if turn.owner is not None:
            topic.own(turn.number, turn.owner)
        topic.read(turn.number, turn.reads)
        if turn.saves:
            topic.save(turn.number)
        if turn.old_saves:
            topic.save(turn.number, old=True)
        if turn.decides is not None:
            topic.decide(turn.decides)
    for number in PARTITIONS:
        topic.own(number, last)
        topic.read(number, len(logs[number].arrivals))
        topic.save(number)
    topic.decide(last)
    assert topic.judged == expected
