"""The same on PostgreSQL, which is stopped without warning."""

from __future__ import annotations

from pathlib import Path

import pytest

from monitor.watch.process import build
from tests.integration.test_watch_storage import paged, resolved, told
from tests.integration.watch_stage import Stage, patience, secrets, stage
from tests.servers.postgres_server import PostgresServer


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
            on_stage.until(lambda: paged(on_stage))
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
            on_stage.until(lambda: paged(on_stage))
            other.rollback()
        on_stage.until(lambda: resolved(on_stage))


def test_two_daemons_of_one_machine_open_one_incident_at_pagerduty(
    own_postgres_server: PostgresServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each has a spool of its own and pages for itself; the keys are one, so PagerDuty folds."""
    for name, value in secrets().items():
        monkeypatch.setenv(name, value)
    server = own_postgres_server
    url = server.url(server.create_database())
    env = {"XDG_STATE_HOME": str(tmp_path)}
    with stage(url, env) as one:
        auditor, places, held = build(
            one.configured, one.now, env, patience_s=patience(url), daemon="1f2e3d4c"
        )
        other = Stage(one.configured, auditor, places, one.slack, one.pagerduty, one.now, held)
        try:
            assert other.places.spool != one.places.spool
            assert other.auditor._road._spool is not None
            one.tick(2)
            other.tick(3)
            server.immediate()
            for each in (one, other):
                each.until(lambda: bool(each.auditor._road.episodes))  # noqa: B023 - called at once
                each.tick(2)
        finally:
            other.close()
        opened = [r for r in one.pagerduty.journal.rows if r["outcome"].startswith("accepted")]
        assert len(opened) == 2
        assert len({row["key"] for row in opened}) == 1
        assert sum(row["outcome"].startswith("accepted: opened") for row in opened) == 1
