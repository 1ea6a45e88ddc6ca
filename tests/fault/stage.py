"""Where a part of the harness is played: a topic, a store and a folder, made anew and removed."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.fault.ground import Ground
from tests.servers.kafka_fixtures import create_topic
from tests.servers.kafka_server import KafkaServer
from tests.servers.postgres_server import DAEMON, PostgresServer


@contextmanager
def ground(
    kafka: KafkaServer, postgres: PostgresServer | None = None, *, schema: bool = True
) -> Iterator[Ground]:
    """A topic, and a store on `postgres` for a daemon with the least rights, without a schema if
    need be, else an empty one on SQLite; the folder is removed."""
    # Here and not above: importing kafka-python costs every test run 0.3 s and a warning.
    from kafka import KafkaAdminClient

    admin = KafkaAdminClient(bootstrap_servers=kafka.bootstrap)
    topic = create_topic(admin, 4)
    admin.close()
    folder = Path(tempfile.mkdtemp(prefix="tocsin-fault-"))
    store, owner = f"sqlite:///{folder / 'x.db'}", ""
    if postgres is not None:
        database = postgres.create_database()
        store, owner = postgres.url(database, DAEMON), postgres.url(database)
    made = Ground(folder, kafka.bootstrap, topic, store, owner)
    try:
        if schema:
            made.make_schema()
        yield made
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def say(text: str) -> None:
    """A line of progress."""
    print(f"{time.strftime('%H:%M:%S')} {text}", flush=True)
