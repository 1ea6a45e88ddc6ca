"""What the auditor asks the store: few rows, whatever the store holds."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import sqlalchemy as sa

from monitor.incidents.model import Incident, Origin
from monitor.store import tables as t
from monitor.store.columns import UtcTime
from monitor.store.incident_rows import _incident, is_open
from monitor.store.outbox import A_PAGE, WAITING, behind_another
from monitor.store.unheard import Unheard, unanswered, unheard


@dataclass(frozen=True, slots=True, kw_only=True)
class Queue:
    """How the outbox moves."""

    due: int
    """Pages that could be claimed at once."""
    due_since: datetime | None
    """Since when the oldest of them could be."""
    lapsed: int
    """Claims whose lease has run out: their sender died, and nobody took over."""
    lapsed_since: datetime | None
    waiting: int
    refused: int
    """Triggers of open incidents that will never be accepted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rings:
    """The triggers of one incident."""

    receivers: dict[str, int]
    """How often each was rung."""
    waiting: int
    sent: int
    first_at: datetime | None
    """When the first of them was queued."""
    last_at: datetime | None


NO_RINGS = Rings(receivers={}, waiting=0, sent=0, first_at=None, last_at=None)


class WatchRows:
    """Rows for the auditor within one transaction."""

    def __init__(self, connection: sa.Connection) -> None:
        self._c = connection

    def unheard(self, now: datetime, late: timedelta, silent: timedelta) -> Unheard:
        """Unanswered SEV1 and SEV2 for which no ring is to come, or none arrives.

        Args:
            now: the time.
            late: what is due for longer is overdue.
            silent: after the last ring, where nobody is left.
        """
        return unheard(self._c, now, late, silent)

    def still(self, incidents: Iterable[str]) -> set[str]:
        """Those of them, by uuid, that are unanswered as before."""
        uuid = t.incidents.c.uuid
        asked = sa.select(uuid).where(uuid.in_(list(incidents)), unanswered())
        return set(self._c.execute(asked).scalars())

    def own(self) -> list[Incident]:
        """Open incidents that Tocsin opened about itself."""
        i = t.incidents
        rows = self._c.execute(
            i.select().where(is_open(), i.c.origin == str(Origin.TOCSIN)).order_by(i.c.number)
        )
        return [_incident(row) for row in rows]

    def rings(self, incidents: Iterable[str]) -> dict[str, Rings]:
        """The triggers of incidents since they were paged (anew), by uuid."""
        o, i = t.outbox, t.incidents
        first = sa.func.min(o.c.created_at, type_=UtcTime())
        last = sa.func.max(o.c.created_at, type_=UtcTime())
        rows = self._c.execute(
            sa.select(o.c.incident, o.c.receiver, o.c.state, sa.func.count(), first, last)
            .join(i, sa.and_(i.c.uuid == o.c.incident, i.c.paged_at <= o.c.created_at))
            .where(o.c.incident.in_(list(incidents)), o.c.kind == "trigger")
            .group_by(o.c.incident, o.c.receiver, o.c.state)
        ).all()
        by: dict[str, list[_Group]] = defaultdict(list)
        for row in rows:
            incident, *rest = row
            by[incident].append(_Group(*rest))
        return {incident: _rings(found) for incident, found in by.items()}

    def queue(self, now: datetime) -> Queue:
        """How the outbox moves; a page behind an earlier one of its incident is not due."""
        o = t.outbox
        due, due_since = self._count(
            o.c.next_at, o.c.state == "new", o.c.next_at <= now, ~behind_another()
        )
        lapsed, lapsed_since = self._count(
            o.c.lease_until, o.c.state == "claimed", o.c.lease_until <= now
        )
        waiting, _ = self._count(o.c.created_at, o.c.state.in_(WAITING))
        return Queue(
            due=due,
            due_since=due_since,
            lapsed=lapsed,
            lapsed_since=lapsed_since,
            waiting=waiting,
            refused=self.refused(),
        )

    def refused(self) -> int:
        """Triggers of open incidents that will never be accepted."""
        o, i = t.outbox, t.incidents
        still_open = sa.select(i.c.uuid).where(is_open())
        where = o.c.state == "dead", o.c.kind == "trigger", o.c.incident.in_(still_open)
        return self._count(o.c.created_at, *where)[0]

    def _count(
        self, at: sa.Column[datetime], *where: sa.ColumnElement[bool]
    ) -> tuple[int, datetime | None]:
        oldest = sa.func.min(at, type_=UtcTime())
        counted = sa.select(sa.func.count(), oldest).where(*where, A_PAGE)
        count, since = self._c.execute(counted).one()
        return int(count), since

    def pulse(self) -> str:
        """Another text whenever somebody has written: the loops tell of themselves at each step."""
        seen = sa.func.max(t.partitions.c.seen_at, type_=sa.BigInteger())
        until = sa.func.max(t.leases.c.until, type_=sa.BigInteger())
        parts = [
            self._c.execute(sa.select(what)).scalar()
            for what in (seen, until, sa.func.max(t.revision.c.value))
        ]
        return ":".join(str(part) for part in parts)


@dataclass(frozen=True, slots=True)
class _Group:
    """Triggers of one incident to one receiver in one state."""

    receiver: str
    state: str
    count: int
    first: datetime
    last: datetime


def _rings(groups: Sequence[_Group]) -> Rings:
    receivers: dict[str, int] = defaultdict(int)
    states: dict[str, int] = defaultdict(int)
    for group in groups:
        receivers[group.receiver] += group.count
        states[group.state] += group.count
    return Rings(
        receivers=dict(receivers),
        waiting=sum(states[state] for state in WAITING),
        sent=states["sent"],
        first_at=min(group.first for group in groups),
        last_at=max(group.last for group in groups),
    )
