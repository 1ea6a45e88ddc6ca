"""What the auditor knows: read in one short transaction, and remembered from before."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from monitor.completeness import latest, partitions
from monitor.incidents.model import Incident
from monitor.silence import LAG, NO_DATA
from monitor.store.lease_rows import Lease
from monitor.store.store import Tx
from monitor.store.stream_rows import PartitionRow
from monitor.store.watch_rows import Queue, Rings
from monitor.stream.signals import Plan
from monitor.watch.marks import Mark, mark


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """One look at the store."""

    now: datetime
    database_now: datetime
    """The database's clock where it is a server, else `now`."""
    unheard: Sequence[Incident]
    """Open SEV1 and SEV2 that were paged, that nobody acknowledged, that still fire, and for which
    no ring is to come or none arrives; the longest neglected first."""
    unheard_count: int
    """All of them: the list is bounded."""
    rings: Mapping[str, Rings]
    """Their triggers, by uuid."""
    queue: Queue
    parts: Sequence[PartitionRow]
    decided: int | None
    """End of the last decided bucket, unix seconds."""
    leases: Sequence[Lease]
    told: frozenset[str]
    """`lag` and `no_data` of the whole stream, where decide has an alert for them."""

    @property
    def off(self) -> timedelta:
        """How far the database's clock is ahead of ours."""
        return self.database_now - self.now

    @property
    def beyond(self) -> int:
        """Seconds of events that some partition has closed and nobody judged; not of recordings."""
        if any(part.finished for part in self.parts):
            return 0
        closed = max((part.closed or 0 for part in self.parts), default=0)
        most = latest(self.parts, self.now, self.decided)
        return max(0, (closed if most is None else min(closed, most)) - (self.decided or 0))


def gather(tx: Tx, plan: Plan, now: datetime, late: timedelta, silent: timedelta) -> Facts:
    """Read all of it; a fraction of a second, whatever the store holds.

    Args:
        tx: an open transaction.
        plan: what is counted.
        now: the time.
        late: a ring that is due for longer is overdue.
        silent: after the last ring, where nobody is left to be rung.
    """
    pipeline = tx.stream.known_pipeline(plan)
    unheard = tx.watch.unheard(now, late, silent)
    return Facts(
        now=now,
        database_now=tx.leases.now(now),
        unheard=unheard.incidents,
        unheard_count=unheard.count,
        rings=tx.watch.rings(incident.uuid for incident in unheard.incidents),
        queue=tx.watch.queue(now),
        parts=partitions(tx, pipeline, now) if pipeline is not None else [],
        decided=tx.decisions.position(pipeline) if pipeline is not None else None,
        leases=tx.leases.all(),
        told=frozenset(
            alert.signal
            for alert in tx.incidents.firing().values()
            if alert.signal in {LAG, NO_DATA} and "topic" in alert.dimensions
        ),
    )


@dataclass(frozen=True, slots=True)
class Standing:
    """A value, and since when it has been this one."""

    value: int | None
    since: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """What one look cannot tell: how long something has not moved."""

    started: datetime
    """Nothing from before the auditor's own start is held against anybody."""
    unjudged: Standing
    """What is decided, while buckets are counted beyond it; None while there are none."""
    positions: Mapping[tuple[str, int], Standing] = field(default_factory=dict)
    """By topic id and partition."""
    marks: Mapping[tuple[str, int], Mark] = field(default_factory=dict)
    """What went astray, by topic id and partition."""
    seen_leases: frozenset[str] = frozenset()
    """Leases that ran at some time since the start."""


def first_memory(now: datetime) -> Memory:
    """Of an auditor that has just started."""
    return Memory(started=now, unjudged=Standing(None, now))


def remember(memory: Memory, facts: Facts) -> Memory:
    """What is known after one more look."""
    return replace(
        memory,
        unjudged=_stand(memory.unjudged, facts.decided or 0 if facts.beyond else None, facts.now),
        positions={
            (part.topic_id, part.number): _stand(
                memory.positions.get((part.topic_id, part.number)), part.position, facts.now
            )
            for part in facts.parts
        },
        marks={
            (part.topic_id, part.number): mark(
                memory.marks.get((part.topic_id, part.number)), part, facts.now
            )
            for part in facts.parts
        },
        seen_leases=memory.seen_leases
        | {lease.name for lease in facts.leases if lease.until > facts.database_now},
    )


def _stand(known: Standing | None, value: int | None, now: datetime) -> Standing:
    if known is not None and known.value == value:
        return known
    return Standing(value, now)
