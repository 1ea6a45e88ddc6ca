"""Rows of digests: up to where each receiver has been told, written once a day."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, timedelta

import sqlalchemy as sa

from monitor.notify.channel import Kind
from monitor.store import tables as t
from monitor.store.columns import UtcTime
from monitor.store.upserts import insert_new


@dataclass(frozen=True, slots=True)
class Mark:
    """Where a receiver's digests have come to.

    By the numbers of incidents, alerts and notes, not by time: what a slow stream brings late is
    told later, and a clock that was put back hides nothing.
    """

    at: datetime
    incident: int = 0
    alert: int = 0
    note: int = 0


class DigestRows:
    """The digests' rows within one transaction."""

    def __init__(self, connection: sa.Connection) -> None:
        self._c = connection

    def done(self, day: date) -> set[str]:
        """Receivers whose digest of this day was queued, or had nothing to say."""
        d = t.digests
        rows = self._c.execute(sa.select(d.c.receiver).where(d.c.day == day.isoformat()))
        return {receiver for (receiver,) in rows}

    def last(self, receiver: str) -> Mark | None:
        """How far this receiver has been told; None if never. What it refused told it nothing."""
        d = t.digests
        highest = [sa.func.max(column) for column in (d.c.incident, d.c.alert, d.c.note)]
        query = sa.select(sa.func.max(d.c.at, type_=UtcTime()), *highest)
        query = query.where(d.c.receiver == receiver, ~_refused(d.c.receiver, d.c.day))
        at, *numbers = self._c.execute(query).one()
        if at is not None:
            return Mark(at, *(int(number) for number in numbers))
        first = sa.select(sa.func.min(d.c.at, type_=UtcTime())).where(d.c.receiver == receiver)
        tried: datetime | None = self._c.execute(first).scalar()
        return None if tried is None else Mark(tried - timedelta(days=1))

    def refused(self) -> set[str]:
        """Receivers whose newest digest will never be accepted."""
        d = t.digests
        newest = sa.select(d.c.receiver, sa.func.max(d.c.day).label("day")).group_by(d.c.receiver)
        last = newest.subquery()
        query = sa.select(last.c.receiver).where(_refused(last.c.receiver, last.c.day))
        return {receiver for (receiver,) in self._c.execute(query)}

    def add(self, receiver: str, day: date, mark: Mark) -> None:
        """Write down that a day is done; a day that is, stays as it is."""
        self._c.execute(
            insert_new(self._c, t.digests),
            {
                "receiver": receiver,
                "day": day.isoformat(),
                "at": mark.at,
                "incident": mark.incident,
                "alert": mark.alert,
                "note": mark.note,
            },
        )


def _refused(receiver: sa.ColumnElement[str], day: sa.ColumnElement[str]) -> sa.Exists:
    """Whether the digest of that day to that receiver is a page that is dead."""
    o = t.outbox
    dead = (o.c.kind == str(Kind.DIGEST), o.c.state == "dead", o.c.receiver == receiver)
    return sa.exists().where(*dead, o.c.key.endswith(day))
