"""A short slice of `make fault`: a broker that is killed, an owner killed and frozen, a restart."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fault.conftest import NewGround
from tests.fault.ground import Ground
from tests.fault.outages import broker_killed
from tests.fault.takeover import restarts, take_over
from tests.servers.kafka_fixtures import create_topic
from tests.servers.kafka_server import KafkaServer

pytestmark = pytest.mark.kafka

BUSY_S = 15.0
"""What a busy machine may add to a goal."""


def test_a_broker_that_is_killed_loses_nothing(
    own_kafka_server: KafkaServer, tmp_path: Path
) -> None:
    """What was written before and after it is paged when it is back."""
    # Here and not above: importing kafka-python costs every test run 0.3 s and a warning.
    from kafka import KafkaAdminClient

    admin = KafkaAdminClient(bootstrap_servers=own_kafka_server.bootstrap)
    topic = create_topic(admin, 4)
    admin.close()
    store = f"sqlite:///{tmp_path / 'x.db'}"
    ground = Ground(tmp_path, own_kafka_server.bootstrap, topic, store)
    done = broker_killed(ground, own_kafka_server, times=1)
    assert done.tally.sound(), done
    assert max(done.resumed_s) < BUSY_S + 15, done


def test_a_standby_takes_over_without_a_loss(new_ground: NewGround, postgres_url: str) -> None:
    """A killed and a frozen owner are followed in time; the one that wakes up writes nothing."""
    done = take_over(new_ground(postgres_url), rounds=1)
    assert done.tally.sound(), done
    assert done.zombie_writes == 0
    assert max(done.killed_s + done.frozen_s) < BUSY_S + 15, done


def test_a_restart_pages_what_was_claimed_before_it(new_ground: NewGround) -> None:
    """The page that a killed daemon had claimed goes out soon after the next start."""
    assert max(restarts(new_ground(""), count=1)) < BUSY_S + 5
