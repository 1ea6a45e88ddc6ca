"""The smooth curve of the day: what an hour learns from its neighbours, and how sure it is."""

from __future__ import annotations

import numpy as np
import pytest

from detectors import baseline
from detectors.columns import Columns, Floats
from detectors.hours import HOURS, VARIANCE, Hours, smooth

AT = np.arange(HOURS)[:, None]
NOTHING = 1e9


def day(noise: float) -> tuple[Floats, Floats]:
    """A day that peaks at six in the evening, seen with errors of this variance."""
    return 1.0 + 0.3 * np.sin(np.pi * (AT - 12) / 12.0), np.full((HOURS, 1), noise)


def test_what_is_well_known_is_as_it_was_seen() -> None:
    """With little noise the curve goes through the hours, and its error is as small."""
    ratio, noise = day(1e-6)
    factor, error = smooth(ratio, noise)
    assert factor == pytest.approx(ratio, abs=1e-3)
    assert (error <= 1e-6).all()


def test_nothing_known_says_nothing() -> None:
    """Factors of 1, and the variance that an hour usually has."""
    factor, error = smooth(*day(NOTHING))
    assert factor == pytest.approx(np.ones((HOURS, 1)), abs=1e-6)
    assert error == pytest.approx(np.full((HOURS, 1), VARIANCE), abs=1e-6)


def test_midnight_is_an_hour_like_another() -> None:
    """The circle has no seam: a day that is turned by some hours gives the curve turned."""
    ratio, noise = day(0.01)
    noise[3:9] = NOTHING
    factor, error = smooth(ratio, noise)
    for turn in (1, 7, 20):
        turned = smooth(np.roll(ratio, turn, axis=0), np.roll(noise, turn, axis=0))
        assert turned[0] == pytest.approx(np.roll(factor, turn, axis=0), abs=1e-9)
        assert turned[1] == pytest.approx(np.roll(error, turn, axis=0), abs=1e-9)


def test_neighbours_tell_of_an_hour_that_was_not_seen() -> None:
    """The nearer they are the more, and never more surely than its own sight would."""
    ratio, noise = day(0.01)
    seen = smooth(ratio, noise)
    noise[15:21] = NOTHING
    factor, error = smooth(ratio, noise)
    assert (factor[15:21] > 1.1).all()
    assert (error[15:21] > seen[1][15:21]).all()
    assert error[18] > error[15]
    assert (error < VARIANCE).all()


def test_errors_in_single_hours_are_smoothed_away() -> None:
    """The curve is nearer to the true day than what was seen of it."""
    true, noise = day(0.02)
    seen = true + np.random.default_rng(7).normal(0, 0.02**0.5, (HOURS, 200))
    factor, _ = smooth(seen, np.broadcast_to(noise, seen.shape))
    assert ((factor - true) ** 2).mean() < 0.5 * ((seen - true) ** 2).mean()


def test_an_hour_with_too_few_days_has_no_factor_of_its_own_or_of_others() -> None:
    """Until it was seen on enough days it counts as every hour; only named rows are drawn."""
    columns = Columns(baseline.SPEC)
    columns.append(2)
    columns["hour_k"][:], columns["hour_e"][:] = 150.0, 100.0
    columns["hour_days"][:] = 5.0
    columns["hour_days"][4] = 1.0
    hours = Hours(columns, least_days=3.0)
    hours.draw(np.array([0]), np.full(2, 0.01))
    assert hours.factor(4)[0] == 1.0
    assert hours.factor(5)[0] > 1.3
    assert (hours.factor(5)[1], hours.error(5)[1]) == (1.0, VARIANCE)
    assert hours.mean(np.array([0]))[0] == pytest.approx(columns["hour_factor"][:, 0].mean())
