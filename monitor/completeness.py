"""Up to where the buckets of a topic are complete, by what is known of its partitions."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from monitor.store.stream_rows import PartitionRow

IDLE = timedelta(seconds=30)
"""A partition read to its end for this long does not block the others."""
SEEN = timedelta(seconds=30)
"""What is known of a partition counts for so long: what nobody reads any more is not idle."""


def complete_until(parts: Sequence[PartitionRow], now: datetime) -> int | None:
    """End of the last bucket that every partition has closed; None while one is unread.

    A partition read to its end for `IDLE`, or a recording that has ended, does not block; when
    nothing blocks, the furthest decides.
    """
    if not parts:
        return None
    closed = [part.closed for part in parts if part.closed is not None]
    if not closed:
        return None
    waiting = [part for part in parts if not (part.finished or _idle(part, now))]
    if any(part.closed is None for part in waiting):
        return None
    if waiting:
        return min(part.closed for part in waiting if part.closed is not None)
    return max(closed)


def _idle(part: PartitionRow, now: datetime) -> bool:
    if part.caught_up_at is None or part.seen_at is None:
        return False
    return now - part.caught_up_at >= IDLE and now - part.seen_at <= SEEN
