"""Grounds for the slice of the harness that CI runs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.fault.ground import Ground
from tests.servers.kafka_fixtures import NewTopic
from tests.servers.kafka_server import KafkaServer

NewGround = Callable[[str], Ground]


@pytest.fixture
def new_ground(tmp_path: Path, kafka_server: KafkaServer, new_kafka_topic: NewTopic) -> NewGround:
    """`new_ground(store)`: a topic of the session's broker; an empty name is a store on SQLite."""

    def make(store: str) -> Ground:
        url = store or f"sqlite:///{tmp_path / 'x.db'}"
        return Ground(tmp_path, kafka_server.bootstrap, new_kafka_topic(4), url)

    return make
