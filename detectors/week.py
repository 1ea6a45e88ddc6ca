"""What usually comes in each hour of the week, and in which hours anything is to be expected.

A nightly pause and a weekend become usual after a few times, one outage does not: the last few days
say whether an hour brings anything, and not its mean, which remembers for weeks.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

HOUR_S = 3_600
WEEK_HOURS = 168
LEARNED_S = 72 * HOUR_S
"""Of a longer gap the rest teaches nothing: it is an outage or a holiday, and nobody's weekend."""
_DAY_HOURS = 24
_EPOCH = 72  # hours: unix time began on a Thursday
_SILENT_DAYS = 4  # one outage is three days of `LEARNED_S` at most
_SILENT_WEEKS = 2


def hours(start_s: int, end_s: int) -> Iterator[tuple[int, int]]:
    """The hours from `start_s` to `end_s`: hour of the week from Monday 00:00 UTC, and seconds.

    >>> list(hours(7 * 3600 + 1800, 9 * 3600))
    [(79, 1800), (80, 3600)]
    """
    at = start_s
    while at < end_s:
        until = min(end_s, (at // HOUR_S + 1) * HOUR_S)
        yield (at // HOUR_S + _EPOCH) % WEEK_HOURS, until - at
        at = until


class Week:
    """Learns the usual volume of one series by hour of the week (UTC).

    Anything comes in an hour only if the same hour of the day had traffic on one of the last four
    days lived through, and that hour of the week on one of its last two weeks, if there were two.
    """

    def __init__(self, half_life_weeks: float) -> None:
        self._half_life_s = half_life_weeks * HOUR_S
        # What an hour lived through once comes to, since its end already counts more.
        kept = math.exp2(-1 / half_life_weeks)
        self._full_s = self._half_life_s * (1 - kept) / math.log(2)
        # Lists, not arrays: a bucket touches one hour, and numbers out of arrays are slow.
        self._volume = [0.0] * WEEK_HOURS
        self._seconds = [0.0] * WEEK_HOURS
        self._days = [0] * _DAY_HOURS  # without traffic, in a row
        self._weeks = [0] * WEEK_HOURS

    def learn(self, start_s: int, end_s: int, n: float, weight: float = 1.0) -> None:
        """Take in `n` interactions, spread evenly.

        Args:
            start_s: unix seconds.
            end_s: unix seconds.
            n: 0 for silence, which counts in an hour of the day or week if it is the whole hour.
            weight: of the usual volume; whether there was traffic counts in full.
        """
        for hour, seconds in hours(start_s, end_s):
            share = weight * seconds
            keep = 0.5 ** (share / self._half_life_s)
            self._volume[hour] = self._volume[hour] * keep + n * share / (end_s - start_s)
            self._seconds[hour] = self._seconds[hour] * keep + share
            day = hour % _DAY_HOURS
            if n > 0:
                self._days[day] = self._weeks[hour] = 0
            elif seconds == HOUR_S:
                self._days[day] += 1
                self._weeks[hour] += 1

    def usual(self, hour: int, trust: float = 1.0) -> float:
        """Interactions a second that usually come in this hour of the week.

        Nothing where there was no traffic lately. What it lacks of an hour lived through in full
        is guessed by the same hour of other days, or by the mean of all.

        Args:
            hour: from Monday 00:00 UTC.
            trust: share of what is guessed that counts.
        """
        if not self._alive(hour):
            return 0.0
        seconds = self._seconds[hour]
        if seconds >= self._full_s:
            return self._volume[hour] / seconds
        day = slice(hour % _DAY_HOURS, None, _DAY_HOURS)
        day = day if any(self._seconds[day]) else slice(None)
        lived = sum(self._seconds[day])
        mean = sum(self._volume[day]) / lived if lived else 0.0
        known = self._volume[hour] / self._full_s
        return known + trust * mean * (1 - seconds / self._full_s)

    def least(self, hour: int, trust: float) -> float:
        """The least that is usual in this hour, the one before and the one after.

        A day does not end on the hour, and begins earlier or later when clocks change.
        """
        around = (hour - 1, hour, (hour + 1) % WEEK_HOURS)
        return min(self.usual(one, trust) for one in around)

    def _alive(self, hour: int) -> bool:
        lately = self._days[hour % _DAY_HOURS] < _SILENT_DAYS
        return lately and self._weeks[hour] < _SILENT_WEEKS

    def dump(self) -> dict[str, NDArray[Any]]:
        """All of it, as arrays by name."""
        return {
            "volume": np.array(self._volume),
            "seconds": np.array(self._seconds),
            "days": np.array(self._days),
            "weeks": np.array(self._weeks),
        }

    def load(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Replace everything by what `dump` gave.

        Raises:
            ValueError: something is missing; nothing has changed.
        """
        shapes = {name: array.shape for name, array in self.dump().items()}
        if {name: array.shape for name, array in arrays.items()} != shapes:
            raise ValueError("the snapshot's hours are incomplete")
        self._volume, self._seconds, self._days, self._weeks = (
            arrays[name].tolist() for name in shapes
        )
