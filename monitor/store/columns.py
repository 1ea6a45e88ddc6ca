"""Kinds of columns: times as whole microseconds, and text that every database takes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.types import TypeDecorator

from monitor.text import utf8

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)


class UtcTime(TypeDecorator[datetime]):
    """An aware UTC datetime as a 64-bit count of microseconds: exact, ordered, zone-free."""

    impl = sa.BigInteger
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: sa.Dialect) -> int | None:  # noqa: ARG002 - SQLAlchemy's signature
        return None if value is None else (value - EPOCH) // MICROSECOND

    def process_result_value(self, value: Any, dialect: sa.Dialect) -> datetime | None:  # noqa: ARG002 - SQLAlchemy's signature
        return None if value is None else EPOCH + value * MICROSECOND


def storable(text: str) -> str:
    r"""`text` as every database takes it: NUL and lone surrogates as visible `\x00`, `\udcff`.

    PostgreSQL refuses the one and UTF-8 the other, and with it the whole transaction: a message
    that holds one would never be taken, however often its sender comes again.
    """
    if "\0" in text:
        text = text.replace("\0", "\\x00")
    return utf8(text)


class Words(TypeDecorator[str]):
    """Text that may be from outside; see `storable`."""

    impl = sa.Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: sa.Dialect) -> str | None:  # noqa: ARG002 - SQLAlchemy's signature
        return None if value is None else storable(value)
