"""How much evidence is how rare: one scale of scores for series of every kind.

A likelihood-ratio test promises a rate of false alarms only where its null model is exactly true,
and how far it is from true depends on the counts: noise that is lost in the Poisson scatter of a
rare signal is all there is in a busy one. So a table, made from simulated weeks by
`python -m tests.bench.calibrate_rate`, says for series of different expected counts which evidence
(nats) a quiet series reaches how often. A score of `s` then means: a quiet series gets there once
in `exp(s)` minutes; one more is e times rarer. A budget is a threshold, whatever the series.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from detectors.calibrated import CURVE
from detectors.columns import Floats
from detectors.model import Alarm, RateConfig

_WEEK_MINUTES = 10_080
_CLEAR_S = 900
_MOST_WEEKS = 1_000.0  # nobody has measured what is rarer
LEAST_BUDGET, MOST_BUDGET = 1e-4, 10.0
"""False pages a series-week that are a threshold."""


class Scale:
    """What a score is in nats, for series of given expected counts.

    Args:
        curve: as `RateConfig.curve`.
    """

    def __init__(self, curve: tuple[tuple[float, float, float], ...]) -> None:
        rows = np.array(curve or ((1.0, 0.0, 1.0),))
        self._at, self._zero, self._unit = np.log(rows[:, 0]), rows[:, 1], rows[:, 2]

    def of(self, per_minute: Floats) -> tuple[Floats, Floats]:
        """Nats at score 0 and nats for one more of score, by expected k a minute."""
        at = np.log(np.maximum(per_minute, 1e-12))
        return np.interp(at, self._at, self._zero), np.interp(at, self._at, self._unit)


def threshold_for(budget: float) -> float:
    """The score that quiet series reach at most `budget` times a series-week.

    Raises:
        ValueError: `budget` is outside 0.0001 to 10; the table was measured from 0.03 to 0.3.

    >>> round(threshold_for(0.1), 2)
    11.52
    """
    if not LEAST_BUDGET <= budget <= MOST_BUDGET:
        bounds = f"{LEAST_BUDGET:g} to {MOST_BUDGET:g}"
        raise ValueError(f"a budget is {bounds} false pages a series-week, not {budget}")
    return math.log(_WEEK_MINUTES / budget)


def budget_of(score: float) -> float:
    """How many times a series-week a quiet series reaches this score, at most.

    >>> round(budget_of(threshold_for(0.02)), 6)
    0.02
    """
    return _WEEK_MINUTES * math.exp(-score)


def weeks_of(weeks: float) -> str:
    """`1,200 weeks`, `36 weeks`, `3.5 weeks`."""
    return f"{weeks:,.0f} weeks" if weeks >= 10 else f"{weeks:.1f} weeks"


def rarity(score: float) -> str:
    """How often a quiet series reaches this score, in words.

    >>> rarity(12.0), rarity(30.0)
    ('once in 16 weeks', 'less than once in 1,000 weeks')
    """
    weeks = 1 / budget_of(score)
    less = "less than " if weeks > _MOST_WEEKS else ""
    return f"{less}once in {weeks_of(min(weeks, _MOST_WEEKS))}"


def alarm_for(budget: float, bucket_s: int = 60) -> Alarm:
    """An alarm that fires on the evidence alone, with the least floors that have a meaning.

    Args:
        budget: false pages a series-week.
        bucket_s: length of a bucket, seconds; quiet for a quarter of an hour ends the firing.

    Raises:
        ValueError: as `threshold_for`.
    """
    return Alarm(
        watch="up",
        threshold=threshold_for(budget),
        min_ratio=1.3,
        min_excess=2.0,
        min_duration_buckets=1,
        clear_buckets=max(1, round(_CLEAR_S / bucket_s)),
    )


def config_for(budget: float, bucket_s: int = 60) -> RateConfig:
    """How rates are learned and tested at `budget` false pages a series-week.

    Raises:
        ValueError: as `threshold_for`.
    """
    return replace(CALIBRATED, alarm=alarm_for(budget, bucket_s))


CALIBRATED = RateConfig(
    alarm=alarm_for(0.1),
    doubt=1.0,
    season_doubt=0.5,
    noise=0.02,
    curve=CURVE,
)
"""The settings that the table was made with."""
