"""Rows of incidents: the incident itself, its alerts, its timeline, and recorded changes."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import msgspec
import sqlalchemy as sa

from monitor.alerting.alerts import Alert
from monitor.incidents.actions import Step
from monitor.incidents.model import OPEN, Incident, Origin, Rung, State
from monitor.incidents.timeline import Entry, Linked, link
from monitor.store import tables as t
from monitor.store.columns import UtcTime, storable


@dataclass(frozen=True, slots=True)
class ChangeRow:
    """A recorded change of the product: a release, a flag, a threshold."""

    id: int
    kind: str
    title: str
    at: datetime
    dimensions: dict[str, str]
    actor: str


@dataclass(frozen=True, slots=True)
class Call:
    """An incident that waits for an answer to its pages."""

    uuid: str
    paged_at: datetime
    escalation: tuple[Rung, ...]


def is_open() -> sa.ColumnElement[bool]:
    """The condition that an incident is not over."""
    return t.incidents.c.state.in_([str(state) for state in OPEN])


def _rungs(body: str) -> tuple[Rung, ...]:
    return msgspec.json.decode(body, type=tuple[Rung, ...])


def _dumps(value: object) -> str:
    return msgspec.json.encode(value, order="deterministic").decode()


class IncidentRows:
    """The incidents' rows within one transaction."""

    def __init__(self, connection: sa.Connection) -> None:
        self._c = connection
        self.acting = ("", "")
        """Who acts in this transaction, and how they came in, where entries are to say so."""

    # -- incidents ------------------------------------------------------------------------------

    def next_number(self) -> int:
        """The number of the next incident."""
        highest = self._c.execute(sa.select(sa.func.max(t.incidents.c.number))).scalar()
        return int(highest or 0) + 1

    def add(self, incident: Incident) -> bool:
        """Insert a new one; False where its uuid is there already, which stays as it is."""
        i = t.incidents
        if self._c.execute(sa.select(i.c.uuid).where(i.c.uuid == incident.uuid)).first():
            return False
        self._c.execute(i.insert().values(_columns(incident)))
        return True

    def save(self, incident: Incident) -> None:
        """Insert or replace. What may be there and be another's work is for `add`."""
        values = _columns(incident)
        found = self._c.execute(
            t.incidents.update().where(t.incidents.c.uuid == incident.uuid).values(values)
        )
        if found.rowcount == 0:
            self._c.execute(t.incidents.insert().values(values))

    def apply(self, step: Step, now: datetime) -> None:
        """Write a step's incident and its entries."""
        self.save(step.incident)
        self.append(step.incident.uuid, step.entries, now)

    def get(self, uuid: str) -> Incident | None:
        """One incident by its uuid."""
        row = self._c.execute(t.incidents.select().where(t.incidents.c.uuid == uuid)).one_or_none()
        return None if row is None else _incident(row)

    def by_number(self, number: int) -> Incident | None:
        """One incident by the number people say."""
        i = t.incidents
        row = self._c.execute(i.select().where(i.c.number == number)).one_or_none()
        return None if row is None else _incident(row)

    def latest(self) -> Incident | None:
        """The newest open incident, or the newest of all."""
        i = t.incidents
        is_open = sa.case((i.c.state.in_([str(s) for s in OPEN]), 1), else_=0)
        row = self._c.execute(i.select().order_by(is_open.desc(), i.c.number.desc()).limit(1))
        found = row.one_or_none()
        return None if found is None else _incident(found)

    def open(self) -> list[Incident]:
        """Open incidents, oldest first."""
        i = t.incidents
        rows = self._c.execute(i.select().where(is_open()).order_by(i.c.number))
        return [_incident(row) for row in rows]

    def open_counts(self) -> list[tuple[str, bool, int]]:
        """Open incidents: (severity, acknowledged, how many)."""
        i = t.incidents
        answered = sa.case((i.c.acknowledged_at.is_(None), 0), else_=1)
        rows = self._c.execute(
            sa.select(i.c.severity, answered, sa.func.count())
            .where(is_open())
            .group_by(i.c.severity, answered)
        )
        return [(severity, bool(flag), int(count)) for severity, flag, count in rows]

    def normal_since(self, until: datetime) -> list[Incident]:
        """Open ones that nobody has acknowledged, normal at or before `until`; oldest first."""
        i = t.incidents
        rows = self._c.execute(
            i.select()
            .where(is_open(), i.c.acknowledged_at.is_(None), i.c.normal_at <= until)
            .order_by(i.c.number)
        )
        return [_incident(row) for row in rows]

    def unanswered(self) -> list[Call]:
        """Open ones that were paged, fire, and that nobody has acknowledged; oldest first."""
        i = t.incidents
        rows = self._c.execute(
            sa.select(i.c.uuid, i.c.paged_at, i.c.escalation)
            .where(
                is_open(),
                i.c.paged_at.is_not(None),
                i.c.acknowledged_at.is_(None),
                i.c.normal_at.is_(None),
            )
            .order_by(i.c.number)
        )
        policies: dict[str, tuple[Rung, ...]] = {}
        calls = []
        for uuid, paged_at, body in rows:
            if body not in policies:
                policies[body] = _rungs(body)
            calls.append(Call(uuid, paged_at, policies[body]))
        return calls

    def date_pages(self, paged: Mapping[str, datetime]) -> None:
        """Let incidents, by uuid, count as paged at another time; nothing else of them changes."""
        i = t.incidents
        values = [{"which": uuid, "at": at} for uuid, at in paged.items()]
        if values:
            one = i.update().where(i.c.uuid == sa.bindparam("which"))
            self._c.execute(one.values(paged_at=sa.bindparam("at")), values)

    def search(
        self,
        *,
        states: Sequence[str] = (),
        severity: str = "",
        since: datetime | None = None,
        person: str = "",
        limit: int = 200,
    ) -> list[Incident]:
        """Newest first."""
        i = t.incidents
        query = i.select().order_by(i.c.number.desc()).limit(limit)
        if states:
            query = query.where(i.c.state.in_(list(states)))
        if severity:
            query = query.where(i.c.severity == severity)
        if since is not None:
            query = query.where(i.c.detected_at >= since)
        if person:
            query = query.where(sa.or_(i.c.commander == person, i.c.acknowledged_by == person))
        return [_incident(row) for row in self._c.execute(query)]

    def paged(self, since: datetime) -> list[Incident]:
        """Incidents paged at or after `since` for a budgeted cause, oldest first.

        Never-events, no data and what people or Alertmanager asked for are exempt.
        """
        i = t.incidents
        budgeted = i.select().where(i.c.paged_at >= since, i.c.origin == str(Origin.ALERT))
        return [_incident(row) for row in self._c.execute(budgeted.order_by(i.c.paged_at))]

    # -- alerts ---------------------------------------------------------------------------------

    def save_alert(self, alert: Alert) -> None:
        """Insert or replace the alert of this series and detection time."""
        a = t.alerts
        values = {
            "fingerprint": alert.fingerprint,
            "incident": alert.incident,
            "detected_at": alert.detected_at,
            "cleared_at": alert.cleared_at,
            "body": _dumps(alert),
        }
        found = self._c.execute(
            a.update()
            .where(a.c.fingerprint == alert.fingerprint, a.c.detected_at == alert.detected_at)
            .values(values)
        )
        if found.rowcount == 0:
            self._c.execute(a.insert().values(values))

    def firing(self) -> dict[str, Alert]:
        """Alerts not cleared, by fingerprint."""
        a = t.alerts
        rows = self._c.execute(sa.select(a.c.body).where(a.c.cleared_at.is_(None)))
        alerts = [msgspec.json.decode(body, type=Alert) for (body,) in rows]
        return {alert.fingerprint: alert for alert in alerts}

    def cleared_since(self, since: datetime, limit: int = 10_000) -> list[Alert]:
        """Alerts that cleared at or after `since`, the last cleared first."""
        a = t.alerts
        rows = self._c.execute(
            sa.select(a.c.body)
            .where(a.c.cleared_at >= since)
            .order_by(a.c.cleared_at.desc(), a.c.id.desc())
            .limit(limit)
        )
        return [msgspec.json.decode(body, type=Alert) for (body,) in rows]

    def alerts_of(self, uuid: str) -> list[Alert]:
        """Alerts of an incident in the order they were detected."""
        a = t.alerts
        rows = self._c.execute(
            sa.select(a.c.body).where(a.c.incident == uuid).order_by(a.c.detected_at, a.c.id)
        )
        return [msgspec.json.decode(body, type=Alert) for (body,) in rows]

    def recent_alerts(self, limit: int = 200) -> list[Alert]:
        """The newest alerts of every tier."""
        a = t.alerts
        rows = self._c.execute(
            sa.select(a.c.body).order_by(a.c.detected_at.desc(), a.c.id.desc()).limit(limit)
        )
        return [msgspec.json.decode(body, type=Alert) for (body,) in rows]

    def alerts_since(self, since: datetime, limit: int = 10_000) -> list[Alert]:
        """Alerts of every tier detected at or after `since`, newest first."""
        a = t.alerts
        rows = self._c.execute(
            sa.select(a.c.body)
            .where(a.c.detected_at >= since)
            .order_by(a.c.detected_at.desc(), a.c.id.desc())
            .limit(limit)
        )
        return [msgspec.json.decode(body, type=Alert) for (body,) in rows]

    def alerts_after(self, number: int, since: datetime, limit: int = 10_000) -> list[Alert]:
        """Alerts stored after the one of this number and detected since then, oldest first."""
        a = t.alerts
        query = sa.select(a.c.body).where(a.c.id > number, a.c.detected_at >= since)
        rows = self._c.execute(query.order_by(a.c.id).limit(limit))
        return [msgspec.json.decode(body, type=Alert) for (body,) in rows]

    def newest_alert(self) -> int:
        """The number of the alert that was stored last; 0 without any."""
        return int(self._c.execute(sa.select(sa.func.max(t.alerts.c.id))).scalar() or 0)

    # -- timeline -------------------------------------------------------------------------------

    def append(self, uuid: str, entries: Iterable[Entry], now: datetime) -> int:
        """Append entries; one whose key is there already is left out. How many are new."""
        head = self._head(uuid)
        new = 0
        for entry in entries:
            if entry.key and self.has(uuid, entry.key):
                continue
            head = link(head, self._marked(entry), now)
            self._c.execute(
                t.timeline.insert().values(
                    incident=uuid,
                    seq=head.seq,
                    kind=entry.kind,
                    text=entry.text,
                    actor=entry.actor,
                    occurred_at=entry.occurred_at,
                    recorded_at=now,
                    key=entry.key or None,
                    data=_dumps(head.entry.data),
                    revises=entry.revises,
                    previous=head.previous,
                    digest=head.digest,
                )
            )
            new += 1
        return new

    def _marked(self, entry: Entry) -> Entry:
        # The chain is over what the row will say.
        entry = replace(entry, text=storable(entry.text), actor=storable(entry.actor))
        who, via = self.acting
        if not via or entry.actor != who:
            return entry
        return replace(entry, data={**entry.data, "via": via})

    def timeline(self, uuid: str, *, after: int = 0, limit: int | None = None) -> list[Linked]:
        """Entries in order."""
        e = t.timeline
        rows = self._c.execute(
            e.select().where(e.c.incident == uuid, e.c.seq > after).order_by(e.c.seq).limit(limit)
        )
        return [_linked(row) for row in rows]

    def last_told(self, uuid: str, kinds: Collection[str]) -> datetime | None:
        """When the last of the entries of these kinds occurred; None without one."""
        e = t.timeline
        last = sa.func.max(e.c.occurred_at, type_=UtcTime())
        query = sa.select(last).where(e.c.incident == uuid, e.c.kind.in_(kinds))
        at: datetime | None = self._c.execute(query).scalar()
        return at

    def with_entry(self, key: str) -> Incident | None:
        """The newest incident whose timeline has an entry with this key."""
        e = t.timeline
        query = sa.select(e.c.incident).where(e.c.key == key)
        uuid = self._c.execute(query.order_by(e.c.recorded_at.desc()).limit(1)).scalar()
        return None if uuid is None else self.get(uuid)

    def has(self, uuid: str, key: str) -> bool:
        """Whether a timeline has an entry with this key."""
        e = t.timeline
        query = sa.select(e.c.seq).where(e.c.incident == uuid, e.c.key == key)
        return self._c.execute(query).first() is not None

    def _head(self, uuid: str) -> Linked | None:
        e = t.timeline
        row = self._c.execute(
            e.select().where(e.c.incident == uuid).order_by(e.c.seq.desc()).limit(1)
        ).one_or_none()
        return None if row is None else _linked(row)

    # -- changes --------------------------------------------------------------------------------

    def add_change(
        self,
        kind: str,
        title: str,
        at: datetime,
        dimensions: dict[str, str],
        actor: str,
        now: datetime,
    ) -> int:
        """Record a change of the product; its id."""
        key = self._c.execute(
            t.changes.insert().values(
                kind=kind,
                title=title,
                at=at,
                dims=_dumps(dimensions),
                actor=actor,
                recorded_at=now,
            )
        ).inserted_primary_key
        assert key is not None
        return int(key[0])

    def changes(
        self, since: datetime | None = None, until: datetime | None = None, limit: int = 200
    ) -> list[ChangeRow]:
        """Changes by their own time, newest first."""
        c = t.changes
        query = c.select().order_by(c.c.at.desc(), c.c.id.desc()).limit(limit)
        if since is not None:
            query = query.where(c.c.at >= since)
        if until is not None:
            query = query.where(c.c.at <= until)
        return [
            ChangeRow(r.id, r.kind, r.title, r.at, msgspec.json.decode(r.dims), r.actor)
            for r in self._c.execute(query)
        ]


def _columns(incident: Incident) -> dict[str, Any]:
    return {
        "uuid": incident.uuid,
        "number": incident.number,
        "title": incident.title,
        "severity": incident.severity,
        "origin": str(incident.origin),
        "state": str(incident.state),
        "signal": incident.signal,
        "dims": _dumps(incident.dimensions),
        "groups": _dumps(sorted(incident.groups)),
        "detected_at": incident.detected_at,
        "impact_at": incident.impact_at,
        "acknowledged_at": incident.acknowledged_at,
        "acknowledged_by": incident.acknowledged_by,
        "commander": incident.commander,
        "mitigated_at": incident.mitigated_at,
        "verified_at": incident.verified_at,
        "normal_at": incident.normal_at,
        "resolved_at": incident.resolved_at,
        "closed_at": incident.closed_at,
        "verdict": incident.verdict,
        "paged_at": incident.paged_at,
        "escalation": _dumps(incident.escalation),
        "drill": incident.drill,
    }


def _incident(row: Any) -> Incident:
    return Incident(
        uuid=row.uuid,
        number=row.number,
        title=row.title,
        severity=row.severity,
        origin=Origin(row.origin),
        state=State(row.state),
        signal=row.signal,
        dimensions=msgspec.json.decode(row.dims),
        groups=frozenset(msgspec.json.decode(row.groups)),
        detected_at=row.detected_at,
        impact_at=row.impact_at,
        acknowledged_at=row.acknowledged_at,
        acknowledged_by=row.acknowledged_by,
        commander=row.commander,
        mitigated_at=row.mitigated_at,
        verified_at=row.verified_at,
        normal_at=row.normal_at,
        resolved_at=row.resolved_at,
        closed_at=row.closed_at,
        verdict=row.verdict,
        paged_at=row.paged_at,
        escalation=_rungs(row.escalation),
        drill=row.drill,
    )


def _linked(row: Any) -> Linked:
    entry = Entry(
        kind=row.kind,
        text=row.text,
        actor=row.actor,
        occurred_at=row.occurred_at,
        key=row.key or "",
        data=msgspec.json.decode(row.data),
        revises=row.revises,
    )
    return Linked(
        seq=row.seq,
        entry=entry,
        recorded_at=row.recorded_at,
        previous=row.previous,
        digest=row.digest,
    )
