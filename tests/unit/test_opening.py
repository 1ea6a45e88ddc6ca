"""A burst of never-events is decided in sittings, so that nobody else waits for the store."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from monitor.config.settings import Settings, resolve
from monitor.incidents import actions
from monitor.incidents.model import Incident, State
from monitor.metrics import Metrics
from monitor.opening import FOLD_S, GAPS_NAMED, Certain
from monitor.paging import Pager
from monitor.store import tables as t
from monitor.store.finding_rows import GapRow
from monitor.store.store import Store
from monitor.stream.cells import Emission, Occurrence, Progress

T0 = datetime(2026, 11, 22, tzinfo=UTC)


def occurrence(number: int, source: str) -> Occurrence:
    """A never-event of a source."""
    at = T0 + timedelta(seconds=number)
    return Occurrence("rule", source, int(T0.timestamp()), number, at, {"feature": "chat"}, "e")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """With five hundred never-events of their own, and two more of the first source."""
    made = Store(f"sqlite:///{tmp_path / 'x.db'}")
    found = [occurrence(number, f"//{number % 500}") for number in range(502)]
    with made.write() as tx:
        tx.stream.save(1, "t", 0, Emission(Progress(), [], [], found, []))
    yield made
    made.close()


def test_a_sitting_ends_in_time_and_the_next_goes_on(store: Store) -> None:
    """Nothing is decided when there is no time, all of it when there is, each source once."""
    certain = Certain({}, Pager(resolve(Settings()).policy), Metrics())
    with store.write() as tx:
        assert not certain.never_events(tx, T0, seconds=-1.0)
        assert len(tx.stream.open_occurrences()) == 502
        assert certain.never_events(tx, T0)
        assert certain.never_events(tx, T0, seconds=-1.0)
        incidents = tx.incidents.open()
        assert len(incidents) == len({group for one in incidents for group in one.groups}) == 500
        again = [
            e.entry for e in tx.incidents.timeline(incidents[0].uuid) if e.entry.kind == "NEVER"
        ]
    assert [entry.occurred_at for entry in again] == [T0 + timedelta(seconds=500)]


def test_two_never_events_of_one_moment_are_two_incidents(tmp_path: Path) -> None:
    """What somebody has resolved stays as it is, when the next one bears the same time."""
    made = Store(f"sqlite:///{tmp_path / 'twice.db'}")
    certain = Certain({}, Pager(resolve(Settings()).policy), Metrics())
    ended: list[Incident] = []
    for offset in (1, 2):
        one = replace(occurrence(0, "//s"), offset=offset)
        with made.write() as tx:
            tx.stream.save(1, "t", 0, Emission(Progress(hi=offset), [], [], [one], []))
            certain.never_events(tx, T0)
            (opened,) = tx.incidents.open()
            ended.append(replace(opened, state=State.RESOLVED, resolved_at=T0, verdict="attack"))
            tx.incidents.save(ended[-1])
    with made.read() as tx:
        assert list(reversed(tx.incidents.search())) == ended
        assert all(tx.outbox.of_incident(one.uuid) for one in ended)
    made.close()


def test_a_never_event_that_somebody_forgot_is_paged_anew(empty: Store) -> None:
    """Acknowledged on Monday and left open: what comes within the hour is noted, on Thursday it
    rings, and what the provider knows as acknowledged is ended before."""
    certain = Certain({}, Pager(resolve(Settings()).policy), Metrics())
    told = []
    for offset, hours in enumerate((0.0, 0.9, 1.8, 72.0, 72.1), 1):
        at = T0 + timedelta(hours=hours)
        one = replace(occurrence(0, "//s"), offset=offset, at=at, bucket=int(at.timestamp()))
        with empty.write() as tx:
            tx.stream.save(1, "t", 0, Emission(Progress(hi=offset), [], [], [one], []))
            certain.never_events(tx, at)
            (opened,) = tx.incidents.open()
            told.append([str(page.message.kind) for page in tx.outbox.of_incident(opened.uuid)])
            if offset == 1:
                step = actions.acknowledge(opened, "ada", at)
                assert isinstance(step, actions.Step)
                tx.incidents.apply(step, at)
    assert told[:3] == [["trigger"]] * 3
    assert told[3:] == [["trigger", "resolve", "trigger"]] * 2


def test_a_never_event_that_comes_late_makes_no_next_one_an_occasion(empty: Store) -> None:
    """A partition that lags brings an older one: the last is still the newest by its own time."""
    certain = Certain({}, Pager(resolve(Settings()).policy), Metrics())
    told = []
    for partition, offset, minute in ((0, 1, 120), (1, 1, 0), (0, 2, 179)):
        at = T0 + timedelta(minutes=minute)
        one = replace(occurrence(0, "//s"), offset=offset, at=at, bucket=int(at.timestamp()))
        with empty.write() as tx:
            tx.stream.save(1, "t", partition, Emission(Progress(hi=offset), [], [], [one], []))
            certain.never_events(tx, T0 + timedelta(minutes=240))
            (opened,) = tx.incidents.open()
            told.append([str(page.message.kind) for page in tx.outbox.of_incident(opened.uuid)])
            if not told[1:]:
                step = actions.acknowledge(opened, "ada", T0 + timedelta(minutes=121))
                assert isinstance(step, actions.Step)
                tx.incidents.apply(step, at)
    assert told == [["trigger"]] * 3


def test_an_occurrence_that_comes_again_opens_nothing(empty: Store) -> None:
    """The same record, read once more after a kill, is the same incident, whatever became of it."""
    certain = Certain({}, Pager(resolve(Settings()).policy), Metrics())
    one = occurrence(0, "//s")
    with empty.write() as tx:
        tx.stream.save(1, "t", 0, Emission(Progress(hi=1), [], [], [one], []))
        certain.never_events(tx, T0)
        (opened,) = tx.incidents.open()
        ended = replace(opened, state=State.RESOLVED, resolved_at=T0)
        tx.incidents.save(ended)
        told = tx.incidents.timeline(ended.uuid)
    with empty.write() as tx:
        tx.incidents._c.execute(t.occurrences.update().values(handled_at=None))
        certain.never_events(tx, T0)
        assert tx.incidents.search() == [ended]
        assert tx.incidents.timeline(ended.uuid) == told


def lost(store: Store, now: datetime, *gaps: GapRow) -> list[Incident]:
    """Ingest found these gaps, decide looks at `now`: the open incidents."""
    certain = Certain({}, Pager(resolve(Settings()).policy), Metrics())
    with store.write() as tx:
        for each in gaps:
            tx.stream.gap(each)
        certain.gaps(tx, now)
        return tx.incidents.open()


def gap(number: int, first: int, at: datetime, topic: str = "t") -> GapRow:
    """Five records that cannot be read."""
    return GapRow("events", topic, number, first, first + 4, "unreadable", at)


@pytest.fixture
def empty(tmp_path: Path) -> Iterator[Store]:
    made = Store(f"sqlite:///{tmp_path / 'gaps.db'}")
    yield made
    made.close()


def test_gap_after_gap_is_one_incident_with_a_sum(empty: Store) -> None:
    """Two thousand batches that nobody can read ring once, and five minutes of them are a line."""
    for turn in range(200):
        at = T0 + timedelta(seconds=20 * turn)
        found = range(10 * turn, 10 * turn + 10)
        lost(empty, at, *(gap(number % 3, 10 * number, at) for number in found))
    (incident,) = lost(empty, T0 + timedelta(seconds=4300))
    with empty.read() as tx:
        entries = [e.entry for e in tx.incidents.timeline(incident.uuid)]
        assert tx.stream.open_gaps() == []
    assert [e.kind for e in entries].count("PAGE") == 1
    assert len(entries) <= GAPS_NAMED + 2 + 4300 // FOLD_S + 2
    assert "10000 records in 2000 gaps since it began" in entries[-1].text
    assert entries[-1].data == {"gaps": 2000, "records": 10_000}


def test_gaps_that_come_at_once_are_one_incident_a_topic(empty: Store) -> None:
    """A consumer slower than retention loses the head of every partition: some are named."""
    rows = [gap(number, 0, T0) for number in range(30)]
    (one, other) = lost(empty, T0, *rows, gap(0, 0, T0, topic="another"))
    assert one.title == (
        "Offset gap: 150 records of events-0, events-1, events-10 and 27 more partitions lost"
    )
    assert other.groups == {"gap:another"}
    with empty.read() as tx:
        texts = [e.entry.text for e in tx.incidents.timeline(one.uuid) if e.entry.kind == "DETECT"]
    assert len(texts) == GAPS_NAMED + 1
    assert texts[-1].startswith("and 110 records more, in 22 gaps of events-")


def test_a_gap_after_a_resolve_is_an_incident_of_its_own(empty: Store) -> None:
    """Nothing joins what somebody has resolved."""
    (first,) = lost(empty, T0, gap(0, 0, T0))
    with empty.write() as tx:
        tx.incidents.save(replace(first, state=State.RESOLVED, resolved_at=T0))
    (second,) = lost(empty, T0 + timedelta(seconds=9), gap(0, 10, T0 + timedelta(seconds=9)))
    assert second.uuid != first.uuid
