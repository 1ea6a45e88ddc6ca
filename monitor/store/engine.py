"""Opening the store: an SQLAlchemy engine with the settings that durability needs.

SQLite: WAL, synchronous FULL, and every writing transaction begins IMMEDIATE, because a deferred
transaction that turns into a writer fails at once, whatever the busy timeout. One daemon at a time
owns a SQLite store (`owner_lock`).
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

BUSY_MS = 5_000


class StoreError(Exception):
    """The store cannot be used; the message says what to do."""


def open_engine(url: str) -> sa.Engine:
    """An engine for `url` (`sqlite:///tocsin.db`, `postgresql+psycopg://...`).

    Raises:
        StoreError: the URL is not one we can open.
    """
    parsed = _parsed(url)
    if parsed.get_backend_name() != "sqlite":
        return _create(parsed, pool_pre_ping=True)
    if parsed.database in {None, "", ":memory:"}:
        raise StoreError("an in-memory store would lose pages; name a file: sqlite:///tocsin.db")
    _create_private(Path(str(parsed.database)))
    engine = _create(parsed, connect_args={"timeout": BUSY_MS / 1000})
    sa.event.listen(engine, "connect", _prepare_sqlite)
    sa.event.listen(engine, "begin", _begin_sqlite)
    return engine


def _parsed(url: str) -> sa.URL:
    try:
        return sa.make_url(url)
    except sa.exc.ArgumentError:
        raise StoreError(
            f"not a store URL: {url!r}; write for example sqlite:///tocsin.db"
        ) from None


def _create_private(path: Path) -> None:
    """Make the file before SQLite does, for its owner alone; `-wal` and `-shm` take its rights.

    A file that is there is not even opened: closing it would drop the locks that SQLite holds on
    it in this process. What else goes wrong SQLite meets too, and says better.
    """
    with suppress(OSError):
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        os.close(os.open(path.resolve(), flags, 0o600))


def _create(url: sa.URL, **arguments: Any) -> sa.Engine:
    try:
        return sa.create_engine(url, **arguments)
    except (sa.exc.ArgumentError, ImportError):
        # The whole URL may hold a password; its scheme does not.
        raise StoreError(
            f"not a kind of store: {url.drivername!r}; write for example sqlite:///tocsin.db or "
            "postgresql+psycopg://HOST/DATABASE"
        ) from None


def _prepare_sqlite(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # we say BEGIN ourselves, see below
    cursor = connection.cursor()
    for pragma in (
        "journal_mode=WAL",
        "synchronous=FULL",
        f"busy_timeout={BUSY_MS}",
        "foreign_keys=ON",
        "trusted_schema=OFF",
    ):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin_sqlite(connection: sa.Connection) -> None:
    kind = "DEFERRED" if connection.get_execution_options().get("reading") else "IMMEDIATE"
    connection.exec_driver_sql(f"BEGIN {kind}")


def _alembic(engine: sa.Engine) -> Config:
    config = Config()
    config.set_main_option("script_location", "monitor.store:migrations")
    config.attributes["engine"] = engine
    return config


def migrate(engine: sa.Engine) -> None:
    """Bring the store's schema up to ours.

    Raises:
        StoreError: the store was written by a newer Tocsin, or cannot be reached.
    """
    config = _alembic(engine)
    known = ScriptDirectory.from_config(config)
    try:
        with engine.connect() as connection:
            current = MigrationContext.configure(connection).get_current_revision()
            connection.rollback()
    except sa.exc.DBAPIError as problem:
        raise StoreError(f"cannot open the store: {problem.orig}") from problem
    head = known.get_current_head()
    if current == head:
        return
    if current is not None and current not in {r.revision for r in known.walk_revisions()}:
        raise StoreError(
            f"the store has schema {current}, which this Tocsin does not know: it was written by a "
            "newer version. Upgrade Tocsin; the store was not touched."
        )
    command.upgrade(config, "head")


def sqlite_path(engine: sa.Engine) -> Path | None:
    """The file of a SQLite store; None for a server."""
    return _file(engine.url)


def _file(url: sa.URL) -> Path | None:
    if url.get_backend_name() != "sqlite" or not url.database:
        return None
    return Path(url.database)


def _lock_of(path: Path) -> Path:
    return path.with_name(path.name + ".lock")


def _pid_in(descriptor: int) -> str:
    return os.pread(descriptor, 32, 0).decode("ascii", "replace").strip() or "unknown"


def owner(url: str) -> str | None:
    """The pid (or `unknown`) of the living daemon that owns the store at `url`; None without one.

    Neither the store nor the lock is made or changed. A server's store has no owner.

    Raises:
        StoreError: not a store URL, or the lock may not be looked at.
    """
    path = _file(_parsed(url))
    if path is None:
        return None
    try:
        descriptor = os.open(_lock_of(path), os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    except OSError as problem:
        raise StoreError(f"cannot tell whether a daemon owns {path}: {problem}") from problem
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return _pid_in(descriptor)
    finally:
        os.close(descriptor)
    return None


@contextmanager
def owner_lock(engine: sa.Engine) -> Iterator[None]:
    """Hold the store as its one daemon.

    Raises:
        StoreError: another daemon holds it.
    """
    path = sqlite_path(engine)
    if path is None:
        yield
        return
    descriptor = os.open(_lock_of(path), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise StoreError(
                f"another daemon (pid {_pid_in(descriptor)}) owns {path};"
                " stop it first, or use another --store"
            ) from None
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, str(os.getpid()).encode(), 0)
        yield
    finally:
        os.close(descriptor)
