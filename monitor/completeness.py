"""Up to where the buckets of a topic are complete, by what is known of its partitions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from monitor.store.store import Tx
from monitor.store.stream_rows import PartitionRow

IDLE = timedelta(seconds=30)
"""A partition read to its end for this long does not block the others."""
SEEN = timedelta(seconds=30)
"""What is known of a partition counts for so long: what nobody reads any more is not idle."""

AHEAD = timedelta(seconds=60)
"""Events may be this far ahead of our clock."""
NEAR = timedelta(minutes=5)
"""A partition that is no further behind our clock vouches for it."""


def complete_until(
    parts: Sequence[PartitionRow],
    now: datetime,
    *,
    live: bool = True,
    decided: int | None = None,
) -> int | None:
    """End of the last bucket that every partition has closed; None while one is unread.

    A partition read to its end for `IDLE`, or a recording that has ended, does not block; when
    nothing blocks, the furthest decides; of a `live` stream nothing later than `latest`.
    """
    end = _closed_by_all(parts, now)
    most = latest(parts, now, decided) if live else None
    return end if end is None or most is None else min(end, most // 60 * 60)


def latest(parts: Sequence[PartitionRow], now: datetime, decided: int | None) -> int | None:
    """When a complete bucket ends at the latest; None where our clock says nothing of it.

    Where a partition has nothing but a producer with a fast clock, its time must not become
    everybody's: nothing later than now is complete while as many partitions are near our clock as
    are ahead of it. What is `decided` beyond that was so by this rule: then it is our clock that
    was put back, and nobody waits until it is there again.
    """
    clock, far = now.timestamp(), AHEAD.total_seconds()
    limit = int(clock + far)
    off = [part.closed - clock for part in parts if part.closed is not None]
    ahead = sum(each > far for each in off)
    near = sum(-NEAR.total_seconds() <= each <= far for each in off)
    return limit if 0 < ahead <= near and (decided or 0) <= limit else None


def waited_for(parts: Sequence[PartitionRow], now: datetime) -> list[PartitionRow]:
    """Without which nothing is complete: those that have not ended, and do not rest."""
    return [part for part in parts if not (part.finished or _idle(part, now))]


def is_read(part: PartitionRow, now: datetime) -> bool:
    """Whether it was read to its end a moment ago, and by nobody further with other signals."""
    return seen_lately(part, now) and part.position >= part.end and not part.outrun


def seen_lately(part: PartitionRow, now: datetime) -> bool:
    """Whether what is known of it is of now, by the clock as it is now."""
    # A look from the future was taken before the clock was put back: it says nothing of now.
    return part.seen_at is not None and abs(now - part.seen_at) <= SEEN


def _closed_by_all(parts: Sequence[PartitionRow], now: datetime) -> int | None:
    if not parts:
        return None
    closed = [part.closed for part in parts if part.closed is not None]
    if not closed:
        return None
    waiting = waited_for(parts, now)
    if any(part.closed is None for part in waiting):
        return None
    if waiting:
        return min(part.closed for part in waiting if part.closed is not None)
    return max(closed)


def partitions(tx: Tx, pipeline: int, now: datetime) -> list[PartitionRow]:
    """All partitions of the current topic, their times as the clock that `now` is of has them.

    Ingest notes them on the clock that all machines share, as leases are.
    """
    parts = tx.stream.partitions(pipeline)
    apart = now - tx.leases.now(now)
    return [_moved(part, apart) for part in parts] if apart else parts


def _moved(part: PartitionRow, by: timedelta) -> PartitionRow:
    return replace(
        part,
        caught_up_at=part.caught_up_at and part.caught_up_at + by,
        behind_since=part.behind_since and part.behind_since + by,
        seen_at=part.seen_at and part.seen_at + by,
    )


def _idle(part: PartitionRow, now: datetime) -> bool:
    if part.caught_up_at is None or part.outrun:
        return False
    return now - part.caught_up_at >= IDLE and seen_lately(part, now)
