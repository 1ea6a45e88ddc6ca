"""The same on PostgreSQL, which is stopped without warning."""

from __future__ import annotations

import socket
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest
from psycopg import sql

from monitor.config.secret import Secret
from monitor.config.settings import resolve
from monitor.store.store import Store
from monitor.watch.process import build
from tests.integration.test_watch_storage import paged, resolved, told
from tests.integration.watch_stage import Stage, patience, secrets, settings, stage
from tests.servers.pagerduty_server import PagerDutyServer
from tests.servers.postgres_server import OWNER, PASSWORD, SIGNED_IN, PostgresServer
from tests.servers.slack_server import SlackServer


def test_a_stopped_postgresql_pages_within_thirty_seconds(
    own_postgres_server: PostgresServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped at once: a page without it; started again: its end, and the story on a timeline."""
    for name, value in secrets().items():
        monkeypatch.setenv(name, value)
    server = own_postgres_server
    url = server.url(server.create_database())
    with stage(url, {"XDG_STATE_HOME": str(tmp_path)}) as on_stage:
        assert on_stage.places.spool.is_relative_to(tmp_path)
        on_stage.tick(2)
        server.immediate()
        assert on_stage.until(lambda: paged(on_stage)) * 3 <= 30
        server.start()
        on_stage.until(lambda: resolved(on_stage) and not on_stage.auditor._road.episodes)
        title, kinds, _ = told(url)
    assert "storage down" in title
    assert {"PAGE", "SENT", "NORMAL", "CLOSED"} <= set(kinds)


def test_a_schema_that_is_gone_is_storage_down(
    postgres_server: PostgresServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server answers, but not as our store: whatever the reason, it is told."""
    for name, value in secrets().items():
        monkeypatch.setenv(name, value)
    server = postgres_server
    database = server.create_database()
    with stage(server.url(database), {"XDG_STATE_HOME": str(tmp_path)}) as on_stage:
        on_stage.tick(2)
        with server.connect(database) as other:
            other.execute("ALTER TABLE leases RENAME TO mislaid")
            assert on_stage.until(lambda: paged(on_stage)) * 3 <= 30
            other.execute("ALTER TABLE mislaid RENAME TO leases")
        on_stage.until(lambda: resolved(on_stage))


def test_a_frozen_postgresql_does_not_freeze_the_auditor(
    postgres_server: PostgresServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A lock that is never let go: the page goes out, no thread piles up."""
    for name, value in secrets().items():
        monkeypatch.setenv(name, value)
    server = postgres_server
    database = server.create_database()
    with stage(server.url(database), {"XDG_STATE_HOME": str(tmp_path)}) as on_stage:
        on_stage.tick(2)
        with server.connect(database) as other:
            other.autocommit = False
            other.execute("LOCK TABLE leases IN ACCESS EXCLUSIVE MODE")
            assert on_stage.until(lambda: paged(on_stage)) * 3 <= 30
            other.rollback()
        on_stage.until(lambda: resolved(on_stage))


def test_one_daemon_that_recovers_leaves_the_page_of_the_other(
    own_postgres_server: PostgresServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two miss one store; for one it is back, the other has an old password: its page stays."""
    given = {**secrets(), "TOCSIN_TEST_ONE": PASSWORD, "TOCSIN_TEST_OTHER": PASSWORD}
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    server = own_postgres_server
    database = server.create_database()
    grant = sql.SQL("GRANT {} TO {}").format(*map(sql.Identifier, (OWNER, SIGNED_IN)))
    server.execute(grant)
    Store(server.url(database)).close()
    url, env = server.url(database, SIGNED_IN), {"XDG_STATE_HOME": str(tmp_path)}
    with SlackServer(burst=1000) as slack, PagerDutyServer() as pagerduty, ExitStack() as stack:

        def daemon(name: str) -> Stage:
            made = settings(url, slack, pagerduty)
            secret = Secret(env=f"TOCSIN_TEST_{name}")
            configured = resolve(msgspec.structs.replace(made, store_password=secret))
            now, patient = datetime.now(UTC), patience(url)
            auditor, where, held = build(configured, now, env, patience_s=patient, daemon=name)
            found = Stage(configured, auditor, where, slack, pagerduty, now, held)
            stack.callback(found.close)
            found.tick(2)
            return found

        one, other = daemon("ONE"), daemon("OTHER")
        assert one.places.spool != other.places.spool
        server.immediate()
        for each in (one, other):
            each.until(lambda: bool(each.auditor._road.episodes))  # noqa: B023 - called at once
            each.tick(2)
        keys = [page.dedup_key for page in pagerduty.incidents]
        assert len(set(keys)) == 2
        assert all(socket.gethostname() in key for key in keys)

        monkeypatch.setenv("TOCSIN_TEST_OTHER", "rotated meanwhile")
        server.start()
        one.until(lambda: not one.auditor._road.episodes)
        other.tick(5)
        assert [page.state for page in pagerduty.incidents] == ["resolved", "triggered"]
        monkeypatch.setenv("TOCSIN_TEST_OTHER", PASSWORD)
        other.until(lambda: not other.auditor._road.episodes)
        assert [page.state for page in pagerduty.incidents] == ["resolved", "resolved"]
