"""A Kafka log read as a recording: to the end it had, and no further."""

from __future__ import annotations

import uuid

import pytest

from monitor.stream.sources.kafka import KafkaSource
from monitor.stream.sources.kafka_client import KafkaSettings
from monitor.stream.sources.publish import Publisher
from monitor.stream.sources.source import Assigned, Began, Chunk
from monitor.stream.sources.until_end import UntilEnd
from tests.servers.kafka_fixtures import NewTopic
from tests.servers.kafka_server import KafkaServer

pytestmark = pytest.mark.kafka


def publish(settings: KafkaSettings, values: range) -> None:
    with Publisher(settings) as publisher:
        for n in values:
            publisher.send(None, b"%d" % n, partition=n % 2)


@pytest.fixture
def settings(kafka_server: KafkaServer, new_kafka_topic: NewTopic) -> KafkaSettings:
    return KafkaSettings(
        (kafka_server.bootstrap,), new_kafka_topic(2), f"g-{uuid.uuid4().hex[:8]}", max_records=7
    )


def read(source: UntilEnd, settings: KafkaSettings, *, meanwhile: range) -> list[bytes | None]:
    """Everything it hands out; `meanwhile` is appended as soon as the ends are known."""
    values: list[bytes | None] = []
    for _ in range(200):
        for event in source.poll(0.2):
            match event:
                case Assigned(partitions):
                    for partition in partitions:
                        source.start(partition, None)
                case Chunk(_, records, _):
                    values += [record.value for record in records]
                case Began():
                    pass  # it may start anywhere
                case other:
                    raise AssertionError(other)
        if values and meanwhile:
            publish(settings, meanwhile)
            meanwhile = range(0)
        if source.exhausted:
            return values
    raise AssertionError(f"not exhausted after {len(values)} records")


def test_what_is_appended_meanwhile_is_left_for_the_next_time(settings: KafkaSettings) -> None:
    """A recording has the records of its beginning, all of them, and then it is exhausted."""
    publish(settings, range(40))
    source = UntilEnd(KafkaSource(settings))
    assert source.finite
    values = read(source, settings, meanwhile=range(40, 60))
    source.close()
    assert sorted(int(value or b"") for value in values) == list(range(40))


def test_an_empty_log_is_exhausted_at_once(settings: KafkaSettings) -> None:
    """Nothing to read is an end too."""
    source = UntilEnd(KafkaSource(settings))
    values = read(source, settings, meanwhile=range(0))
    source.close()
    assert values == []
