"""Grounds for the slice of the harness that CI runs."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import pytest

from tests.fault.ground import Ground
from tests.servers.kafka_fixtures import NewTopic
from tests.servers.kafka_server import KafkaServer


class NewGround(Protocol):
    """Makes a ground on the session's broker; an empty `store` is one on SQLite."""

    def __call__(self, store: str, owner: str = "") -> Ground:
        """See `Ground`."""


@pytest.fixture
def new_ground(tmp_path: Path, kafka_server: KafkaServer, new_kafka_topic: NewTopic) -> NewGround:
    """`new_ground(store, owner)`, whose topic has four partitions."""

    def make(store: str, owner: str = "") -> Ground:
        url = store or f"sqlite:///{tmp_path / 'x.db'}"
        return Ground(tmp_path, kafka_server.bootstrap, new_kafka_topic(4), url, owner)

    return make
