"""The Kafka source on a real Apache Kafka: groups, crashes, gaps, and topics that change."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition
from kafka.coordinator.assignors.cooperative_sticky import CooperativeStickyAssignor
from kafka.protocol.consumer.metadata import ConsumerProtocolAssignment
from kafka.structs import MemberState

from monitor.stream.sources.kafka import KafkaSource
from monitor.stream.sources.kafka_client import KafkaSettings, TopicLookup
from monitor.stream.sources.publish import Publisher
from monitor.stream.sources.source import (
    Assigned,
    Began,
    Chunk,
    Gap,
    Partition,
    Revoked,
    SourceEvent,
    SourceUnavailable,
)
from tests.servers.kafka_fixtures import NewTopic, create_topic
from tests.servers.kafka_server import KafkaServer

pytestmark = pytest.mark.kafka

Open = Callable[[KafkaSettings], "Reader"]


class Reader:
    """A source with what a caller keeps of it: positions, values, and everything that happened."""

    def __init__(self, settings: KafkaSettings, positions: dict[int, int] | None = None) -> None:
        self.source = KafkaSource(settings)
        self.positions = {} if positions is None else positions
        self.values: list[bytes | None] = []
        self.events: list[SourceEvent] = []
        self.held: set[Partition] = set()
        self.outages: list[SourceUnavailable] = []

    def step(self, timeout_s: float = 0.1) -> None:
        """Poll once and answer as ingest does: start what is assigned where the positions say."""
        try:
            events = self.source.poll(timeout_s)
        except SourceUnavailable as problem:
            self.outages.append(problem)
            time.sleep(0.05)
            return
        self.events += events
        for event in events:
            if isinstance(event, Assigned):
                self.held |= set(event.partitions)
                for partition in event.partitions:
                    self.source.start(partition, self.positions.get(partition.number))
            elif isinstance(event, Revoked):
                self.held -= set(event.partitions)
            elif isinstance(event, Chunk):
                self.values += [record.value for record in event.records]
                self.positions[event.partition.number] = event.next_offset

    def run(self, until: Callable[[], bool], timeout_s: float = 40.0) -> None:
        deadline = time.monotonic() + timeout_s
        while not until():
            assert time.monotonic() < deadline, (self.events[-4:], self.outages[-1:])
            self.step()

    def of(self, kind: type[Any]) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]


@pytest.fixture
def open_reader() -> Iterator[Callable[..., Reader]]:
    readers: list[Reader] = []

    def make(settings: KafkaSettings, positions: dict[int, int] | None = None) -> Reader:
        readers.append(Reader(settings, positions))
        return readers[-1]

    yield make
    for reader in readers:
        reader.source.close()


def settings_for(server: KafkaServer, topic: str) -> KafkaSettings:
    return KafkaSettings(
        (server.bootstrap,),
        topic,
        f"g-{uuid.uuid4().hex[:8]}",
        session_timeout=timedelta(seconds=6),
        refresh=timedelta(seconds=1),
        identity_check=timedelta(milliseconds=200),
    )


@pytest.fixture
def settings(kafka_server: KafkaServer, new_kafka_topic: NewTopic) -> KafkaSettings:
    return settings_for(kafka_server, new_kafka_topic(1))


def publish(settings: KafkaSettings, values: range, partitions: int = 1) -> None:
    with Publisher(settings) as publisher:
        for n in values:
            publisher.send(None, b"%d" % n, partition=n % partitions)


class Member:
    """A reader in a thread of its own, as another process would be."""

    def __init__(self, reader: Reader) -> None:
        self.reader = reader
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        while not self._stop.is_set():
            self.reader.step(0.05)

    def leave(self) -> None:
        self._stop.set()
        self._thread.join()
        self.reader.source.close()
        self.reader.held.clear()


def test_two_members_share_and_hand_over(
    kafka_server: KafkaServer, new_kafka_topic: NewTopic, open_reader: Callable[..., Reader]
) -> None:
    """A second member takes half the partitions where the first one stopped, and gives it back."""
    settings = settings_for(kafka_server, new_kafka_topic(4))
    stored: dict[int, int] = {}
    publish(settings, range(400), 4)
    one = open_reader(settings, stored)
    one.run(lambda: len(one.values) == 400)
    assert len(one.held) == 4
    two = open_reader(settings, stored)
    member = Member(two)
    try:
        one.run(lambda: len(one.held) == len(two.held) == 2)
        assert not one.held & two.held
        publish(settings, range(400, 800), 4)
        one.run(lambda: len(one.values) + len(two.values) >= 800)
        assert len(two.values) == 200
    finally:
        member.leave()
    one.run(lambda: len(one.held) == 4)
    publish(settings, range(800, 1000), 4)
    one.run(lambda: len(one.values) + len(two.values) >= 1000)
    assert sorted(int(v or b"") for v in one.values + two.values) == list(range(1000))
    assert stored == dict.fromkeys(range(4), 250)


def test_a_killed_broker_loses_nothing(
    own_kafka_server: KafkaServer, open_reader: Callable[..., Reader]
) -> None:
    """After `kill -9` and a restart of the broker reading goes on: nothing lost, nothing twice."""
    admin = KafkaAdminClient(bootstrap_servers=own_kafka_server.bootstrap)
    # Flushed at once: one broker without replicas may forget what only the page cache had.
    settings = settings_for(own_kafka_server, create_topic(admin, 2, flush_messages="1"))
    admin.close()
    publish(settings, range(1000), 2)
    reader = open_reader(settings)
    reader.run(lambda: len(reader.values) >= 1000)
    own_kafka_server.kill()
    reader.run(lambda: bool(reader.outages), timeout_s=20)
    assert "no broker answers" in str(reader.outages[0])
    own_kafka_server.start()
    publish(settings, range(1000, 2000), 2)
    began = time.monotonic()
    reader.run(lambda: len(reader.values) >= 2000)
    assert time.monotonic() - began < 15
    reader.step()
    assert sorted(int(v or b"") for v in reader.values) == list(range(2000))
    assert not reader.of(Gap)


FROZEN = """
import sys
from datetime import timedelta
from monitor.stream.sources.kafka import KafkaSource
from monitor.stream.sources.kafka_client import KafkaSettings
bootstrap, topic, group = sys.argv[1:]
long = timedelta(seconds=20)
source = KafkaSource(KafkaSettings((bootstrap,), topic, group, session_timeout=long, entry=long))
while not source.poll(0.5):
    pass
print("in", flush=True)
while True:
    source.poll(0.5)
"""


def test_a_member_that_froze_is_said_to_hang_and_does_not_shut_the_group_for_ever(
    settings: KafkaSettings, open_reader: Open
) -> None:
    """The group waits for it, we say that we wait for the group, and in the end we read."""
    words = [*settings.bootstrap, settings.topic, settings.group]
    with subprocess.Popen(
        [sys.executable, "-c", FROZEN, *words], stdout=subprocess.PIPE, text=True
    ) as frozen:
        try:
            assert frozen.stdout is not None
            assert frozen.stdout.readline() == "in\n"
            frozen.send_signal(signal.SIGSTOP)
            reader = open_reader(replace(settings, entry=timedelta(seconds=6)))
            publish(settings, range(3))
            reader.run(lambda: len(reader.values) == 3, 120)
        finally:
            frozen.kill()
    assert any("has not let us in for" in str(problem) for problem in reader.outages)


class Nobody(CooperativeStickyAssignor):  # type: ignore[misc] # kafka-python ships no types
    """Shares out nothing: what is left where a member is killed before the second round."""

    def assign(self, _cluster: Any, members: Any) -> Any:
        return {m.member_id: ConsumerProtocolAssignment(self.version, [], b"") for m in members}


def test_an_empty_share_left_behind_by_a_killed_member_is_not_for_ever(
    settings: KafkaSettings, open_reader: Open
) -> None:
    """The broker hands it to whoever comes under the same name; who has nothing asks anew."""
    before = KafkaConsumer(
        settings.topic,
        bootstrap_servers=list(settings.bootstrap),
        group_id=settings.group,
        group_instance_id="m0",
        partition_assignment_strategy=[Nobody],
        session_timeout_ms=30_000,
    )
    until = time.monotonic() + 30
    while before.group_metadata().state != MemberState.STABLE:
        assert time.monotonic() < until
        before.poll(timeout_ms=200)
    assert before.assignment() == set()
    try:
        reader = open_reader(replace(settings, member="m0"))
        publish(settings, range(3))
        reader.run(lambda: len(reader.values) == 3, 20)
    finally:
        before.close(autocommit=False)


class Halved(CooperativeStickyAssignor):  # type: ignore[misc] # kafka-python ships no types
    """The first partition for the leader, the others for nobody: they have been given up, and the
    member is killed before the round in which another gets them."""

    def assign(self, _cluster: Any, members: Any) -> Any:
        topic = members[0].metadata.topics[0]
        shares = {"m0": [(topic, [0])]}
        return {
            m.member_id: ConsumerProtocolAssignment(
                self.version, shares.get(m.group_instance_id, []), b""
            )
            for m in members
        }


def let_in(reader: Reader) -> bool:
    consumer = reader.source._consumer
    return consumer is not None and consumer.group_metadata().state == MemberState.STABLE


def test_partitions_that_a_killed_member_gave_up_go_to_the_others(
    kafka_server: KafkaServer, new_kafka_topic: NewTopic, open_reader: Open
) -> None:
    """Nobody has them, the broker shares nothing out by itself, and a follower who has none asks in
    vain: who comes under the dead one's name sees it, and has them shared out."""
    settings = settings_for(kafka_server, new_kafka_topic(3))
    before = KafkaConsumer(
        settings.topic,
        bootstrap_servers=list(settings.bootstrap),
        group_id=settings.group,
        group_instance_id="m0",
        partition_assignment_strategy=[Halved],
        session_timeout_ms=30_000,
    )

    def joins(until: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 30
        while not until():
            assert time.monotonic() < deadline
            before.poll(timeout_ms=200)

    joins(lambda: len(before.assignment()) == 1)
    follower = Member(open_reader(replace(settings, member="m1")))
    lookup = TopicLookup(settings)
    try:
        joins(lambda: let_in(follower.reader) and lookup.unowned() == {1, 2})
        reader = open_reader(replace(settings, member="m0"))
        publish(settings, range(6), 3)
        reader.run(lambda: len(reader.values) + len(follower.reader.values) == 6, 30)
        assert follower.reader.held
    finally:
        follower.leave()
        lookup.close()
        before.close(autocommit=False)


def test_a_retention_gap_is_exact(
    settings: KafkaSettings, kafka_admin: KafkaAdminClient, open_reader: Callable[..., Reader]
) -> None:
    """Deleted before it was read: the gap names first and last offset, and nothing else is lost."""
    publish(settings, range(300))
    kafka_admin.delete_records({TopicPartition(settings.topic, 0): 250})
    reader = open_reader(settings, {0: 100})
    reader.run(lambda: bool(reader.of(Gap)))
    [gap] = reader.of(Gap)
    assert (gap.first, gap.last, gap.reason) == (100, 249, "retention")
    reader.step(0.3)
    assert reader.values == []
    reader.source.start(gap.partition, gap.last + 1)
    reader.run(lambda: len(reader.values) == 50)
    assert reader.values[0] == b"250"


def test_deletion_under_a_reader_is_a_gap_too(
    settings: KafkaSettings, kafka_admin: KafkaAdminClient, open_reader: Callable[..., Reader]
) -> None:
    """Retention that overtakes a reader in its pause gives the exact range when it goes on."""
    publish(settings, range(100))
    reader = open_reader(settings)
    reader.run(lambda: len(reader.values) == 100)
    reader.source.pause()
    publish(settings, range(100, 300))
    kafka_admin.delete_records({TopicPartition(settings.topic, 0): 280})
    reader.source.resume()
    reader.run(lambda: bool(reader.of(Gap)))
    [gap] = reader.of(Gap)
    assert (gap.first, gap.last, gap.reason) == (100, 279, "retention")


def test_a_topic_made_anew_is_another_one(
    settings: KafkaSettings, kafka_admin: KafkaAdminClient, open_reader: Callable[..., Reader]
) -> None:
    """Deleted and created again, a topic comes back under another identity, read from its start."""
    publish(settings, range(50))
    reader = open_reader(settings)
    reader.run(lambda: len(reader.values) == 50)
    [old] = reader.held
    kafka_admin.delete_topics([settings.topic])
    reader.run(lambda: not reader.held)
    reader.run(lambda: any("there is no topic" in str(outage) for outage in reader.outages))
    again = {"num_partitions": 1, "replication_factor": 1}
    kafka_admin.create_topics({settings.topic: again})
    reader.positions.clear()
    publish(settings, range(1000, 1080))
    reader.run(lambda: len(reader.values) == 130)
    [new] = reader.held
    assert (new.topic, new.number) == (old.topic, old.number)
    assert new.topic_id != old.topic_id
    assert reader.values[50:] == [b"%d" % n for n in range(1000, 1080)]
    assert reader.of(Revoked)[0].partitions == (old,)


def test_a_quick_swap_of_the_topic_is_seen(
    settings: KafkaSettings, kafka_admin: KafkaAdminClient, open_reader: Callable[..., Reader]
) -> None:
    """A topic replaced between two polls never has its records read under the old identity."""
    publish(settings, range(10))
    reader = open_reader(settings)
    reader.run(lambda: len(reader.values) == 10)
    [old] = reader.held
    kafka_admin.delete_topics([settings.topic])
    again = {"num_partitions": 1, "replication_factor": 1}
    deadline = time.monotonic() + 20
    while kafka_admin.describe_topics([settings.topic])[0]["error_code"] == 0:
        assert time.monotonic() < deadline
    kafka_admin.create_topics({settings.topic: again})
    publish(settings, range(500, 600))
    reader.positions.clear()
    reader.run(lambda: len(reader.values) >= 110)
    assert reader.values[10:] == [b"%d" % n for n in range(500, 600)]
    assert not reader.of(Gap)
    late = [event for event in reader.of(Chunk)[1:] if event.partition == old]
    assert late == []


def test_added_partitions_are_picked_up(
    settings: KafkaSettings, kafka_admin: KafkaAdminClient, open_reader: Callable[..., Reader]
) -> None:
    """More partitions: the topology says so at once, and they are assigned soon after."""
    publish(settings, range(10))
    reader = open_reader(settings)
    reader.run(lambda: len(reader.values) == 10)
    kafka_admin.create_partitions({settings.topic: 3})
    deadline = time.monotonic() + 10
    while reader.source.topology().partitions != (0, 1, 2):
        assert time.monotonic() < deadline
    publish(settings, range(10, 40), 3)
    reader.run(lambda: len(reader.held) == 3 and len(reader.values) == 40)
    assert len({partition.topic_id for partition in reader.held}) == 1


@pytest.mark.parametrize("codec", [None, "gzip", "snappy", "lz4", "zstd"])
def test_every_codec(
    settings: KafkaSettings, open_reader: Callable[..., Reader], codec: str | None
) -> None:
    """Records come out the same from every codec, from the middle of a batch too."""
    values = [b'{"n": %d, "x": "%s"}' % (n, b"y" * 200) for n in range(500)]
    with Publisher(settings, compression=codec) as publisher:
        for value in values:
            publisher.send(None, value)
    reader = open_reader(settings, {0: 123})
    reader.run(lambda: len(reader.values) == 377)
    assert reader.values == values[123:]


@pytest.mark.parametrize(
    ("begin", "first"),
    [("earliest", 0), ("latest", 100), (datetime(2001, 9, 9, 1, 47, 30, tzinfo=UTC), 50)],
)
def test_where_history_begins(
    settings: KafkaSettings,
    open_reader: Callable[..., Reader],
    begin: Any,
    first: int,
) -> None:
    """Without a position a partition begins at its first record, its end, or at a time; and the
    source says where that is."""
    with Publisher(settings) as publisher:
        for n in range(100):
            publisher.send(None, b"%d" % n, timestamp_ms=1_000_000_000_000 + n * 1000)
    reader = open_reader(replace(settings, begin=begin))
    reader.run(lambda: [lag.position for lag in reader.source.lags()] not in ([], [0]) or not first)
    publish(settings, range(100, 110))
    reader.run(lambda: len(reader.values) == 110 - first)
    assert reader.values[0] == b"%d" % first
    assert [begun.offset for begun in reader.of(Began)] == [first]


def test_aborted_transactions_are_neither_read_nor_lag(
    kafka_server: KafkaServer, settings: KafkaSettings, open_reader: Callable[..., Reader]
) -> None:
    """What a producer took back is not handed out, and its markers are not counted as lag."""
    producer = KafkaProducer(
        bootstrap_servers=kafka_server.bootstrap, transactional_id=f"t-{uuid.uuid4().hex}"
    )
    producer.init_transactions()
    for n in range(4):
        producer.begin_transaction()
        producer.send(settings.topic, b"%d" % n)
        producer.flush()
        if n % 2:
            producer.abort_transaction()
        else:
            producer.commit_transaction()
    producer.close()
    reader = open_reader(settings)
    reader.run(lambda: len(reader.values) == 2)

    def caught_up() -> bool:
        return all(lag.position == lag.end == 8 for lag in reader.source.lags())

    reader.run(caught_up)
    assert reader.values == [b"0", b"2"]


class NotText(str):
    """A header key that a hostile producer encodes as it likes."""

    __slots__ = ()

    def encode(self, *_arguments: Any, **_options: Any) -> bytes:
        return b"\xff\xfe"


def test_a_hostile_header_stops_nothing(
    kafka_server: KafkaServer, settings: KafkaSettings, open_reader: Callable[..., Reader]
) -> None:
    """A header key that is not UTF-8, which hangs kafka-python itself, is a record like others."""
    producer = KafkaProducer(bootstrap_servers=kafka_server.bootstrap, linger_ms=50)
    for n in range(5):
        key = NotText("x") if n == 2 else "x"
        producer.send(settings.topic, b"%d" % n, headers=[(key, b"y")])
    producer.close()
    reader = open_reader(settings)
    reader.run(lambda: len(reader.values) == 5)
    headers = [r.headers for chunk in reader.of(Chunk) for r in chunk.records]
    assert headers[2] == (("\\xff\\xfe", b"y"),)
    assert headers[3] == (("x", b"y"),)


def test_a_bomb_is_a_gap(
    kafka_server: KafkaServer, settings: KafkaSettings, open_reader: Callable[..., Reader]
) -> None:
    """A batch of a few kilobytes that would unpack to 100 MB is reported, and not unpacked."""
    publish(settings, range(3))
    producer = KafkaProducer(
        bootstrap_servers=kafka_server.bootstrap,
        compression_type="zstd",
        max_request_size=200_000_000,
    )
    producer.send(settings.topic, bytes(100_000_000))
    producer.close()
    publish(settings, range(3, 6))
    reader = open_reader(settings)
    reader.run(lambda: bool(reader.of(Gap)))
    [gap] = reader.of(Gap)
    assert (gap.first, gap.last, gap.reason) == (3, 3, "unreadable")
    assert reader.values == [b"0", b"1", b"2"]
    reader.source.start(gap.partition, gap.last + 1)
    reader.run(lambda: len(reader.values) == 6)
    assert reader.values[3:] == [b"3", b"4", b"5"]


def test_a_missing_topic_is_an_outage_that_ends(
    kafka_server: KafkaServer, kafka_admin: KafkaAdminClient, open_reader: Callable[..., Reader]
) -> None:
    """A topic that is not there yet is named in the outage; once it exists reading begins."""
    settings = settings_for(kafka_server, f"later-{uuid.uuid4().hex[:8]}")
    reader = open_reader(settings)
    reader.step()
    assert f"there is no topic {settings.topic}" in str(reader.outages[0])
    kafka_admin.create_topics({settings.topic: {"num_partitions": 1, "replication_factor": 1}})
    publish(settings, range(5))
    reader.run(lambda: len(reader.values) == 5)


def test_nobody_there_is_an_outage() -> None:
    """Without a broker the source says so, every time, and comes back at once for more."""
    reader = Reader(KafkaSettings(("127.0.0.1:9",), "t"))
    began = time.monotonic()
    reader.step()
    reader.step()
    threads = threading.active_count()
    reader.step()
    assert len(reader.outages) == 3
    assert time.monotonic() - began < 15
    assert threading.active_count() <= threads
    reader.source.close()


def test_positions_are_told_to_kafka_and_never_believed(
    kafka_server: KafkaServer, settings: KafkaSettings, open_reader: Callable[..., Reader]
) -> None:
    """The group's committed offset follows reading, and a new reader ignores it."""
    settings = replace(settings, inform=timedelta(milliseconds=100))
    publish(settings, range(30))
    reader = open_reader(settings)
    reader.run(lambda: len(reader.values) == 30)
    place = TopicPartition(settings.topic, 0)
    observer = KafkaConsumer(
        bootstrap_servers=kafka_server.bootstrap,
        group_id=settings.group,
        enable_auto_commit=False,
    )
    reader.run(lambda: observer.committed(place) == 30)
    observer.close()
    reader.source.close()
    other = open_reader(settings, {0: 5})
    other.run(lambda: len(other.values) == 25)
    assert other.values[0] == b"5"
