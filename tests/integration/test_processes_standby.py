"""Two daemons on one PostgreSQL: one decides, the other stands by and follows within the lease."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from monitor.stream.sources.kafka_client import KafkaSettings
from monitor.stream.sources.publish import Publisher
from tests.integration.process_stage import Tree, rows, wait_for
from tests.integration.test_processes import Sender, settings
from tests.servers.kafka_fixtures import NewTopic
from tests.servers.kafka_server import KafkaServer

JUDGES = "decide,deliver,runs"
PARTS = {
    "ingest": "ready: ingest here, decide and runs elsewhere",
    "decide": "ready: owner",
    "deliver": "ready: deliver here, decide and runs elsewhere",
    "runs": "ready: owner",
}
"""What a daemon says of itself that has one role alone."""


class Installation:
    """A daemon that reads and two that decide, on one store."""

    def __init__(self, folder: Path, url: str, bootstrap: str, topic: str) -> None:
        (folder / "key").write_text("k" * 32)
        (folder / "key").chmod(0o600)
        common: dict[str, Any] = settings(folder, bootstrap, topic, store=url)
        common["digest_key"] = {"file": str(folder / "key")}
        self.url = url
        self.reader = Tree(folder / "reader", common, ("--roles", "ingest"))
        self.first = Tree(folder / "first", common, ("--roles", JUDGES))
        self.second = Tree(folder / "second", common, ("--roles", JUDGES))

    def incidents(self) -> int:
        """How many; no two are of one never-event."""
        found = rows(self.url, "SELECT groups FROM incidents WHERE origin = 'never_event'")
        assert len(set(found)) == len(found)
        return len(found)

    def owner(self) -> str:
        """Who holds the job to decide."""
        held = rows(self.url, "SELECT holder FROM leases WHERE name = 'decide'")
        return str(held[0][0]) if held else ""

    def epoch(self) -> int:
        """Of that."""
        held = rows(self.url, "SELECT epoch FROM leases WHERE name = 'decide'")
        return int(held[0][0]) if held else 0


@pytest.fixture
def installation(
    tmp_path: Path, kafka_server: KafkaServer, new_kafka_topic: NewTopic, postgres_store_url: str
) -> Iterator[Installation]:
    """Not started."""
    topic = new_kafka_topic(2)
    made = Installation(tmp_path, postgres_store_url, kafka_server.bootstrap, topic)
    with ExitStack() as stack:
        for tree in (made.reader, made.first, made.second):
            stack.callback(tree.close)
        yield made


def undisturbed(tree: Tree, said: str = "ready: ") -> bool:
    """Whether it does its job and says so, and none of its children was ever started again."""
    assert "started again" not in tree.said(), tree.said()[-3000:]
    status, text = tree.answer("/readyz")
    return status == 200 and said in text


def test_each_role_may_have_a_daemon_of_its_own(
    tmp_path: Path, kafka_server: KafkaServer, new_kafka_topic: NewTopic, postgres_store_url: str
) -> None:
    """A daemon with one role alone stays up and ready, says which it is, and all page together."""
    topic = new_kafka_topic(2)
    made = Installation(tmp_path, postgres_store_url, kafka_server.bootstrap, topic)
    alone = {}
    for role in PARTS:
        # A path of its own: a socket's may not be as long as a test's folder makes it.
        given = {**made.reader.settings, "desk": {"socket": str(tmp_path / f"{role}.sock")}}
        alone[role] = Tree(tmp_path / role, given, ("--roles", role, "--workers", "1"))
    sent = "SELECT count(*) FROM outbox WHERE kind = 'trigger' AND state = 'sent'"
    with ExitStack() as stack:
        for tree in alone.values():
            stack.callback(tree.close)
            tree.start()
        for role, said in PARTS.items():
            wait_for(partial(undisturbed, alone[role], said), said)
        living = {role: tree.children()["control"] for role, tree in alone.items()}
        target = KafkaSettings(bootstrap=(kafka_server.bootstrap,), topic=topic)
        with Publisher(target) as publisher:
            sender = Sender(publisher)
            sender.send(5)
        wait_for(lambda: rows(made.url, sent) == [(sender.sent,)], "all of them are paged")
        assert all(undisturbed(tree) for tree in alone.values())
        assert living == {role: tree.children()["control"] for role, tree in alone.items()}
        assert [tree.end() for tree in alone.values()] == [0, 0, 0, 0]


def test_a_standby_follows_a_killed_and_a_frozen_owner(installation: Installation) -> None:
    """Nothing is lost or found twice, and an owner that wakes up late is fenced."""
    reader, first, second = installation.reader, installation.first, installation.second
    source = first.settings["source"]
    target = KafkaSettings(bootstrap=tuple(source["bootstrap"]), topic=source["topic"])
    reader.start()
    first.start()
    wait_for(lambda: "ready: owner" in first.health("/readyz"), "the first owns")
    second.start()
    wait_for(lambda: "ready: standby" in second.health("/readyz"), "the second stands by")
    assert "standby: decide is" in second.said()
    with Publisher(target) as publisher:
        sender = Sender(publisher)
        sender.send(10)
        wait_for(lambda: installation.incidents() == sender.sent, "what the first finds")

        first.kill()
        sender.send(10)
        wait_for(lambda: installation.incidents() == sender.sent, "what the second finds")
        wait_for(lambda: "ready: owner" in second.health("/readyz"), "the second owns")

        first.start()
        wait_for(lambda: "ready: standby" in first.health("/readyz"), "the first is back")
        frozen = second.kill_child("control", signal.SIGSTOP)
        os.kill(second.pid, signal.SIGSTOP)
        sender.send(10)
        wait_for(lambda: installation.incidents() == sender.sent, "what the first finds again")
        owner, epoch = installation.owner(), installation.epoch()
        before = second.said()
        os.kill(frozen, signal.SIGCONT)
        lost = ("fenced: decide", "decide was lost", "standby: decide")
        wait_for(lambda: any(w in second.said()[len(before) :] for w in lost), "the zombie yields")
        sender.send(10)
        wait_for(lambda: installation.incidents() == sender.sent, "what is found after that")
        assert (installation.owner(), installation.epoch()) == (owner, epoch)
        os.kill(second.pid, signal.SIGCONT)

    assert undisturbed(reader)
    assert first.end() == 0
    wait_for(lambda: installation.owner() not in {"", owner}, "the job given back is taken")
    wait_for(
        lambda: (
            rows(installation.url, "SELECT count(*) FROM outbox WHERE state <> 'sent'") == [(0,)]
        ),
        "everything is sent",
    )
    wanted = [(sender.sent,)]
    assert rows(installation.url, "SELECT count(*) FROM outbox WHERE kind = 'trigger'") == wanted
