"""Ingest when the world fails it: the store is away, the log is away, the log was cut off."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path

import pytest

from monitor.ingest import Ingest
from monitor.metrics import Metrics
from monitor.store.store import Store, StoreUnavailable
from monitor.stream.counting import Progress
from monitor.stream.signals import default_signals, plan
from monitor.stream.sources.files import FileSource
from monitor.stream.sources.source import Gap, Lag, Revoked, SourceEvent, SourceUnavailable
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
        assert sum(counts[0] for counts in base.values()) == 5


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
