"""Who was rung for an incident, and when: the triggers in the outbox, whatever became of them.

An incident that was over and fires again is another outage, with a page and an escalation of its
own: a ring belongs to the outage if it is dated no earlier than the incident's `paged_at`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from monitor.notify.channel import Kind
from monitor.store import tables as t
from monitor.store.columns import MICROSECOND, UtcTime
from monitor.store.incident_rows import is_open

_TRIGGER = t.outbox.c.kind == str(Kind.TRIGGER)
_LAST_AT = sa.func.max(t.outbox.c.created_at, type_=UtcTime())


def _ended() -> sa.ColumnElement[bool]:
    """The condition that the receiver of a ring is told of an end after it."""
    o, end = t.outbox, t.outbox.alias("ending")
    return sa.exists().where(
        end.c.incident == o.c.incident,
        end.c.receiver == o.c.receiver,
        end.c.kind == str(Kind.RESOLVE),
        end.c.id > o.c.id,
    )


@dataclass(frozen=True, slots=True)
class Rung:
    """The rings of one incident at one receiver."""

    count: int
    last_at: datetime
    """When the newest of them was queued."""


class RingRows:
    """Rings within one transaction."""

    def __init__(self, connection: sa.Connection) -> None:
        self._c = connection

    def of(self, incident: str) -> dict[str, Rung]:
        """How often and when last each receiver was (or is to be) rung for an incident."""
        o = t.outbox
        rows = self._c.execute(
            sa.select(o.c.receiver, sa.func.count(), _LAST_AT)
            .where(o.c.incident == incident, _TRIGGER)
            .group_by(o.c.receiver)
        )
        return {receiver: Rung(int(count), last_at) for receiver, count, last_at in rows}

    def of_open(self) -> dict[str, dict[str, datetime]]:
        """When each receiver was last rung (or is to be), by the open incident."""
        o, i = t.outbox, t.incidents
        still = sa.select(i.c.uuid).where(is_open())
        rows = self._c.execute(
            sa.select(o.c.incident, o.c.receiver, _LAST_AT)
            .where(o.c.incident.in_(still), _TRIGGER)
            .group_by(o.c.incident, o.c.receiver)
        )
        found: dict[str, dict[str, datetime]] = {}
        for incident, receiver, last_at in rows:
            found.setdefault(incident, {})[receiver] = last_at
        return found

    def astray(self) -> set[str]:
        """Open incidents with a ring that is dated before the page that began their outage."""
        o, i = t.outbox, t.incidents
        query = (
            sa.select(o.c.incident)
            .join(i, sa.and_(i.c.uuid == o.c.incident, i.c.paged_at > o.c.created_at))
            .where(is_open(), _TRIGGER)
            .distinct()
        )
        return set(self._c.execute(query).scalars())

    def date_anew(self, incident: str, paged_at: datetime | None, at: datetime) -> None:
        """Keep rings on their side of the page that began an outage, which is dated anew.

        Only a clock that was put back puts one on the other side.

        Args:
            incident: uuid.
            paged_at: when that page was queued; None: it is about to be.
            at: as when it counts from now on.
        """
        o = t.outbox
        ours = o.c.incident == incident, _TRIGGER
        first = None
        if paged_at is not None:
            found = sa.select(sa.func.min(o.c.id)).where(*ours, o.c.created_at >= paged_at)
            first = self._c.execute(found).scalar()
        before = sa.true() if first is None else o.c.id < first
        late = o.update().where(*ours, before, o.c.created_at >= at)
        self._c.execute(late.values(created_at=at - MICROSECOND))
        if first is not None:
            early = o.update().where(*ours, o.c.id >= first, o.c.created_at < at)
            self._c.execute(early.values(created_at=at))

    def date_forward(self, paged: Mapping[str, tuple[datetime, datetime]]) -> None:
        """Keep rings of outages whose first page is dated later than it was, all in one go.

        Args:
            paged: by the incident's uuid, when that page was queued and as when it counts.
        """
        o = t.outbox
        uuid: sa.BindParameter[str] = sa.bindparam("which")
        was, at = (sa.bindparam(name, type_=UtcTime()) for name in ("was", "at"))
        early = o.update().where(
            o.c.incident == uuid, _TRIGGER, o.c.created_at >= was, o.c.created_at < at
        )
        values = [{"which": one, "was": was, "at": at} for one, (was, at) in paged.items()]
        if values:
            self._c.execute(early.values(created_at=at), values)

    def told(self, incident: str) -> int:
        """Messages of any kind about an incident that were queued so far."""
        o = t.outbox
        query = sa.select(sa.func.count()).select_from(o).where(o.c.incident == incident)
        return int(self._c.execute(query).scalar_one())

    def ringing(self, incident: str) -> dict[str, set[str]]:
        """Dedup keys under which each receiver was rung and told of no end since."""
        o = t.outbox
        query = sa.select(o.c.receiver, o.c.dedup_key).where(o.c.incident == incident, _TRIGGER)
        found: dict[str, set[str]] = {}
        for receiver, key in self._c.execute(query.where(~_ended())):
            found.setdefault(receiver, set()).add(key)
        return found

    def settled(self, until: datetime) -> list[tuple[str, set[str]]]:
        """Acknowledged ones that were over by `until`, and receivers that heard of no end.

        Oldest first.
        """
        o, i = t.outbox, t.incidents
        query = (
            sa.select(i.c.uuid, o.c.receiver)
            .join(o, o.c.incident == i.c.uuid)
            .where(is_open(), i.c.acknowledged_at.is_not(None), i.c.normal_at <= until)
            .where(_TRIGGER, ~_ended())
            .order_by(i.c.number)
        )
        found: dict[str, set[str]] = {}
        for uuid, receiver in self._c.execute(query):
            found.setdefault(uuid, set()).add(receiver)
        return list(found.items())

    def unended(self, incident: str) -> set[str]:
        """Receivers whose last message about an incident does not tell of its end."""
        o = t.outbox
        last = sa.select(sa.func.max(o.c.id)).where(o.c.incident == incident).group_by(o.c.receiver)
        query = sa.select(o.c.receiver).where(o.c.id.in_(last), o.c.kind != str(Kind.RESOLVE))
        return set(self._c.execute(query).scalars())
