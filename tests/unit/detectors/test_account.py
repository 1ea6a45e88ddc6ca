from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from detectors.columns import Floats
from detectors.profiles import PAGE
from detectors.rate import RateBank
from detectors.verdicts import Verdicts
from tests.unit.detectors.traffic import counts, episodes, feed

MONDAY = 1_699_833_600
WIDTH = 600
DAY = 86_400 // WIDTH


def days(*rates: float) -> Floats:
    """One rate for each day."""
    return np.repeat(np.array(rates), DAY)


def watched(rate: Floats, volume: float) -> list[Verdicts]:
    """What `PAGE` says of this rate."""
    return feed(RateBank(PAGE, bucket_s=WIDTH), *counts(rate, volume), start=MONDAY)


def test_an_incident_teaches_nothing() -> None:
    """Eight hours at three times the rate leave the baseline where it was."""
    rate = days(*[0.05] * 8)
    rate[6 * DAY : 6 * DAY + DAY // 3] = 0.15
    said = watched(rate, 600.0)
    assert len(episodes(said)) == 1
    before, after = said[6 * DAY - 1][0].baseline, said[-1][0].baseline
    assert after == pytest.approx(before, rel=0.03)


def test_what_was_only_suspected_is_learned() -> None:
    """A small step up raises a suspicion and no alarm, and is the baseline some days later."""
    rate = days(*[0.05] * 6, *[0.06] * 8)
    said = watched(rate, 600.0)
    assert episodes(said) == []
    assert said[-1][0].baseline == pytest.approx(0.06, rel=0.05)


def test_a_move_that_stays_becomes_the_baseline() -> None:
    """Twice the rate for good is one alarm, and at last what is normal."""
    rate = days(*[0.05] * 7, *[0.10] * 21)
    said = watched(rate, 600.0)
    begun = episodes(said)
    assert 7 * DAY <= begun[0] < 7 * DAY + DAY // 12
    assert not said[-1].firing[0]
    assert said[-1][0].baseline == pytest.approx(0.10, rel=0.1)


def test_what_comes_back_every_day_is_learned() -> None:
    """Two hours at three times the rate, every day, stop being news within a week."""
    minute = np.arange(16 * DAY) % DAY
    busy = (np.arange(16 * DAY) >= 7 * DAY) & (minute >= DAY // 2) & (minute < DAY * 7 // 12)
    said = watched(np.where(busy, 0.15, 0.05), 600.0)
    begun = np.array(episodes(said)) // DAY
    assert 7 in begun
    assert not (begun >= 14).any()


@pytest.mark.parametrize("volume", [60.0, 600.0])
def test_a_slow_ramp_to_three_times_the_rate_pages(volume: float) -> None:
    """A rise of a twelfth a day, which the level of days follows, is one against that of weeks."""
    ramp = np.exp(np.linspace(0, np.log(3), 14 * DAY))
    rate = 0.03 * np.concatenate((np.ones(28 * DAY), ramp, np.full(6 * DAY, 3.0)))
    begun = episodes(watched(rate, volume))
    assert begun
    assert 28 * DAY < begun[0] <= 48 * DAY


def test_a_slow_fall_pages_where_falls_are_watched() -> None:
    """The same downwards, for a series that may not fall."""
    fall = np.exp(np.linspace(0, -np.log(3), 14 * DAY))
    rate = 0.05 * np.concatenate((np.ones(28 * DAY), fall, np.full(2 * DAY, 1 / 3)))
    bank = RateBank(PAGE, bucket_s=WIDTH)
    bank.add("a", alarm=replace(PAGE.alarm, watch="both"))
    begun = episodes(feed(bank, *counts(rate, 600.0), start=MONDAY))
    assert begun
    assert begun[0] > 28 * DAY


def test_an_ordinary_trend_never_pages() -> None:
    """Five per cent more every week, for eight weeks, is growth."""
    rate = 0.03 * np.exp(0.05 * np.arange(56 * DAY) / (7 * DAY))
    assert episodes(watched(rate, 600.0)) == []
