"""What comes back each week: a Friday that is always twice as busy is a habit, and no incident.

Each quarter of a day is compared with what level, hour and weekend led to expect, and with the
median of its week, so that a level that moved is no habit. Where it was off to the same side in
each of the last two weeks, as much as both of them showed is expected of the next one. Counts are
taken as they came, for what pages is never learned elsewhere; an incident is in one week only.
"""

from __future__ import annotations

import numpy as np

from detectors.columns import Bools, Column, Columns, Floats, Ints

_QUARTER_S = 6 * 3_600
_QUARTERS = 28
_FIRST_MONDAY_S = 4 * 86_400
_EVENTS = 5.0  # as if so many had come as expected: few events are no habit
_CHANCE = np.log(1.3)  # of a ratio: so much chance and wandering levels repeat
_LEAST_S = 3 * 3_600  # with traffic, of a quarter that says something

SPEC = {
    "habit_at": Column(dtype="i8", fill=-1),
    "habit_k": Column(),
    "habit_e": Column(),
    "habit_buckets": Column(),
    "habit_week": Column(dtype="i4", lead=(_QUARTERS,), fill=-9),
    "habit_weeks": Column(dtype="i4", lead=(_QUARTERS,)),
    **{f"habit_{name}": Column(dtype="f4", lead=(_QUARTERS,)) for name in ("last", "before")},
    **{f"habit_level_{name}": Column(dtype="f4") for name in ("last", "before")},
}


def _quarter(start_s: int) -> int:
    """Quarters of days since a Monday."""
    return (start_s - _FIRST_MONDAY_S) // _QUARTER_S


class Recurring:
    """Reads and writes the columns of `SPEC` for all series at once."""

    def __init__(self, columns: Columns, bucket_s: int) -> None:
        self._c = columns
        self._bucket_s = bucket_s

    def learn(self, start_s: int, k: Floats, e: Floats, live: Bools) -> None:
        """Take in one bucket; they come in order of time.

        Args:
            start_s: its start, unix seconds.
            k: flagged interactions as counted, shape (series,).
            e: what level, hour and weekend led to expect.
            live: which series had traffic.
        """
        c, quarter = self._c, _quarter(start_s)
        fresh = live & (c["habit_at"] != quarter)
        if fresh.any():
            self._conclude(np.flatnonzero(fresh & (c["habit_at"] >= 0)))
            for name in ("k", "e", "buckets"):
                c[f"habit_{name}"][fresh] = 0.0
            c["habit_at"][fresh] = quarter
        for name, more in (("k", k), ("e", e), ("buckets", 1.0)):
            c[f"habit_{name}"][:] += np.where(live, more, 0.0)

    def _conclude(self, rows: Ints) -> None:
        """A quarter of these series is over."""
        c = self._c
        rows = rows[c["habit_buckets"][rows] * self._bucket_s >= _LEAST_S]
        week, quarter = np.divmod(c["habit_at"][rows], _QUARTERS)
        last, before = c["habit_last"], c["habit_before"]
        known, weeks = c["habit_week"], c["habit_weeks"]
        follows = known[quarter, rows] == week - 1
        before[quarter, rows] = np.where(follows, last[quarter, rows], 0.0)
        weeks[quarter, rows] = np.where(follows, weeks[quarter, rows] + 1, 1)
        off = np.log((c["habit_k"][rows] + _EVENTS) / (c["habit_e"][rows] + _EVENTS))
        last[quarter, rows], known[quarter, rows] = off, week
        for name, values in (("last", last), ("before", before)):
            c[f"habit_level_{name}"][rows] = np.median(values[:, rows], axis=0)

    def factor(self, start_s: int) -> Floats:
        """Of what is expected of a bucket, per series; 1 where nothing comes back."""
        c = self._c
        week, quarter = divmod(_quarter(start_s), _QUARTERS)
        known = (c["habit_week"][quarter] == week - 1) & (c["habit_weeks"][quarter] > 1)
        if not known.any():
            return np.ones(len(c))
        last = c["habit_last"][quarter] - c["habit_level_last"]
        before = c["habit_before"][quarter] - c["habit_level_before"]
        least = np.minimum(np.abs(last), np.abs(before)) - _CHANCE
        habit = known & (last * before > 0) & (least > 0)
        factor: Floats = np.exp(np.where(habit, np.sign(last) * least, 0.0))
        return factor
