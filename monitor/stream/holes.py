"""Holes: long spans of event time without one event, which need not be walked minute by minute.

Whether a bucket is judged is a function of the log alone, never of how the work was cut up: a
process that is killed and rebuilt must judge the same ones.
"""

from __future__ import annotations

from collections.abc import Container, Iterator

HOLE_S = 3 * 3600
"""Empty buckets are judged for this long; by then everything that falls silent has said so."""


def beyond(bucket: int, last: int | None) -> bool:
    """Whether an empty `bucket` is passed over; `last`: the newest bucket before it with events."""
    return last is not None and bucket - last > HOLE_S


def walk(
    full: Container[int], first: int, end: int, step: int, *, last: int | None = None
) -> Iterator[int]:
    """Starts of the buckets from `first` to before `end` that are judged.

    Args:
        full: the buckets with events.
        first: where to begin.
        end: before which to end.
        step: length of a bucket in seconds.
        last: the newest bucket with events before `first`, if there is one.

    >>> list(walk({0, 36000}, 0, 36060, 3600))
    [0, 3600, 7200, 10800, 36000]
    """
    for bucket in range(first, end, step):
        if bucket in full:
            last = bucket
        elif beyond(bucket, last):
            continue
        yield bucket
