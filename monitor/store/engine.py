"""Opening the store: an SQLAlchemy engine with the settings that durability needs.

SQLite: WAL, synchronous FULL, and every writing transaction begins IMMEDIATE, because a deferred
transaction that turns into a writer fails at once, whatever the busy timeout. One daemon at a time
owns a SQLite store (`owner_lock`).
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
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
    try:
        parsed = sa.make_url(url)
    except sa.exc.ArgumentError:
        raise StoreError(
            f"not a store URL: {url!r}; write for example sqlite:///tocsin.db"
        ) from None
    if parsed.get_backend_name() != "sqlite":
        return sa.create_engine(parsed, pool_pre_ping=True)
    if parsed.database in {None, "", ":memory:"}:
        raise StoreError("an in-memory store would lose pages; name a file: sqlite:///tocsin.db")
    engine = sa.create_engine(parsed, connect_args={"timeout": BUSY_MS / 1000})
    sa.event.listen(engine, "connect", _prepare_sqlite)
    sa.event.listen(engine, "begin", _begin_sqlite)
    return engine


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
    if engine.url.get_backend_name() != "sqlite":
        return None
    return Path(str(engine.url.database))


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
    lock = path.with_name(path.name + ".lock")
    descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            pid = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip() or "unknown"
            raise StoreError(
                f"another daemon (pid {pid}) owns {path}; stop it first, or use another --store"
            ) from None
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, str(os.getpid()).encode(), 0)
        yield
    finally:
        os.close(descriptor)
