"""Why a store could not be opened: it may come back by itself, or somebody must mend something."""

from __future__ import annotations

import sqlite3

import sqlalchemy as sa

from monitor.config.secret import SecretUnavailableError
from monitor.store import postgres
from monitor.store.errors import StoreError, StoreUnavailable

REFUSALS = (
    "authentication failed",
    "no password supplied",
    "no pg_hba.conf entry",
    "is not permitted to log in",
    "does not exist",
    "does not support SSL",
    "invalid ",
)
"""What PostgreSQL and libpq say when a role, a password, a database or the URL is wrong.

A failed connect has no SQLSTATE, so it is known by its words. In another language it is taken for
a server that may come back, and the page has the words.
"""
PASSING = frozenset(
    {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR}
)
"""Primary codes of what SQLite may be over with soon: another writer, a full or a failing disk."""


PASSING_STATES = ("08", "53", "57")
"""Classes of SQLSTATE: the connection, a full disk or too little memory, a server that is ended."""


def primary_code(problem: BaseException | None) -> int:
    """What SQLite calls an error, without its extension; 0 for what is not SQLite's own."""
    # Python's own mistakes with it have no code.
    code: int = getattr(problem, "sqlite_errorcode", 0)
    return code & 0xFF


def may_pass(problem: sa.exc.DBAPIError) -> bool:
    """Whether what broke a transaction off may be over by itself, say a full disk.

    Args:
        problem: of a database that had answered.
    """
    if isinstance(problem.orig, sqlite3.Error):
        return primary_code(problem.orig) in PASSING
    state = postgres.sqlstate(problem)
    return problem.connection_invalidated or state.startswith(PASSING_STATES)


def is_busy(problem: sa.exc.DBAPIError) -> bool:
    """Whether others write, and our turn did not come."""
    if isinstance(problem.orig, sqlite3.Error):
        return primary_code(problem.orig) in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}
    return postgres.sqlstate(problem) == postgres.LOCKED


def may_come_back(problem: StoreError) -> bool:
    """Whether it is worth waiting for the store, with nothing changed in the configuration.

    Args:
        problem: with which it was not opened.
    """
    if not isinstance(problem, StoreUnavailable):
        return False
    cause = problem.__cause__
    if isinstance(cause, SecretUnavailableError):
        return False
    if not isinstance(cause, sa.exc.DBAPIError):
        return True
    if isinstance(cause.orig, sqlite3.Error):
        return may_pass(cause)
    said = str(cause.orig)
    return not any(words in said for words in REFUSALS)
