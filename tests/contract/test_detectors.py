from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest
from river.checks import yield_checks

from detectors.absence import AbsenceDetector
from detectors.catalog import CATALOG
from detectors.drift import LevelDetector
from detectors.model import Detector
from detectors.series import RateDetector
from detectors.testing import CHECKS, check_detector

NEEDS_A_DATASET = {
    # river feeds these its own classification data sets (through scikit-learn, which we do not
    # install). A detector of counts reads t, k and n and refuses anything else, by design.
    "check_learn_one",
    "check_pickling",
    "check_shuffle_features_no_impact",
    "check_emerging_features",
    "check_disappearing_features",
    "check_radically_disappearing_features",
    "check_predict_one_pure",
    "check_predict_one_before_any_learn",
    "check_no_state_aliasing_with_input",
    "check_clone_is_independent",
    "check_roc_auc",
    "check_debug_one",
    "check_bounded_memory_growth",
}


@pytest.mark.parametrize("name", sorted(CATALOG))
@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_every_shipped_detector_keeps_our_contract(
    name: str, check: Callable[[Callable[[], Detector]], None]
) -> None:
    """Each check of the public suite holds for each detector of the catalog."""
    check(CATALOG[name].kind)


@pytest.mark.parametrize("kind", [RateDetector, AbsenceDetector, LevelDetector])
def test_rivers_own_checks_pass(
    kind: type[RateDetector | AbsenceDetector | LevelDetector],
) -> None:
    """Every check river has for an estimator, save those that need its data sets, passes."""
    ran = []
    checks = yield_checks(kind())
    while True:
        try:
            check = next(checks)
        except (StopIteration, ModuleNotFoundError):  # the data sets need scikit-learn
            break
        if check.__name__ not in NEEDS_A_DATASET:
            check(kind())
            ran.append(check.__name__)
    assert len(ran) >= 14


class Forgetful(RateDetector):
    """A detector that learns when it is only asked."""

    def score_one(self, x: Mapping[Any, float]) -> float:
        self.learn_one(x)
        assert self.verdict is not None
        return self.verdict.score


def test_the_suite_catches_a_detector_that_learns_from_questions() -> None:
    """A score that changes state does not pass."""
    with pytest.raises((AssertionError, ValueError)):
        check_detector(Forgetful)
