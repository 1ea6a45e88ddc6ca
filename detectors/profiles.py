"""Two settings of the rate detector, and what each was calibrated to.

Both figures are measured, not derived: a likelihood-ratio threshold promises a rate of false alarms
only where the null model is exactly true, and it never is.
"""

from __future__ import annotations

from detectors.model import Alarm, RateConfig

PAGE = RateConfig(
    alarm=Alarm(
        watch="up",
        threshold=9.0,
        min_ratio=1.5,
        min_excess=10.0,
        min_duration_buckets=2,
        clear_buckets=15,
    ),
    doubt=2.0,
    noise=0.02,
)
"""For waking people: one false page in 4 weeks for a team of 30 series."""

LOUD = RateConfig(
    alarm=Alarm(
        watch="up",
        threshold=7.0,
        min_ratio=2.0,
        min_excess=12.0,
        min_duration_buckets=1,
        clear_buckets=10,
    ),
    warm_expected=12.0,
    warm_rare_s=4 * 3_600,
    ratios=(4.0, 8.0),
    slack=0.4,
    doubt=3.0,
    season_doubt=0.0,
    noise=0.004,
)
"""For demonstrations and tests: hours of history, and a strong move found in minutes."""

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
