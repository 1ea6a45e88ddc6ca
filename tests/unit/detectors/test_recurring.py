"""What comes back each week is a habit; what comes once on such a day is not."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import pytest

from detectors.calibration import config_for
from detectors.rate import RateBank

BUCKET_S = 900
DAY = 86_400 // BUCKET_S
MONDAY_S = 4 * 86_400
SERIES = ("a", "b", "c")
FRIDAY = 4

Shape = Callable[[int, float], float]


def fridays(_day: int, _hour: float, *, times: float = 2.0) -> float:
    """Fridays are always different."""
    return times if _day % 7 == FRIDAY else 1.0


def paged(shape: Shape, *, weeks: int, seed: int, per_minute: float = 3.0) -> list[int]:
    """Days since the first Monday on which a series begins to fire, one for each series.

    Args:
        shape: factor of the rate by day and hour.
        weeks: how long.
        seed: of the counts.
        per_minute: flagged interactions, expected of an ordinary minute.
    """
    rng, bank = np.random.default_rng(seed), RateBank(config_for(0.05, BUCKET_S), bucket_s=BUCKET_S)
    n = np.full(len(SERIES), round(per_minute * BUCKET_S / 60 / 0.05))
    fired = np.zeros(len(SERIES), np.bool_)
    days = []
    for bucket in range(weeks * 7 * DAY):
        day, hour = bucket // DAY, bucket % DAY * 24 / DAY
        k = rng.binomial(n, 0.05 * (1 + 0.3 * np.sin(hour / 24 * 2 * np.pi)) * shape(day, hour))
        verdicts = bank.step(MONDAY_S + bucket * BUCKET_S, BUCKET_S, SERIES, k, n)
        days += [day] * int((verdicts.firing & ~fired).sum())
        fired = verdicts.firing
    return days


@pytest.mark.parametrize("times", [1.6, 2.0, 4.0])
def test_a_day_that_is_always_busier_pages_twice(times: float) -> None:
    """The first two Fridays page; from the third on they are what is expected."""
    days = paged(partial(fridays, times=times), weeks=5, seed=1)
    assert set(days) == {FRIDAY, FRIDAY + 7}


def test_an_incident_on_such_a_day_and_beside_it_pages() -> None:
    """Twice what a Thursday has, and three times what a Friday has, for four hours each."""

    def shape(day: int, hour: float) -> float:
        extra = {24: 2.0, 25: 3.0}.get(day, 1.0) if 10 <= hour < 14 else 1.0
        return fridays(day, hour) * extra

    days = paged(shape, weeks=4, seed=2)
    assert sorted(days) == sorted([FRIDAY, FRIDAY + 7, 24, 25] * len(SERIES))


def test_a_habit_that_ends_is_forgotten() -> None:
    """When Fridays become like other days, the days after them are judged as before."""

    def shape(day: int, hour: float) -> float:
        usual = fridays(day, hour) if day < 21 else 1.0
        return usual * (2.0 if day == 39 and 8 <= hour < 12 else 1.0)

    assert 39 in paged(shape, weeks=6, seed=3)


def test_what_came_in_one_week_only_is_no_habit() -> None:
    """An incident in each of two weeks, on another day: the days of both page in the third."""

    def shape(day: int, hour: float) -> float:
        return 2.5 if day in {15, 23, 29, 30} and 10 <= hour < 14 else 1.0

    days = paged(shape, weeks=5, seed=4)
    assert set(days) == {15, 23, 29, 30}
