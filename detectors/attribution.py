"""Which dimension values explain a moved rate? Named in a page's first line.

Each combination of values (a leaf) says for itself whether it moved, in bounded words, so that no
crowd shouts the others down, and one that stayed put counts more than one that moved. An element is
as good as the words of its leaves, added: a parent beats its children when they all moved, a child
its parent when its sisters did not. The words are heard in full detail and with each dimension left
out in turn, so that none decides alone. Beside that agreement counts density: a part of the excess
larger than of the traffic. The third answer is a second opinion, from outside the first: by the
likelihood ratio of sums, which asks no leaf, for when a cause moved its leaves too unevenly to
agree.

The bounded sum over a subset is the fast subset scan of Neill (2012, JRSS B 74:337); that children
of a cause move alike is the ripple effect of Sun et al. (2018, IEEE Access 6:10909). The settings
were chosen on the cases of `tests/bench/bench_attribution.py` whose number divides by four.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np

from detectors.cells import Cell, Cuboid, Table, Values, cuboids, distinct, sums
from detectors.chance import chance
from detectors.columns import Bools, Floats, Ints
from detectors.moved import SCALES, TINY, calm, usual_rates, words

__all__ = ["Cell", "Explanation", "Values", "explain", "explain_table"]

_PRICE = 0.1
"""Nats for each dimension named; what is news is free."""
_SMALL = 0.02
"""Shares below it are all alike; a small share costs its logarithm."""
_ALIKE = 0.7
"""Of what the moved values of any one dimension say, the whole must keep this to be the answer."""
_VIEWS_FROM = 3
"""With fewer dimensions none is left out: what is left would be too coarse."""
_DETAIL = 3.0
"""Views that the one in full detail counts for."""
_OPINION = 2
"""The place of the second opinion, counted from nought."""
_PLAIN = 2
"""Dimensions of a second opinion at most ..."""
_PRICE_PLAIN = 1.0
"""... and nats for each."""


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
    """Agreement, 1 for the best in every view, and density: share less that of the traffic. Of the
    second opinion, which may be the third answer, density alone. Above 0."""
    chance: float
    """How likely chance alone shows as much in any of the elements looked at, at most; 0 to 1."""
    first_seen: int | None
    """Unix seconds, where the caller knew it; the latest of its values."""

    def sentence(self) -> str:
        """In words.

        >>> Explanation((("model", "v41"),), 90, 100, 8.0, 0.92, 1.5, 0.0, 50520).sentence()
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
    rising: bool | None = None,
    first_seen: Mapping[tuple[str, str], int] | None = None,
    limit: int = 3,
) -> tuple[Explanation, ...]:
    """The likeliest causes of the window's excess over its baseline, best first.

    Args:
        window: cells of the anomalous window.
        baseline: cells of the time before, of any length. Where their `at` tell buckets apart,
            only the calmer half of that time is what the window is compared with: an earlier
            incident in it does not count as normal.
        rising: whether an excess is explained or a lack; None to see for itself.
        first_seen: unix seconds at which a (dimension, value) was first seen, where that is news.
        limit: how many at most.

    The whole competes as an element without dimensions, so that the first answer of "everywhere
    alike" has empty `values`. Nothing at all comes back where there is no baseline or no excess.
    The order of the cells changes nothing.

    Raises:
        ValueError: a count is negative, or k is greater than n.
    """
    inside, before = list(window), list(baseline)
    now = np.arange(len(inside) + len(before)) < len(inside)
    table = Table.of([*inside, *before])
    return explain_table(table, now, rising=rising, first_seen=first_seen, limit=limit)


def explain_table(
    table: Table,
    now: Bools,
    *,
    rising: bool | None = None,
    first_seen: Mapping[tuple[str, str], int] | None = None,
    limit: int = 3,
) -> tuple[Explanation, ...]:
    """The same for columns.

    Args:
        table: window and baseline.
        now: which of its rows are the window.
        rising: see `explain`.
        first_seen: see `explain`.
        limit: see `explain`.

    Raises:
        ValueError: a count is negative, or k is greater than n.
    """
    if (table.k < 0).any() or (table.k > table.n).any():
        raise ValueError("a cell must have 0 <= k <= n")
    leaves, which = table.leaves()
    k, n = (sums(which[now], counts[now], len(leaves)) for counts in (table.k, table.n))
    if n.sum() == 0 or table.n[~now].sum() == 0:
        return ()
    past = calm(table, ~now, falling=False)
    if rising is None:
        usual = table.k[past].sum() / max(float(table.n[past].sum()), TINY)
        rising = bool(k.sum() / n.sum() >= usual)
    if not rising:
        past = calm(table, ~now, falling=True)
    past_k, past_n = (sums(which[past], counts[past], len(leaves)) for counts in (table.k, table.n))
    world = _World(table, leaves, which, ~now, k, n, past_k, past_n, rising)
    known = first_seen or {}
    elements = _Elements.of(world, _news(table, known))
    if elements is None:
        return ()
    return tuple(elements.explanation(one, score, known) for one, score in elements.ranked(limit))


@dataclass(frozen=True, slots=True)
class _World:
    """The leaves, now and before."""

    table: Table
    leaves: Ints
    which: Ints
    """Of each row, its leaf."""
    before: Bools
    """Rows of the past, calm or not."""
    k: Floats
    n: Floats
    past_k: Floats
    """Of the calm past."""
    past_n: Floats
    rising: bool

    def rates(self) -> Floats:
        """The usual rate of each leaf."""
        return usual_rates(self.leaves, self.past_k, self.past_n)

    def expected(self) -> Floats:
        """What was to be expected of each leaf."""
        return self.rates() * self.n

    def past(self, inside: Bools) -> tuple[Floats, Floats]:
        """What these leaves counted at each time of the past, and what was to be expected."""
        rows = self.before & inside[self.which]
        times, at = np.unique(self.table.at[rows], return_inverse=True)
        k, n = (sums(at, counts[rows], len(times)) for counts in (self.table.k, self.table.n))
        usual = float((self.rates() * self.past_n)[inside].sum())
        return k, n * usual / max(float(self.past_n[inside].sum()), TINY)

    def views(self, scale: int) -> Iterator[tuple[int | None, Floats]]:
        """The dimension left out, and what the leaves say without it at a scale.

        What leaves say that are one without it is said by the first of them that is there now.
        """
        yield None, words(self.k, self.n, self.expected(), rising=self.rising, scale=scale)
        width = self.leaves.shape[1]
        for left_out in range(width if width >= _VIEWS_FROM else 0):
            codes, which = distinct(np.delete(self.leaves, left_out, axis=1))
            k, n, past_k, past_n = (
                sums(which, counts, len(codes))
                for counts in (self.k, self.n, self.past_k, self.past_n)
            )
            expected = usual_rates(codes, past_k, past_n) * n
            said = words(k, n, expected, rising=self.rising, scale=scale)
            live = np.flatnonzero(self.n > 0)
            merged, first = np.unique(which[live], return_index=True)
            spoken = np.zeros(len(self.leaves))
            spoken[live[first]] = said[merged]
            yield left_out, spoken


@dataclass(frozen=True, slots=True)
class _Elements:
    """The elements of all cuboids one after the other, the whole first."""

    world: _World
    live: Ints
    """Leaves that are there now."""
    found: list[Cuboid]
    """Over the live leaves."""
    cuboid: Ints
    """Of each element, its place in `found` ..."""
    at: Ints
    """... and its own in there."""
    expected: Floats
    named: Floats
    fresh: Floats
    """Dimensions that it names, and those of them whose value is news."""
    excess: Floats
    share: Floats
    """Of the excess of all."""
    dense: Floats
    """The share less that of the traffic."""

    @classmethod
    def of(cls, world: _World, news: list[Floats]) -> _Elements | None:
        """None where there is no excess to explain."""
        live = np.flatnonzero(world.n > 0)
        expected = world.expected()[live]
        excess = world.k[live] - expected
        total = float(excess.sum())
        if (total > 0) != world.rising or abs(total) < TINY:
            return None
        found = list(cuboids(world.leaves[live]))
        sizes = [len(one.codes) for one in found]
        excesses = _joined(one.sums(excess) for one in found)
        share = excesses / total
        fresh = _joined(
            sum((news[p][c] for p, c in zip(one.places, one.codes.T, strict=True)), np.zeros(size))
            for one, size in zip(found, sizes, strict=True)
        )
        return cls(
            world,
            live,
            found,
            np.repeat(np.arange(len(found)), sizes),
            np.concatenate([np.arange(size) for size in sizes]),
            _joined(one.sums(expected) for one in found),
            np.repeat([float(len(one.places)) for one in found], sizes),
            fresh,
            excesses,
            share,
            share - _joined(one.sums(world.n[live]) for one in found) / world.n.sum(),
        )

    def agreement(self, scale: int) -> Floats:
        """How nearly each is the best of a view, over the views that know its dimensions."""
        total, views = np.zeros(len(self.share)), np.zeros(len(self.share))
        cost = _PRICE * (self.named - self.fresh) - np.log(np.clip(self.share, _SMALL, 1.0))
        for left_out, said in self.world.views(scale):
            known = np.array([left_out not in one.places for one in self.found])[self.cuboid]
            spoken = [one.sums(said[self.live]) for one in self.found]
            score = np.concatenate(spoken) - cost
            score[(self.share <= 0) | ~known] = -np.inf
            moved = [
                float(np.maximum(word, 0.0).sum())
                for one, word in zip(self.found, spoken, strict=True)
                if len(one.places) == 1 and left_out not in one.places
            ]
            if spoken[0][0] < _ALIKE * max(moved, default=0.0):
                score[0] = -np.inf
            top = float(score.max())
            if top > 0:
                weight = _DETAIL if left_out is None else 1.0
                total[known] += weight * np.maximum(score[known] / top, -1.0)
                views[known] += weight
            elif left_out is None:
                break
        return total / np.maximum(views, 1)

    def ranked(self, limit: int) -> list[tuple[int, float]]:
        """The best with their scores; among them a second opinion."""
        heard = (self.agreement(scale) for scale in range(len(SCALES)))
        agreement = next((one for one in heard if one.max() > 0), self.named * 0.0)
        score = agreement + self.dense
        order = np.lexsort((self.named, -self.fresh, -np.round(score, 6)))
        best = [int(one) for one in order[: limit + 1] if agreement[one] > 0 and score[one] > 0]
        other = self._opinion(best[0]) if best else None
        if other is not None and other not in best[:_OPINION]:
            best = [one for one in best if one != other]
            best.insert(_OPINION, other)
            score[other] = self.dense[other]
        return [(one, float(score[one])) for one in best[:limit]]

    def _opinion(self, first: int) -> int | None:
        """The likeliest by sums alone, and no part of the first; of all, if that is the whole."""
        inside = set(self.values(first))
        usual = np.maximum(self.expected, TINY)
        k = usual + self.excess
        ratio = k * np.log(np.maximum(k, TINY) / usual) - self.excess
        points = ratio - _PRICE_PLAIN * (self.named - self.fresh)
        points[(self.named > _PLAIN) | (self.dense <= 0)] = -np.inf
        for one in np.lexsort((self.named, -np.round(points, 6))):
            if not np.isfinite(points[one]):
                return None
            if not inside or not inside <= set(self.values(int(one))):
                return int(one)
        return None

    def values(self, one: int) -> Values:
        """What an element is called."""
        cuboid, table = self.found[self.cuboid[one]], self.world.table
        pairs = zip(cuboid.places, cuboid.codes[self.at[one]], strict=True)
        return tuple((table.names[place], table.labels[place][code]) for place, code in pairs)

    def explanation(
        self, one: int, score: float, first_seen: Mapping[tuple[str, str], int]
    ) -> Explanation:
        """The element in words for outside."""
        cuboid, at = self.found[self.cuboid[one]], self.at[one]
        k, n = (cuboid.sums(counts[self.live])[at] for counts in (self.world.k, self.world.n))
        values = self.values(one)
        times = [first_seen[value] for value in values if value in first_seen]
        inside = (self.world.leaves[:, cuboid.places] == cuboid.codes[at]).all(axis=1)
        past_k, past_expected = self.world.past(inside)
        expected = float(self.expected[one])
        likely = chance(
            float(k), expected, past_k=past_k, past_expected=past_expected, among=len(self.share)
        )
        return Explanation(
            values=values,
            k=round(float(k)),
            n=round(float(n)),
            expected=expected,
            share=min(1.0, max(0.0, float(self.share[one]))),
            score=score,
            chance=likely,
            first_seen=max(times, default=None),
        )


def _joined(parts: Iterable[Floats]) -> Floats:
    return np.concatenate(list(parts))


def _news(table: Table, first_seen: Mapping[tuple[str, str], int]) -> list[Floats]:
    return [
        np.array([float((name, label) in first_seen) for label in labels])
        for name, labels in zip(table.names, table.labels, strict=True)
    ]
