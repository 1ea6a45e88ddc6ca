"""Fixtures for tests on a real PostgreSQL: a server a session, a database each."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.servers.missing import missing
from tests.servers.postgres_server import (
    DAEMON,
    OWNER,
    READER,
    PostgresServer,
    PostgresUnavailable,
)


def postgres_or_skip(within: Path | None = None, /, **settings: str) -> PostgresServer:
    """A server that is not started yet; without one the test is skipped, under CI it fails."""
    try:
        return PostgresServer(within, **settings)
    except PostgresUnavailable as problem:
        missing(f"needs PostgreSQL: {problem}")


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """The session's server, shared: never stop or kill this one."""
    with postgres_or_skip() as server:
        yield server


@pytest.fixture
def own_postgres_server() -> Iterator[PostgresServer]:
    """A server for this test alone, to stop and to kill."""
    with postgres_or_skip() as server:
        yield server


@pytest.fixture
def postgres_url(postgres_server: PostgresServer) -> str:
    """An empty database, as its owner."""
    return postgres_server.url(postgres_server.create_database(), OWNER)


@pytest.fixture(scope="session")
def migrated_postgres(postgres_server: PostgresServer) -> str:
    """The name of a database with our schema and roles, to copy: nobody else is in it."""
    # Here and not above: a test run without PostgreSQL need not load the store.
    from monitor.store.roles import Roles, apply_roles
    from monitor.store.store import Store

    name = postgres_server.create_database()
    store = Store(postgres_server.url(name))
    apply_roles(store.engine, Roles(DAEMON, READER))
    store.close()
    return name


@pytest.fixture
def postgres_database(postgres_server: PostgresServer, migrated_postgres: str) -> str:
    """The name of a database with our schema, for this test alone."""
    return postgres_server.create_database(template=migrated_postgres)


@pytest.fixture
def postgres_store_url(postgres_server: PostgresServer, postgres_database: str) -> str:
    """The same as the daemon sees it, with the least rights."""
    return postgres_server.url(postgres_database, DAEMON)
