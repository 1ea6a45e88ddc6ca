"""Profiles: how eager an installation is. Quiet by default; a person promotes rules one by one."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from detectors.burst import BurstConfig
from detectors.fleet import PoolConfig
from detectors.model import Alarm, RateConfig
from detectors.profiles import (
    CHILDREN,
    LOUD,
    LOUD_CHILDREN,
    LOUD_FLEETS,
    PAGE,
    PAGE_FLEETS,
)
from detectors.vectors import VectorConfig
from monitor.stream.signals import Signal, Tier

ProfileName = Literal["quiet", "page", "loud"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """What a profile changes."""

    name: ProfileName
    description: str
    rates: RateConfig
    """How rates are learned, and the threshold for a team's budget."""
    fleets: PoolConfig
    """How the series of a signal are tested together."""
    children: RateConfig
    """How the heaviest tenants, models and releases of a whole are tested ..."""
    bursts: BurstConfig
    """... and what is a burst of one of them."""
    vectors: VectorConfig
    """How the rates of a feature are tested together."""
    capped: bool
    """Whether the cap of paged incidents per shift holds."""
    promotes: Literal["nothing", "offered", "all"]
    floors: bool
    """Whether the floors of each signal hold, or only the profile's own."""
    warm_s: int = 86_400
    """What comes within this time of the first bucket is no news (`detectors.first_seen`), and
    what is known for less is not missed (`monitor.silence`)."""
    patience: float = 0.0
    """Nats of evidence that a rule which is not offered wants on top (and half as much excess)."""

    def tier(self, signal: Signal) -> Tier:
        """The tier of a rule that no person has set.

        What is merely new, or merely out of step, never pages by itself.
        """
        if signal.kind in ("first_seen", "together"):
            return signal.tier
        if self.promotes == "all":
            return "page"
        if self.promotes == "offered" and signal.offered:
            return "page"
        return signal.tier

    def alarm(self, signal: Signal, bucket_s: int) -> Alarm:
        """When a series of `signal` fires: the profile's threshold and the stricter floors.

        An excess that the signal states itself stands instead of the profile's, also where it is
        less: four payments out of place are worth more than ten refusals.
        """
        base = replace(self.rates.alarm, watch=signal.direction)
        if not signal.offered:
            base = replace(
                base,
                threshold=base.threshold + self.patience,
                min_excess=base.min_excess * (1.5 if self.patience else 1.0),
            )
        if not self.floors:
            return base
        seconds = signal.min_time.total_seconds() if signal.min_time is not None else 0
        return replace(
            base,
            min_ratio=max(base.min_ratio, signal.min_ratio),
            min_excess=base.min_excess if signal.min_excess is None else signal.min_excess,
            min_duration_buckets=max(base.min_duration_buckets, int(seconds // bucket_s)),
        )

    def child_alarm(self, signal: Signal, bucket_s: int) -> Alarm:
        """When a child of the whole of `signal` speaks for it: far up, and over the same excess."""
        base = self.children.alarm
        if not self.floors:
            return base
        return replace(
            base, min_excess=max(base.min_excess, self.alarm(signal, bucket_s).min_excess)
        )


PROFILES: dict[str, Profile] = {
    "quiet": Profile(
        name="quiet",
        description="Never-events, no data and gaps page; every rate is recorded in shadow.",
        rates=PAGE,
        fleets=PAGE_FLEETS,
        children=CHILDREN,
        bursts=BurstConfig(),
        vectors=VectorConfig(),
        capped=True,
        promotes="nothing",
        floors=True,
    ),
    "page": Profile(
        name="page",
        description="The offered rules page, within a team's budget of false pages.",
        rates=PAGE,
        fleets=PAGE_FLEETS,
        children=CHILDREN,
        bursts=BurstConfig(),
        vectors=VectorConfig(),
        capped=True,
        promotes="offered",
        floors=True,
    ),
    "loud": Profile(
        name="loud",
        description="Every rule pages at once: for demos and tests, not for people on call.",
        rates=LOUD,
        fleets=LOUD_FLEETS,
        children=LOUD_CHILDREN,
        bursts=BurstConfig(threshold=18.0, doubt=0.67),
        capped=False,
        promotes="all",
        floors=False,
        patience=3.0,
        vectors=VectorConfig(trial_blocks=36, warm_blocks=108),
        warm_s=3_600,
    ),
}
