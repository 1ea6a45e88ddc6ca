"""Two settings of the rate detector, and what each was calibrated to.

Both figures are measured, not derived: a likelihood-ratio threshold promises a rate of false alarms
only where the null model is exactly true, and it never is.
"""

from __future__ import annotations

from dataclasses import replace

from detectors.calibration import CALIBRATED, threshold_for
from detectors.fleet import PoolConfig
from detectors.model import Alarm, RateConfig

PAGE = replace(
    CALIBRATED,
    alarm=Alarm(
        watch="up",
        threshold=threshold_for(1 / 120),
        min_ratio=1.5,
        min_excess=10.0,
        min_duration_buckets=2,
        clear_buckets=15,
    ),
)
"""For waking people: one false page in 4 weeks for a team of 30 series, 0.0083 a series-week.

The threshold comes from `calibration.py`; the floors make it stricter. Measured with `python -m
tests.bench.bench_rate_quality --tools DIR --seeds 7 31 32`, held-out grid: 1 false episode in 630
series-weeks, 84 to 87 % of incidents found, median 49 to 54 minutes. Under stress (heavy tails,
random walks) 0.13 to 0.17 a series-week: a budget holds where the world is like the model. The
three weeks of a series' warm-up are not within it (0.024 a series-week): its hours are not yet
known. They are what a rule's time in shadow is for.
"""

LOUD = RateConfig(
    alarm=Alarm(
        watch="up",
        threshold=7.0,
        min_ratio=2.0,
        min_excess=8.0,
        min_duration_buckets=1,
        clear_buckets=10,
    ),
    warm_expected=12.0,
    warm_rare_s=4 * 3_600,
    ratios=(4.0, 8.0),
    slack=0.4,
    doubt=1.5,
    season_doubt=0.0,
    noise=0.004,
)
"""For demonstrations and tests: hours of history, and a strong move (x3 and more) found in minutes.

Measured with `python -m tests.bench.bench_rate_loud`: in 100 simulated files of 60 series and eight
quiet hours, 8 of 6,000 series fired. x5 after six quiet hours is found within 10 minutes in 95 % of
cases and more from 0.8 expected flagged interactions a minute on, in 78 % at 0.5 and in 48 % at
0.2. What is rarer takes longer, because chance alone does as much.
"""

CHILDREN = replace(
    PAGE,
    alarm=Alarm(threshold=10.0, min_ratio=4.0, min_excess=3.0, clear_buckets=10),
    curve=(),
    ratios=(4.0, 10.0, 20.0),
    slack=1.0,
    stale_s=3_600,
)
"""For the slices of a parent, of which there are many: only far moves, and those in minutes. The
weak ones are the parent's or the fleet's. One that is gone leaves the word to its parent."""

PAGE_FLEETS = PoolConfig()
"""A weak shock on a whole fleet, beside `PAGE`. Measured with `tests.bench.bench_fleet`."""

LOUD_CHILDREN = replace(
    LOUD, alarm=replace(LOUD.alarm, threshold=10.0, min_ratio=4.0), slack=1.0, stale_s=3_600
)
"""The same for slices beside `LOUD`."""

LOUD_FLEETS = PoolConfig(threshold=10.0, slack=0.2, min_ratio=1.4, min_excess=20.0, doubt=0.67)
"""The same beside `LOUD`, which has no days to know a season from: only a strong common move."""

PROFILES = {"page": PAGE, "loud": LOUD}


def profile(name: str) -> RateConfig:
    """The settings of that name.

    Raises:
        ValueError: no such profile; the message lists the known ones.
    """
    try:
        return PROFILES[name]
    except KeyError:
        known = ", ".join(sorted(PROFILES))
        raise ValueError(f"unknown profile {name!r}; known: {known}") from None
