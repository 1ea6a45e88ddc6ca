"""Opening an incident: its id, its first entries, and the kinds that need no detector.

A never-event or a hole in the log is certain: one is enough, and it is found only once.
"""

from __future__ import annotations

import math
import time
import uuid
from collections.abc import Mapping
from datetime import datetime

from monitor.alerting import pages
from monitor.incidents.model import Incident, Origin
from monitor.incidents.timeline import Entry
from monitor.metrics import Metrics
from monitor.paging import Pager
from monitor.store.store import Tx
from monitor.stream.counting import Occurrence
from monitor.stream.signals import Signal
from monitor.watchdog import tick


def incident_uuid(name: str, at: datetime) -> str:
    """An id that the same finding always gets, so that a replay makes the same incident."""
    return uuid.uuid5(uuid.NAMESPACE_OID, f"tocsin:{name}:{at.isoformat()}").hex


def change_entries(tx: Tx, incident: Incident, now: datetime) -> list[Entry]:
    """Timeline entries of the changes recorded shortly before the onset and since."""
    onset = incident.impact_at or incident.detected_at
    rows = tx.incidents.changes(since=onset - pages.CHANGE_WINDOW, until=now)
    return [
        Entry(
            kind="CHANGE",
            text=f"{row.kind} {row.title}",
            actor=row.actor,
            occurred_at=row.at,
            key=f"change:{row.id}",
            data={"dimensions": row.dimensions},
        )
        for row in reversed(rows)
    ]


class Certain:
    """Opens the incidents that need no detector."""

    def __init__(self, signals: Mapping[str, Signal], pager: Pager, metrics: Metrics) -> None:
        self._signals = signals
        self._pager = pager
        self._metrics = metrics

    def never_events(
        self, tx: Tx, now: datetime, *, until: int | None = None, seconds: float = math.inf
    ) -> bool:
        """Page on each never-event, or note it on the open incident of its rule and source.

        Args:
            tx: the open transaction.
            now: the time of the decision.
            until: only those of buckets that start by then.
            seconds: other writers wait for so long at most.

        Returns:
            Whether none is left.
        """
        patience = time.monotonic() + seconds
        known: dict[str, str] = {}
        while found := tx.stream.open_occurrences(until=until):
            if not known:
                # The oldest of a group comes last and stays.
                newest_first = reversed(tx.incidents.open())
                known = {group: i.uuid for i in newest_first for group in i.groups}
            for topic_id, number, occurrence in found:
                if time.monotonic() > patience:
                    return False
                tick()
                self._never_event(tx, occurrence, known, now)
                tx.stream.occurrence_handled(topic_id, number, occurrence, now)
                tx.touch()
        return True

    def _never_event(
        self, tx: Tx, occurrence: Occurrence, known: dict[str, str], now: datetime
    ) -> None:
        """One of them; `known` are open incidents by group."""
        group = f"never:{occurrence.rule}:{occurrence.source}"
        if group not in known:
            known[group] = self._first(tx, occurrence, group, now)
            return
        entry = Entry(
            kind="NEVER",
            text=f"again at {occurrence.at:%H:%M:%S} UTC (event {occurrence.event_id})",
            actor="detector",
            occurred_at=occurrence.at,
            key=f"never:{occurrence.bucket}",
        )
        tx.incidents.append(known[group], (entry,), now)

    def _first(self, tx: Tx, occurrence: Occurrence, group: str, now: datetime) -> str:
        """Open an incident; its id."""
        signal = self._signals.get(occurrence.rule)
        title = signal.title if signal else "A secret or card number in an event"
        severity = signal.severity if signal else "SEV1"
        dimensions = {
            name: value
            for name, value in occurrence.dimensions.items()
            if value and name in ("environment", "feature")
        }
        incident = Incident(
            uuid=incident_uuid(group, occurrence.at),
            number=tx.incidents.next_number(),
            title=f"{title}: {pages.where(dimensions)}",
            severity=severity,
            origin=Origin.NEVER_EVENT,
            detected_at=occurrence.at,
            impact_at=occurrence.at,
            signal=occurrence.rule,
            dimensions=dimensions,
            groups=frozenset({group}),
        )
        entry = Entry(
            kind="DETECT",
            text=f"{title}: first occurrence, event {occurrence.event_id} of {occurrence.source}",
            actor="detector",
            occurred_at=occurrence.at,
            data={"rule": occurrence.rule, "offset": occurrence.offset},
        )
        tx.incidents.save(incident)
        tx.incidents.append(incident.uuid, (entry, *change_entries(tx, incident, now)), now)
        self._metrics.incidents.labels(str(Origin.NEVER_EVENT), severity).inc()
        self._pager.consider(tx, incident, now)
        return incident.uuid

    def gaps(self, tx: Tx, now: datetime) -> None:
        """Page for every range of records that could not be read and was not told yet."""
        for gap in tx.stream.open_gaps():
            count = gap.last - gap.first + 1
            text = (
                f"{count} records of {gap.topic}-{gap.number} were not there to be read: offsets "
                f"{gap.first} to {gap.last} ({gap.reason})"
            )
            incident = Incident(
                uuid=incident_uuid(f"gap:{gap.topic_id}:{gap.number}:{gap.first}", gap.at),
                number=tx.incidents.next_number(),
                title=f"Offset gap: {count} records of {gap.topic}-{gap.number} lost",
                severity="SEV2",
                origin=Origin.NO_DATA,
                detected_at=gap.at,
                impact_at=gap.at,
                groups=frozenset({f"gap:{gap.topic_id}"}),
            )
            entry = Entry(kind="DETECT", text=text, actor="ingest", occurred_at=gap.at)
            tx.incidents.save(incident)
            tx.incidents.append(incident.uuid, (entry,), now)
            self._pager.page(tx, incident, now, "records were lost: the counts have a hole")
            tx.stream.gap_handled(gap, now)
            tx.touch()
