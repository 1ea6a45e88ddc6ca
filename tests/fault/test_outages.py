"""A short slice of `make fault`: a neighbour that dies, an owner killed and frozen, a restart."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.fault.conftest import NewGround
from tests.fault.ground import Ground
from tests.fault.outages import (
    SERVER_MIB,
    SMALL_LOG,
    NotRun,
    broker_killed,
    database_stopped,
    disk_full,
    server_disk_full,
    small_disk,
)
from tests.fault.takeover import restarts, take_over
from tests.servers.kafka_fixtures import create_topic
from tests.servers.kafka_server import KafkaServer
from tests.servers.missing import missing
from tests.servers.postgres_fixtures import postgres_or_skip
from tests.servers.postgres_server import DAEMON, PostgresServer

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
    server, database = own_postgres_server, own_postgres_server.create_database()
    ground = new_ground(server.url(database, DAEMON), server.url(database))
    ground.make_schema()
    done = database_stopped(ground, own_postgres_server, times=1)
    assert done.tally.sound(), done
    assert max(done.resumed_s) < BUSY_S + 15, done


def test_a_full_disk_pages_and_loses_nothing(new_ground: NewGround) -> None:
    """A page says that the disk is full while it is, and all that came in is paged afterwards."""
    try:
        done = disk_full(new_ground(""), seconds=0.0)
    except NotRun as reason:
        missing(str(reason))
    assert done.tally.sound(), done
    assert done.page_s is not None
    assert done.page_s < BUSY_S + 30, done
    assert max(done.resumed_s) < BUSY_S + 15, done


def test_a_full_disk_of_the_server_pages_and_loses_nothing(new_ground: NewGround) -> None:
    """A database that finds no room is a database that is down, until there is room."""
    with ExitStack() as stack:
        try:
            disk = stack.enter_context(small_disk(SERVER_MIB))
        except NotRun as reason:
            missing(str(reason))
        server = stack.enter_context(postgres_or_skip(disk, **SMALL_LOG))
        database = server.create_database()
        ground = new_ground(server.url(database, DAEMON), server.url(database))
        ground.make_schema()
        done = server_disk_full(ground, server, disk, seconds=0.0)
    assert done.tally.sound(), done
    assert done.page_s is not None
    assert done.page_s < BUSY_S + 30, done
    assert max(done.resumed_s) < BUSY_S + 15, done


def test_a_standby_takes_over_without_a_loss(
    new_ground: NewGround, postgres_store_url: str
) -> None:
    """A killed and a frozen owner are followed in time; the one that wakes up writes nothing."""
    done = take_over(new_ground(postgres_store_url), rounds=1, days=1)
    assert done.tally.sound(), done
    assert (done.zombie_writes, done.unordered) == (0, 0)
    assert max(done.killed_s + done.frozen_s) < BUSY_S + 15, done


def test_a_restart_pages_what_was_claimed_before_it(new_ground: NewGround) -> None:
    """The page that a killed daemon had claimed goes out soon after the next start, whatever past
    its detectors have to be rebuilt from; and they are."""
    done = restarts(new_ground(""), count=1, days=1)
    assert max(done.first_page_s) < BUSY_S + 5, done
    assert done.decided_s < 60, done
