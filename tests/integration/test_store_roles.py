"""The roles on a real PostgreSQL; that the daemon's suffices the contract suite shows."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, time

import psycopg
import pytest
from psycopg import sql

from monitor.alerting.digest import Daily
from monitor.alerting.routes import Route
from monitor.daily import Digests
from monitor.paging import Pager, Policy
from monitor.processes.posts import Sole
from monitor.retention import EVERY, SETTLE, TABLES
from monitor.store import tables as t
from monitor.store.engine import open_engine
from monitor.store.errors import StoreError, StoreUnavailable
from monitor.store.roles import APPEND_ONLY, DELETED, OWNED, UNREAD, Roles, apply_roles, statements
from monitor.store.store import Store
from tests.ageing import NOW, counted, decided, room, rows
from tests.making import T0, incident, minutes
from tests.servers.postgres_server import DAEMON, READER, PostgresServer

Denied = Callable[[str, str], bool]


@pytest.fixture
def denied(postgres_server: PostgresServer, postgres_database: str) -> Denied:
    """Whether a role may not run a statement."""

    def ask(role: str, statement: str) -> bool:
        with postgres_server.connect(postgres_database, role) as made:
            try:
                made.execute(statement.encode())
            except psycopg.errors.InsufficientPrivilege:
                return True
        return False

    return ask


def test_the_daemon_may_not_rewrite_what_was_said(denied: Denied) -> None:
    """Rows that are written once can be neither changed nor deleted by the daemon's role."""
    for table in sorted(t.metadata.tables):
        column = next(iter(t.metadata.tables[table].columns)).name
        assert denied(DAEMON, f'UPDATE "{table}" SET "{column}" = DEFAULT') == (
            table in APPEND_ONLY | OWNED
        )
        assert denied(DAEMON, f'INSERT INTO "{table}" SELECT * FROM "{table}" WHERE false') == (
            table in OWNED
        )
        assert denied(DAEMON, f'DELETE FROM "{table}" WHERE false') == (table not in DELETED)


def test_the_daemon_may_not_change_the_schema(denied: Denied) -> None:
    """No table is made, dropped or truncated, and the schema's version stays."""
    for statement in (
        "CREATE TABLE other (x integer)",
        "DROP TABLE timeline",
        "TRUNCATE outbox",
        "ALTER TABLE timeline DISABLE TRIGGER ALL",
        "UPDATE alembic_version SET version_num = '0001'",
        "CREATE SCHEMA other",
    ):
        assert denied(DAEMON, statement) or "TRIGGER" in statement


def test_a_missing_right_holds_up_no_decision(
    postgres_server: PostgresServer, postgres_database: str, postgres_store_url: str
) -> None:
    """A digest that the daemon's role may not write waits, and says what gives the right."""
    daily = Daily(("news",), time(0), UTC, {})
    store = Store(postgres_store_url)
    with postgres_server.connect(postgres_database) as made:
        made.execute(b"REVOKE ALL ON digests FROM tocsin_daemon")
    digests = Digests(store, Pager(Policy(route=Route(), digest=daily)), Sole())
    digests.step(T0)
    with pytest.raises(StoreUnavailable, match="tocsin store roles --apply"), store.read() as tx:
        tx.digests.refused()
    with postgres_server.connect(postgres_database) as made:
        made.execute(b"GRANT SELECT, INSERT ON digests TO tocsin_daemon")
    digests.step(T0 + minutes(1))
    with store.read() as tx:
        assert tx.digests.last("news") is None
    digests.step(T0 + minutes(6))
    with store.read() as tx:
        assert tx.digests.last("news") is not None
    store.close()


def test_the_reader_reads_and_no_more(denied: Denied) -> None:
    """It sees every table but the tokens, and writes none."""
    for table in sorted(t.metadata.tables):
        assert denied(READER, f'SELECT * FROM "{table}"') == (table in UNREAD)
        assert denied(READER, f'INSERT INTO "{table}" DEFAULT VALUES')
        assert denied(READER, f'DELETE FROM "{table}"')


def test_a_reader_opens_the_store(
    postgres_server: PostgresServer, postgres_database: str, postgres_store_url: str
) -> None:
    """It reads what the daemon wrote; its transactions cannot write."""
    daemon = Store(postgres_store_url)
    with daemon.write() as tx:
        tx.incidents.save(incident())
    daemon.close()
    store = Store(postgres_server.url(postgres_database, READER))
    with store.read() as tx:
        assert tx.incidents.search() == [incident()]
    store.close()


def test_roles_are_given_again_without_harm(
    postgres_server: PostgresServer, postgres_url: str
) -> None:
    """Any name is quoted, the statements may be run twice, and both roles are there after them.

    An owner who may make no roles is told so, and nothing is done.
    """
    Store(postgres_url).close()
    engine = open_engine(postgres_url)
    roles = Roles("""o'dd "daemon\\""", "odd; reader")
    with pytest.raises(StoreError, match="with the right to make roles"):
        apply_roles(engine, roles)
    postgres_server.execute(sql.SQL("ALTER ROLE tocsin_owner CREATEROLE"))
    try:
        for _ in range(2):
            apply_roles(engine, roles)
    finally:
        postgres_server.execute(sql.SQL("ALTER ROLE tocsin_owner NOCREATEROLE"))
    engine.dispose()
    with postgres_server.connect() as made:
        query = "SELECT count(*) FROM pg_roles WHERE rolname = ANY(%s)"
        (count,) = made.execute(query, ([roles.daemon, roles.reader],)).fetchone() or (0,)
    assert count == 2


def test_who_may_not_give_rights_is_told_what_to_do(postgres_store_url: str) -> None:
    """The daemon itself cannot widen its rights."""
    engine = open_engine(postgres_store_url)
    with pytest.raises(StoreError, match="as the database's owner") as caught:
        apply_roles(engine, Roles())
    assert not isinstance(caught.value, StoreUnavailable)
    engine.dispose()


def test_only_postgresql_has_roles() -> None:
    """Two roles with names of their own, on a server."""
    with pytest.raises(StoreError, match="two roles"):
        Roles("a", "a")
    engine = open_engine("postgresql://127.0.0.1:1/x")
    assert any("tocsin_reader" in line for line in statements(engine, Roles()))
    engine.dispose()


def test_a_store_that_may_not_age_says_so_and_goes_on(
    postgres_server: PostgresServer, postgres_database: str, postgres_store_url: str
) -> None:
    """Rights of the release before: what the daemon may not delete stays and is named with the
    cure, all else ages; with the rights the next round takes it."""
    store = Store(postgres_store_url)
    pipeline = decided(store, NOW)
    counted(store, pipeline, [int(T0.timestamp())])
    with postgres_server.connect(postgres_database) as made:
        made.execute(b"REVOKE DELETE ON cells, points FROM tocsin_daemon")
    retention, _ = room(store)
    retention.step(NOW - SETTLE)
    for _ in range(len(TABLES) + 1):
        retention.step(NOW)
    with store.read() as tx:
        found = retention.health(tx, NOW)
        assert tx.ageing.mark() == 0
    assert found.state == "warn"
    assert found.text.startswith("cells do not age, the store only grows: the store refuses")
    assert "tocsin store roles --apply" in found.text
    assert (len(rows(store, t.cells)), len(rows(store, t.late))) == (1, 0)
    owner = open_engine(postgres_server.url(postgres_database))
    apply_roles(owner, Roles(DAEMON, READER))
    owner.dispose()
    for _ in range(len(TABLES) + 2):
        retention.step(NOW + EVERY)
    with store.read() as tx:
        assert retention.health(tx, NOW).state == "ok"
        assert tx.ageing.mark() > 0
    assert rows(store, t.cells) == set()
    store.close()
