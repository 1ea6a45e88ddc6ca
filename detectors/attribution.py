"""Which one or two dimension values explain the excess? Named in a page's first line.

For every element of at most two dimensions, the Poisson log-likelihood ratio of its count against
its own history's rate, minus one nat for each dimension it names. A parent beats its children when
they all moved alike, for its evidence is the sum of theirs; a child beats its parent when only it
moved.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import combinations

_PRICE = 1.0  # nats for each dimension named: without it the most special element always wins
_PRIOR_EVENTS = (
    1.0  # events' worth of the whole's rate in each history: a new value has none of its own
)

Values = tuple[tuple[str, str], ...]
"""Dimension and value, sorted by dimension; empty for the whole."""


@dataclass(frozen=True, slots=True)
class Cell:
    """The counts of one combination of dimension values over a window."""

    values: Mapping[str, str]
    k: int
    n: int


@dataclass(frozen=True, slots=True)
class Explanation:
    """One element that may be the cause. Its values are outside text: encode them when shown."""

    values: Values
    k: int
    n: int
    expected: float
    share: float
    """Part of the whole's excess that is here, 0 to 1."""
    score: float
    """Nats of evidence, less the price of its dimensions."""
    first_seen: int | None
    """Unix seconds, where the caller knew it; the latest of its values."""

    def sentence(self) -> str:
        """In words.

        >>> Explanation((("model", "v41"),), 90, 100, 8.0, 0.92, 150.0, 50520).sentence()
        'model v41: 92 % of the excess; first seen 14:02 UTC'
        """
        name = ", ".join(f"{dimension} {value}" for dimension, value in self.values)
        text = f"{name or 'everywhere alike'}: {100 * self.share:.0f} % of the excess"
        if self.first_seen is None:
            return text
        return f"{text}; first seen {datetime.fromtimestamp(self.first_seen, UTC):%H:%M} UTC"


def explain(
    window: Iterable[Cell],
    baseline: Iterable[Cell],
    *,
    first_seen: Mapping[tuple[str, str], int] | None = None,
    limit: int = 3,
) -> tuple[Explanation, ...]:
    """The likeliest causes of the window's excess over its baseline, best first.

    Args:
        window: cells of the anomalous window.
        baseline: cells of the time before, of any length.
        first_seen: unix seconds at which a (dimension, value) was first seen, where that is news.
        limit: how many at most.

    A fall is explained as a rise is. The whole competes as an element without dimensions, so that
    the first answer of "everywhere alike" has empty `values`. Nothing at all comes back where there
    is no baseline or no excess.
    """
    moved, usual = _totals(window), _totals(baseline)
    k, n = moved.get((), (0, 0))
    usual_k, usual_n = usual.get((), (0, 0))
    if n == 0 or usual_n == 0:
        return ()
    rate = (usual_k + 0.5) / (usual_n + 1.0)
    excess = k - n * rate
    if excess == 0:
        return ()
    found = []
    for values, (own_k, own_n) in moved.items():
        past_k, past_n = usual.get(values, (0, 0))
        own_rate = (past_k + _PRIOR_EVENTS) / (past_n + _PRIOR_EVENTS / rate)
        expected = own_n * own_rate
        if (own_k - expected) * excess <= 0:
            continue
        score = _evidence(own_k, expected) - _PRICE * len(values)
        share = min(1.0, max(0.0, (own_k - expected) / excess))
        seen = _latest(values, first_seen or {})
        found.append(Explanation(values, own_k, own_n, expected, share, score, seen))
    found.sort(key=lambda one: (-one.score, len(one.values), one.values))
    return tuple(one for one in found[:limit] if one.score > 0)


def _evidence(k: int, expected: float) -> float:
    if k == 0:
        return expected
    return k * math.log(k / expected) - (k - expected)


def _latest(values: Values, first_seen: Mapping[tuple[str, str], int]) -> int | None:
    times = [first_seen[value] for value in values if value in first_seen]
    return max(times, default=None)


def _totals(cells: Iterable[Cell]) -> dict[Values, tuple[int, int]]:
    """Counts (k, n) of every element of at most two dimensions."""
    sums: dict[Values, list[int]] = {}
    for cell in cells:
        for values in _elements(sorted(cell.values.items())):
            total = sums.setdefault(values, [0, 0])
            total[0] += cell.k
            total[1] += cell.n
    return {values: (k, n) for values, (k, n) in sums.items()}


def _elements(values: Sequence[tuple[str, str]]) -> Iterable[Values]:
    yield ()
    yield from combinations(values, 1)
    yield from combinations(values, 2)
