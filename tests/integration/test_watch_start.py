"""`tocsin run` while its PostgreSQL does not answer: people are told, and it goes on by itself."""

from __future__ import annotations

import json
import socket
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from monitor.store.schema import head
from monitor.stream.sources.kafka_client import KafkaSettings
from monitor.stream.sources.publish import Publisher
from tests.fault.events import event
from tests.integration.process_stage import Tree, rows, wait_for
from tests.integration.test_processes import settings
from tests.integration.test_watch_storage import told
from tests.integration.watch_stage import secrets
from tests.servers import faults
from tests.servers.kafka_fixtures import NewTopic
from tests.servers.kafka_server import KafkaServer
from tests.servers.pagerduty_server import PagerDutyServer
from tests.servers.postgres_server import PASSWORD, SIGNED_IN, PostgresServer

PAGE_S = 30.0
SILENT = "the store is waited for, and people are told"


def daemon(folder: Path, url: str, kafka: str, topic: str, pagerduty: PagerDutyServer) -> Tree:
    """A daemon on a server's store that pages PagerDuty; not started."""
    (folder / "key").write_text("k" * 32)
    (folder / "key").chmod(0o600)
    receiver = {
        "type": "pagerduty",
        "name": "pagerduty",
        "routing_key": {"env": "TOCSIN_TEST_PAGERDUTY"},
        "base_url": pagerduty.base_url,
    }
    given: dict[str, Any] = settings(folder, kafka, topic, store=url)
    given["digest_key"] = {"file": str(folder / "key")}
    given["paging"] = {"receivers": [receiver], "route": {"receivers": ["pagerduty"]}}
    given["processes"] = {"workers": 1}
    return Tree(folder / "a", given, env=secrets())


def test_a_daemon_that_starts_without_its_database_pages_and_goes_on(
    own_postgres_server: PostgresServer,
    kafka_server: KafkaServer,
    new_kafka_topic: NewTopic,
    tmp_path: Path,
) -> None:
    """PagerDuty refuses, everything is killed, PagerDuty takes it; then the database is there."""
    server, topic = own_postgres_server, new_kafka_topic(1)
    url = server.url(server.create_database())
    server.immediate()
    with PagerDutyServer() as pagerduty:
        tree = daemon(tmp_path, url, kafka_server.bootstrap, topic, pagerduty)
        pagerduty.fail_next(faults.status(503), times=1000)
        try:
            tree.start()
            wait_for(lambda: SILENT in tree.said(), "the start finds nobody")
            took = wait_for(lambda: pagerduty.journal.rows, "it is tried")
            print(f"first tried {took:.1f} s after the start found nobody")
            assert took <= PAGE_S
            wait_for(lambda: "storage down" in tree.health("/readyz"), "not ready says why")
            assert tree.health("/readyz").startswith("not ready: waiting for the store")
            assert tree.health("/healthz") == "ok\n"
            assert "tocsin_watch_unsent_messages" in tree.health("/metrics")
            assert not pagerduty.incidents

            tree.kill()
            pagerduty.recover()
            tree.start()
            wait_for(lambda: tree.said().count(SILENT) == 2, "nor does the second start")
            took = wait_for(lambda: pagerduty.incidents, "what the spool held is sent")
            print(f"sent {took:.1f} s after the second start found nobody")
            assert took <= PAGE_S
            (page,) = pagerduty.incidents
            assert "storage down" in page.summary
            assert socket.gethostname() in page.dedup_key
            assert tree.working("control", "auditor")

            server.start()
            wait_for(lambda: "ready: owner" in tree.health("/readyz"), "it goes on by itself")
            wait_for(lambda: pagerduty.incidents[0].state == "resolved", "the end is told")
            target = KafkaSettings(bootstrap=(kafka_server.bootstrap,), topic=topic)
            with Publisher(target) as publisher:
                publisher.send(b"1", event(1))
                publisher.flush()
            wait_for(lambda: len(pagerduty.incidents) == 2, "an event pages as ever")
            wait_for(lambda: not tree.health("/statusz").count("emergency"), "the story is filed")
            assert tree.end() == 0
        finally:
            tree.close()
        assert [one.state for one in pagerduty.incidents] == ["resolved", "triggered"]
    assert rows(url, "SELECT version_num FROM alembic_version") == [(head(),)]
    assert {"PAGE", "SENT", "NORMAL", "CLOSED"} <= set(told(url)[1])


@pytest.mark.parametrize(
    ("user", "database", "words"),
    [
        ("tocsin_owner", "nowhere", 'database "nowhere" does not exist'),
        ("nobody", "postgres", 'role "nobody" does not exist'),
        (SIGNED_IN, "postgres", "password authentication failed"),
    ],
)
def test_a_server_that_refuses_ends_the_start_at_once(
    postgres_server: PostgresServer, tmp_path: Path, user: str, database: str, words: str
) -> None:
    """It answers, and lets us not in: no waiting mends that, so the start says so with 6."""
    assert PASSWORD != "wrong"
    with PagerDutyServer() as pagerduty:
        url = postgres_server.url(database, user)
        tree = daemon(tmp_path, url, "127.0.0.1:1", "none", pagerduty)
        tree.settings["store_password"] = {"env": "TOCSIN_TEST_DATABASE"}
        tree.env = {**tree.env, "TOCSIN_TEST_DATABASE": "wrong"}
        try:
            tree.start()
            assert tree.process is not None
            assert tree.process.wait(60) == 6
            assert words in tree.said()
            assert tree.children() == {}
        finally:
            tree.close()


def test_a_sqlite_file_that_is_locked_is_waited_for(tmp_path: Path) -> None:
    """Somebody copies it, or repairs it: not ready until they are done."""
    file = tmp_path / "x.db"
    with PagerDutyServer() as pagerduty, closing(sqlite3.connect(file)) as other:
        other.isolation_level = None
        other.execute("CREATE TABLE x (y)")
        other.execute("BEGIN EXCLUSIVE")
        tree = daemon(tmp_path, f"sqlite:///{file}", "127.0.0.1:1", "none", pagerduty)
        try:
            tree.start()
            wait_for(lambda: "database is locked" in tree.health("/readyz"), "it says why")
            wait_for(lambda: tree.working("control", "auditor"), "the auditor is there")
            other.execute("ROLLBACK")
            wait_for(lambda: "ready: owner" in tree.health("/readyz"), "it goes on by itself")
            assert tree.end() == 0
        finally:
            tree.close()


def test_a_check_of_a_start_waits_for_nothing(tmp_path: Path) -> None:
    """`tocsin run --check` says that the store does not answer, and ends with 6."""
    with PagerDutyServer() as pagerduty:
        tree = daemon(tmp_path, "postgresql://127.0.0.1:1/x", "127.0.0.1:1", "none", pagerduty)
        config = tmp_path / "tocsin.yaml"
        config.write_text(json.dumps({**tree.settings, "source": {"type": "file", "path": "-"}}))
        done = subprocess.run(
            [sys.executable, "-m", "tui.cli", "run", "--check", "-c", str(config)],
            capture_output=True,
            check=False,
            timeout=60,
        )
    assert done.returncode in {3, 6}, done.stderr.decode()
    assert b"Connection refused" in done.stdout
