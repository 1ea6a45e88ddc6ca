"""Counting is a function of the log: crashes, replays and zombies write the same rows."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from monitor.store import tables as t
from monitor.store.store import Store
from monitor.stream.cells import Progress
from monitor.stream.counting import Counter
from monitor.stream.signals import default_signals, plan
from monitor.stream.tally import Tally
from tests.making import T0, amend, arrival, document

TALLY = Tally(plan(default_signals()))
_TOPICS = itertools.count()


@dataclass(frozen=True, slots=True)
class Line:
    """One record: where its clock stands, whose id it carries, and what it is."""

    seconds: int
    key: int
    what: str
    stamp: str
    """Who wrote the record's time: `nobody`, the `producer` by its wrong clock, one whose clock is
    better (`another`), or the `broker`."""
    source: int


KINDS = ("plain", "refused", "check", "never", "eval", "amend", "rubbish", "leak", "flagged")
LINES = st.builds(
    Line,
    seconds=st.one_of(st.integers(0, 400), st.sampled_from([-200, 700, 5000, 90_000])),
    key=st.integers(0, 40),
    what=st.sampled_from(KINDS),
    stamp=st.sampled_from(["nobody", "producer", "producer", "producer", "another", "broker"]),
    source=st.integers(0, 2),
)


def made(line: Line) -> dict[str, Any]:
    """The event of a line."""
    found = _made(line)
    return {**found, "source": f"//gateway/{line.source}"}


def _made(line: Line) -> dict[str, Any]:
    at = T0 + timedelta(seconds=line.seconds)
    key, feature = f"e{line.key}", ("chat", "search")[line.key % 2]
    match line.what:
        case "refused":
            return document(at, key=key, feature=feature, status="refused")
        case "check":
            check = {"category": "content.hate", "result": "violation"}
            return document(at, key=key, feature=feature, policy_checks=[check])
        case "never":
            call = {"tool": "x", "decision": "denied", "status": "ok"}
            return document(at, key=key, feature=feature, tool_calls=[call])
        case "eval":
            return document(at, key=key, feature=feature, traffic_class="eval")
        case "amend":
            return amend(at, key=key, feature=feature, feedback={"rating": "down"})
        case _:
            return document(at, key=key, feature=feature)


class Log:
    """Records, fed to any counter from its own position on."""

    def __init__(self, lines: Sequence[Line]) -> None:
        self._lines = lines
        self._arrivals: dict[int, Any] = {}

    def __len__(self) -> int:
        return len(self._lines)

    def feed(self, counter: Counter, count: int) -> None:
        """Hand the next `count` records to a counter."""
        for offset in range(counter.next_offset, min(len(self), counter.next_offset + count)):
            line = self._lines[offset]
            seconds = line.seconds if line.stamp == "producer" else min(line.seconds, 400)
            stamp = T0 + timedelta(seconds=seconds)
            if line.what in {"rubbish", "leak"}:
                if line.what == "leak":
                    counter.leak("confirmed_leak", offset, int(stamp.timestamp() * 1000))
                counter.skip(offset, "quarantined")
                continue
            if offset not in self._arrivals:
                flags = ("confirmed_leak",) if line.what == "flagged" else ()
                decoded = arrival(
                    offset,
                    made(line),
                    stamp=None if line.stamp == "nobody" else stamp,
                    flags=flags,
                )
                self._arrivals[offset] = replace(decoded, appended=line.stamp == "broker")
            counter.add(self._arrivals[offset])


class Partition:
    """One partition's rows in a real store."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._topic = f"topic-{next(_TOPICS)}"

    def counter(self) -> Counter:
        """A new owner: from what is stored."""
        with self._store.read() as tx:
            progress = tx.stream.progress(1, self._topic, 0)
            return Counter(TALLY, progress or Progress(), tx.stream.words(1, self._topic, 0))

    def save(self, counter: Counter) -> None:
        """One transaction of an owner."""
        with self._store.write() as tx:
            tx.stream.save(1, self._topic, 0, counter.take())

    def rows(self) -> dict[str, list[Any]]:
        """Everything stored, but the offsets at which cells were written."""
        found = {}
        with self._store.engine.connect() as connection:
            for table in (t.cells, t.late, t.occurrences, t.vocabulary, t.progress):
                columns = [c for c in table.c if c.name not in {"topic_id", "handled_at"}]
                if table is t.cells:
                    columns = [c for c in columns if c.name != "hi"]
                query = sa.select(*columns).where(table.c.topic_id == self._topic)
                found[table.name] = sorted(map(str, connection.execute(query)))
        return found


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """A real store; each example has a partition of its own in it."""
    path: Path = tmp_path_factory.mktemp("replay") / "x.db"
    made_store = Store(f"sqlite:///{path}")
    yield made_store
    made_store.close()


STEPS = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(["read", "zombie reads"]), st.integers(1, 12)),
        st.tuples(st.sampled_from(["save", "crash", "zombie saves", "hand over"]), st.just(0)),
    ),
    max_size=40,
)
QUICK = settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@QUICK
@given(lines=st.lists(LINES, max_size=60), steps=STEPS)
def test_any_crash_and_any_zombie_leave_the_same_rows(
    store: Store, lines: list[Line], steps: list[tuple[str, int]]
) -> None:
    """Whoever read and saved what, in any order: once the log is read to its end, cells, late
    counts, never-events, labels, totals and progress are those of one undisturbed reader."""
    log = Log(lines)
    whole = Partition(store)
    reader = whole.counter()
    log.feed(reader, len(log))
    whole.save(reader)

    other = Partition(store)
    owner = zombie = other.counter()
    for step, count in steps:
        match step:
            case "read":
                log.feed(owner, count)
            case "save":
                other.save(owner)
            case "crash":
                owner = other.counter()
            case "hand over":
                zombie, owner = owner, other.counter()
            case "zombie reads":
                log.feed(zombie, count)
            case _:
                other.save(zombie)
    log.feed(owner, len(log))
    other.save(owner)
    assert other.rows() == whole.rows()


@QUICK
@given(lines=st.lists(LINES, min_size=1, max_size=60), cut=st.integers(0, 60))
def test_the_end_of_a_recording_is_the_same_after_a_crash(
    store: Store, lines: list[Line], cut: int
) -> None:
    """A recording that was interrupted anywhere closes the same buckets at its end."""
    log = Log(lines)
    ends = []
    for stop in (len(log), cut):
        partition = Partition(store)
        counter = partition.counter()
        log.feed(counter, stop)
        partition.save(counter)
        again = partition.counter()
        log.feed(again, len(log))
        again.finish()
        partition.save(again)
        ends.append(partition.rows())
    assert ends[0] == ends[1]


@QUICK
@given(
    seconds=st.lists(st.integers(0, 300), min_size=1, max_size=50),
    delays=st.lists(st.floats(0, 14.9), min_size=50, max_size=50),
)
def test_order_within_the_lateness_does_not_matter(seconds: list[int], delays: list[float]) -> None:
    """Events that come less than the lateness after their turn count as if in order."""
    timed = sorted(
        (at, json.dumps(document(T0 + timedelta(seconds=at), key=f"n{number}")))
        for number, at in enumerate(seconds)
    )
    mixed = sorted((at + delay, at, body) for (at, body), delay in zip(timed, delays, strict=False))
    first = T0 - timedelta(minutes=5)
    totals, cells = [], []
    for bodies in ([body for _, body in timed], [body for _, _, body in mixed]):
        counter = Counter(TALLY, Progress())
        counter.add(arrival(0, document(first, key="first")))
        for offset, body in enumerate(bodies):
            counter.add(arrival(offset + 1, json.loads(body)))
        counter.finish()
        emission = counter.take()
        totals.append(emission.progress.totals)
        cells.append({bucket.start: bucket.base for bucket in emission.buckets})
    assert totals[0] == totals[1] == {"counted": len(seconds) + 1}
    assert cells[0] == cells[1]
