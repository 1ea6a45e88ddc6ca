"""Incidents with what belongs to them: few statements, however many incidents are open."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from datetime import datetime

import msgspec
import sqlalchemy as sa

from monitor.alerting.alerts import Alert
from monitor.incidents.model import Incident, Origin
from monitor.store import tables as t
from monitor.store.incident_rows import _dumps, _incident, is_open

_OF_SERIES = (str(Origin.ALERT), str(Origin.NO_DATA))
"""What series open: no other incident has an alert of ours, or a group that one could share."""
_ASKED_AT_ONCE = 500
"""Parameters of one statement."""


def _ended(since: datetime) -> sa.ColumnElement[bool]:
    i = t.incidents
    return sa.or_(i.c.resolved_at >= since, i.c.closed_at >= since, i.c.normal_at >= since)


class KinRows:
    """Rows of incidents beside those of their alerts, within one transaction."""

    def __init__(self, connection: sa.Connection) -> None:
        self._c = connection

    def joinable(self, since: datetime) -> list[tuple[Incident, list[Alert]]]:
        """Open incidents that a new alert may join, oldest first, in two statements.

        Args:
            since: each comes with its alerts that fire or cleared at or after this.
        """
        i, a = t.incidents, t.alerts
        ours = sa.and_(is_open(), i.c.origin.in_(_OF_SERIES))
        near = sa.or_(a.c.cleared_at.is_(None), a.c.cleared_at >= since)
        found = self._c.execute(
            sa.select(a.c.incident, a.c.body)
            .join(i, i.c.uuid == a.c.incident)
            .where(ours, near)
            .order_by(a.c.detected_at, a.c.id)
        )
        alerts: dict[str, list[Alert]] = defaultdict(list)
        for uuid, body in found:
            alerts[uuid].append(msgspec.json.decode(body, type=Alert))
        rows = self._c.execute(i.select().where(ours).order_by(i.c.number))
        return [(_incident(row), alerts[row.uuid]) for row in rows]

    def bare(self, since: datetime) -> list[Incident]:
        """Without any alert, and open or ended (or normal) at or after `since`; oldest first."""
        i, a = t.incidents, t.alerts
        has_alert = sa.exists().where(a.c.incident == i.c.uuid)
        rows = self._c.execute(
            i.select().where(sa.or_(is_open(), _ended(since)), ~has_alert).order_by(i.c.number)
        )
        return [_incident(row) for row in rows]

    def of(self, uuids: Iterable[str]) -> dict[str, Incident]:
        """Those of these uuids that are there, 500 a statement."""
        asked, found = sorted(set(uuids)), dict[str, Incident]()
        i = t.incidents
        for start in range(0, len(asked), _ASKED_AT_ONCE):
            some = i.c.uuid.in_(asked[start : start + _ASKED_AT_ONCE])
            found |= {row.uuid: _incident(row) for row in self._c.execute(i.select().where(some))}
        return found

    def open_of(self, group: str) -> Incident | None:
        """The oldest open incident that has this group and no other."""
        i = t.incidents
        query = i.select().where(is_open(), i.c.groups == _dumps([group]))
        row = self._c.execute(query.order_by(i.c.number).limit(1)).one_or_none()
        return None if row is None else _incident(row)

    def ended_of(self, group: str, since: datetime) -> Incident | None:
        """The newest that has this group and no other, and ended (or is normal) since then."""
        i = t.incidents
        query = i.select().where(_ended(since), i.c.groups == _dumps([group]))
        row = self._c.execute(query.order_by(i.c.number.desc()).limit(1)).one_or_none()
        return None if row is None else _incident(row)

    def forsaken(self) -> list[Alert]:
        """Alerts that fire although their incident is over."""
        i, a = t.incidents, t.alerts
        still = sa.exists().where(i.c.uuid == a.c.incident, is_open())
        rows = self._c.execute(
            sa.select(a.c.body).where(a.c.cleared_at.is_(None), a.c.incident.is_not(None), ~still)
        )
        return [msgspec.json.decode(body, type=Alert) for (body,) in rows]
