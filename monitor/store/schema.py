"""The schema of a store and its way to ours: forwards only, in one transaction, by one process.

Expand first, contract a release later: each migration writes down which older Tocsin may still open
what it made, so that a daemon of the release before goes on with the new schema, restarts included.
Before a SQLite store is changed, a copy of it is laid beside it.
"""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from functools import cache

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

from monitor.faults import fault_point
from monitor.store import postgres
from monitor.store import tables as t
from monitor.store.absence import may_pass
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


@dataclass(frozen=True, slots=True)
class Schema:
    """What a store says of its own schema."""

    revision: str | None
    """None: the database is empty."""
    oldest: str | None = None
    """Of a newer one than ours: from which schema on a Tocsin may open it as it is."""

    @property
    def newer(self) -> bool:
        """Whether a newer Tocsin than this one made it."""
        return self.revision is not None and self.revision not in revisions()

    @property
    def fits(self) -> bool:
        """Whether this Tocsin works on it as it is."""
        return self.oldest in revisions() if self.newer else self.revision == head()


def look(engine: sa.Engine) -> Schema:
    """The schema of a store, which is not changed.

    Raises:
        StoreError: it cannot be opened, or not looked at.
    """
    try:
        with engine.execution_options(reading=True).connect() as connection:
            return _look(connection)
    except (sa.exc.DBAPIError, sa.exc.TimeoutError) as problem:
        raise _not_opened(problem) from problem


def revision(engine: sa.Engine) -> str | None:
    """The schema of a store by its name; None for an empty database.

    Raises:
        StoreError: it cannot be opened, or not looked at.
    """
    return look(engine).revision


def migrate(engine: sa.Engine) -> str | None:
    """Bring the store's schema up to ours; the one it had before, None for an empty database.

    A newer schema that we may open stays as it is.

    Raises:
        StoreError: the store was written by a newer Tocsin and is not for us, our role may not
            change it, or it cannot be reached.
    """
    before = look(engine)
    if not _wanting(before):
        return before.revision
    _refuse_running(engine, before.revision)
    try:
        with engine.begin() as connection:
            if connection.dialect.name == "postgresql":
                postgres.one_migration(connection)
            before = _look(connection)
            if _wanting(before):
                _upgrade(engine, connection, before.revision)
    except sa.exc.DBAPIError as problem:
        if postgres.sqlstate(problem) == postgres.DENIED:
            raise may_not(engine, before.revision) from problem
        kind = StoreUnavailable if may_pass(problem) else StoreError
        raise kind(
            f"the store could not be upgraded from schema {before.revision} and is as it was: "
            f"{problem.orig}"
        ) from problem
    return before.revision


def _wanting(found: Schema) -> bool:
    """Whether the schema has to be upgraded before we work on it.

    Raises:
        StoreError: a newer Tocsin wrote it, and it is not for us.
    """
    refuse_newer(found)
    if found.newer:
        text = "the store has schema %s, newer than our %s: it is for schemas from %s on"
        logger.warning(text, found.revision, head(), found.oldest)
    return not found.fits


def _look(connection: sa.Connection) -> Schema:
    found = Schema(MigrationContext.configure(connection).get_current_revision())
    if not found.newer or not sa.inspect(connection).has_table(t.compatibility.name):
        return found
    oldest = connection.execute(sa.select(t.compatibility.c.oldest)).scalar()
    return Schema(found.revision, oldest)


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


def refuse_newer(found: Schema) -> None:
    """Look whether a store of this schema may be opened at all.

    Raises:
        StoreError: a newer Tocsin wrote it, and ours would harm it.
    """
    if not found.newer or found.fits:
        return
    least = f", and is for schemas from {found.oldest} on" if found.oldest else ""
    raise StoreError(
        f"the store has schema {found.revision}, which this Tocsin does not know (it knows "
        f"{head()}): it was written by a newer version{least}. Upgrade Tocsin, or restore the "
        "backup taken before the upgrade; the store was not touched."
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


def may_not(engine: sa.Engine, before: str | None) -> StoreError:
    """What is said where the role that connects may not make or change the schema."""
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
