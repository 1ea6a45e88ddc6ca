"""Have many rates moved together a little? The statistic of one bucket, over groups of series.

Each series counts as `e / (1 + v e)` independent events, `v` being the relative variance of its own
rate: a loud series that wanders says less than its size. A group is their sum, shrunk in the same
way by what quiet weeks showed it to vary beyond that. What a group shows is then a Poisson count,
and its score the log-likelihood ratio of the best common ratio against a tolerated one (a scan over
time after Kulldorff, "A spatial scan statistic", 1997, with the weights of quasi-likelihood:
McCullagh and Nelder, "Generalized Linear Models", 1989, chapter 9).

Arrays have shape (scales, series) or (scales, groups); series are sorted by group.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from detectors.columns import Bools, Floats, Ints

_TINY = 1e-12
_ONE_EVENT = 1.0  # a quiet series may always speak with its one event


@dataclass(frozen=True, slots=True)
class Evidence:
    """What series or groups show: independent events expected, and more than that."""

    expected: Floats
    more: Floats

    def move(self) -> Floats:
        """Relative move, above -1."""
        ratio: Floats = np.divide(
            self.more, self.expected, out=np.zeros_like(self.more), where=self.expected > _TINY
        )
        return np.maximum(ratio, -1.0)


@dataclass(frozen=True, slots=True)
class Parts:
    """Which series are of which group. Series are sorted by group, and every group has one."""

    group: Ints
    """Per series."""
    start: Ints
    """Per group: its first series."""

    def sums(self, values: Floats) -> Floats:
        """Of each group, along the last axis."""
        if not len(self.start):
            return np.zeros((*values.shape[:-1], 0))
        total: Floats = np.add.reduceat(values, self.start, axis=-1)
        return total


def of_series(k: Floats, e: Floats, e2: Floats, v: Floats, reach: float) -> Evidence:
    """What each series shows.

    Args:
        k: flagged interactions, weighted by age.
        e: expected ones, weighted alike.
        e2: expected ones, weighted by the square.
        v: relative variance of the rate over such a memory.
        reach: no series says more than this many standard deviations (or one event).
    """
    plain = np.divide(e, e2, out=np.zeros_like(e), where=e2 > _TINY)
    events = e * plain
    kept = 1.0 / (1.0 + v * events)
    expected = events * kept
    most = reach * np.sqrt(expected) + _ONE_EVENT
    return Evidence(expected, np.clip((k - e) * plain * kept, -most, most))


def of_groups(series: Evidence, parts: Parts, slack: float, sign: int) -> Evidence:
    """What each group shows without the series that says most of it: one is not all.

    Args:
        series: what they show.
        parts: their groups.
        slack: relative move that is nobody's business.
        sign: 1 for rises, -1 for falls.
    """
    gain = sign * series.more - slack * series.expected
    if not len(parts.start):
        return Evidence(parts.sums(series.expected), parts.sums(series.more))
    most = np.maximum.reduceat(gain, parts.start, axis=-1)
    loudest = np.where(gain == most[..., parts.group], series.expected, np.inf)
    its = np.minimum.reduceat(loudest, parts.start, axis=-1)
    expected = np.maximum(parts.sums(series.expected) - its, 0.0)
    return Evidence(expected, parts.sums(series.more) - sign * (most + slack * its))


def score(groups: Evidence, excess: Floats, doubt: Floats, slack: float, sign: int) -> Floats:
    """Nats for a move beyond `slack` in the direction of `sign`; 0 where there is none.

    Args:
        groups: what they show.
        excess: variance of quiet groups over what independent series would have.
        doubt: relative variance of what is not yet known of all its series alike, per group.
        slack: relative move that is tolerated.
        sign: 1 for rises, -1 for falls.
    """
    move = groups.move()
    events = groups.expected / (excess + doubt * groups.expected)
    null = events * (1.0 + slack) if sign > 0 else events / (1.0 + slack)
    seen = np.maximum(events * (1.0 + move), _TINY)
    llr = seen * np.log(seen / np.maximum(null, _TINY)) - (seen - null)
    beyond: Bools = (seen > null) if sign > 0 else (seen < null)
    nats: Floats = np.where(beyond & (events > _TINY), np.maximum(llr, 0.0), 0.0)
    return nats
