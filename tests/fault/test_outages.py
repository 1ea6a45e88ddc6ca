"""A short slice of `make fault`: a neighbour that dies, an owner killed and frozen, a restart."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fault.conftest import NewGround
from tests.fault.ground import Ground
from tests.fault.outages import NotRun, broker_killed, database_stopped, disk_full
from tests.fault.takeover import restarts, take_over
from tests.servers.kafka_fixtures import create_topic
from tests.servers.kafka_server import KafkaServer
from tests.servers.postgres_server import PostgresServer

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


def test_a_database_that_stops_at_once_loses_nothing(
    new_ground: NewGround, own_postgres_server: PostgresServer
) -> None:
    """What was written before and after its crash is paged when it is back."""
    ground = new_ground(own_postgres_server.url(own_postgres_server.create_database()))
    done = database_stopped(ground, own_postgres_server, times=1)
    assert done.tally.sound(), done
    assert max(done.resumed_s) < BUSY_S + 15, done


def test_a_full_disk_pages_and_loses_nothing(new_ground: NewGround) -> None:
    """A page says that the disk is full while it is, and all that came in is paged afterwards."""
    try:
        done = disk_full(new_ground(""), seconds=0.0)
    except NotRun as reason:
        pytest.skip(str(reason))
    assert done.tally.sound(), done
    assert done.page_s is not None
    assert done.page_s < BUSY_S + 30, done
    assert max(done.resumed_s) < BUSY_S + 15, done


def test_a_standby_takes_over_without_a_loss(new_ground: NewGround, postgres_url: str) -> None:
    """A killed and a frozen owner are followed in time; the one that wakes up writes nothing."""
    done = take_over(new_ground(postgres_url), rounds=1, days=1)
    assert done.tally.sound(), done
    assert (done.zombie_writes, done.unordered) == (0, 0)
    assert max(done.killed_s + done.frozen_s) < BUSY_S + 15, done


def test_a_restart_pages_what_was_claimed_before_it(new_ground: NewGround) -> None:
    """The page that a killed daemon had claimed goes out soon after the next start, whatever past
    its detectors have to be rebuilt from; and they are."""
    done = restarts(new_ground(""), count=1, days=1)
    assert max(done.first_page_s) < BUSY_S + 5, done
    assert done.decided_s < 60, done
