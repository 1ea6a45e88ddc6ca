"""Rows of what other systems sent us: each key is taken once, for as long as senders repeat."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta

import sqlalchemy as sa

from monitor.store import tables as t
from monitor.store.upserts import insert_new

KEPT = timedelta(days=7)
"""Senders repeat for two days at most (PagerDuty: 48 hours); after this a key counts as new."""
_ASKED_AT_ONCE = 500
"""Parameters of one statement."""


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
        return bool(self.first_of((key,), source, now))

    def first_of(self, keys: Iterable[str], source: str, now: datetime) -> set[str]:
        """Take keys, as `first` does; those that were not taken before."""
        # In one order everywhere: two who take the same keys do not wait for each other.
        values = [{"key": key, "source": source, "at": now} for key in sorted(set(keys))]
        if not values:
            return set()
        row = t.received
        self._c.execute(row.delete().where(row.c.at < now - KEPT))
        # What the row count of an INSERT is that did nothing is each driver's own affair.
        new = insert_new(self._c, row).returning(row.c.key)
        return set(self._c.execute(new, values).scalars())

    def has(self, key: str) -> bool:
        """Whether a key was taken and is not forgotten yet."""
        row = t.received
        return self._c.execute(sa.select(row.c.at).where(row.c.key == key)).first() is not None

    def known(self, keys: Iterable[str]) -> set[str]:
        """Those of the keys that were taken and are not forgotten yet."""
        asked, found, key = sorted(set(keys)), set[str](), t.received.c.key
        for start in range(0, len(asked), _ASKED_AT_ONCE):
            some = asked[start : start + _ASKED_AT_ONCE]
            found.update(self._c.execute(sa.select(key).where(key.in_(some))).scalars())
        return found

    def count(self, source: str) -> int:
        """How many keys of one source are kept."""
        row = t.received
        query = sa.select(sa.func.count()).select_from(row).where(row.c.source == source)
        return int(self._c.execute(query).scalar_one())
