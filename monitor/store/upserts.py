"""Inserts that replace or leave what is there, in the words of each database."""

from __future__ import annotations

from functools import cache
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite


def upsert(connection: sa.Connection, table: sa.Table, *, newest: str | None = None) -> Any:
    """An INSERT that replaces the row of the same primary key.

    Args:
        connection: tells the dialect.
        table: with a primary key.
        newest: a column that must not go down, or the old row stays.
    """
    return _upsert(connection.dialect.name, table, newest)


@cache
def _upsert(dialect_name: str, table: sa.Table, newest: str | None) -> Any:
    # Kept, because to build the statement costs four times what SQLite needs to carry it out.
    dialect = postgresql if dialect_name == "postgresql" else sqlite
    insert = dialect.insert(table)
    keys = [column.name for column in table.primary_key]
    rest = {c.name: getattr(insert.excluded, c.name) for c in table.columns if c.name not in keys}
    where = None if newest is None else insert.excluded[newest] >= table.c[newest]
    return insert.on_conflict_do_update(index_elements=keys, set_=rest, where=where)


def insert_new(connection: sa.Connection, table: sa.Table) -> Any:
    """An INSERT that leaves a row of the same key alone."""
    dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
    return dialect.insert(table).on_conflict_do_nothing()
