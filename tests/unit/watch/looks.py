"""What the auditor sees: one partition that is read to its end, and nothing that is wrong."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from monitor.store.stream_rows import PartitionRow
from monitor.store.watch_rows import Queue
from monitor.watch.facts import Facts
from tests.making import T0

IDLE = Queue(due=0, due_since=None, lapsed=0, lapsed_since=None, waiting=0, refused=0)


def part(number: int = 0, **changes: object) -> PartitionRow:
    made = PartitionRow(
        topic="events",
        topic_id="t",
        number=number,
        closed=int(T0.timestamp()) - 60,
        watermark=T0.timestamp(),
        finished=False,
        position=100,
        end=100,
        caught_up_at=T0,
        behind_since=None,
        seen_at=T0,
        totals={},
    )
    return replace(made, **changes)  # type: ignore[arg-type] # names of fields


def facts(now: datetime = T0, **changes: object) -> Facts:
    made = Facts(
        now=now,
        database_now=now,
        unheard=(),
        unheard_count=0,
        rings={},
        queue=IDLE,
        parts=(part(seen_at=now),),
        decided=int(T0.timestamp()) - 60,
        leases=(),
        told=frozenset(),
    )
    return replace(made, **changes)  # type: ignore[arg-type] # names of fields
