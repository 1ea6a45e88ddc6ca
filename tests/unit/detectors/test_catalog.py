from __future__ import annotations

from typing import Any

import pytest

from detectors.catalog import CATALOG, UnknownDetectorError, build, entry
from detectors.model import Alarm, RateConfig
from detectors.profiles import LOUD, PAGE, profile
from detectors.series import RateDetector


def test_every_parameter_of_every_detector_is_described() -> None:
    """Nothing in the catalog is without a description, a default and a summary."""
    for one in CATALOG.values():
        assert one.description.endswith(".")
        assert set(one.kind.PARAMETERS) == {parameter.name for parameter in one.parameters}
        assert all(parameter.description for parameter in one.parameters)


def test_a_detector_is_built_by_name_with_its_parameters() -> None:
    """Parameters reach the detector."""
    built = build("rate", budget=0.5, watch="both")
    assert isinstance(built, RateDetector)
    assert (built.budget, built.watch) == (0.5, "both")


def test_unknown_names_list_the_known_ones() -> None:
    """A typing error is answered with what there is."""
    with pytest.raises(
        UnknownDetectorError, match="known: absence, burn_rate, first_seen, level, rate"
    ):
        entry("rat")
    with pytest.raises(UnknownDetectorError, match="no parameter buget; known: watch, budget"):
        build("rate", buget=3)
    with pytest.raises(ValueError, match="unknown profile 'quiet'; known: loud, page"):
        profile("quiet")


def test_profiles_are_found_by_name() -> None:
    """The two profiles have names."""
    assert (profile("page"), profile("loud")) == (PAGE, LOUD)


@pytest.mark.parametrize(
    "bad",
    [
        {"watch": "sideways"},
        {"threshold": 0},
        {"threshold": float("nan")},
        {"min_ratio": 0.5},
        {"min_excess": -1},
        {"min_n": -1},
        {"min_duration_buckets": 0},
        {"clear_buckets": 0},
    ],
)
def test_an_alarm_out_of_range_is_refused(bad: dict[str, Any]) -> None:
    """A setting that could never fire, or always, is an error and not a surprise."""
    with pytest.raises(ValueError, match=next(iter(bad))):
        Alarm(**bad)


@pytest.mark.parametrize(
    "bad",
    [
        {"warm_buckets": 0},
        {"delay_s": 0},
        {"half_life_s": 0},
        {"slack": -0.1},
        {"doubt": -1},
        {"noise": 0},
        {"suspicion": 0},
        {"ratios": ()},
        {"ratios": (1.0, 2.0)},
    ],
)
def test_a_rate_config_out_of_range_is_refused(bad: dict[str, Any]) -> None:
    """Learning settings are checked where they are written."""
    with pytest.raises(ValueError, match="must"):
        RateConfig(**bad)
