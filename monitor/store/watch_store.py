"""The store as the auditor opens it: never made, never migrated, and given up on quickly.

Each transaction has a connection of its own, so that what answers is the store as it is now: a file
that was moved away still answers on an old connection.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import sqlalchemy as sa

from monitor.store import postgres
from monitor.store.engine import Password, parse, sign_in
from monitor.store.errors import StoreError, StoreUnavailable
from monitor.store.store import Store, Tx, _one_moment

PATIENCE_S = 2.0
"""For a connection, a lock or a statement; below the auditor's own deadline for one look."""


class WatchStore(Store):
    """A store that is there already; opening it asks nothing of it."""

    def __init__(
        self, url: str, *, password: Password | None = None, patience_s: float = PATIENCE_S
    ) -> None:
        """Args: as of `Store`; `patience_s` for a connection, a lock or a statement.

        Raises:
            StoreError: not a store URL.
        """
        try:
            self.engine = _engine(parse(url), patience_s)
        except (sa.exc.ArgumentError, ImportError):
            raise StoreError("not a store URL; write for example sqlite:///tocsin.db") from None
        if self.shared:
            sign_in(self.engine, password)
        self._reading = self.engine.execution_options(reading=True, **_one_moment(self.engine))
        self._turns = None

    @contextmanager
    def read(self) -> Iterator[Tx]:
        """As `Store.read`.

        Raises:
            StoreUnavailable: it does not answer, or not as our store: whatever it is, it is down.
        """
        with _whatever(), super().read() as tx:
            yield tx

    @contextmanager
    def write(self) -> Iterator[Tx]:
        """As `Store.write`.

        Raises:
            StoreUnavailable: it does not take it, for whatever reason.
        """
        with _whatever(), super().write() as tx:
            yield tx


@contextmanager
def _whatever() -> Iterator[None]:
    try:
        yield
    except sa.exc.DBAPIError as problem:
        # A schema that is gone, a right that was taken away: our mistake or not, it must be told.
        raise StoreUnavailable(f"the store does not work: {problem.orig}") from problem


def _engine(url: sa.URL, patience_s: float) -> sa.Engine:
    if url.get_backend_name() != "sqlite":
        limit = f"{patience_s * 1000:.0f}"
        theirs = url.query.get("options", "")
        options = [theirs] if isinstance(theirs, str) else [*theirs]
        # To compile the search for what nobody hears of takes longer than to run it.
        options.append(f"-c statement_timeout={limit} -c lock_timeout={limit} -c jit=off")
        given = postgres.connect_arguments({**url.query, "options": tuple(options)})
        given["connect_timeout"] = str(max(1, round(patience_s)))
        return sa.create_engine(
            url, hide_parameters=True, poolclass=sa.pool.NullPool, connect_args=given
        )
    path = quote(str(Path(url.database or "").absolute()))
    there = sa.URL.create(
        url.drivername, database=f"file:{path}", query={"mode": "rw", "uri": "true"}
    )
    engine = sa.create_engine(
        there,
        hide_parameters=True,
        poolclass=sa.pool.NullPool,
        connect_args={"timeout": patience_s},
    )
    sa.event.listen(engine, "connect", _prepare(patience_s))
    sa.event.listen(engine, "begin", _begin)
    return engine


def _prepare(patience_s: float) -> Any:
    def prepare(connection: Any, _record: Any) -> None:
        connection.isolation_level = None  # we say BEGIN ourselves, see `engine`
        cursor = connection.cursor()
        for pragma in (
            "synchronous=FULL",
            f"busy_timeout={patience_s * 1000:.0f}",
            "foreign_keys=ON",
            "trusted_schema=OFF",
        ):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    return prepare


def _begin(connection: sa.Connection) -> None:
    kind = "DEFERRED" if connection.get_execution_options().get("reading") else "IMMEDIATE"
    connection.exec_driver_sql(f"BEGIN {kind}")
