"""What a series did under suspicion: held back, learned once it proves harmless, else torn up.

An incident must not teach its own baseline, and much of it comes before the verdict and after it.
So the buckets of a suspicious stretch go to an account beside the baseline. When the suspicion
passes without an alarm the account is booked, trimmed; when there was an alarm it is torn up.
The same hour of the day is excused once, not day after day: what comes back or stays is no incident
but the new normal, and is then learned as it comes.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from detectors.columns import Bools, Column, Columns, Floats, Ints
from detectors.model import RateConfig

_TRIM = 1.25  # what was suspicious teaches at most this many times what was expected
_EXCUSED = 0.75  # of an hour of the day, before more of it is learned; fades as the season does
_SPENT = 2.2  # days on which an hour has moved, before it is learned untrimmed
_LONGEST_S = 12 * 3_600  # a suspicion without an alarm is over after this time

_STATE = {"excused": Column(lead=(24,)), "guilty": Column(dtype="?")}


def spec(taught: Mapping[str, Column]) -> dict[str, Column]:
    """The columns of an account for a baseline that learns the columns `taught`."""
    return {**_STATE, **{_held(name): column for name, column in taught.items()}}


def _held(name: str) -> str:
    return f"held_{name}"


class Account:
    """Reads and writes the columns of `spec` for all series at once."""

    def __init__(
        self, config: RateConfig, columns: Columns, taught: Mapping[str, Column], bucket_s: int
    ) -> None:
        self._c = columns
        self._taught = tuple(taught)
        self._bucket_s = bucket_s
        self._season_days = config.season_days
        self._keep = 0.5 ** (24 * bucket_s / config.season_half_life_s)

    def excusable(self, start_s: int) -> Bools:
        """Of which series a bucket of this hour may be held back."""
        c, hour = self._c, (start_s // 3_600) % 24
        known: Bools = c["hour_days"][hour] >= self._season_days
        excused = c["excused"][hour]
        fresh: Bools = (excused < _EXCUSED) & (excused + c["held_hour_days"][hour] < 1.0)
        return known & fresh

    def spent(self, start_s: int) -> Bools:
        """Of which series this hour has moved day after day, so that it is learned as it comes."""
        spent: Bools = self._c["excused"][(start_s // 3_600) % 24] >= _SPENT
        return spent

    def fade(self, start_s: int, again: Bools) -> None:
        """Excuses of this hour grow older by a bucket.

        Args:
            start_s: start of the bucket learned.
            again: series that were firing, but had no excuse left.
        """
        excused = self._c["excused"][(start_s // 3_600) % 24]
        excused *= self._keep
        excused[again] += self._bucket_s / 3_600

    def trimmed(self, slot: int, rate: Floats, which: Bools) -> Floats:
        """One bucket's k, scaled so that the whole learning delay stays near its expectation.

        Args:
            slot: of the rings that hold the delay.
            rate: expected k / n of each series.
            which: series that are trimmed; those not yet warm never are.
        """
        c = self._c
        k, x = c["ring_k"][slot], c["ring_x"][slot]
        whole_k, whole_x = c["ring_k"].sum(axis=0), c["ring_x"].sum(axis=0)
        expected = rate * whole_x
        most, least = _TRIM * expected + 1.0, np.maximum(expected - 1.0, 0.0) / _TRIM
        share = np.divide(x, whole_x, out=np.zeros_like(x), where=whole_x > 0)
        down = np.divide(most, whole_k, out=np.ones_like(k), where=whole_k > most)
        up = np.where(whole_k < least, (least - whole_k) * share, 0.0)
        near: Floats = np.where(which & c["warm"], k * down + up, k)
        return near

    def take(self, name: str, more: Floats, which: Bools, slot: int | None = None) -> None:
        """Add `more` to one column (or one slot of it) of the series `which`."""
        column = self._c[_held(name)]
        if slot is not None:
            column = column[slot]
        column[which] += more[which]

    def settle(self, closing: Bools, rate: Floats) -> None:
        """Book or tear up.

        Args:
            closing: series whose suspicion is over.
            rate: expected k / n of each series.
        """
        c = self._c
        lasting = ~c["guilty"] & (c["held_seen_buckets"] * self._bucket_s > _LONGEST_S)
        torn = np.flatnonzero(closing & c["guilty"])
        booked = np.flatnonzero((closing & ~c["guilty"]) | lasting)
        if len(torn):
            c["excused"][:, torn] += c["held_hour_days"][:, torn]
        if len(booked):
            self._book(booked, rate)
        self.clear(np.concatenate((torn, booked)))
        c["guilty"][closing] = False

    def _book(self, rows: Ints, rate: Floats) -> None:
        c = self._c
        k = c["held_level_k"][rows]
        most = _TRIM * rate[rows] * c["held_level_x"][rows] + 1.0
        share = np.divide(most, k, out=np.ones_like(k), where=k > most)
        for name in self._taught:
            more = c[_held(name)][..., rows]
            c[name][..., rows] += more * share if name.endswith("_k") else more

    def clear(self, rows: Ints) -> None:
        """Empty the accounts of these rows."""
        if len(rows):
            for name in self._taught:
                self._c[_held(name)][..., rows] = 0.0
