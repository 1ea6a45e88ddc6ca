"""Ingest when the world fails it: the store is away, the log is away, the log was cut off."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import event

from monitor.ingest import Ingest
from monitor.metrics import Metrics
from monitor.store.store import Store, StoreUnavailable
from monitor.stream.cells import FATES, Progress
from monitor.stream.signals import default_signals, plan
from monitor.stream.sources.files import FileSource
from monitor.stream.sources.source import (
    Began,
    Gap,
    Lag,
    Partition,
    Record,
    Revoked,
    SourceEvent,
    SourceUnavailable,
)
from tests.making import KEY, T0, document
from tests.scenario.stage import Tape
from tests.scenario.traffic import write

PLAN = plan(default_signals())
SECOND = timedelta(seconds=1)


class Installation:
    """A store, a second process that can hold it, and an ingest loop on a tape."""

    def __init__(self, path: Path) -> None:
        self.url = f"sqlite:///{path}"
        self.store = Store(self.url)
        self.other = Store(self.url)
        self.tape = Tape()
        self.now = T0
        self.ingest = self.loop()

    def loop(self) -> Ingest:
        """A new loop, as after a kill."""
        return Ingest(self.store, self.tape, PLAN, Metrics(), digest_key=KEY)

    def put(self, *keys: str, seconds: float = 0) -> None:
        """Append an event for each key."""
        for key in keys:
            self.tape.put(document(T0 + timedelta(seconds=seconds), key=key))

    def step(self, count: int = 1) -> None:
        """Steps of a second each."""
        for _ in range(count):
            self.now += SECOND
            self.ingest.step(self.now, timeout_s=0)

    def progress(self) -> Progress | None:
        """What is stored of the partition."""
        with self.store.read() as tx:
            pipeline = tx.stream.known_pipeline(PLAN)
            part = self.tape.partition
            if pipeline is None:
                return None
            return tx.stream.progress(pipeline, part.topic_id, part.number)

    def totals(self) -> dict[str, int]:
        """Records by fate."""
        progress = self.progress()
        return {} if progress is None else progress.totals


@pytest.fixture
def at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Installation]:
    """An installation whose store gives up waiting after 50 ms."""
    monkeypatch.setattr("monitor.store.engine.BUSY_MS", 50)
    made = Installation(tmp_path / "x.db")
    yield made
    made.store.close()
    made.other.close()


def test_events_are_counted_and_stored(at: Installation) -> None:
    """One step learns the partitions, the next ones read, count and commit once a second."""
    at.put("a", "b")
    at.step(2)
    assert at.totals() == {"counted": 2}
    at.put("c")
    at.ingest.step(at.now, timeout_s=0)
    assert at.totals() == {"counted": 2}
    at.step()
    assert at.totals() == {"counted": 3}


def test_a_store_that_is_away_loses_nothing(at: Installation) -> None:
    """What was counted is kept, reading stops, and both go on when the store is back."""
    at.put("a")
    at.step(2)
    at.put("b")
    with at.other.write(), pytest.raises(StoreUnavailable):
        at.step()
    at.put("c")
    with at.other.write(), pytest.raises(StoreUnavailable):
        at.step()
    assert at.totals() == {"counted": 1}
    at.step(2)
    assert at.totals() == {"counted": 3}


def test_a_store_that_is_away_at_the_start_is_waited_for(at: Installation) -> None:
    """The partitions that the source assigned are not forgotten."""
    at.put("a")
    with at.other.write(), pytest.raises(StoreUnavailable):
        at.step()
    at.step(3)
    assert at.totals() == {"counted": 1}


def test_a_recording_survives_a_store_that_is_away(tmp_path: Path, at: Installation) -> None:
    """A file is read to its end and closed, whenever the store was away in between."""
    made = [document(T0 + timedelta(seconds=20 * n), key=f"n{n}") for n in range(30)]
    source = FileSource([str(write(tmp_path / "e.ndjson", made))], max_records=7)
    ingest = Ingest(at.store, source, PLAN, Metrics(), digest_key=KEY)
    failed = 0
    for number in range(60):
        with ExitStack() as stack:
            if number % 3:
                stack.enter_context(at.other.write())
            try:
                ingest.step(at.now, timeout_s=0)
            except StoreUnavailable:
                failed += 1
        if ingest.finished:
            break
    assert ingest.finished
    assert failed >= 4
    with at.store.read() as tx:
        pipeline = tx.stream.known_pipeline(PLAN)
        assert pipeline is not None
        (part,) = tx.stream.partitions(pipeline)
        assert part.finished
        assert part.totals == {"counted": 30}
        assert part.closed == int(T0.timestamp()) + 600
    ingest.close(at.now)


def test_a_kill_replays_from_low_water(at: Installation) -> None:
    """A new process reads the open buckets again and counts nothing twice."""
    at.put("a", "b")
    at.put("c", seconds=70)
    at.step(2)
    before = at.progress()
    at.tape = Tape(at.tape.records)
    at.ingest = at.loop()
    at.step(3)
    assert at.progress() == before
    at.put("a", "d", seconds=70)
    at.step(2)
    assert at.totals() == {"counted": 5}


def test_rubbish_is_put_aside_without_its_content(at: Installation) -> None:
    """A record that is no event becomes a row and a count; its neighbours are untouched."""
    at.put("a")
    at.tape.put({"prompt": "the secret plan"})
    at.put("b")
    at.step(2)
    assert at.totals() == {"counted": 2, "quarantined": 1}
    with at.store.read() as tx:
        (row,) = tx.stream.quarantined()
    assert row.offset == 1
    assert "plan" not in repr(row)


def test_revoked_partitions_are_written_and_left(at: Installation) -> None:
    """What was counted is stored before another process takes over."""
    at.step(2)
    at.put("a")
    at.ingest.step(at.now, timeout_s=0)
    assert at.totals() == {}
    at.put("b")
    at.tape.told.append(Revoked((at.tape.partition,)))
    at.ingest.step(at.now, timeout_s=0)
    assert at.totals() == {"counted": 1}


class Deaf(Tape):
    """A log that can be read, but not asked how far it goes."""

    def lags(self) -> list[Lag]:
        raise SourceUnavailable("no broker")


def test_a_log_that_does_not_tell_its_end_is_read_all_the_same(at: Installation) -> None:
    """How far the log goes is nice to know; counting goes on without."""
    at.tape = Deaf()
    at.ingest = at.loop()
    at.put("a")
    at.step(3)
    assert at.totals() == {"counted": 1}


class Silent(Tape):
    """A log that cannot be reached at first."""

    attempts = 0

    def poll(self, timeout_s: float) -> list[SourceEvent]:
        self.attempts += 1
        if self.attempts < 3:
            raise SourceUnavailable("no broker")
        return super().poll(timeout_s)


def test_a_log_that_is_away_is_tried_again(at: Installation) -> None:
    """Nothing breaks, and reading begins when it is back."""
    at.tape = Silent()
    at.ingest = at.loop()
    at.put("a")
    at.step(5)
    assert at.totals() == {"counted": 1}


def test_lost_records_are_a_gap_and_reading_goes_on(at: Installation) -> None:
    """After retention the range is stored and what follows is counted."""
    at.put("a", "b", "c", "d")
    at.step()
    at.tape.told.insert(0, Gap(at.tape.partition, 0, 2, "retention"))
    at.tape._at = None
    at.step(2)
    with at.store.read() as tx:
        (gap,) = tx.stream.open_gaps()
    assert (gap.first, gap.last, gap.reason) == (0, 2, "retention")
    assert at.totals() == {"counted": 1}


@pytest.mark.parametrize("reason", ["retention", "unreadable"])
def test_what_is_lost_is_told_once(at: Installation, reason: str) -> None:
    """A range without a record behind it is passed for good: a restart does not come upon it
    again, and of one within open buckets it knows that it was told."""
    at.put("a")
    at.step(2)
    at.tape.told.append(Gap(at.tape.partition, 1, 4, reason))
    at.step(2)
    progress = at.progress()
    assert progress is not None
    assert (progress.low_water, progress.hi) == (0, 5)
    at.tape = Tape(at.tape.records)
    at.ingest = at.loop()
    at.step(2)
    at.tape.told.append(Gap(at.tape.partition, 1, 4, reason))
    at.step(2)
    at.tape.told.append(Gap(at.tape.partition, 3, 8, reason))
    at.step(2)
    with at.store.read() as tx:
        gaps = [(gap.first, gap.last) for gap in tx.stream.open_gaps()]
    assert sorted(gaps) == [(1, 4), (5, 8)]
    assert at.totals() == {"counted": 1}


class Live(Tape):
    """A log that is read from its end where nothing says otherwise, as Kafka's `latest`."""

    def __init__(self, records: Sequence[Record] = ()) -> None:
        super().__init__(records)
        self.starts: list[int | None] = []

    def start(self, partition: Partition, offset: int | None) -> None:
        self.starts.append(offset)
        self._unresolved = offset is None
        self._at = None if offset is None else offset

    def poll(self, timeout_s: float) -> list[SourceEvent]:
        if self._at is None and self.starts:
            self._at = len(self.records)
            return [Began(self.partition, self._at)]
        return super().poll(timeout_s)


def test_where_a_quiet_partition_began_survives_a_restart(at: Installation) -> None:
    """What lay there before the first start is never read, and what came since the first start
    is, though nothing had come by the first restart."""
    old = [Record(n, json.dumps(document(key=f"old{n}")).encode()) for n in range(50)]
    at.tape = first = Live(old)
    at.ingest = at.loop()
    at.step()
    assert at.progress() is None
    at.step(2)
    progress = at.progress()
    assert progress is not None
    assert (progress.low_water, progress.hi, progress.totals) == (50, 50, {})
    at.tape = second = Live(first.records)
    at.put("while it was away")
    at.ingest = at.loop()
    at.step(3)
    assert (first.starts, second.starts) == ([None], [50])
    assert at.totals() == {"counted": 1}


def test_a_partition_given_away_before_it_began_has_no_position(at: Installation) -> None:
    """Its next owner asks where it begins, and does not take "nothing read yet" for offset 0."""
    at.tape = Live([Record(n, b"{}") for n in range(9)])
    at.ingest = at.loop()
    at.step()
    at.tape._at = 0
    at.tape._paused = True
    at.tape.told.append(Revoked((at.tape.partition,)))
    at.step(2)
    assert at.progress() is None


def test_a_full_disk_is_owed_no_more_than_once(at: Installation) -> None:
    """What waits for a store whose writes fail does not grow with the tries, and all of it is
    written when there is room again."""

    def pages(connection: sqlite3.Connection, most: int) -> None:
        connection.execute(f"PRAGMA max_page_count = {most}")

    def full(connection: sqlite3.Connection, *_: object) -> None:
        pages(connection, 1)

    def roomy(connection: sqlite3.Connection, *_: object) -> None:
        pages(connection, 1 << 30)

    at.put("a")
    at.step(2)
    for number in range(200):
        at.tape.put(document(key=f"n{number}", gen_ai={"request_model": f"m{number}"}))
    event.listen(at.store.engine, "checkout", full)
    for _ in range(5):
        with pytest.raises(StoreUnavailable):
            at.step()
    (share,) = at.ingest._shares.values()
    assert share.unsaved is not None
    assert len(share.unsaved.buckets) == 1
    assert len(share.unsaved.admissions) == len(set(share.unsaved.admissions))
    event.remove(at.store.engine, "checkout", full)
    event.listen(at.store.engine, "checkout", roomy)
    at.step(2)
    assert share.unsaved is None
    assert at.totals() == {"counted": 201}


@pytest.mark.parametrize("stamp_ms", [2**50, 2**62, -1])
def test_a_leak_with_an_odd_clock_stops_nothing(at: Installation, stamp_ms: int) -> None:
    """A refused record with a key in it, of the year 37,648 or of none, is a never-event."""
    at.put("a")
    at.tape.records.append(Record(1, b'{"note":"AKIAABCDEFGHIJKLMNOP"}', stamp_ms))
    at.put("b")
    at.step(2)
    assert at.totals() == {"counted": 2, "quarantined": 1}
    with at.store.read() as tx:
        ((_, _, found),) = tx.stream.open_occurrences()
    assert (found.rule, found.at) == ("confirmed_leak", T0)


def test_a_long_chunk_is_no_stall(at: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each record that is gone through is a sign of life, so that only a loop that stands is one
    that stalls."""
    signs: list[int] = []
    monkeypatch.setattr("monitor.ingest.tick", lambda: signs.append(1))
    at.put(*"abcdefgh")
    at.step(2)
    assert len(signs) == 8


def test_a_log_that_was_cut_off_counts_what_is_new(at: Installation) -> None:
    """After a truncation the same offsets hold other records: they count, and are stored."""
    at.put("a", "b", "c")
    at.step(2)
    assert at.totals() == {"counted": 3}
    at.tape.records = at.tape.records[:1]
    at.tape._at = None
    at.tape.told.append(Gap(at.tape.partition, 1, 2, "truncated"))
    at.put("x", "y", seconds=5)
    at.step(2)
    assert at.totals() == {"counted": 5}
    progress = at.progress()
    assert progress is not None
    assert progress.hi == 3
    with at.store.read() as tx:
        pipeline = tx.stream.known_pipeline(PLAN)
        assert pipeline is not None
        start = int(T0.timestamp())
        base = tx.stream.counts(pipeline, start, start + 60)[start].base
    assert sum(counts[0] for counts in base.values()) == 3


def test_a_log_cut_off_while_the_store_was_away_is_not_written_over(at: Installation) -> None:
    """What was counted of the lost records waits for the store, and is stored before they go."""
    at.put("a", "b", "c")
    at.step(2)
    at.put("d", seconds=3)
    with at.other.write(), pytest.raises(StoreUnavailable):
        at.step()
    at.tape.records = at.tape.records[:1]
    at.tape._at = None
    at.tape.told.append(Gap(at.tape.partition, 1, 3, "truncated"))
    at.tape.put(document(T0 + SECOND, key="x", feature="search"))
    at.step(3)
    progress = at.progress()
    assert progress is not None
    assert (progress.low_water, progress.hi) == (0, 2)
    start = int(T0.timestamp())
    with at.store.read() as tx:
        pipeline = tx.stream.known_pipeline(PLAN)
        assert pipeline is not None
        base = tx.stream.counts(pipeline, start, start + 60)[start].base
    assert {key[1]: counts[0] for key, counts in base.items()} == {"chat": 1, "search": 1}


class Gone(Tape):
    """A log that is never there."""

    def poll(self, timeout_s: float) -> list[SourceEvent]:
        raise SourceUnavailable("there is no topic x")


def test_a_source_that_stays_away_is_told_once_a_minute(
    at: Installation, caplog: pytest.LogCaptureFixture
) -> None:
    """The same reason is logged once a minute and not at each try; every try is counted."""
    at.tape = Gone()
    at.ingest = at.loop()
    at.step(121)
    told = [record for record in caplog.records if "cannot be read" in record.getMessage()]
    assert len(told) == 3


def test_what_became_of_each_event_is_a_metric(tmp_path: Path) -> None:
    """Every fate is told from the start, and each record once, whoever reads it again."""
    metrics = Metrics()
    at = Installation(tmp_path / "x.db")
    at.ingest = Ingest(at.store, at.tape, PLAN, metrics, digest_key=KEY)
    assert b'tocsin_events_total{fate="excluded_redteam"} 0.0' in metrics.render()
    at.put("a", "b", "a")
    at.put("far", seconds=200)
    at.put("late")
    at.step(3)
    again = Tape(at.tape.records)
    at.ingest = Ingest(at.store, again, PLAN, metrics, digest_key=KEY)
    at.step(3)
    found = {fate: metrics.value("tocsin_events_total", fate=fate) for fate in FATES}
    assert {fate: count for fate, count in found.items() if count} == {
        "counted": 3,
        "duplicate": 1,
        "late": 1,
    }


def test_records_that_are_no_events_hold_nobody_up(at: Installation) -> None:
    """A producer of nonsense does not keep its partition from being at rest; one event does."""

    def rests_since() -> datetime | None:
        with at.store.read() as tx:
            (part,) = tx.stream.partitions(tx.stream.known_pipeline(PLAN) or 0)
            return part.caught_up_at

    at.put("a")
    at.step(2)
    began = rests_since()
    for _ in range(5):
        at.tape.records.append(Record(len(at.tape.records), b"nonsense"))
        at.step()
    assert rests_since() == began is not None
    at.put("b")
    at.step()
    assert rests_since() == at.now
