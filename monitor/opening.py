"""Opening an incident: its id, its first entries, and the kinds that need no detector.

A never-event or a hole in the log is certain: one is enough, and it is found only once.
"""

from __future__ import annotations

import math
import time
import uuid
from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime

from monitor.alerting import pages
from monitor.incidents import actions
from monitor.incidents.model import Incident, Origin
from monitor.incidents.timeline import Entry
from monitor.metrics import Metrics
from monitor.paging import Pager
from monitor.store.finding_rows import GapRow
from monitor.store.store import Tx
from monitor.stream.cells import Occurrence
from monitor.stream.signals import Signal
from monitor.watchdog import tick

FOLD_S = 300
"""What is lost within so long of an open incident is one entry of its timeline."""
GAPS_NAMED = 8
"""Gaps that come at once and get an entry each."""


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
        known: dict[str, Incident] = {}
        while found := tx.stream.open_occurrences(until=until):
            if not known:
                known = _by_group(tx)
            for topic_id, number, occurrence in found:
                if time.monotonic() > patience:
                    return False
                tick()
                self._never_event(tx, f"{topic_id}:{number}", occurrence, known, now)
                tx.stream.occurrence_handled(topic_id, number, occurrence, now)
                tx.touch()
        return True

    def _never_event(
        self,
        tx: Tx,
        partition: str,
        occurrence: Occurrence,
        known: dict[str, Incident],
        now: datetime,
    ) -> None:
        """One of them, of a partition; `known` are open incidents by group."""
        group = f"never:{occurrence.rule}:{occurrence.source}"
        if group not in known:
            if (first := self._first(tx, partition, occurrence, group, now)) is not None:
                known[group] = first
            return
        entry = Entry(
            kind="NEVER",
            text=f"again at {occurrence.at:%H:%M:%S} UTC (event {occurrence.event_id})",
            actor="detector",
            occurred_at=occurrence.at,
            key=f"never:{occurrence.bucket}",
        )
        known[group] = self._again(tx, known[group], entry, now)

    def _again(self, tx: Tx, incident: Incident, entry: Entry, now: datetime) -> Incident:
        """Note what came once more, and page where nobody answers for it any longer."""
        last = tx.incidents.last_told(incident.uuid, ("DETECT", "NEVER"))
        again = actions.comes_again(incident, last or entry.occurred_at, entry.occurred_at, now)
        tx.incidents.append(incident.uuid, (entry, *again.entries), now)
        if again.entries:
            tx.incidents.save(again.incident)
        if again.page:
            return self._pager.page(tx, again.incident, now, again.page)
        return again.incident

    def _first(
        self, tx: Tx, partition: str, occurrence: Occurrence, group: str, now: datetime
    ) -> Incident | None:
        """Open an incident; None for an occurrence that has had its own."""
        signal = self._signals.get(occurrence.rule)
        title = signal.title if signal else "A secret or card number in an event"
        severity = signal.severity if signal else "SEV1"
        dimensions = {
            name: value
            for name, value in occurrence.dimensions.items()
            if value and name in ("environment", "feature")
        }
        incident = Incident(
            # Time alone is no identity: two of one source may bear the same.
            uuid=incident_uuid(f"{group}:{partition}:{occurrence.offset}", occurrence.at),
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
        if not tx.incidents.add(incident):
            return None
        entry = Entry(
            kind="DETECT",
            text=f"{title}: first occurrence, event {occurrence.event_id} of {occurrence.source}",
            actor="detector",
            occurred_at=occurrence.at,
            data={"rule": occurrence.rule, "offset": occurrence.offset},
        )
        tx.incidents.append(incident.uuid, (entry, *change_entries(tx, incident, now)), now)
        self._metrics.incidents.labels(str(Origin.NEVER_EVENT), severity).inc()
        return self._pager.consider(tx, incident, now)

    def gaps(self, tx: Tx, now: datetime) -> None:
        """Page for records that could not be read, or note their sum on the topic's open incident.

        A producer with a broken codec makes a gap of each batch: what comes in `FOLD_S` becomes
        one note.
        """
        by_topic: dict[str, list[GapRow]] = defaultdict(list)
        for gap in tx.stream.open_gaps():
            by_topic[gap.topic_id].append(gap)
        known = _by_group(tx) if by_topic else {}
        for topic_id, found in by_topic.items():
            incident = known.get(f"gap:{topic_id}")
            if incident is None:
                self._lost(tx, found, now)
            elif not self._lost_again(tx, incident, found, now):
                continue
            for gap in found:
                tx.stream.gap_handled(gap, now)
            tx.touch()

    def _lost(self, tx: Tx, found: Sequence[GapRow], now: datetime) -> None:
        """Open the incident of a topic."""
        first = min(found, key=lambda gap: gap.at)
        incident = Incident(
            uuid=incident_uuid(f"gap:{first.topic_id}:{first.number}:{first.first}", first.at),
            number=tx.incidents.next_number(),
            title=f"Offset gap: {_records(found)} of {_partitions(found)} lost",
            severity="SEV2",
            origin=Origin.NO_DATA,
            detected_at=first.at,
            impact_at=first.at,
            groups=frozenset({f"gap:{first.topic_id}"}),
        )
        if not tx.incidents.add(incident):
            return
        entries = [
            Entry(
                kind="DETECT",
                text=f"{_records([gap])} of {gap.topic}-{gap.number} were not there to be read: "
                f"offsets {gap.first} to {gap.last} ({gap.reason})",
                actor="ingest",
                occurred_at=gap.at,
            )
            for gap in found[:GAPS_NAMED]
        ]
        if len(found) > GAPS_NAMED:
            rest = found[GAPS_NAMED:]
            text = f"and {_records(rest)} more, in {len(rest)} gaps of {_partitions(rest)}"
            entries.append(Entry(kind="DETECT", text=text, actor="ingest", occurred_at=first.at))
        tx.incidents.append(incident.uuid, entries, now)
        self._pager.page(tx, incident, now, "records were lost: the counts have a hole")

    def _lost_again(
        self, tx: Tx, incident: Incident, found: Sequence[GapRow], now: datetime
    ) -> bool:
        """Note what was lost since the last note; False while that is too fresh."""
        gaps, records = tx.stream.lost(found[0].topic_id, incident.detected_at)
        many = "one gap" if len(found) == 1 else f"{len(found)} gaps"
        reasons = ", ".join(sorted({gap.reason for gap in found}))
        last = max(found, key=lambda gap: gap.at)
        text = (
            f"again: {_records(found)} of {_partitions(found)} in {many} ({reasons}), the last at "
            f"offsets {last.first} to {last.last}; {records} records in {gaps} gaps since it began"
        )
        entry = Entry(
            kind="DETECT",
            text=text,
            actor="ingest",
            occurred_at=last.at,
            key=f"lost:{now.timestamp() // FOLD_S:.0f}",
            data={"gaps": gaps, "records": records},
        )
        if tx.incidents.has(incident.uuid, entry.key):
            return False
        self._again(tx, incident, entry, now)
        return True


def _by_group(tx: Tx) -> dict[str, Incident]:
    """The open incidents by their groups; the oldest of a group comes last and stays."""
    return {group: one for one in reversed(tx.incidents.open()) for group in one.groups}


def _records(found: Sequence[GapRow]) -> str:
    count = sum(gap.last - gap.first + 1 for gap in found)
    return "1 record" if count == 1 else f"{count} records"


def _partitions(found: Sequence[GapRow]) -> str:
    names = sorted({f"{gap.topic}-{gap.number}" for gap in found})
    more = f" and {len(names) - 3} more partitions" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more
