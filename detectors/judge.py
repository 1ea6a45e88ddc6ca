"""Has the product changed, or who judges it?

A guardrail or a classifier that gets a new version says other things of the same traffic. Two kinds
of evidence tell that from a product that moved:

- side by side: where the old and the new version judge at the same time, the old one stays where it
  was and the new one does not, or both move;
- one after the other: where the new one took over at once, the rate jumped exactly then, only in
  what it judges, and nothing moved that it does not judge.

Each comparison is a likelihood ratio of binomial counts with room for a product that is never quite
still. Doubt is said, not resolved: a page is never taken back on the strength of it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from detectors.verdicts import percent, span, times

Cause = Literal["judge", "system", "both", "unknown"]
ALIGNED_S = 15 * 60
"""A version first seen this near to the onset came with it."""
FARTHEST_S = 4 * 3_600
_MOVED = 1.25
"""Rates that differ by less are the same."""
_SURE = 3.0
"""Nats of evidence that two rates differ; e^3 is 20 to 1."""
_LEAST_N = 20
_TAKEN_OVER = 0.5
_PRIOR = 0.5


@dataclass(frozen=True, slots=True)
class Counts:
    """k flagged of n judged."""

    k: int
    n: int

    @property
    def rate(self) -> float:
        """K / n; 0 where n is 0."""
        return self.k / self.n if self.n else 0.0

    def __add__(self, other: Counts) -> Counts:
        return Counts(self.k + other.k, self.n + other.n)


@dataclass(frozen=True, slots=True)
class Version:
    """What one version of one check said."""

    judge: str
    """The check; versions of one check are compared, checks are not."""
    version: str
    first_seen: int | None
    """Unix seconds; None: from the beginning of what is known."""
    before: Counts
    """In the time before the onset."""
    since: Counts
    """Since the onset."""
    early: Counts = Counts(0, 0)
    """Between the two: within `reach_s` of the onset, which may have begun unseen."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """Who changed, and the evidence for it."""

    cause: Cause
    reason: str
    """One sentence."""
    judge: str = ""
    """The check whose version changed; empty where none did."""
    version: str = ""
    share: float = 0.0
    """Of what that check judged since the onset, the part that the new version judged."""
    excess: float = 0.0
    """Of the flagged since the onset, what the new version flagged above the old one's rate."""
    old: Counts = Counts(0, 0)
    """The old version's before the onset."""
    beside: Counts = Counts(0, 0)
    """The old version's since the onset, side by side with the new one."""
    new: Counts = Counts(0, 0)
    """The new version's since the onset."""


def moved(one: Counts, other: Counts, ratio: float = _MOVED) -> bool:
    """Whether two rates differ for sure, and `ratio` times at least.

    >>> moved(Counts(10, 1000), Counts(60, 1000)), moved(Counts(1, 10), Counts(2, 10))
    (True, False)
    """
    if not (one.n and other.n):
        return False
    low, high = sorted((c.k + _PRIOR) / (c.n + 2 * _PRIOR) for c in (one, other))
    return high / low >= ratio and _nats(one, other) >= _SURE


def _nats(one: Counts, other: Counts) -> float:
    """Log-likelihood ratio of two rates against one, natural logarithm."""
    both = one + other
    return _fit(one, one.rate) + _fit(other, other.rate) - _fit(one + other, both.rate)


def _fit(counts: Counts, rate: float) -> float:
    flagged = counts.k * math.log(rate) if counts.k else 0.0
    clean = counts.n - counts.k
    return flagged + (clean * math.log(1.0 - rate) if clean else 0.0)


def reach_s(onset: int, end: int) -> int:
    """How far before its estimate an onset may lie: what took long to find is dated vaguely.

    >>> [reach_s(0, 60), reach_s(0, 3600), reach_s(0, 10**6)]
    [900, 7200, 14400]
    """
    return min(max(ALIGNED_S, 2 * (end - onset)), FARTHEST_S)


def told_apart(
    versions: Sequence[Version],
    onset: int,
    *,
    reach: int = ALIGNED_S,
    elsewhere: Sequence[str] = (),
    came_along: Sequence[str] = (),
) -> Judgement:
    """Whether a rate moved because of a version that changed.

    Args:
        versions: all that judged what moved, before or since.
        onset: unix seconds; when the rate is estimated to have moved.
        reach: seconds before the onset within which a version may have come with it.
        elsewhere: signals that no check decides and that moved at the same place and time.
        came_along: releases or models first seen with the onset: they could be it as well.
    """
    changed = [
        one
        for one in versions
        if one.first_seen is not None
        and one.first_seen >= onset - reach
        and not one.before.n
        and one.since.n
        and _olds(one, versions)
    ]
    if not changed:
        return Judgement("system", "no check has another version since the onset")
    one = max(changed, key=lambda v: (abs(_excess(v, versions)), v.judge, v.version))
    return _weighed(one, versions, onset, elsewhere, came_along)


def _olds(one: Version, versions: Sequence[Version]) -> list[Version]:
    return [v for v in versions if v.judge == one.judge and v.before.n]


def _excess(one: Version, versions: Sequence[Version]) -> float:
    old = _sum([v.before for v in _olds(one, versions)])
    return one.since.k - one.since.n * old.rate


def _sum(counts: Sequence[Counts]) -> Counts:
    return sum(counts, Counts(0, 0))


def _weighed(
    one: Version,
    versions: Sequence[Version],
    onset: int,
    elsewhere: Sequence[str],
    came_along: Sequence[str],
) -> Judgement:
    olds = _olds(one, versions)
    old, beside = _sum([v.before for v in olds]), _sum([v.since for v in olds])
    others = [v for v in versions if v.judge != one.judge and v.before.n and v.since.n]
    also = [v.judge for v in others if moved(v.before, v.since)]
    share = one.since.n / max(1, one.since.n + beside.n)
    if _said_the_same(one, old):
        cause, why = _calm_at_first(one, onset)
    else:
        cause, why = _cause(one, onset, old, beside, share, [*also, *elsewhere], came_along)
    name = f"{one.judge} {one.version}"
    return Judgement(
        cause=cause,
        reason=f"{_HEADS[cause].format(name=name)}: {why}",
        judge=one.judge,
        version=one.version,
        share=share,
        excess=_excess(one, versions),
        old=old,
        beside=beside,
        new=one.since,
    )


def _said_the_same(one: Version, old: Counts) -> bool:
    """Whether the new version said what the old one did, until the rate moved."""
    calm = one.early.n >= _LEAST_N and not moved(old, one.early)
    return calm and moved(one.early, one.since)


def _calm_at_first(one: Version, onset: int) -> tuple[Cause, str]:
    early = f"{one.version} flagged {percent(one.early.rate)} of {one.early.n}, as the old one had"
    return "system", f"{early}, when it came {_aligned(one, onset)}"


_HEADS = {
    "judge": "the judge changed, not the product ({name})",
    "system": "the product changed, not the judge",
    "both": "judge and product changed together ({name})",
    "unknown": "the judge has a new version ({name}), and it cannot be told yet whether that is it",
}


def _cause(
    one: Version,
    onset: int,
    old: Counts,
    beside: Counts,
    share: float,
    also: Sequence[str],
    came_along: Sequence[str],
) -> tuple[Cause, str]:
    new = one.since
    says = f"{one.version} flags {percent(new.rate)} of {new.n}, before it was {percent(old.rate)}"
    if new.n < _LEAST_N:
        return "unknown", f"it has judged {new.n} so far"
    if not moved(old, new):
        return "system", f"{says}: the same"
    others = f"; {' and '.join(also[:3])} moved as well" if also else ""
    along = f"; {came_along[0]} came at the same time" if came_along else ""
    if beside.n >= _LEAST_N and (moved(old, beside) or moved(beside, new)):
        with_it = moved(old, beside) and (beside.rate > old.rate) == (new.rate > old.rate)
        side = f"the old one beside it {percent(beside.rate)} of {beside.n}"
        if not with_it:
            cause: Cause = "both" if also else "unknown" if came_along else "judge"
            return cause, f"{says}, {side}{others}{along}"
        cause = "both" if moved(beside, new) else "system"
        return cause, f"{says}, {side}: it moved too{others}"
    took = f"it took over {share:.0%} {_aligned(one, onset)}"
    if share < _TAKEN_OVER:
        return "unknown", f"{says}; {took}, too little to be all of it{others}"
    if also:
        return "both", f"{says}; {took}{others}"
    if came_along:
        return "unknown", f"{says}; {took}{along}"
    apart = times(new.rate, old.rate)
    return "judge", f"{says} ({apart}); {took}, and nothing moved that it does not judge"


def _aligned(one: Version, onset: int) -> str:
    assert one.first_seen is not None
    gap = onset - one.first_seen
    if abs(gap) < 60:
        return "at the onset"
    return f"{span(abs(gap))} {'before' if gap > 0 else 'after'} the onset"
