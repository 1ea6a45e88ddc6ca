"""The schema of a store and its way to ours: forwards only, in one transaction, by one process.

Expand first, contract a release later: a daemon of the release before goes on with the new schema.
Before a SQLite store is changed, a copy of it is laid beside it.
"""

from __future__ import annotations

import logging
import os
from functools import cache

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

from monitor.faults import fault_point
from monitor.store import postgres
from monitor.store.engine import sqlite_path
from monitor.store.errors import StoreError, StoreUnavailable
from monitor.store.ownership import owner_of
from monitor.store.snapshot import copy_sqlite

logger = logging.getLogger(__name__)


def _config(connection: sa.Connection | None = None) -> Config:
    config = Config()
    config.set_main_option("script_location", "monitor.store:migrations")
    config.attributes["connection"] = connection
    return config


@cache
def revisions() -> tuple[str, ...]:
    """All schemas that this Tocsin knows, newest first."""
    known = ScriptDirectory.from_config(_config())
    return tuple(script.revision for script in known.walk_revisions())


def head() -> str:
    """The schema that this Tocsin works with."""
    return revisions()[0]


def revision(engine: sa.Engine) -> str | None:
    """The schema of a store; None for an empty database.

    Raises:
        StoreError: it cannot be opened, or not looked at.
    """
    try:
        with engine.execution_options(reading=True).connect() as connection:
            return _revision(connection)
    except (sa.exc.DBAPIError, sa.exc.TimeoutError) as problem:
        raise _not_opened(problem) from problem


def migrate(engine: sa.Engine) -> str | None:
    """Bring the store's schema up to ours; the one it had before, None for an empty database.

    Raises:
        StoreError: the store was written by a newer Tocsin, our role may not change it, or it
            cannot be reached.
    """
    before = revision(engine)
    if before == head():
        return before
    refuse_newer(before)
    _refuse_running(engine, before)
    try:
        with engine.begin() as connection:
            if connection.dialect.name == "postgresql":
                postgres.one_migration(connection)
            before = _revision(connection)
            if before != head():
                refuse_newer(before)
                _upgrade(engine, connection, before)
    except sa.exc.DBAPIError as problem:
        if postgres.sqlstate(problem) == postgres.DENIED:
            raise _may_not(engine, before) from problem
        raise StoreError(
            f"the store could not be upgraded from schema {before} and is as it was: {problem.orig}"
        ) from problem
    return before


def _revision(connection: sa.Connection) -> str | None:
    return MigrationContext.configure(connection).get_current_revision()


def _upgrade(engine: sa.Engine, connection: sa.Connection, before: str | None) -> None:
    path = sqlite_path(engine)
    if before is not None and path is not None:
        # Our transaction keeps every other writer out: the copy is what the upgrade begins with.
        copy = path.with_name(f"{path.name}.schema-{before}.bak")
        copy_sqlite(path, copy, replace=True)
        logger.warning("the store as it was with schema %s is kept at %s", before, copy)
    command.upgrade(_config(connection), "head")
    fault_point("K13")
    if before is not None:
        logger.warning("the store has schema %s now, it was %s", head(), before)


def refuse_newer(current: str | None) -> None:
    """Look whether a store of this schema may be opened at all.

    Raises:
        StoreError: a newer Tocsin wrote it.
    """
    if current is None or current in revisions():
        return
    raise StoreError(
        f"the store has schema {current}, which this Tocsin does not know (it knows {head()}): it "
        "was written by a newer version. Upgrade Tocsin, or restore the backup taken before the "
        "upgrade; the store was not touched."
    )


def _refuse_running(engine: sa.Engine, before: str | None) -> None:
    """A SQLite store is not changed under a living daemon, but for its own processes."""
    path = sqlite_path(engine)
    if path is None or before is None:
        return
    pid = owner_of(path)
    if pid not in {None, str(os.getpid()), str(os.getppid())}:
        raise StoreError(
            f"the store has schema {before}, this Tocsin needs {head()}, and a daemon (pid {pid}) "
            "runs on it: stop it first"
        )


def _may_not(engine: sa.Engine, before: str | None) -> StoreError:
    return StoreError(
        f"the store has {f'schema {before}' if before else 'no schema yet'}, this Tocsin needs "
        f"{head()}, and the role {engine.url.username or 'that connected'} may not change it: run "
        "`tocsin store migrate` with the URL of the database's owner, then "
        "`tocsin store roles --apply`. The store was not touched."
    )


def _not_opened(problem: sa.exc.DBAPIError | sa.exc.TimeoutError) -> StoreError:
    if not isinstance(problem, sa.exc.DBAPIError):
        return StoreUnavailable(f"cannot open the store: {problem}")
    if postgres.sqlstate(problem) == postgres.DENIED:
        return StoreError(
            f"cannot open the store: {problem.orig}; the database's owner grants it with "
            "`tocsin store roles --apply`"
        )
    return StoreUnavailable(f"cannot open the store: {problem.orig}")
