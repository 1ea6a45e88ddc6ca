"""What a piece of work asks of its store: statements, and the rows that come back."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from monitor.store.store import Store


@dataclass(slots=True)
class Asked:
    """How much was asked so far."""

    statements: int = 0
    rows: int = 0
    """What its SELECTs found."""


@contextmanager
def asked(store: Store) -> Iterator[Asked]:
    """Count what is asked of `store` in the block; each SELECT is asked twice to count its rows."""
    found = Asked()

    def count(conn: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        found.statements += 1
        if statement.lstrip().upper().startswith("SELECT"):
            again = conn.connection.cursor()
            again.execute(statement, parameters)
            found.rows += len(again.fetchall())

    sa.event.listen(store.engine, "before_cursor_execute", count)
    try:
        yield found
    finally:
        sa.event.remove(store.engine, "before_cursor_execute", count)
