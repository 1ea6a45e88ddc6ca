"""What every source of events keeps to: one suite over Kafka, files, packed files and batches."""

from __future__ import annotations

import gzip
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from monitor.stream.sources.batches import BatchSource
from monitor.stream.sources.files import FileSource
from monitor.stream.sources.kafka import KafkaSource
from monitor.stream.sources.kafka_client import KafkaSettings
from monitor.stream.sources.publish import Publisher
from monitor.stream.sources.source import (
    Assigned,
    Began,
    Chunk,
    Gap,
    Partition,
    Record,
    Source,
    SourceEvent,
)

PARTITIONS = 2
ROWS = 300
ACCEPTED_AGE_MS = 1_000_000_000_000
Rows = dict[int, list[Record]]


@dataclass
class Log:
    """One log, and how to open a fresh source on it."""

    kind: str
    open: Callable[[], Source]
    rows: Rows
    opened: list[Source] = field(default_factory=list)

    def source(self) -> Source:
        self.opened.append(self.open())
        return self.opened[-1]


def rows(*, metadata: bool) -> Rows:
    made: Rows = {}
    for number in range(PARTITIONS):
        records = []
        for offset in range(ROWS):
            value: bytes | None = b'{"p": %d, "n": %d, "t": "\xc3\xa4 \\u0000"}' % (number, offset)
            headers: tuple[tuple[str, bytes], ...] = ()
            if metadata and offset % 50 == 7:
                value = None
            if metadata and offset % 3 == 0:
                headers = (("ce_id", b"%d" % offset), ("trace", b"\xff\x00"), ("ce_id", b"again"))
            when = ACCEPTED_AGE_MS + offset * 1000 if metadata else None
            records.append(Record(offset, value, when, headers))
        made[number] = records
    return made


KAFKA = pytest.param("kafka", marks=pytest.mark.kafka)


@pytest.fixture(params=["batches", "file", "gzip", KAFKA])
def log(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Log]:
    if request.param == "batches":
        made = batch_log()
    elif request.param == "kafka":
        made = kafka_log(request)
    else:
        made = file_log(tmp_path, packed=request.param == "gzip")
    yield made
    for source in made.opened:
        source.close()


def batch_log() -> Log:
    made = rows(metadata=True)
    # Interleaved in uneven pieces, as a simulator makes them.
    pieces = [(n, made[n][i : i + 7 + n]) for i in range(0, ROWS, 7) for n in range(PARTITIONS)]
    seen = dict.fromkeys(range(PARTITIONS), 0)
    batches = []
    for number, piece in pieces:
        fresh = [record for record in piece if record.offset >= seen[number]]
        seen[number] += len(fresh)
        batches.append((number, fresh))
    return Log("batches", lambda: BatchSource(batches, partitions=PARTITIONS), made)


def file_log(folder: Path, *, packed: bool) -> Log:
    made = rows(metadata=False)
    names = []
    for number, records in made.items():
        data = b"\n".join(record.value or b"" for record in records) + b"\n" * (number % 2)
        path = folder / (f"{number}.ndjson.gz" if packed else f"{number}.ndjson")
        path.write_bytes(gzip.compress(data) if packed else data)
        names.append(str(path))
    kind = "gzip" if packed else "file"
    return Log(kind, lambda: FileSource(names, max_records=64), made)


def kafka_log(request: pytest.FixtureRequest) -> Log:
    server = request.getfixturevalue("kafka_server")
    topic = request.getfixturevalue("new_kafka_topic")(PARTITIONS)
    made = rows(metadata=True)
    settings = KafkaSettings((server.bootstrap,), topic)
    with Publisher(settings) as publisher:
        for number, records in made.items():
            for record in records:
                publisher.send(
                    b"key",
                    record.value,
                    headers=record.headers,
                    timestamp_ms=record.timestamp_ms,
                    partition=number,
                )

    def open_source() -> Source:
        group = f"g-{uuid.uuid4().hex[:8]}"
        return KafkaSource(KafkaSettings((server.bootstrap,), topic, group, max_records=64))

    return Log("kafka", open_source, made)


def polled(
    source: Source, until: Callable[[list[SourceEvent]], bool], timeout_s: float = 30.0
) -> list[SourceEvent]:
    """Every event up to the one that satisfies `until`; fails when it does not come."""
    events: list[SourceEvent] = []
    deadline = time.monotonic() + timeout_s
    while not until(events):
        assert time.monotonic() < deadline, f"did not come; last events: {events[-3:]}"
        events += source.poll(0.1)
    return events


def assigned(source: Source) -> list[Partition]:
    """Join, and get all partitions."""

    def all_there(events: list[SourceEvent]) -> bool:
        return sum(len(e.partitions) for e in events if isinstance(e, Assigned)) == PARTITIONS

    events = polled(source, all_there)
    return sorted(p for e in events if isinstance(e, Assigned) for p in e.partitions)


def read(source: Source, count: int) -> Rows:
    """Read `count` records, and check what every chunk promises."""
    found: Rows = {number: [] for number in range(PARTITIONS)}

    def enough(events: list[SourceEvent]) -> bool:
        return sum(len(e.records) for e in events if isinstance(e, Chunk)) >= count

    for event in polled(source, enough):
        if isinstance(event, Began):
            assert not found[event.partition.number]
            continue
        assert isinstance(event, Chunk)
        offsets = [record.offset for record in event.records]
        assert offsets == sorted(set(offsets))
        assert event.next_offset > offsets[-1]
        before = found[event.partition.number]
        assert not before or before[-1].offset < offsets[0]
        before.extend(event.records)
    return found


def test_nothing_is_read_before_start(log: Log) -> None:
    """A partition that was assigned stands still until the caller says where to begin."""
    source = log.source()
    first, second = assigned(source)
    source.start(second, ROWS - 1)
    read(source, 1 if log.kind != "batches" else 0)
    for _ in range(5):
        for event in source.poll(0.05):
            assert isinstance(event, Chunk)
            assert event.partition != first


def test_every_record_comes_once_in_order(log: Log) -> None:
    """From the beginning of history every record is handed out as it was written, in order."""
    source = log.source()
    for partition in assigned(source):
        source.start(partition, None)
    assert read(source, PARTITIONS * ROWS) == log.rows
    assert source.poll(0.05) == []


def test_a_restart_gives_the_same_rest(log: Log) -> None:
    """A new source that starts at an offset hands out exactly the records from there on."""
    source = log.source()
    starts = {0: 17, 1: 217}
    for partition in assigned(source):
        source.start(partition, starts[partition.number])
    rest = {number: records[starts[number] :] for number, records in log.rows.items()}
    assert read(source, sum(map(len, rest.values()))) == rest


def test_identity_is_the_same_in_the_next_process(log: Log) -> None:
    """Topic, its identity and its partitions are facts of the log, not of the reader."""
    first, second = log.source(), log.source()
    partitions = assigned(first)
    topology = first.topology()
    assert topology == second.topology()
    assert topology.partitions == tuple(range(PARTITIONS))
    assert {(p.topic, p.topic_id) for p in partitions} == {(topology.topic, topology.topic_id)}
    assert topology.topic_id


def test_pause_hands_out_nothing_and_loses_nothing(log: Log) -> None:
    """Between pause and resume nothing is handed out; afterwards reading goes on where it was."""
    source = log.source()
    for partition in assigned(source):
        source.start(partition, 0)
    before = read(source, 1)
    source.pause()
    for _ in range(3):
        assert source.poll(0.05) == []
    source.resume()
    after = read(source, PARTITIONS * ROWS - sum(map(len, before.values())))
    assert {number: before[number] + after[number] for number in before} == log.rows


def test_lag_falls_to_zero(log: Log) -> None:
    """Lags name the started partitions; at the end position and end are the same."""
    source = log.source()
    partitions = assigned(source)
    assert source.lags() == []
    for partition in partitions:
        source.start(partition, 0)
    lags = source.lags()
    assert [(lag.partition, lag.position) for lag in lags] == [(p, 0) for p in partitions]
    assert all(lag.end > 0 for lag in lags)
    read(source, PARTITIONS * ROWS)
    source.poll(0.05)
    source.poll(0.05)
    assert [(lag.position, lag.end) for lag in source.lags()] == [(ROWS, ROWS)] * PARTITIONS


def test_only_a_recording_is_exhausted(log: Log) -> None:
    """A finite source is exhausted when all was handed out, and not before; a stream never is."""
    source = log.source()
    partitions = assigned(source)
    assert not source.exhausted
    for partition in partitions:
        source.start(partition, 0)
    assert not source.exhausted
    read(source, PARTITIONS * ROWS)
    for _ in range(3):
        assert source.poll(0.05) == []
    assert source.finite == (log.kind != "kafka")
    assert source.exhausted == source.finite


def test_a_position_behind_the_end_is_a_gap(log: Log) -> None:
    """Starting behind the last record gives the exact missing range, and reading can go on."""
    source = log.source()
    first, second = assigned(source)
    source.start(first, 0)
    source.start(second, ROWS + 25)
    events = polled(source, lambda events: any(isinstance(e, Gap) for e in events))
    gaps = [event for event in events if isinstance(event, Gap)]
    assert gaps == [Gap(second, ROWS, ROWS + 24, "truncated")]
    if log.kind != "batches":  # what was passed over there is gone
        source.start(second, ROWS - 10)
        read_on = polled(source, lambda events: any(e.partition == second for e in _chunks(events)))
        assert _chunks(read_on)[-1].partition in {first, second}


def _chunks(events: list[SourceEvent]) -> list[Chunk]:
    return [event for event in events if isinstance(event, Chunk)]


def test_start_refuses_what_makes_no_sense(log: Log) -> None:
    """A negative offset is an error; a partition of another log is left alone."""
    source = log.source()
    partition = assigned(source)[0]
    with pytest.raises(ValueError, match="-1"):
        source.start(partition, -1)
    source.start(Partition(partition.topic, "another incarnation", 0), 0)
    source.start(Partition(partition.topic, partition.topic_id, 99), 0)
    assert source.lags() == []


@pytest.mark.parametrize("log", ["batches", KAFKA], indirect=True)
def test_metadata_survives(log: Log) -> None:
    """Tombstones, repeated and binary headers, and old timestamps come through as they were."""
    source = log.source()
    for partition in assigned(source):
        source.start(partition, 0)
    found = read(source, PARTITIONS * ROWS)
    assert found[0][7].value is None
    assert found[0][3].headers == (("ce_id", b"3"), ("trace", b"\xff\x00"), ("ce_id", b"again"))
    assert found[1][5].timestamp_ms == ACCEPTED_AGE_MS + 5000
