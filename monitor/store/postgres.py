"""PostgreSQL: the settings of our sessions, and the lock that makes writers take turns.

A process that is frozen while it holds the writers' lock (SIGSTOP, a stopped machine, a cut cable)
must not stop the others: the server ends a transaction that is idle for `IDLE_S`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa

PATIENCE_S = 30
"""A writer waits so long for its turn, and says so; the longest sits for three seconds."""
LOCK_S = 8
"""Any other lock is waited for so long: a frozen holder is gone by then (`IDLE_S`), and a watchdog,
to whom nobody announces it, does not take it for a loop that hangs (15 s)."""
IDLE_S = 5
"""A transaction in which nothing happens for so long is rolled back by the server."""
STATEMENT_S = 60
"""No statement takes so long, the wait for the turn included."""
CONNECT_S = 5
MIGRATION_S = 600
"""A migration's statements rewrite tables."""

_WRITER = 0x70C511
_MIGRATION = 0x70C512

POOL = {"pool_pre_ping": True, "pool_size": 8, "max_overflow": 24, "pool_timeout": 10}
"""Each connection is tried before its use: a server that was restarted costs one more connect."""

_SESSION = {
    "timezone": "UTC",
    "idle_in_transaction_session_timeout": f"{IDLE_S}s",
    "statement_timeout": f"{STATEMENT_S}s",
    "lock_timeout": f"{LOCK_S}s",
    "tcp_keepalives_idle": "10",
    "tcp_keepalives_interval": "5",
    "tcp_keepalives_count": "3",
    "tcp_user_timeout": "20s",
}
"""The server's side: it lets go of a client whose machine is gone."""

_CLIENT = {
    "application_name": "tocsin",
    "connect_timeout": str(CONNECT_S),
    "target_session_attrs": "read-write",
    "keepalives_idle": "3",
    "keepalives_interval": "2",
    "keepalives_count": "3",
    "tcp_user_timeout": "8000",
}
"""Our side, in libpq's words; of several hosts in the URL the one that takes writes is used.

A cut cable is known in 8 s: before the lease of an owner is out (10 s), and before its watchdog
would take a statement that nobody answers for a loop that hangs (15 s).
"""


def connect_arguments(query: Mapping[str, Any]) -> dict[str, Any]:
    """What psycopg is given besides the URL; what the URL's query says itself stays.

    Args:
        query: of the URL, libpq's parameters by name.
    """
    ours = " ".join(f"-c {name}={value}" for name, value in _SESSION.items())
    theirs = query.get("options", "")
    options = " ".join([ours, *([theirs] if isinstance(theirs, str) else theirs)]).strip()
    given = {name: value for name, value in _CLIENT.items() if name not in query}
    return {**given, "options": options}


def one_writer(connection: sa.Connection) -> None:
    """Let writers come one after another, over all processes, as SQLite does by itself.

    Numbers of incidents, heads of timelines and "update, or else insert" rest on it.
    """
    # In one statement, from left to right; null is what the session began with.
    patient, impatient = (
        sa.func.set_config("lock_timeout", value, True) for value in (f"{PATIENCE_S}s", None)
    )
    connection.execute(
        sa.select(patient, sa.func.pg_advisory_xact_lock(_WRITER), impatient.label("impatient"))
    )


def one_migration(connection: sa.Connection) -> None:
    """Be the only one that changes the schema, and have the time for it."""
    for name in ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout"):
        connection.execute(sa.select(sa.func.set_config(name, f"{MIGRATION_S}s", True)))
    connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_MIGRATION)))


def by_index(connection: sa.Connection) -> None:
    """Let this transaction read by the order of an index, and stop where a LIMIT is reached.

    Statistics of a table that has just grown, or just lost its oldest rows, make a planner sort all
    of it for the first few.
    """
    names = ("enable_sort", "enable_bitmapscan", "enable_seqscan")
    connection.execute(sa.select(*(sa.func.set_config(name, "off", True) for name in names)))


def sqlstate(problem: sa.exc.DBAPIError) -> str:
    """The five letters by which PostgreSQL names an error; empty for none."""
    return getattr(problem.orig, "sqlstate", None) or ""


DENIED = "42501"
"""The role lacks a right."""
LOCKED = "55P03"
"""Somebody else holds a lock, and `lock_timeout` is over."""
_IDLE = "25P03"
"""The server had ended the transaction, which was idle for too long, before we came back."""


def perhaps_committed(problem: sa.exc.DBAPIError) -> bool:
    """Whether a COMMIT that failed so may be done all the same: the connection broke under it."""
    return problem.connection_invalidated and sqlstate(problem) != _IDLE
