"""Opening the store: an SQLAlchemy engine with the settings that durability needs.

SQLite: WAL, synchronous FULL, and every writing transaction begins IMMEDIATE, because a deferred
transaction that turns into a writer fails at once, whatever the busy timeout. PostgreSQL: see
`monitor.store.postgres`.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

import sqlalchemy as sa

from monitor.config.options import real_file
from monitor.config.secret import SecretUnavailableError
from monitor.store import postgres
from monitor.store.absence import primary_code
from monitor.store.errors import StoreUnavailable, StoreUnknown
from monitor.store.mounts import refuse_network
from monitor.url import without_password

BUSY_MS = 5_000
_EXAMPLES = "write for example sqlite:///tocsin.db or postgresql://HOST/DATABASE"

Password = Callable[[], str]
"""Reads a password anew at each connection, so that a changed one needs no restart.

Raises:
    SecretUnavailableError: it cannot be read.
"""


def open_engine(url: str, password: Password | None = None) -> sa.Engine:
    """An engine for `url` (`sqlite:///tocsin.db`, `postgresql://HOST/DATABASE`).

    Raises:
        StoreError: the URL is not one we can open, or SQLite would be on a network file system.
    """
    parsed = parse(url)
    if parsed.get_backend_name() == "sqlite":
        return _open_sqlite(parsed)
    engine = _create(parsed, connect_args=postgres.connect_arguments(parsed.query), **postgres.POOL)
    sign_in(engine, password)
    return engine


def sign_in(engine: sa.Engine, password: Password | None) -> None:
    """Have each new connection of a server's engine ask for the password."""

    def ask(_dialect: Any, _record: Any, _args: Any, parameters: dict[str, Any]) -> None:
        assert password is not None
        try:
            parameters["password"] = password()
        except SecretUnavailableError as problem:
            raise StoreUnavailable(f"the store's password: {problem}") from problem

    if password is not None:
        sa.event.listen(engine, "do_connect", ask)


def open_to_look(
    url: str, password: Password | None = None, *, untouched: bool = False
) -> sa.Engine:
    """The same for who only reads: a SQLite file is neither made nor changed.

    Args:
        url: of the store.
        password: for a server.
        untouched: leave nothing beside the file either, where SQLite lays an empty log and an
            index for who reads; for a short look only, since without a log beside it the file is
            taken for one that nobody writes.

    Raises:
        StoreError: the URL is not one we can open.
    """
    parsed = parse(url)
    path = file_of(parsed)
    if path is None:
        return open_engine(url, password)
    there = sa.URL.create(
        parsed.drivername,
        database=f"file:{quote(str(path.absolute()))}",
        query={"mode": "ro", "uri": "true", **(_lightly(path) if untouched else {})},
    )
    engine = _create(there, connect_args={"timeout": BUSY_MS / 1000, "isolation_level": None})
    sa.event.listen(engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN"))
    return engine


def _lightly(path: Path) -> dict[str, str]:
    """How SQLite makes no file of its own: see "Read-Only Databases" of sqlite.org/wal.html."""
    index = path.with_name(f"{path.name}-shm")
    return {"readonly_shm": "1"} if index.exists() else {"immutable": "1"}


def _open_sqlite(url: sa.URL) -> sa.Engine:
    if url.database in {None, "", ":memory:"}:
        raise StoreUnknown("an in-memory store would lose pages; name a file: sqlite:///tocsin.db")
    path = Path(str(url.database))
    refuse_network(path)
    _create_private(path)
    engine = _create(url, connect_args={"timeout": BUSY_MS / 1000})
    sa.event.listen(engine, "connect", _prepare_sqlite)
    sa.event.listen(engine, "begin", _begin_sqlite)
    return engine


def parse(url: str) -> sa.URL:
    """The URL in its parts; `postgresql://` and `postgres://` mean psycopg 3.

    Raises:
        StoreUnknown: it is none, or of a database that we do not know.
    """
    try:
        parsed = sa.make_url(url)
    except (sa.exc.ArgumentError, ValueError):
        said = f"not a store URL: {without_password(url)!r}; {_EXAMPLES}"
        raise StoreUnknown(said) from None
    if parsed.drivername in {"postgres", "postgresql"}:
        return parsed.set(drivername="postgresql+psycopg")
    if parsed.get_backend_name() not in {"sqlite", "postgresql"}:
        raise _of_no_kind(parsed)
    return parsed


def _of_no_kind(url: sa.URL) -> StoreUnknown:
    """The whole URL may hold a password; its scheme does not."""
    return StoreUnknown(f"not a kind of store: {url.drivername!r}; {_EXAMPLES}")


def sqlite_path(engine: sa.Engine) -> Path | None:
    """The file of a SQLite store; None for a server."""
    return file_of(engine.url)


def file_of(url: sa.URL) -> Path | None:
    """The same for a URL; the file itself, where links lead to it."""
    if url.get_backend_name() != "sqlite" or not url.database:
        return None
    return real_file(Path(url.database))


def _create_private(path: Path) -> None:
    """Make the file before SQLite does, for its owner alone; `-wal` and `-shm` take its rights.

    A file that is there is not even opened: closing it would drop the locks that SQLite holds on
    it in this process. What else goes wrong SQLite meets too, and says better.
    """
    with suppress(OSError):
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        os.close(os.open(os.path.realpath(path), flags, 0o600))


def _create(url: sa.URL, **arguments: Any) -> sa.Engine:
    try:
        # What a query was given is people's words: it belongs in no log and no traceback.
        return sa.create_engine(url, hide_parameters=True, **arguments)
    except (sa.exc.ArgumentError, ImportError):
        raise _of_no_kind(url) from None


def _prepare_sqlite(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # we say BEGIN ourselves, see below
    cursor = connection.cursor()
    _write_ahead(cursor)
    for pragma in (
        "synchronous=FULL",
        f"busy_timeout={BUSY_MS}",
        "foreign_keys=ON",
        "trusted_schema=OFF",
    ):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _write_ahead(cursor: sqlite3.Cursor) -> None:
    """Set the journal's mode.

    Where another makes the same file SQLite refuses that at once, whatever the busy timeout.
    """
    deadline = time.monotonic() + BUSY_MS / 1000
    while True:
        try:
            cursor.execute("PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError as problem:
            if primary_code(problem) != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
        else:
            return
        time.sleep(0.02)


def _begin_sqlite(connection: sa.Connection) -> None:
    kind = "DEFERRED" if connection.get_execution_options().get("reading") else "IMMEDIATE"
    connection.exec_driver_sql(f"BEGIN {kind}")
