"""Incidents that wait for nobody, found by the database among however many are open.

An escalation is stored as a text, a snapshot of the policy when the first page was queued. Open
incidents share a handful of them, so that each distinct one becomes a condition of its own on the
incident's time and on who was rung, and both databases sort out the rest.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import sqlalchemy as sa

from monitor.incidents.model import OPEN, Incident, Rung
from monitor.notify.channel import Kind
from monitor.store import tables as t
from monitor.store.incident_rows import _incident, _rungs
from monitor.store.outbox import WAITING

MOST = 200
"""Incidents that are read whole; who owes more than that is told how many there are."""
POLICIES = 100
"""Distinct escalations that become conditions; what has yet another is looked at in any case."""
SEVERITIES = ("SEV1", "SEV2")
_STATE = t.outbox.c.state.concat("")
"""No index has it: of two that would do, SQLite takes that of the state, and reads most pages."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Unheard:
    """Incidents without a future deadline."""

    incidents: Sequence[Incident]
    """Who was rung for them longest ago first; at most `MOST`."""
    count: int
    """All of them."""


def unanswered() -> sa.ColumnElement[bool]:
    """Open, paged, not acknowledged, and something of it still fires."""
    i = t.incidents
    return sa.and_(
        i.c.state.in_([str(state) for state in OPEN]),
        i.c.severity.in_(SEVERITIES),
        i.c.paged_at.is_not(None),
        i.c.acknowledged_at.is_(None),
        i.c.normal_at.is_(None),
    )


def unheard(
    connection: sa.Connection,
    now: datetime,
    late: timedelta,
    silent: timedelta,
    most: int = MOST,
) -> Unheard:
    """Unanswered incidents for which no ring is to come, or none arrives.

    A rung with somebody new was due for more than `late`; or all were rung, the last of them more
    than `silent` ago; or no receiver has accepted a page for more than `late`. It is what
    `watch.checks` calls overdue, exhausted and unreached, asked in SQL.
    """
    i, o = t.incidents, t.outbox
    found = sa.select(i.c.escalation).where(unanswered()).distinct().limit(POLICIES + 1)
    bodies = list(connection.execute(found).scalars())[:POLICIES]
    policies = {body: _rungs(body) for body in bodies}
    unreached = sa.and_(
        ~_rung(_STATE == "sent"),
        sa.or_(_rung(o.c.created_at < now - late), sa.and_(~_rung(), i.c.paged_at < now - late)),
    )
    exhausted = sa.and_(
        _rung(), ~_rung(_STATE.in_(WAITING)), ~_rung(o.c.created_at >= now - silent)
    )
    asked = [
        sa.and_(i.c.escalation == body, _stands_still(rungs, now - late, exhausted))
        for body, rungs in policies.items()
    ]
    last = sa.select(sa.func.max(o.c.created_at)).where(*_of_incident()).scalar_subquery()
    rows = connection.execute(
        sa.select(i, sa.func.count().over().label("count"))
        .where(unanswered(), sa.or_(unreached, i.c.escalation.not_in(bodies), *asked))
        .order_by(sa.func.coalesce(last, i.c.paged_at), i.c.number)
        .limit(most)
    ).all()
    return Unheard(incidents=[_incident(row) for row in rows], count=rows[0][-1] if rows else 0)


def _of_incident() -> tuple[sa.ColumnElement[bool], ...]:
    """Rings before the page were for another outage."""
    o, i = t.outbox, t.incidents
    since = o.c.created_at >= i.c.paged_at
    return o.c.incident == i.c.uuid, o.c.kind == str(Kind.TRIGGER), since


def _rung(*where: sa.ColumnElement[bool]) -> sa.Exists:
    """Whether the incident has such a trigger.

    One look into an index for each incident: a join would be planned by statistics that a storm of
    the last minute has outrun, and on PostgreSQL take minutes.
    """
    return sa.select(1).where(*_of_incident(), *where).correlate(t.incidents).exists()


def _stands_still(
    rungs: Sequence[Rung], due: datetime, exhausted: sa.ColumnElement[bool]
) -> sa.ColumnElement[bool]:
    """A rung is overdue, or nobody is left and all is silent."""
    left = [
        (sa.or_(*(~_rung(t.outbox.c.receiver == name) for name in rung.receivers)), rung)
        for rung in rungs
        if rung.receivers
    ]
    overdue = [
        sa.and_(t.incidents.c.paged_at < due - timedelta(seconds=rung.after_s), somebody)
        for somebody, rung in left
    ]
    nobody_left = [~somebody for somebody, _ in left]
    return sa.or_(sa.and_(exhausted, *nobody_left), *overdue)
