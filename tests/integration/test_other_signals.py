"""Other signals at a start, on a real Apache Kafka that is read from its end (`begin: latest`)."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest

from monitor.ingest import Ingest
from monitor.metrics import Metrics
from monitor.store.store import Store
from monitor.stream.signals import Plan, default_signals, plan
from monitor.stream.sources.kafka import KafkaSource
from monitor.stream.sources.kafka_client import KafkaSettings
from monitor.stream.sources.publish import Publisher
from tests.making import KEY, document
from tests.servers.kafka_fixtures import NewTopic
from tests.servers.kafka_server import KafkaServer

pytestmark = pytest.mark.kafka

PLAN = plan(default_signals())
MORE = plan((msgspec.structs.replace(default_signals()[0], name="mine"), *default_signals()))


def publish(settings: KafkaSettings, numbers: Iterable[int]) -> None:
    """Turns of now, over two partitions; each fifth one runs a denied tool."""
    call = {"tool": "pay", "decision": "denied", "status": "ok"}
    with Publisher(settings) as publisher:
        for n in numbers:
            calls = [call] if n % 5 == 0 else []
            made = document(datetime.now(UTC), key=f"e{n}", source=f"//gw/{n}", tool_calls=calls)
            publisher.send(None, json.dumps(made).encode(), partition=n % 2)


def counted(store: Store, chosen: Plan) -> int:
    """Turns in the cells of a plan."""
    with store.read() as tx:
        pipeline = tx.stream.known_pipeline(chosen)
        cells = {} if pipeline is None else tx.stream.counts(pipeline, 0, 2**40)
    return sum(counts[0] for one in cells.values() for counts in one.base.values())


def read(
    store: Store, settings: KafkaSettings, chosen: Plan, turns: int, new: range = range(0)
) -> None:
    """A process reads until its cells hold that many turns, and is killed: it leaves nothing.

    `new` is published once it has its partitions.
    """
    source = KafkaSource(settings)
    ingest = Ingest(store, source, chosen, Metrics(), digest_key=KEY)
    told, deadline = not new, time.monotonic() + 60
    while counted(store, chosen) != turns or not told:
        assert time.monotonic() < deadline, counted(store, chosen)
        ingest.step(datetime.now(UTC), timeout_s=0.2)
        if not told and len(source.lags()) == 2:
            publish(settings, new)
            told = True
    source.close()


def test_events_of_the_downtime_are_counted_by_the_new_signals(
    kafka_server: KafkaServer, new_kafka_topic: NewTopic, tmp_path: Path
) -> None:
    """Twenty events, a stop, thirty more, and a start with a rate more: it goes on where the old
    signals stood, with every never-event once and no gap; and so does a start with the old ones."""
    settings = KafkaSettings(
        (kafka_server.bootstrap,),
        new_kafka_topic(2),
        f"g-{uuid.uuid4().hex[:8]}",
        session_timeout=timedelta(seconds=6),
        begin="latest",
    )
    store = Store(f"sqlite:///{tmp_path / 'x.db'}")
    read(store, settings, PLAN, 20, range(20))
    publish(settings, range(20, 50))
    read(store, settings, MORE, 50)
    publish(settings, range(50, 60))
    read(store, settings, PLAN, 60)
    with store.read() as tx:
        events = sorted(int(one.event_id[1:]) for _, _, one in tx.stream.open_occurrences())
        assert tx.stream.open_gaps() == []
    store.close()
    assert events == list(range(0, 60, 5))
