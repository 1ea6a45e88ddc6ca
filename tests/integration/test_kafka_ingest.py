"""Ingest on a real Apache Kafka: where it begins, what a small batch may cost, odd clocks."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from kafka import KafkaAdminClient, KafkaProducer, TopicPartition
from kafka.errors import RequestTimedOutError

from monitor.ingest import Ingest
from monitor.metrics import Metrics
from monitor.store.store import Store
from monitor.stream.cells import Progress
from monitor.stream.decode import MAX_BYTES
from monitor.stream.signals import default_signals, plan
from monitor.stream.sources.kafka import KafkaSource
from monitor.stream.sources.kafka_batches import SLICE_BYTES
from monitor.stream.sources.kafka_client import KafkaSettings
from monitor.stream.sources.publish import Publisher
from monitor.stream.sources.source import Assigned, Chunk, Partition, SourceUnavailable
from tests.making import KEY, T0, document
from tests.servers.kafka_fixtures import NewTopic
from tests.servers.kafka_server import KafkaServer

pytestmark = pytest.mark.kafka
PLAN = plan(default_signals())


class Installation:
    """A store and the ingest loops that come and go on it."""

    def __init__(self, store: Store, settings: KafkaSettings) -> None:
        self.store = store
        self.settings = settings
        self.loops: list[Ingest] = []

    def loop(self) -> Ingest:
        """A new process, as after a restart."""
        source = KafkaSource(self.settings)
        self.loops.append(Ingest(self.store, source, PLAN, Metrics(), digest_key=KEY))
        return self.loops[-1]

    def run(self, loop: Ingest, until: Callable[[], bool], timeout_s: float = 40.0) -> float:
        """Step until it is so; the longest step, in seconds."""
        deadline, longest = time.monotonic() + timeout_s, 0.0
        while not until():
            began = time.monotonic()
            assert began < deadline, self.progress()
            loop.step(datetime.now(UTC))
            longest = max(longest, time.monotonic() - began)
        return longest

    def progress(self) -> dict[int, Progress]:
        """What is stored, by partition."""
        with self.store.read() as tx:
            pipeline = tx.stream.known_pipeline(PLAN)
            if pipeline is None:
                return {}
            found = {}
            for part in tx.stream.partitions(pipeline):
                progress = tx.stream.progress(pipeline, part.topic_id, part.number)
                if progress is not None:
                    found[part.number] = progress
            return found

    def told(self, fate: str) -> int:
        """Records of this fate in all partitions."""
        return sum(one.totals.get(fate, 0) for one in self.progress().values())


@pytest.fixture
def at(
    tmp_path: Path, kafka_server: KafkaServer, new_kafka_topic: NewTopic
) -> Iterator[Installation]:
    """An installation on a topic of two partitions, begun at the end of the log."""
    settings = KafkaSettings(
        (kafka_server.bootstrap,),
        new_kafka_topic(2),
        f"g-{uuid.uuid4().hex[:8]}",
        begin="latest",
        session_timeout=timedelta(seconds=6),
    )
    made = Installation(Store(f"sqlite:///{tmp_path / 'x.db'}"), settings)
    yield made
    for loop in made.loops:
        loop._source.close()
    made.store.close()


def publish(settings: KafkaSettings, keys: range, partition: int, **more: Any) -> None:
    """An event for each key."""
    with Publisher(settings) as publisher:
        for key in keys:
            value = json.dumps(document(T0 + timedelta(seconds=key), key=f"k{key}")).encode()
            publisher.send(None, value, partition=partition, **more)


def test_where_it_began_survives_a_restart(at: Installation, kafka_admin: KafkaAdminClient) -> None:
    """With `latest` a quiet partition keeps its place over a restart: what was there before is
    never read, though the log is trimmed meanwhile, and what came while nobody read is."""
    publish(at.settings, range(40), 0)
    publish(at.settings, range(40), 1)
    first = at.loop()
    at.run(first, lambda: len(at.progress()) == 2)
    publish(at.settings, range(40, 45), 0)
    at.run(first, lambda: at.told("counted") == 5)
    assert (at.progress()[1].low_water, at.progress()[1].hi) == (40, 40)
    first.close(datetime.now(UTC))
    kafka_admin.delete_records({TopicPartition(at.settings.topic, 1): 30})
    publish(at.settings, range(50, 53), 1)
    second = at.loop()
    at.run(second, lambda: at.told("counted") >= 8)
    at.run(second, lambda: at.progress()[1].hi == 43)
    assert at.told("counted") == 8
    with at.store.read() as tx:
        assert tx.stream.open_gaps() == []


def publish_packed(settings: KafkaSettings, values: Iterable[tuple[int, bytes]]) -> None:
    """Of each partition its values, in one batch that is small on the wire."""
    producer = KafkaProducer(
        bootstrap_servers=settings.bootstrap,
        compression_type="zstd",
        batch_size=100_000_000,
        linger_ms=2000,
        max_request_size=200_000_000,
    )
    for partition, value in values:
        producer.send(settings.topic, value, partition=partition)
    producer.close()


def test_a_small_batch_stops_nothing(at: Installation) -> None:
    """A few kilobytes that hold 64 MB of near misses of a pattern are refused record by record in
    steps of bounded length, and what lies behind them is counted."""
    begun = at.loop()
    at.run(begun, lambda: len(at.progress()) == 2)
    value = b'{"x":"' + b"eyJ" * (MAX_BYTES // 3 - 10) + b'"}'
    publish_packed(at.settings, ((0, value) for _ in range(250)))
    publish(at.settings, range(3), 0)
    longest = at.run(begun, lambda: at.told("counted") == 3, 60)
    assert at.told("quarantined") == 250
    assert longest < 10


def test_clocks_of_no_time_count_by_the_events_own(at: Installation) -> None:
    """Records stamped beyond the year 9999 or far before 2000 are counted when they happened."""
    begun = at.loop()
    at.run(begun, lambda: len(at.progress()) == 2)
    publish(at.settings, range(5), 0, timestamp_ms=2**50)
    publish(at.settings, range(5, 10), 0, timestamp_ms=1)
    with Publisher(at.settings) as publisher:
        leak = b'{"note":"AKIAABCDEFGHIJKLMNOP"}'
        publisher.send(None, leak, partition=0, timestamp_ms=2**50)
    at.run(begun, lambda: at.told("quarantined") == 1)
    progress = at.progress()[0]
    assert progress.totals == {"counted": 10, "quarantined": 1}
    assert progress.watermark == T0.timestamp() + 9


def assigned(source: KafkaSource) -> list[Partition]:
    """Join, and get both partitions."""
    deadline = time.monotonic() + 40
    found: list[Partition] = []
    while len(found) < 2:
        assert time.monotonic() < deadline
        for event in source.poll(0.2):
            if isinstance(event, Assigned):
                found += event.partitions
    return found


def test_a_poll_is_bounded_in_bytes(at: Installation) -> None:
    """However many records were asked for and whatever they were packed to, a poll hands out no
    more than it may, and every record comes once."""
    packed = ((number % 2, b"%03d" % number + bytes(100_000)) for number in range(120))
    publish_packed(at.settings, packed)
    source = KafkaSource(replace(at.settings, begin="earliest", max_bytes=1_000_000))
    values: list[bytes] = []
    try:
        for partition in assigned(source):
            source.start(partition, 0)
        deadline = time.monotonic() + 40
        while len(values) < 120:
            assert time.monotonic() < deadline
            chunks = [event for event in source.poll(0.2) if isinstance(event, Chunk)]
            got = [record.value or b"" for chunk in chunks for record in chunk.records]
            assert sum(map(len, got)) <= 1_000_000 + 2 * SLICE_BYTES + 200_000
            values += got
    finally:
        source.close()
    assert sorted(int(value[:3]) for value in values) == list(range(120))


def test_a_rebalance_that_is_not_known_yet_breaks_nothing(
    at: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A partition that the group has taken back can be paused, resumed and asked about; a poll
    that fails right after says so next time, and the partition is given back."""
    one, two = KafkaSource(at.settings), KafkaSource(at.settings)
    try:
        for partition in assigned(one):
            one.start(partition, 0)
        one.poll(0.1)
        consumer = one._consumer
        assert consumer is not None
        deadline = time.monotonic() + 40
        while len(consumer.assignment()) == 2:
            assert time.monotonic() < deadline
            two.poll(0.1)
            consumer.poll(timeout_ms=100)
        assert len(one._positions) == 2
        one.pause()
        assert len(one.lags()) == 2
        one.resume()
        for place in list(one._positions):
            one._stand_still(place)

        def fails(**_: object) -> None:
            raise RequestTimedOutError

        monkeypatch.setattr(consumer, "poll", fails)
        with pytest.raises(SourceUnavailable):
            one.poll(0.1)
        assert len(one._held) == 1
    finally:
        monkeypatch.undo()
        two.close()
        one.close()
