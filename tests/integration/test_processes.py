"""A daemon's processes on real Apache Kafka and SQLite: any may be killed, nothing is lost."""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from monitor.desk.desk import open_direct
from monitor.processes.supervisor import DRAIN_S
from monitor.store.ownership import owner
from monitor.store.store import Store
from monitor.stream.sources.kafka_client import KafkaSettings
from monitor.stream.sources.publish import Publisher
from tests.fault.events import START, event
from tests.integration.process_stage import Tree, rows, wait_for
from tests.integration.run_stage import BOOK
from tests.making import level_note
from tests.servers.kafka_fixtures import NewTopic
from tests.servers.kafka_server import KafkaServer
from tui.desk_client import Place, connect

UP = re.compile(r"^processes: ok: [^;]*control[^;]* up", re.MULTILINE)


def settings(folder: Path, bootstrap: str, topic: str, **more: Any) -> dict[str, Any]:
    """A loud daemon on SQLite that reads a topic from its beginning."""
    return {
        "version": 1,
        "store": f"sqlite:///{folder / 'x.db'}",
        "profile": "loud",
        "source": {"type": "kafka", "bootstrap": [bootstrap], "topic": topic, "start": "earliest"},
        "http": "127.0.0.1:0",
        "watch": {"reserve": 0, "disk_free": 0},
        **more,
    }


@pytest.fixture
def tree(tmp_path: Path) -> Iterator[Tree]:
    """A daemon whose Kafka does not answer; not started."""
    made = Tree(tmp_path / "a", settings(tmp_path, "127.0.0.1:1", "none"))
    yield made
    made.close()


def metric(tree: Tree, name: str) -> float:
    """The value of a metric with its labels, once it is served."""
    found: list[str] = []

    def served() -> bool:
        lines = tree.health("/metrics").splitlines()
        found[:] = [line for line in lines if line.startswith(name + " ")]
        return bool(found)

    wait_for(served, name)
    return float(found[0].rpartition(" ")[2])


class Sender:
    """Publishes never-events, each of a source of its own, over all partitions."""

    def __init__(self, publisher: Publisher) -> None:
        self._publisher = publisher
        self.sent = 0

    def send(self, count: int) -> None:
        """So many more."""
        stamp_ms = int(START.timestamp() * 1000)
        for number in range(self.sent, self.sent + count):
            self._publisher.send(
                str(number).encode(), event(number), timestamp_ms=stamp_ms + 1000 * number
            )
        self._publisher.flush()
        self.sent += count


def test_any_process_may_be_killed_and_nothing_is_lost(
    tmp_path: Path, kafka_server: KafkaServer, new_kafka_topic: NewTopic
) -> None:
    """Each never-event is one incident and is paged, whichever process dies meanwhile."""
    topic = new_kafka_topic(4)
    tree = Tree(
        tmp_path / "a", settings(tmp_path, kafka_server.bootstrap, topic), ("--workers", "2")
    )
    store = f"sqlite:///{tmp_path / 'x.db'}"

    def incidents() -> int:
        found = rows(store, "SELECT groups FROM incidents WHERE origin = 'never_event'")
        assert len(set(found)) == len(found)
        return len(found)

    def read_by() -> list[int]:
        return [n for (n,) in rows(store, "SELECT number FROM progress WHERE hi > 0 ORDER BY 1")]

    target = KafkaSettings(bootstrap=(kafka_server.bootstrap,), topic=topic)
    try:
        tree.start()
        with Publisher(target) as publisher:
            sender = Sender(publisher)
            sender.send(20)
            wait_for(lambda: incidents() == sender.sent, "all of them are incidents")
            wait_for(lambda: tree.working("control", "ingest-0", "ingest-1"), "three children")
            for name in ("ingest-1", "control"):
                killed = tree.kill_child(name)
                sender.send(20)
                wait_for(lambda: incidents() == sender.sent, f"incidents without {name}")
                tree.wait_for_another(name, killed)
                assert metric(tree, f'tocsin_process_restarts_total{{process="{name}"}}') == 1
            os.kill(tree.pid, signal.SIGKILL)
            wait_for(lambda: not tree.children(), "the children have left")
            sender.send(20)
            tree.start()
            wait_for(lambda: incidents() == sender.sent, "incidents of the second start")
        assert read_by() == [0, 1, 2, 3]
        wait_for(
            lambda: rows(store, "SELECT count(*) FROM outbox WHERE state != 'sent'") == [(0,)],
            "everything is sent",
        )
        assert tree.end() == 0
        assert tree.children() == {}
    finally:
        tree.close()
    triggers = rows(store, "SELECT count(*) FROM outbox WHERE kind = 'trigger'")
    assert triggers == [(sender.sent,)]


def test_a_frozen_child_is_killed_and_started_again(tree: Tree) -> None:
    """What a stopped process cannot see itself, the supervisor sees."""
    tree.settings["processes"] = {"stall": "4s"}
    tree.start()
    wait_for(lambda: UP.search(tree.health("/statusz")), "the supervisor hears it")
    frozen = tree.kill_child("control", signal.SIGSTOP)
    tree.wait_for_another("control", frozen)
    assert "gave no sign of life" in tree.said()
    wait_for(lambda: tree.health("/readyz"), "it answers again")


def test_a_stalled_loop_writes_down_its_stacks_and_is_started_again(
    tree: Tree, tmp_path: Path
) -> None:
    """A loop that gives no sign of life ends its process with 70; where it stood is kept."""
    tree.settings["processes"] = {"stall": "4s"}
    tree.env = {"TOCSIN_FAULT": "K1:3:stall"}
    tree.start()
    wait_for(lambda: "ended with status 70" in tree.said(), "the watchdog bites")
    stacks = (tmp_path / "x.db.stalls").read_text()
    assert "stall of ingest" in stacks
    assert "fault_point" in stacks
    wait_for(lambda: tree.working("ingest-0"), "it was started again")


def test_the_store_stays_owned_while_a_child_lives(tree: Tree, tmp_path: Path) -> None:
    """A supervisor that is killed leaves no store to a second daemon before its children left."""
    tree.start()
    wait_for(lambda: tree.health("/readyz"), "it answers")
    child = tree.children()["control"]
    os.kill(child, signal.SIGSTOP)
    os.kill(tree.pid, signal.SIGKILL)
    second = Tree(tmp_path / "b", tree.settings)
    try:
        second.start()
        assert second.process is not None
        assert second.process.wait(60) == 6
        assert "owns" in second.said()
        os.kill(child, signal.SIGKILL)
        wait_for(lambda: not tree.children(), "nobody is left")
        second.start()
        wait_for(lambda: second.health("/readyz"), "now it answers")
        assert second.end() == 0
    finally:
        second.close()


def test_a_queued_page_goes_out_soon_after_a_start(tree: Tree, tmp_path: Path) -> None:
    """After SIGKILL of everything the first page is sent without waiting for a stream."""
    store = f"sqlite:///{tmp_path / 'x.db'}"
    tree.start()
    wait_for(lambda: tree.health("/readyz"), "it answers")
    tree.kill()
    wait_for(lambda: owner(store) is None, "nobody holds the store")
    open_direct(store).declare(title="it burns", severity="SEV1")
    tree.start()
    took = wait_for(
        lambda: rows(store, "SELECT count(*) FROM outbox WHERE state = 'sent'") == [(1,)], "a page"
    )
    print(f"sent {took:.1f} s after the start")
    assert took < 30


def test_children_that_do_not_drain_are_killed(tree: Tree) -> None:
    """Told to end, two children stand for ever: both are killed after the same ten seconds."""
    tree.env = {"TOCSIN_FAULT": "K14:1:stall"}
    tree.start()
    wait_for(lambda: tree.working("control", "auditor", "ingest-0"), "three children")
    wait_for(lambda: "ingest-0 up" in tree.health("/statusz"), "it works")
    began = time.monotonic()
    assert tree.end() == 0
    took = time.monotonic() - began
    print(f"ended {took:.1f} s after SIGTERM")
    assert DRAIN_S - 1 < took < 20
    killed = re.findall(r"([\w-]+) \(pid \d+\) did not end within 10 s: it is killed", tree.said())
    assert killed == ["control", "ingest-0"]
    assert tree.children() == {}


def test_a_drain_ends_a_command_and_gives_the_jobs_back(tree: Tree, tmp_path: Path) -> None:
    """Told to end while a step's command runs: in order within ten seconds, with nobody left, its
    outcome unknown, and no lease of an owner that is gone."""
    socket, mark, script = tmp_path / "desk", tmp_path / "marked", tmp_path / "mark"
    url = f"sqlite:///{tmp_path / 'x.db'}"
    (tmp_path / "books").mkdir()
    (tmp_path / "books" / "mark.yaml").write_text(BOOK.replace("FILE", str(mark)))
    script.write_text('#!/bin/sh\necho begun >> "$1"\nsleep 19\necho ended >> "$1"\n')
    script.chmod(0o755)
    allow = {"commands": [{"path": str(script), "args": [[]], "max_effect": "reversible"}]}
    tree.settings["runbooks"] = {"folders": [str(tmp_path / "books")], "allow": allow}
    tree.settings["desk"] = {"socket": str(socket)}
    tree.start()
    wait_for(lambda: tree.working("control", "auditor", "ingest-0"), "three children")
    desk = connect(Place(store=url, socket=socket), warn=lambda _: None)
    ref = desk.declare(title="it burns", severity="SEV2").incident
    assert ref is not None
    desk.start_run(ref, runbook="leave-a-mark")
    desk.step(ref, number=1, action="run", confirm="y")
    wait_for(mark.exists, "the command runs")
    began = time.monotonic()
    assert tree.end() == 0
    print(f"ended {time.monotonic() - began:.1f} s after SIGTERM")
    assert "is killed" not in tree.said()
    found = open_direct(url).incident(ref).run
    assert found is not None
    assert found.steps[0].state == "unknown"
    assert mark.read_text() == "begun\n"
    assert rows(url, "SELECT name FROM leases WHERE until > since") == []


def test_a_daemon_sends_the_digest(tree: Tree, tmp_path: Path) -> None:
    """The process that decides queues it once a day, and a start after a kill not once more."""
    url = f"sqlite:///{tmp_path / 'x.db'}"
    news = {"receivers": [{"type": "log", "name": "news"}], "route": {"receivers": ["news"]}}
    tree.settings["paging"] = {**news, "digest": {"receivers": ["news"], "at": "00:00"}}
    store, now = Store(url), datetime.now(UTC)
    with store.write() as tx:
        tx.notes.add(level_note(at=now, onset_at=now))
    store.close()
    sent = "SELECT state FROM outbox WHERE kind = 'digest'"
    tree.start()
    wait_for(lambda: rows(url, sent) == [("sent",)], "a digest")
    tree.kill()
    tree.start()
    wait_for(lambda: tree.health("/readyz"), "it answers")
    assert rows(url, sent) == [("sent",)]
