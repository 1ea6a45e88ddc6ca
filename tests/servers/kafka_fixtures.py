"""Fixtures for tests on a real Apache Kafka: a broker a session, topics with unique names."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import pytest

from tests.servers.kafka_jars import KafkaUnavailable
from tests.servers.kafka_server import KafkaServer
from tests.servers.missing import missing

if TYPE_CHECKING:
    from kafka import KafkaAdminClient

NewTopic = Callable[..., str]


def kafka_or_skip(**properties: str) -> KafkaServer:
    """A broker that is not started yet; without Kafka the test is skipped, under CI it fails."""
    try:
        return KafkaServer(**properties)
    except KafkaUnavailable as problem:
        missing(f"needs Apache Kafka: {problem}")


@pytest.fixture(scope="session")
def kafka_server() -> Iterator[KafkaServer]:
    """The session's broker, shared: never stop or kill this one."""
    with kafka_or_skip() as server:
        yield server


@pytest.fixture
def own_kafka_server() -> Iterator[KafkaServer]:
    """A broker for this test alone, to stop and to kill."""
    with kafka_or_skip() as server:
        yield server


@pytest.fixture(scope="session")
def kafka_admin(kafka_server: KafkaServer) -> Iterator[KafkaAdminClient]:
    """An admin client of the session's broker."""
    # Here and not above: importing kafka-python costs every test run 0.3 s and a warning.
    from kafka import KafkaAdminClient

    admin = KafkaAdminClient(bootstrap_servers=kafka_server.bootstrap)
    yield admin
    admin.close()


@pytest.fixture
def new_kafka_topic(kafka_admin: KafkaAdminClient) -> NewTopic:
    """`new_kafka_topic(partitions=1, **configs)` makes a topic and returns its unique name."""

    def make(partitions: int = 1, **configs: str) -> str:
        return create_topic(kafka_admin, partitions, **configs)

    return make


def create_topic(admin: KafkaAdminClient, partitions: int = 1, **configs: str) -> str:
    """A topic with a name of its own; in `configs` `_` stands for `.`."""
    name = f"t-{uuid.uuid4().hex[:12]}"
    settings = {key.replace("_", "."): value for key, value in configs.items()}
    wanted = {"num_partitions": partitions, "replication_factor": 1, "configs": settings}
    admin.create_topics({name: wanted})
    return name
