"""The one store: transactions in, frozen values out.

    with store.write() as tx:
        tx.incidents.apply(step, now)
        tx.outbox.put(...)

A `with` block is one transaction: it commits at its end and rolls back when an exception leaves it.
Network calls never happen inside.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from typing import Any, TypeVar

import sqlalchemy as sa

from monitor.store import postgres
from monitor.store import tables as t
from monitor.store.absence import is_busy
from monitor.store.ageing_rows import AgeingRows
from monitor.store.audit_rows import AuditRows
from monitor.store.decision_rows import DecisionRows
from monitor.store.digest_rows import DigestRows
from monitor.store.engine import Password, open_engine, sqlite_path
from monitor.store.errors import (
    StoreBusy,
    StoreDenied,
    StoreError,
    StoreUnavailable,
    StoreUncertain,
)
from monitor.store.heir_rows import HeirRows
from monitor.store.incident_rows import IncidentRows
from monitor.store.kin_rows import KinRows
from monitor.store.lease_rows import LeaseRows
from monitor.store.note_rows import NoteRows
from monitor.store.outbox import OutboxRows
from monitor.store.ownership import owner, owner_lock
from monitor.store.received_rows import ReceivedRows
from monitor.store.revision_rows import RevisionRows
from monitor.store.ring_rows import RingRows
from monitor.store.rule_rows import RuleRows
from monitor.store.run_rows import RunRows
from monitor.store.schema import migrate
from monitor.store.stream_rows import StreamRows
from monitor.store.token_rows import TokenRows
from monitor.store.turns import NotOurTurn, Turns
from monitor.store.watch_rows import WatchRows
from monitor.watchdog import waiting

__all__ = [
    "Store",
    "StoreError",
    "StoreUnavailable",
    "StoreUncertain",
    "Tx",
    "owner",
    "owner_lock",
]

PATIENCE_S = float(postgres.PATIENCE_S)
"""A writer of this process waits so long for its turn; the longest sits for three seconds."""

_Held = TypeVar("_Held")

_OURS = (sa.exc.IntegrityError, sa.exc.ProgrammingError, sa.exc.DataError, sa.exc.NotSupportedError)
"""Mistakes of this program, not of the store: they are not hidden behind "try again"."""


class Tx:
    """One transaction, by rooms."""

    def __init__(self, connection: sa.Connection) -> None:
        self._c = connection
        self._touched = False
        self.stream = StreamRows(connection)
        self.decisions = DecisionRows(connection)
        self.incidents = IncidentRows(connection)
        self.kin = KinRows(connection)
        self.outbox = OutboxRows(connection)
        self.rings = RingRows(connection)
        self.notes = NoteRows(connection)
        self.digests = DigestRows(connection)
        self.runs = RunRows(connection)
        self.leases = LeaseRows(connection)
        self.tokens = TokenRows(connection)
        self.revisions = RevisionRows(connection)
        self.audit = AuditRows(connection)
        self.watch = WatchRows(connection)
        self.received = ReceivedRows(connection)
        self.rules = RuleRows(connection)
        self.ageing = AgeingRows(connection)
        self.heirs = HeirRows(connection)

    def touch(self) -> None:
        """Something a screen could show has changed; once is enough for all of a transaction."""
        if self._touched:
            return
        self._touched = True
        r = t.revision
        if self._c.execute(r.update().values(value=r.c.value + 1)).rowcount == 0:
            self._c.execute(r.insert().values(id=1, value=1))

    def revision(self) -> int:
        """Grows with every transaction that was touched."""
        return int(self._c.execute(sa.select(t.revision.c.value)).scalar() or 0)


def _one_moment(engine: sa.Engine) -> dict[str, Any]:
    """What makes a reader see one moment; in SQLite every transaction does."""
    if engine.dialect.name == "postgresql":
        return {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}
    return {}


Reads = Callable[[], AbstractContextManager[Tx]]
"""Opens a view, as `Store.read`."""


class Store:
    """An open store; safe to use from several threads."""

    def __init__(self, url: str, *, password: Password | None = None) -> None:
        """Open and migrate.

        Args:
            url: of the database.
            password: for a server, read anew at each connection; else the URL's or libpq's.

        Raises:
            StoreError: it cannot be opened, or was written by a newer Tocsin.
        """
        self.engine = open_engine(url, password)
        self._reading = self.engine.execution_options(reading=True, **_one_moment(self.engine))
        self._turns = None if self.shared else Turns()
        try:
            migrate(self.engine)
        except StoreError:
            self.engine.dispose()
            raise

    @property
    def shared(self) -> bool:
        """Whether several machines may work on it; a SQLite store has one daemon."""
        return sqlite_path(self.engine) is None

    @contextmanager
    def write(self) -> Iterator[Tx]:
        """A writing transaction; on PostgreSQL too there is one at a time.

        Raises:
            StoreUnavailable: the store is locked, full or gone; nothing was written, unless it is
                `StoreUncertain`.
        """
        with _answers(), _patiently(self._turn), _patiently(self._begin) as connection:
            if self.shared:
                with waiting(PATIENCE_S):
                    postgres.one_writer(connection)
            yield Tx(connection)

    @contextmanager
    def queue(self) -> Iterator[Tx]:
        """A writing transaction on the outbox alone, for those who claim from it.

        On PostgreSQL it does not wait for the writers' turn: rows are locked one by one, so that
        pages go on while another process holds everybody up.

        Raises:
            StoreUnavailable: the store is locked, full or gone; nothing was written, unless it is
                `StoreUncertain`.
        """
        with _answers(), _patiently(self._turn), _patiently(self._begin) as connection:
            yield Tx(connection)

    def _turn(self) -> AbstractContextManager[None]:
        return nullcontext() if self._turns is None else self._turns.turn(PATIENCE_S)

    @contextmanager
    def _begin(self) -> Iterator[sa.Connection]:
        """As `Engine.begin`, but for a COMMIT of which nobody knows."""
        with self.engine.connect() as connection, connection.begin() as transaction:
            yield connection
            try:
                transaction.commit()
            except sa.exc.DBAPIError as problem:
                if not postgres.perhaps_committed(problem):
                    raise
                raise StoreUncertain(f"the store does not answer: {problem.orig}") from problem

    @contextmanager
    def read(self) -> Iterator[Tx]:
        """A consistent view; keep it short, a long one makes the log grow.

        Raises:
            StoreUnavailable: the store does not answer.
        """
        with viewing(self._reading) as tx:
            yield tx

    def close(self) -> None:
        """Release the connections."""
        self.engine.dispose()


@contextmanager
def viewing(engine: sa.Engine) -> Iterator[Tx]:
    """As `Store.read`, on an engine that reads.

    Raises:
        StoreUnavailable: the store does not answer.
    """
    with _answers(), _patiently(engine.connect) as connection:
        yield Tx(connection)
        connection.rollback()


@contextmanager
def _patiently(get: Callable[[], AbstractContextManager[_Held]]) -> Iterator[_Held]:
    """Hold what `get` gets; only the wait for it may last, as long as a server that is cut off."""
    with ExitStack() as held:
        with waiting(PATIENCE_S):
            got = held.enter_context(get())
        yield got


@contextmanager
def _answers() -> Iterator[None]:
    """Turn what a store says that does not answer into `StoreUnavailable`."""
    try:
        yield
    except NotOurTurn as problem:
        raise StoreBusy(f"the store is busy: {problem}") from problem
    except sa.exc.TimeoutError as problem:
        raise StoreBusy(f"the store is busy: {problem}") from problem
    except (sa.exc.DatabaseError, sa.exc.InterfaceError) as problem:
        if postgres.sqlstate(problem) == postgres.DENIED:
            cure = "its owner gives the rights: tocsin store roles --apply"
            raise StoreDenied(f"the store refuses: {problem.orig}; {cure}") from problem
        if isinstance(problem, _OURS):
            raise
        kind = StoreBusy if is_busy(problem) else StoreUnavailable
        raise kind(f"the store does not answer: {problem.orig}") from problem
