"""The words of this room: what a detector is told, what it answers, and how it is set."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Literal, Protocol, runtime_checkable

Direction = Literal["up", "down"]
"""Which way a rate has moved."""

Watch = Literal["up", "down", "both"]
"""Which way a rate may not move."""


class State(StrEnum):
    """What a detector knows about one series at the end of one bucket."""

    WARMING = "warming"
    """Too little evidence to say anything. Not the same as normal."""

    QUIET = "quiet"
    """Enough evidence, and nothing that calls for a person."""

    FIRING = "firing"
    """Moved beyond its threshold and its floors, and not yet back."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """The answer for one series and one bucket. Counts are interactions, rates are k / n."""

    state: State
    score: float
    """Evidence for a move, comparable with `threshold`; 0 while warming."""
    threshold: float
    direction: Direction
    observed: float
    """k / n over the window; 0 where n is 0."""
    baseline: float
    """Expected k / n over the same window."""
    k: int
    n: int
    expected: float
    """Expected k over the window."""
    excess: float
    """k - expected; negative for a fall."""
    window_buckets: int
    """How many buckets the counts cover: 1, or since the onset when firing."""
    onset: int | None
    """Unix seconds of the start of the bucket where the move is estimated to begin."""
    reason: str
    """One sentence a tired person understands."""
    silent_since: int | None = None
    """Unix seconds since when there is no traffic, where this bucket has none: nothing was judged,
    and the state is the one from before."""


@runtime_checkable
class Detector(Protocol):
    """A detector of one series, in river's verbs, that also explains itself and can be stored."""

    def learn_one(self, x: Mapping[str, float]) -> None:
        """Take in one bucket: `t` (its start, unix seconds), `k` and `n`."""

    def score_one(self, x: Mapping[str, float]) -> float:
        """The score that learning `x` next would give. Changes nothing."""

    @property
    def verdict(self) -> Verdict | None:
        """What was said of the last bucket learned; None before the first."""

    def snapshot(self) -> bytes:
        """Everything learned, as plain data."""

    def restore(self, data: bytes) -> None:
        """Go on from a snapshot that a detector with the same settings took.

        Raises:
            ValueError: `data` is not a snapshot of this kind and version; nothing has changed.
        """


@dataclass(frozen=True, slots=True)
class Alarm:
    """When a moved rate is worth a person. May differ from series to series of one bank."""

    watch: Watch = "up"
    threshold: float = 9.0
    """Least score: nats of evidence (natural logarithm of a likelihood ratio), or with a curve the
    logarithm of the minutes in which a quiet series gets there once."""
    min_ratio: float = 1.5
    """Least observed / baseline (for a fall, baseline / observed)."""
    min_excess: float = 8.0
    """Least number of interactions above what was expected; for a fall, half the number below."""
    min_n: float = 0.0
    """Least number of interactions in the window."""
    min_duration_buckets: int = 1
    """For how many buckets in a row all of the above must hold."""
    clear_buckets: int = 10
    """How many quiet buckets in a row end the firing."""

    def __post_init__(self) -> None:
        if self.watch not in ("up", "down", "both"):
            raise ValueError(f"watch must be up, down or both, not {self.watch!r}")
        if not self.threshold > 0:
            raise ValueError(f"threshold must be above 0, not {self.threshold}")
        if not self.min_ratio >= 1:
            raise ValueError(f"min_ratio must be at least 1, not {self.min_ratio}")
        if not (self.min_excess >= 0 and self.min_n >= 0):
            raise ValueError("min_excess and min_n must not be negative")
        if self.min_duration_buckets < 1 or self.clear_buckets < 1:
            raise ValueError("min_duration_buckets and clear_buckets must be at least 1")


@dataclass(frozen=True, slots=True)
class RateConfig:
    """How a rate is learned and tested; one for a whole bank. Times are seconds of event time."""

    alarm: Alarm = field(default_factory=Alarm)
    """What a series gets that is created without an alarm of its own."""
    warm_buckets: int = 60
    """Buckets with traffic that must be learned before the first verdict."""
    warm_expected: float = 30.0
    """Flagged interactions that must be learned before the first verdict ..."""
    warm_rare_s: int = 86_400
    """... or this much time with traffic, for what practically never happens."""
    delay_s: int = 3_600
    """A bucket is learned this much later, so that an incident does not teach its own baseline."""
    half_life_s: int = 2 * 86_400
    """Half-life of the level and of the noise from hour to hour, in time with traffic."""
    burst_half_life_s: int = 14 * 86_400
    """Half-life of the noise from bucket to bucket: a trait of the traffic, slow to change."""
    season_half_life_s: int = 7 * 86_400
    """Half-life of the time-of-day and weekend factors."""
    season_days: float = 3.0
    """Days of evidence an hour of the day needs before its factor is used."""
    ratios: tuple[float, ...] = (1.5, 2.0, 3.0, 5.0, 10.0)
    """Moves that are looked for; a fall is looked for at one over these. What lies between two is
    found too, a little later; what lies far below the least is not."""
    slack: float = 0.25
    """Relative move that is nobody's business: the null is `baseline x (1 + slack)`."""
    doubt: float = 1.0
    """How many standard errors of the baseline are given to the null on top of `slack`."""
    season_doubt: float = 1.0
    """The same for the time-of-day factor, which is unknown at first: a series of one day is not
    held to its daily mean."""
    noise: float = 0.01
    """Relative variance of a quiet rate assumed before it is learned (0.01 is +-10 %)."""
    curve: tuple[tuple[float, float, float], ...] = ()
    """What a score means in nats: rows of (expected k a minute, nats at score 0, nats for one more
    of score), by growing k, from `calibration.py`. Empty: a score is in nats."""
    stale_s: int = 86_400
    """What fires is let go after so long without traffic: silence does not say that it is over."""
    suspicion: float = 0.5
    """Share of the threshold from which buckets are learned only in part."""

    def __post_init__(self) -> None:
        spans = (self.warm_buckets, self.warm_rare_s, self.delay_s, self.half_life_s, self.stale_s)
        if min(*spans, self.season_half_life_s, self.burst_half_life_s) <= 0:
            raise ValueError("warm-up, delay, half-lives and stale_s must be above 0")
        if min(self.slack, self.doubt, self.season_doubt, self.warm_expected, self.season_days) < 0:
            raise ValueError("slack, doubt, warm_expected and season_days must not be negative")
        if not self.ratios or min(self.ratios) <= 1:
            raise ValueError("ratios must be above 1, and there must be one")
        if not (self.noise > 0 and 0 < self.suspicion <= 1):
            raise ValueError("noise must be above 0 and suspicion in (0, 1]")


def config_of(stored: Mapping[str, Any]) -> RateConfig:
    """The config whose `asdict` went through JSON.

    Raises:
        KeyError: a part is missing.
        TypeError: a part is unknown.
        ValueError: a value is out of range.
    """
    curve = tuple(tuple(row) for row in stored["curve"])
    own = {"alarm": Alarm(**stored["alarm"]), "ratios": tuple(stored["ratios"]), "curve": curve}
    return RateConfig(**{**stored, **own})
