"""The one store: transactions in, frozen values out.

    with store.write() as tx:
        tx.incidents.apply(step, now)
        tx.outbox.put(...)

A `with` block is one transaction: it commits at its end and rolls back when an exception leaves it.
Network calls never happen inside.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import sqlalchemy as sa

from monitor.store import tables as t
from monitor.store.decision_rows import DecisionRows
from monitor.store.engine import (
    StoreError,
    migrate,
    open_engine,
    owner,
    owner_lock,
    sqlite_path,
)
from monitor.store.incident_rows import IncidentRows
from monitor.store.lease_rows import LeaseRows
from monitor.store.outbox import OutboxRows
from monitor.store.run_rows import RunRows
from monitor.store.stream_rows import StreamRows
from monitor.store.turns import NotOurTurn, Turns

__all__ = ["Store", "StoreError", "StoreUnavailable", "Tx", "owner", "owner_lock"]

PATIENCE_S = 30.0
"""A writer of this process waits so long for its turn; no transaction takes a second."""


class StoreUnavailable(StoreError):
    """The store does not answer now; nothing was written, try again."""


_OURS = (sa.exc.IntegrityError, sa.exc.ProgrammingError, sa.exc.DataError, sa.exc.NotSupportedError)
"""Mistakes of this program, not of the store: they are not hidden behind "try again"."""


class Tx:
    """One transaction, by rooms."""

    def __init__(self, connection: sa.Connection) -> None:
        self._c = connection
        self.stream = StreamRows(connection)
        self.decisions = DecisionRows(connection)
        self.incidents = IncidentRows(connection)
        self.outbox = OutboxRows(connection)
        self.runs = RunRows(connection)
        self.leases = LeaseRows(connection)

    def touch(self) -> None:
        """Something a screen could show has changed."""
        r = t.revision
        if self._c.execute(r.update().values(value=r.c.value + 1)).rowcount == 0:
            self._c.execute(r.insert().values(id=1, value=1))

    def revision(self) -> int:
        """Grows with every `touch`."""
        return int(self._c.execute(sa.select(t.revision.c.value)).scalar() or 0)


_WRITER = 0x70C511
"""Advisory lock of PostgreSQL that a writer holds to the end of its transaction."""


def _one_writer(connection: sa.Connection) -> None:
    """Let writers come one after another, over all processes, as SQLite does by itself.

    Numbers of incidents, heads of timelines and "update, or else insert" rest on it.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(sa.text(f"SET LOCAL lock_timeout = '{PATIENCE_S:.0f}s'"))
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_WRITER)))


def _one_moment(engine: sa.Engine) -> dict[str, str]:
    """What makes a reader see one moment; in SQLite every transaction does."""
    if engine.dialect.name == "postgresql":
        return {"isolation_level": "REPEATABLE READ"}
    return {}


class Store:
    """An open store; safe to use from several threads."""

    def __init__(self, url: str) -> None:
        """Open and migrate.

        Raises:
            StoreError: it cannot be opened, or was written by a newer Tocsin.
        """
        self.engine = open_engine(url)
        self._reading = self.engine.execution_options(reading=True, **_one_moment(self.engine))
        self._turns = Turns() if sqlite_path(self.engine) is not None else None
        try:
            migrate(self.engine)
        except StoreError:
            self.engine.dispose()
            raise

    @contextmanager
    def write(self) -> Iterator[Tx]:
        """A writing transaction.

        Raises:
            StoreUnavailable: the store is locked, full or gone; nothing was written.
        """
        try:
            with self._turn(), self.engine.begin() as connection:
                _one_writer(connection)
                yield Tx(connection)
        except NotOurTurn as problem:
            raise StoreUnavailable(f"the store is busy: {problem}") from problem
        except sa.exc.DatabaseError as problem:
            if isinstance(problem, _OURS):
                raise
            raise StoreUnavailable(f"the store does not answer: {problem.orig}") from problem

    def _turn(self) -> AbstractContextManager[None]:
        return nullcontext() if self._turns is None else self._turns.turn(PATIENCE_S)

    @contextmanager
    def read(self) -> Iterator[Tx]:
        """A consistent view; keep it short, a long one makes the log grow.

        Raises:
            StoreUnavailable: the store does not answer.
        """
        try:
            with self._reading.connect() as connection:
                yield Tx(connection)
                connection.rollback()
        except sa.exc.DatabaseError as problem:
            if isinstance(problem, _OURS):
                raise
            raise StoreUnavailable(f"the store does not answer: {problem.orig}") from problem

    def close(self) -> None:
        """Release the connections."""
        self.engine.dispose()
