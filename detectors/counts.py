"""Counts of many series in any order, scored as a stream would have brought them.

The rows are sorted by time and handed to one bank, bucket by bucket; the answers come back in the
order of the rows. A row's score therefore depends on its own past only, never on the order of the
rows, on later ones, or on other series.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from detectors.columns import Floats, Ints
from detectors.model import RateConfig, State
from detectors.rate import RateBank

STATES = (State.WARMING, State.QUIET, State.FIRING)
"""What the numbers of `Scored.state` stand for."""
_TOLD_EVERY = 64


@dataclass(frozen=True, slots=True)
class Counts:
    """Rows of counts; all arrays have shape (rows,). A row that is not there is no data."""

    series: NDArray[np.int32]
    """Number of the series, from 0 up."""
    bucket: Ints
    """Whole buckets since 1970-01-01 UTC."""
    k: Ints
    """Flagged interactions."""
    n: Ints
    """All interactions, `0 <= k <= n`; 0 is no traffic."""


@dataclass(frozen=True, slots=True)
class Scored:
    """One answer for each row, in the order of the rows."""

    score: Floats
    """Evidence that the rate has moved, comparable between series; 0 while warming."""
    state: NDArray[np.uint8]
    """Index into `STATES`."""


def by_time(counts: Counts) -> Ints:
    """The rows' positions, earliest bucket first, and within a bucket by series."""
    return np.lexsort((counts.series, counts.bucket))


def repeated(counts: Counts, order: Ints) -> tuple[int, int] | None:
    """Two rows of one series and bucket, by position, the earlier first; None where there are none.

    Args:
        counts: the rows.
        order: as `by_time` gives it.
    """
    same = np.diff(counts.bucket[order]) == 0
    same &= np.diff(counts.series[order]) == 0
    at = np.flatnonzero(same)
    if not len(at):
        return None
    pairs = np.sort(np.stack((order[at], order[at + 1])), axis=0)
    first = pairs[:, pairs[1].argmin()]
    return int(first[0]), int(first[1])


def score(
    counts: Counts,
    config: RateConfig,
    *,
    bucket_s: int = 60,
    order: Ints | None = None,
    told: Callable[[int], None] = lambda _rows: None,
) -> Scored:
    """Judge every row.

    Args:
        counts: at most one row for each series and bucket.
        config: how rates are learned and tested.
        bucket_s: length of a bucket in seconds.
        order: as `by_time` gives it, where the caller has it already.
        told: called now and then with how many more rows are done.

    Raises:
        ValueError: a series has two rows in one bucket, or counts break `0 <= k <= n`.
    """
    order = by_time(counts) if order is None else order
    bank = RateBank(config, bucket_s=bucket_s)
    names = _names(counts)
    scores = np.zeros(len(order))
    states = np.zeros(len(order), np.uint8)
    begins = np.flatnonzero(np.diff(counts.bucket[order], prepend=-1))
    ends = np.append(begins, len(order))[1:]
    last, ids = np.zeros(0, np.int32), tuple[str, ...]()
    done = 0
    for step, (begin, end) in enumerate(zip(begins.tolist(), ends.tolist(), strict=True)):
        rows = order[begin:end]
        series = counts.series[rows]
        if not np.array_equal(series, last):
            last, ids = series, tuple(names[one] for one in series.tolist())
        start_s = int(counts.bucket[rows[0]]) * bucket_s
        verdicts = bank.step(start_s, bucket_s, ids, counts.k[rows], counts.n[rows])
        scores[rows] = verdicts.score
        states[rows] = np.where(verdicts.firing, 2, np.where(verdicts.warming, 0, 1))
        if step % _TOLD_EVERY == 0:
            told(end - done)
            done = end
    told(len(order) - done)
    return Scored(scores, states)


def _names(counts: Counts) -> list[str]:
    many = int(counts.series.max()) + 1 if len(counts.series) else 0
    return [str(one) for one in range(many)]
