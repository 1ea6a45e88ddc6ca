"""Which recorded change fits a move, or an alert and its causes: pure decisions with reasons."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from monitor.alerting.alerts import Alert, Cause

BEFORE = timedelta(hours=6)
"""A change may show this late: a release rolls out, a cache runs dry."""
NEAR_S = 3_600.0
MATCH = 0.5
"""A dimension that both name is worth this much of being at the same minute."""


PAGE_WINDOW = timedelta(minutes=60)
"""A change this long before the onset is worth naming in the page."""
ONSET_SLACK = timedelta(seconds=59)
"""An onset is known to its bucket: a change later in it may have caused it."""
NAMED = 2.0
"""To name a value that explains all of an excess is worth this much of being at the minute."""
ELSEWHERE = 0.1
"""What is left of a change that names another value than the one which explains half of it."""
HALF = 0.5
"""From this share on a cause stands for the alert."""


@dataclass(frozen=True, slots=True)
class ChangeFact:
    """A recorded change, as the page names it."""

    kind: str
    title: str
    at: datetime
    dimensions: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Suspect:
    """A change that may be why an alert fires."""

    change: ChangeFact
    score: float
    """Above 0; 1 for one at the onset that names nothing."""
    reason: str
    """`12 min before the onset, names model m2`."""


@dataclass(frozen=True, slots=True)
class Fit:
    """The change that fits best, and why."""

    change: ChangeFact
    reason: str


def best_fit(
    changes: Iterable[ChangeFact],
    onset: datetime,
    dimensions: Mapping[str, str],
    *,
    slack: timedelta = timedelta(),
) -> Fit | None:
    """The change nearest in time whose dimensions do not say otherwise; None where none fits.

    Args:
        changes: those recorded.
        onset: when the move began, as far as is known.
        dimensions: where it was seen.
        slack: how much later than the onset a change may be: the onset is only known so well.
    """
    best: tuple[float, ChangeFact] | None = None
    for change in changes:
        if not -slack <= onset - change.at <= BEFORE:
            continue
        shared = [name for name in change.dimensions if name in dimensions]
        if any(change.dimensions[name] != dimensions[name] for name in shared):
            continue
        gap = abs((onset - change.at).total_seconds())
        score = math.exp(-gap / NEAR_S) * (1 + MATCH * len(shared))
        if best is None or score > best[0]:
            best = (score, change)
    if best is None:
        return None
    change = best[1]
    minutes = round((onset - change.at).total_seconds() / 60)
    when = f"{minutes} min before" if minutes > 0 else "just then"
    return Fit(change, f"{change.kind} {change.title} fits, {when}")


def suspects(changes: Iterable[ChangeFact], alert: Alert) -> tuple[Suspect, ...]:
    """The changes that may be why `alert` fires, likeliest first.

    A change shortly before the onset counts more than one long before; one that names where it
    fires, or a value that explains it, more than one that names nothing; one that names another
    value hardly counts, and one of another place not at all.

    Args:
        changes: those recorded; only those of the hour before the onset are looked at.
        alert: with its causes.
    """
    found = []
    for change in changes:
        before = alert.onset_at - change.at
        if not -ONSET_SLACK <= before <= PAGE_WINDOW:
            continue
        if any(alert.dimensions.get(n, v) != v for n, v in change.dimensions.items()):
            continue
        weight, named = _named(change, alert)
        score = math.exp(-abs(before.total_seconds()) / NEAR_S) * weight
        minutes = max(0, int(before.total_seconds() // 60))
        found.append(Suspect(change, score, f"{minutes} min before the onset{named}"))
    found.sort(key=lambda one: (-one.score, -one.change.at.timestamp(), one.change.title))
    return tuple(found)


def _named(change: ChangeFact, alert: Alert) -> tuple[float, str]:
    """What the dimensions of a change are worth, and in words."""
    shared = sum(alert.dimensions.get(name) == value for name, value in change.dimensions.items())
    weight = 1 + MATCH * shared
    best = _best_named(change.dimensions, alert.causes)
    if best is not None:
        values = [
            f"{name} {value}"
            for name, value in sorted(best.dimensions.items())
            if change.dimensions.get(name) == value
        ]
        return weight + NAMED * best.share, f", names {', '.join(values)}"
    for cause in alert.causes[:1]:
        other = [name for name in cause.dimensions if name in change.dimensions]
        if other and cause.share >= HALF:
            return weight * ELSEWHERE, f", but of another {other[0]}"
    return weight, ""


def _best_named(dimensions: Mapping[str, str], causes: Sequence[Cause]) -> Cause | None:
    """The cause with the largest share of which a change names a value, and no other value."""
    fitting = [
        cause
        for cause in causes
        if any(dimensions.get(name) == value for name, value in cause.dimensions.items())
        and all(dimensions.get(name, value) == value for name, value in cause.dimensions.items())
    ]
    return max(fitting, key=lambda cause: cause.share, default=None)
