"""A fleet of series that are tested together: how it is set, and what is said of it."""

from __future__ import annotations

from dataclasses import dataclass

from detectors.verdicts import span


@dataclass(frozen=True, slots=True)
class PoolConfig:
    """How fleets are tested. Times are seconds of event time."""

    threshold: float = 9.5
    """Least score, in nats."""
    memory_s: tuple[int, ...] = (480, 960, 1920, 3840)
    """Lengths over which a move is looked for."""
    slack: float = 0.02
    """Relative common move that is nobody's business."""
    min_ratio: float = 1.1
    """Least common ratio (for a fall, its inverse)."""
    reach: float = 3.0
    """No series says more than this many standard deviations."""
    min_excess: float = 10.0
    """Least number of interactions above what was expected, or below; a group may want more."""
    least: int = 4
    """Series with expectations of their own that make a fleet."""
    doubt: float = 0.5
    """Share of the bank's doubt of a level that is its standard error."""
    excess: float = 1.5
    """Variance of a quiet fleet over that of independent series, before it is learned ..."""
    prior_looks: float = 20.0
    """... with the weight of so many independent looks."""
    half_life_s: int = 7 * 86_400
    """Half-life of that estimate."""
    min_duration_buckets: int = 2
    clear_buckets: int = 15
    """How many calm buckets in a row end the firing."""

    def __post_init__(self) -> None:
        if not (self.threshold > 0 and self.min_ratio >= 1 and self.slack >= 0):
            raise ValueError("a pool needs threshold > 0, min_ratio >= 1 and slack >= 0")
        if not self.memory_s or min(self.memory_s) <= 0 or self.half_life_s <= 0:
            raise ValueError("memories and the half-life must be above 0")
        if self.reach <= 0 or self.excess <= 0 or self.least < 2:
            raise ValueError("reach and excess must be above 0, least at least 2")
        if self.min_duration_buckets < 1 or self.clear_buckets < 1:
            raise ValueError("min_duration_buckets and clear_buckets must be at least 1")


@dataclass(frozen=True, slots=True)
class Fleet:
    """What is said of one group at one bucket."""

    group: str
    firing: bool
    rising: bool
    score: float
    threshold: float
    ratio: float
    """Common observed / expected, each series weighed by what it knows."""
    series: int
    """With an expectation of their own."""
    moved: int
    """Of these, on the side of the move."""
    loudest: str
    """Id of the series with the most of it."""
    k: int
    n: int
    expected: float
    onset: int
    """Unix seconds; of this bucket's start where nothing fires."""
    length_s: int
    """Seconds that the counts cover."""
    silent: bool = False
    """None of its series had traffic: nothing was judged."""

    @property
    def reason(self) -> str:
        """One sentence a tired person understands."""
        if not self.firing:
            near = f"score {self.score:.1f} of {self.threshold:.1f}"
            return f"all together: {self.ratio:.2f}x over {self.series} series; {near}"
        side = "up" if self.rising else "down"
        return (
            f"everywhere a little: {self.ratio:.2f}x over {self.series} series, {self.moved} of "
            f"them {side}, {self.k} of {self.n} over {span(self.length_s)}, "
            f"{self.expected:.0f} expected; score {self.score:.1f} over {self.threshold:.1f}"
        )
