"""An upgrade under running daemons: those of the release before go on, restarts included."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from monitor.store.engine import open_engine
from monitor.store.schema import head, revision
from monitor.stream.sources.kafka_client import KafkaSettings
from monitor.stream.sources.publish import Publisher
from tests.integration.process_stage import Tree, rows, wait_for
from tests.integration.test_processes import Sender, settings
from tests.integration.test_processes_standby import Installation
from tests.next_schema import ADDS, next_name, upgrade
from tests.servers.kafka_fixtures import NewTopic
from tests.servers.kafka_server import KafkaServer
from tests.servers.postgres_server import DAEMON, OWNER

READY = "ready: owner"


@pytest.fixture
def tree(tmp_path: Path, postgres_store_url: str) -> Iterator[Tree]:
    """A daemon on PostgreSQL with the least rights; its Kafka does not answer. Not started."""
    (tmp_path / "key").write_text("k" * 32)
    (tmp_path / "key").chmod(0o600)
    common = settings(tmp_path, "127.0.0.1:1", "none", store=postgres_store_url)
    common["digest_key"] = {"file": str(tmp_path / "key")}
    made = Tree(tmp_path / "a", common, ("--roles", "decide,deliver,runs"))
    yield made
    made.close()


def test_a_child_restarts_on_a_newer_schema(
    tree: Tree, postgres_store_url: str, tmp_path: Path
) -> None:
    """After an upgrade that only adds a killed control process comes again and owns its jobs."""
    tree.start()
    wait_for(lambda: READY in tree.health("/readyz"), "it owns")
    owner = open_engine(postgres_store_url.replace(f"{DAEMON}@", f"{OWNER}@"))
    upgrade(owner, tmp_path, ADDS, head())
    killed = tree.kill_child("control")
    tree.wait_for_another("control", killed)
    wait_for(lambda: READY in tree.health("/readyz"), "the next control process owns")
    assert tree.end() == 0
    assert revision(owner) == next_name()
    assert f"newer than our {head()}" in tree.said()
    owner.dispose()


def test_daemons_of_the_release_before_take_over_from_one_another(
    tmp_path: Path, kafka_server: KafkaServer, new_kafka_topic: NewTopic, postgres_store_url: str
) -> None:
    """While events come and the schema moves on, whichever of them dies: nothing lost or twice."""
    topic = new_kafka_topic(2)
    here = Installation(tmp_path, postgres_store_url, kafka_server.bootstrap, topic)
    reader, first, second = here.reader, here.first, here.second
    with ExitStack() as stack:
        for tree in (reader, first, second):
            stack.callback(tree.close)
        reader.start()
        first.start()
        wait_for(lambda: READY in first.health("/readyz"), "the first owns")
        second.start()
        wait_for(lambda: "ready: standby" in second.health("/readyz"), "the second stands by")
        target = KafkaSettings(bootstrap=(kafka_server.bootstrap,), topic=topic)
        sender = Sender(stack.enter_context(Publisher(target)))
        sender.send(10)
        owner = open_engine(postgres_store_url.replace(f"{DAEMON}@", f"{OWNER}@"))
        stack.callback(owner.dispose)
        upgrade(owner, tmp_path, ADDS, head())
        sender.send(10)
        first.kill()
        killed = reader.kill_child("ingest-0")
        sender.send(10)
        wait_for(lambda: here.incidents() == sender.sent, "what the second finds")
        reader.wait_for_another("ingest-0", killed)
        first.start()
        wait_for(lambda: "ready: standby" in first.health("/readyz"), "the first is back")
        second.kill()
        sender.send(10)
        wait_for(lambda: here.incidents() == sender.sent, "what the first finds")
        left = "SELECT count(*) FROM outbox WHERE state <> 'sent'"
        wait_for(lambda: rows(here.url, left) == [(0,)], "everything is sent")
        triggers = "SELECT count(*) FROM outbox WHERE kind = 'trigger'"
        assert rows(here.url, triggers) == [(sender.sent,)]
        assert revision(owner) == next_name()
