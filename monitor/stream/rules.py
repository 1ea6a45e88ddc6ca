"""Rules people know, as configuration: a fixed limit, and the burn rate of an SLO.

Each watches the counts of one signal, beside the detector that learns. A rule alerts under its own
name, so that its tier is its own too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated, Literal

import msgspec

from detectors import burn_rate
from detectors.burn_rate import BurnRateDetector, check_objective
from detectors.static import StaticDetector
from detectors.window import CLEAR_S
from monitor.stream.series import Dims, dimension_names, named
from monitor.stream.signals import Severity, Signal, Slug, Tier
from runbooks.durations import Duration

Detector = StaticDetector | BurnRateDetector
Share = Annotated[float, msgspec.Meta(gt=0, le=1)]
AtLeastOne = Annotated[float, msgspec.Meta(ge=1)]
_LONGEST = timedelta(days=7)


class _Rule(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What both kinds have.

    Attributes:
        name: Identifier of the rule, and of its alerts.
        signal: The rate it watches.
        title: Words for people; absent: the signal's.
        severity: Of the incident it opens; absent: the signal's.
        tier: What firing does: recorded (shadow), digest (ticket) or wake somebody (page).
        where: Dimension values a series must have, as `feature: checkout`; absent: every series.
        whole: Watch all of an environment as one series, instead of each of its series.
    """

    name: Slug
    signal: Slug
    title: str = ""
    severity: Severity | None = None
    tier: Tier = "ticket"
    where: dict[Slug, str] = {}
    whole: bool = False


class StaticRule(
    _Rule, frozen=True, kw_only=True, tag_field="detector", tag="static", rename={"hold": "for"}
):
    """A rate at or beyond a fixed limit.

    Attributes:
        rate: The limit, a share of n.
        direction: up: at the limit and above; down: at the limit and below.
        min_n: Least interactions in the window; with less nothing is said.
        window: Over which the rate is taken.
        hold: For how long it must be beyond the limit.
    """

    rate: Share
    direction: Literal["up", "down"] = "up"
    min_n: AtLeastOne = 50
    window: Duration = Duration(minutes=5)
    hold: Duration = Duration(seconds=0)

    def __post_init__(self) -> None:
        if not timedelta() < self.window <= _LONGEST:
            raise ValueError("window must be above 0s and at most 7d")
        if self.direction == "down" and self.rate == 1:
            raise ValueError("a limit of 1 downwards would always fire")


class BurnWindow(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A burn rate that is too much.

    Attributes:
        factor: How many times faster than the objective allows for 30 days.
        over: The long window: it matters.
        and_over: The short window: it still goes on; absent: a twelfth of the long one.
        tier: The most it may do; the rule's own tier may be less.
    """

    factor: Annotated[float, msgspec.Meta(gt=0)]
    over: Duration
    and_over: Duration | None = None
    tier: Tier = "page"

    def __post_init__(self) -> None:
        if not timedelta(minutes=5) <= self.over <= _LONGEST:
            raise ValueError("over must be 5m to 7d")
        if not 0 < self.short_s < self.over.total_seconds():
            raise ValueError("and_over must be above 0s and shorter than over")

    @property
    def short_s(self) -> int:
        """Seconds of the short window."""
        short = self.over / 12 if self.and_over is None else self.and_over
        return int(short.total_seconds())

    @property
    def label(self) -> str:
        """`1h`, `3d`: how the window is called in the name of its alert."""
        seconds = int(self.over.total_seconds())
        for unit, letter in ((86_400, "d"), (3_600, "h"), (60, "m")):
            if seconds % unit == 0:
                return f"{seconds // unit}{letter}"
        return f"{seconds}s"


def _window(burn: burn_rate.Burn, tier: Tier) -> BurnWindow:
    return BurnWindow(
        factor=burn.factor,
        over=Duration(seconds=burn.long_s),
        and_over=Duration(seconds=burn.short_s),
        tier=tier,
    )


WORKBOOK = (
    _window(burn_rate.FAST, "page"),
    _window(burn_rate.SLOW, "page"),
    _window(burn_rate.CREEPING, "ticket"),
)
"""14.4x over 1 h and 5 min, 6x over 6 h and 30 min, and as a ticket 1x over 3 d and 6 h."""


class BurnRateRule(_Rule, frozen=True, kw_only=True, tag_field="detector", tag="burn_rate"):
    """The error budget of an SLO is burnt too fast; each window alerts as NAME_1h, NAME_6h ...

    Attributes:
        objective: Share of interactions that are to be good: not counted in the signal's k.
        windows: Burn rates that are too much; absent: those of Google's SRE workbook.
        min_n: Least interactions in the long window; with less nothing is said.
        min_k: Least bad ones in it: one failure of seven is no burnt budget.
    """

    objective: Annotated[float, msgspec.Meta(gt=0, lt=1)]
    windows: Annotated[tuple[BurnWindow, ...], msgspec.Meta(min_length=1, max_length=6)] = WORKBOOK
    min_n: AtLeastOne = 100
    min_k: AtLeastOne = 5

    def __post_init__(self) -> None:
        for window in self.windows:
            check_objective(self.objective, window.factor)
        labels = [window.label for window in self.windows]
        if len(set(labels)) != len(labels):
            raise ValueError("two windows are of the same length")


Rule = StaticRule | BurnRateRule


@dataclass(frozen=True, slots=True)
class Watched:
    """One alerting condition of a rule, over one signal."""

    name: str
    """Of its alerts."""
    rule: Rule
    signal: Signal
    """Whose counts it reads."""
    alias: Signal
    """The signal as its alerts speak of it: the rule's name, title, tier and severity."""
    longest_s: int
    """How far back it reads."""
    build: Callable[[], Detector]
    definition: str
    """What must be equal for a stored state to be of use."""

    def watches(self, dims: Dims) -> bool:
        """Whether the series with these dimension values is one of the rule's."""
        names = named(self.signal, dims)
        whole = len(dims) < len(dimension_names(self.signal))
        if whole != self.rule.whole:
            return False
        return all(names.get(name) == value for name, value in self.rule.where.items())


def watched(
    rules: Sequence[Rule], signals: Sequence[Signal], *, bucket_s: int
) -> Iterator[Watched]:
    """The alerting conditions of `rules`; a rule whose signal is left out watches nothing."""
    known = {signal.name: signal for signal in signals if signal.kind == "rate"}
    for rule in rules:
        signal = known.get(rule.signal)
        if signal is None:
            continue
        definition = f"{rule!r} {bucket_s}"
        for name, title, tier, longest_s, build in _conditions(rule, signal, bucket_s):
            alias = msgspec.structs.replace(
                signal, name=name, title=title, tier=tier, severity=rule.severity or signal.severity
            )
            yield Watched(name, rule, signal, alias, longest_s, build, definition)


def names(rule: Rule) -> list[str]:
    """Under which names a rule alerts."""
    if isinstance(rule, StaticRule):
        return [rule.name]
    return [f"{rule.name}_{window.label}" for window in rule.windows]


def _conditions(
    rule: Rule, signal: Signal, bucket_s: int
) -> Iterator[tuple[str, str, Tier, int, Callable[[], Detector]]]:
    title = rule.title or signal.title
    if isinstance(rule, StaticRule):
        window_s, hold_s = int(rule.window.total_seconds()), int(rule.hold.total_seconds())
        longest_s = window_s + hold_s + _clear_s(window_s)
        yield rule.name, title, rule.tier, longest_s, _static(rule, bucket_s)
        return
    for name, window in zip(names(rule), rule.windows, strict=True):
        tier = min(rule.tier, window.tier, key=("shadow", "ticket", "page").index)
        longest_s = int(window.over.total_seconds()) + _clear_s(window.short_s)
        yield name, title, tier, longest_s, _burn(rule, window, bucket_s)


def _clear_s(window_s: int) -> int:
    """For how long all must be well before a rule clears, and may ring again."""
    return max(CLEAR_S, window_s)


def _static(rule: StaticRule, bucket_s: int) -> Callable[[], Detector]:
    return lambda: StaticDetector(
        rate=rule.rate,
        direction=rule.direction,
        min_n=rule.min_n,
        window_s=int(rule.window.total_seconds()),
        hold_s=int(rule.hold.total_seconds()),
        clear_s=_clear_s(int(rule.window.total_seconds())),
        bucket_s=bucket_s,
    )


def _burn(rule: BurnRateRule, window: BurnWindow, bucket_s: int) -> Callable[[], Detector]:
    return lambda: BurnRateDetector(
        objective=rule.objective,
        factor=window.factor,
        long_s=int(window.over.total_seconds()),
        short_s=window.short_s,
        min_n=rule.min_n,
        min_k=rule.min_k,
        clear_s=_clear_s(window.short_s),
        bucket_s=bucket_s,
    )
