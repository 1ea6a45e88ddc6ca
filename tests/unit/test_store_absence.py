"""What is worth waiting for: a server that is away, not a configuration that is wrong."""

from __future__ import annotations

import socket
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psycopg
import pytest
import sqlalchemy as sa

from monitor.store.absence import is_busy, may_come_back
from monitor.store.errors import StoreError, StoreUnavailable
from monitor.store.store import Store


def failed(words: str) -> StoreUnavailable:
    """As the store reports what a connect said."""
    problem = StoreUnavailable(f"cannot open the store: {words}")
    original = psycopg.OperationalError(words)
    problem.__cause__ = sa.exc.OperationalError(None, None, original)
    return problem


@pytest.mark.parametrize(
    "words",
    [
        'connection to server at "10.0.0.1", port 5432 failed: Connection refused',
        'connection to server at "10.0.0.1", port 5432 failed: timeout expired',
        "failed to resolve host 'db': [Errno -3] Temporary failure in name resolution",
        "FATAL:  the database system is starting up",
        "FATAL:  the database system is shutting down",
        "FATAL:  sorry, too many clients already",
        "session is read-only",
        'FATAL:  Passwort-Authentifizierung für Benutzer "x" fehlgeschlagen',
    ],
)
def test_what_may_pass_is_waited_for(words: str) -> None:
    """Not answering, starting, crowded, a standby; and what is said in another language."""
    assert may_come_back(failed(words))


@pytest.mark.parametrize(
    "words",
    [
        'FATAL:  password authentication failed for user "x"',
        "fe_sendauth: no password supplied",
        'FATAL:  role "x" does not exist',
        'FATAL:  database "x" does not exist',
        'FATAL:  no pg_hba.conf entry for host "10.0.0.1"',
        'FATAL:  role "x" is not permitted to log in',
        "server does not support SSL, but SSL was required",
        'invalid sslmode value: "bogus"',
        'root certificate file "/nope" does not exist',
    ],
)
def test_what_somebody_must_mend_is_not(words: str) -> None:
    """A wrong role, password, database or URL ends a start."""
    assert not may_come_back(failed(words))


def test_what_the_store_itself_refuses_is_not() -> None:
    """A schema of a newer version, a URL that is none."""
    assert not may_come_back(StoreError("written by a newer version"))


@pytest.fixture
def silent_port() -> Iterator[int]:
    """Nobody listens there, and nobody else will."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


def test_a_server_that_nobody_runs_may_come_back(silent_port: int) -> None:
    """The words of a real connect."""
    with pytest.raises(StoreUnavailable) as refused:
        Store(f"postgresql://tocsin@127.0.0.1:{silent_port}/x")
    assert may_come_back(refused.value)


def test_a_sqlite_file_that_is_locked_may_be_free_soon(tmp_path: Path) -> None:
    """Another writer holds it; with its folder gone, or its content no store, nobody waits."""
    file = tmp_path / "x.db"
    with closing(sqlite3.connect(file, isolation_level=None)) as other:
        other.execute("CREATE TABLE x (y)")
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(StoreUnavailable) as locked:
            Store(f"sqlite:///{file}")
    assert may_come_back(locked.value)
    (tmp_path / "text").write_text("this is no database, it only says that it is one" * 100)
    for name in ("nowhere/x.db", "text"):
        with pytest.raises(StoreUnavailable) as wrong:
            Store(f"sqlite:///{tmp_path / name}")
        assert not may_come_back(wrong.value)


def test_a_store_that_others_write_to_is_busy(tmp_path: Path) -> None:
    """A lock that somebody holds is told apart from a store that refuses what is written."""
    path = tmp_path / "x.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        engine = sa.create_engine(f"sqlite:///{path}", connect_args={"timeout": 0})
        with pytest.raises(sa.exc.OperationalError) as held, engine.begin() as connection:
            connection.exec_driver_sql("CREATE TABLE t (x)")
        with pytest.raises(sa.exc.OperationalError) as refused, engine.connect() as connection:
            connection.exec_driver_sql("SELECT * FROM none")
        engine.dispose()
    assert is_busy(held.value)
    assert not is_busy(refused.value)
    locked = sa.exc.OperationalError(None, None, psycopg.errors.LockNotAvailable())
    full = sa.exc.OperationalError(None, None, psycopg.errors.DiskFull())
    assert is_busy(locked)
    assert not is_busy(full)
