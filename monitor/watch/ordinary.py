"""The ordinary road: findings become incidents and pages in the store, while it works."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime

from monitor.incidents import actions
from monitor.incidents.model import Incident, Origin
from monitor.incidents.timeline import Entry
from monitor.opening import incident_uuid
from monitor.paging import Pager, rung_for
from monitor.store.store import Tx
from monitor.watch.checks import Finding, Lost, span
from monitor.watch.episodes import Episode, entries_of, incident_of

DRIVEN_AT_ONCE = 5
"""Incidents whose escalation is rung by one audit; a storm of pages helps nobody."""
PREFIX = "watch:"


def group_of(key: str) -> str:
    """The route group of a finding: its incident is found by it."""
    return PREFIX + key


def tell(tx: Tx, pager: Pager, findings: Sequence[Finding], now: datetime) -> None:
    """Open an incident for each finding that has none, and end those whose finding is gone.

    Idempotent: what is there already is left alone.
    """
    by_group = {group: one for one in tx.watch.own() for group in one.groups}
    present = {group_of(finding.key): finding for finding in findings if finding.pages}
    for group, finding in present.items():
        known = by_group.get(group)
        if known is None:
            _open(tx, pager, finding, now)
        elif known.normal_at is not None:
            _again(tx, pager, known, finding, now)
    for group, incident in by_group.items():
        if group not in present and incident.normal_at is None:
            _end(tx, pager, incident, now)


def differs(own: Sequence[Incident], findings: Sequence[Finding]) -> bool:
    """Whether `tell` would write anything."""
    firing = {group for one in own if one.normal_at is None for group in one.groups}
    return firing != {group_of(finding.key) for finding in findings if finding.pages}


def _open(tx: Tx, pager: Pager, finding: Finding, now: datetime) -> None:
    incident = Incident(
        uuid=incident_uuid(group_of(finding.key), now),
        number=tx.incidents.next_number(),
        title=f"Tocsin: {finding.text}",
        severity=finding.severity,
        origin=Origin.TOCSIN,
        detected_at=now,
        impact_at=finding.since,
        signal=f"watch_{finding.check}",
        groups=frozenset({group_of(finding.key)}),
    )
    entry = Entry(
        kind="DETECT",
        text=f"{finding.text}. {finding.cure}",
        actor="auditor",
        occurred_at=now,
        data={"check": finding.check, "since": finding.since.isoformat()},
    )
    if not tx.incidents.add(incident):
        return  # another of this very moment; the next look opens it
    tx.incidents.append(incident.uuid, (entry,), now)
    pager.page(tx, incident, now, "Tocsin itself is in trouble")
    tx.touch()


def _again(tx: Tx, pager: Pager, known: Incident, finding: Finding, now: datetime) -> None:
    again = actions.fires_again(known, now, told=not tx.rings.ringing(known.uuid))
    entry = Entry(kind="DETECT", text=f"again: {finding.text}", actor="auditor", occurred_at=now)
    tx.incidents.save(again.incident)
    tx.incidents.append(known.uuid, (entry, *again.entries), now)
    if again.page:
        pager.page(tx, again.incident, now, again.page)
    else:
        pager.tell_again(tx, again.incident, now)
    tx.touch()


def _end(tx: Tx, pager: Pager, incident: Incident, now: datetime) -> None:
    lasted = span(now - (incident.impact_at or incident.detected_at))
    entry = Entry(
        kind="CLEAR", text=f"it is over, after {lasted}", actor="auditor", occurred_at=now
    )
    tx.incidents.append(incident.uuid, (entry,), now)
    tx.incidents.apply(actions.signal_normal(incident, now), now)
    pager.tell_normal(tx, incident, now)
    tx.touch()


def drive(
    tx: Tx, pager: Pager, lost: Lost, driven: Mapping[str, datetime], now: datetime
) -> dict[str, datetime]:
    """Ring what an escalation lost, once for each incident; those that were rung now.

    Args:
        tx: the open transaction.
        pager: the ordinary road.
        lost: what had no future deadline when it was looked for.
        driven: incidents that were rung before.
        now: the time.
    """
    rung: dict[str, datetime] = {}
    for incident in _still(tx, lost.overdue, driven):
        whom = pager.climb(tx, incident, now)
        text = f"the escalation was overdue: the auditor rang {whom or 'nobody, it was rung'}"
        _say(tx, incident, text, now)
        rung[incident.uuid] = now
    for incident in _still(tx, lost.exhausted, driven):
        receivers = sorted(rung_for(tx.rings.of(incident.uuid), incident))
        reason = "nobody acknowledges and nobody is left to ring: all are rung once more"
        pager.ring(tx, incident, receivers, now, reason)
        rung[incident.uuid] = now
    if rung:
        tx.touch()
    return rung


def _still(
    tx: Tx, incidents: Sequence[Incident], driven: Mapping[str, datetime]
) -> Iterator[Incident]:
    """The first of them that wait for their ring, as they are in this transaction.

    Somebody may have answered since they were found, or decide have dated them anew.
    """
    found = [incident.uuid for incident in incidents if incident.uuid not in driven]
    still = tx.watch.still(found)
    for uuid in [uuid for uuid in found if uuid in still][:DRIVEN_AT_ONCE]:
        incident = tx.incidents.get(uuid)
        assert incident is not None
        yield incident


def _say(tx: Tx, incident: Incident, text: str, now: datetime) -> None:
    entry = Entry(kind="NOTE", text=text, actor="auditor", occurred_at=now)
    tx.incidents.append(incident.uuid, (entry,), now)


def file(tx: Tx, episode: Episode, now: datetime) -> Incident:
    """Write an episode of the emergency road into the store; again changes nothing.

    The incident may have been filed by an auditor that was killed before it could note so.
    """
    made = incident_of(episode, tx.incidents.next_number())
    known = None if tx.incidents.add(made) else tx.incidents.get(made.uuid)
    tx.incidents.append(made.uuid, entries_of(episode), now)
    tx.touch()
    return known or made
