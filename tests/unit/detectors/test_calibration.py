from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detectors.calibrated import CURVE
from detectors.calibration import Scale, alarm_for, budget_of, config_for, threshold_for
from detectors.rate import RateBank
from tests.unit.detectors.traffic import counts, feed


@given(st.floats(1e-4, 1.0))
def test_a_budget_is_a_threshold_and_back(budget: float) -> None:
    """A budget's threshold is the score that is reached as often as the budget says."""
    assert budget_of(threshold_for(budget)) == pytest.approx(budget)


def test_one_more_is_e_times_rarer() -> None:
    """Thresholds grow by one where the budget shrinks by e."""
    assert threshold_for(0.1 / math.e) == pytest.approx(threshold_for(0.1) + 1)


@pytest.mark.parametrize("budget", [0.0, 1e-5, 20.0, float("nan")])
def test_a_budget_outside_the_table_is_refused(budget: float) -> None:
    """What was never measured has no threshold."""
    with pytest.raises(ValueError, match="a budget is"):
        alarm_for(budget)


def test_without_a_curve_a_score_is_in_nats() -> None:
    """No curve changes nothing."""
    zero, unit = Scale(()).of(np.array([0.0, 1.0, 1e6]))
    assert zero.tolist() == [0, 0, 0]
    assert unit.tolist() == [1, 1, 1]


def test_between_classes_the_scale_is_between() -> None:
    """A series between two rows of the curve has a scale between theirs; outside, the nearest."""
    scale = Scale(((0.1, 1.0, 0.5), (10.0, 3.0, 0.9)))
    zero, unit = scale.of(np.array([0.0, 0.1, 1.0, 10.0, 1e9]))
    assert zero.tolist() == pytest.approx([1.0, 1.0, 2.0, 3.0, 3.0])
    assert unit.tolist() == pytest.approx([0.5, 0.5, 0.7, 0.9, 0.9])


def test_the_shipped_table_is_whole() -> None:
    """Classes come by growing counts, more evidence is always rarer, none is trivial."""
    at = [row[0] for row in CURVE]
    assert at == sorted(set(at))
    assert len(at) >= 4
    for _, zero, unit in CURVE:
        assert unit > 0
        assert zero + unit * threshold_for(0.3) > 4.0


def test_a_calibrated_score_says_how_rare_the_evidence_is() -> None:
    """With the curve a quiet series stays under the threshold and a moved one passes it."""
    rate = np.repeat([0.1, 0.4], [400, 20])
    said = feed(RateBank(config_for(0.1)), *counts(rate, 40.0))
    assert not any(one.firing[0] for one in said[:400])
    assert said[-1][0].score > said[-1][0].threshold == threshold_for(0.1)
    assert said[-1].firing[0]


def test_a_snapshot_keeps_the_scale() -> None:
    """A restored bank scores on the same curve."""
    bank = RateBank(config_for(0.02))
    feed(bank, *counts(np.full(200, 0.1), 20.0))
    assert RateBank.restore(bank.snapshot()).config == bank.config
