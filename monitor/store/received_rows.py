"""Rows of what other systems sent us: each key is taken once, for as long as senders repeat."""

from __future__ import annotations

from datetime import datetime, timedelta

import sqlalchemy as sa

from monitor.store import tables as t
from monitor.store.upserts import insert_new

KEPT = timedelta(days=7)
"""Senders repeat for two days at most (PagerDuty: 48 hours); after this a key counts as new."""


class ReceivedRows:
    """The keys of received messages within one transaction."""

    def __init__(self, connection: sa.Connection) -> None:
        self._c = connection

    def first(self, key: str, source: str, now: datetime) -> bool:
        """Take a key; False if it was taken before, in this transaction or an earlier one.

        Args:
            key: tells messages apart over all sources; a digest where it is long or secret.
            source: who sent it, a word of this program.
            now: the real time; keys older than `KEPT` are forgotten.
        """
        row = t.received
        self._c.execute(row.delete().where(row.c.at < now - KEPT))
        values = {"key": key, "source": source, "at": now}
        # What the row count of an INSERT is that did nothing is each driver's own affair.
        new = insert_new(self._c, row).returning(row.c.key)
        return self._c.execute(new, values).first() is not None

    def has(self, key: str) -> bool:
        """Whether a key was taken and is not forgotten yet."""
        row = t.received
        return self._c.execute(sa.select(row.c.at).where(row.c.key == key)).first() is not None

    def count(self, source: str) -> int:
        """How many keys of one source are kept."""
        row = t.received
        query = sa.select(sa.func.count()).select_from(row).where(row.c.source == source)
        return int(self._c.execute(query).scalar_one())
