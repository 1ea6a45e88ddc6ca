"""Which page of the outbox goes first, and what a page's attempts so far are known to have come to.

A page is surely unheard while every attempt is known to have come to nothing: refused for now, or
not made. `receipt`, which a page has no other use for until it is sent, counts them. An attempt
whose sender died, whose answer was lost, or that a Tocsin of before made is missing in that count.
It also has the number of the last attempt that its sender survived: those after it are deaths.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec
import sqlalchemy as sa

from monitor.notify.channel import Kind
from monitor.store import tables as t

DIED = "its senders died again and again: it waits behind others"
"""Detail of a page that is claimed last."""
LAST = "SEV9"


def severity() -> sa.ColumnElement[str]:
    """Of a page's incident, as it is now; `LAST` for none."""
    i = t.incidents
    found = sa.select(i.c.severity).where(i.c.uuid == t.outbox.c.incident)
    return sa.func.coalesce(found.scalar_subquery(), LAST)


def urgency() -> sa.ColumnElement[str]:
    """Pages are claimed in the order of it."""
    return sa.case((t.outbox.c.detail == DIED, LAST), else_=severity())


def hurries(due: datetime, *, try_top: bool) -> sa.ColumnElement[bool]:
    """Whether a page is sent though its receiver asked for silence.

    Args:
        due: one that was due by then has waited for as long as any wish may hold it.
        try_top: so is the first attempt of a SEV1, by which one learns whether it needs another
            road.
    """
    o = t.outbox
    waited = o.c.next_at <= due
    if not try_top:
        return waited
    first = sa.and_(o.c.attempts == 0, o.c.kind == str(Kind.TRIGGER))
    return sa.or_(waited, sa.and_(first, severity() == "SEV1"))


def survived(attempts: int, *, unheard: bool) -> str:
    """A page's `receipt` after an attempt that its sender survived.

    Args:
        attempts: so far.
        unheard: all of them have surely come to nothing.
    """
    failed = {"failed": attempts} if unheard else {}
    return msgspec.json.encode({"survived": attempts, **failed}).decode()


def surely_unheard(row: Any) -> bool:
    """Whether all attempts of a row that is not sent have surely come to nothing."""
    return bool(row.attempts == _count(row, "failed"))


def deaths(row: Any) -> int:
    """The last attempts of a row that is not sent, all of which its senders did not survive."""
    return int(row.attempts) - _count(row, "survived")


def _count(row: Any, name: str) -> int:
    return int(msgspec.json.decode(row.receipt).get(name, 0))
