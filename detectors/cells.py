"""Counts by combination of dimension values, as columns: sums over any part of them are cheap."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from detectors.columns import Floats, Ints

Values = tuple[tuple[str, str], ...]
"""Dimension and value, sorted by dimension; empty for the whole."""

DEPTH = 3
"""Dimensions that one element names at most."""
CUBOIDS = 1_000
"""Sets of dimensions looked at, at most: with very many dimensions elements name fewer."""


@dataclass(frozen=True, slots=True)
class Cell:
    """The counts of one combination of dimension values in one bucket."""

    values: Mapping[str, str]
    k: int
    n: int
    at: int = 0
    """Any number that orders the buckets; cells of all the time before may share one."""


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of counts; what a row says of a dimension is a code, the place in the labels.

    Labels are sorted, and so are the dimensions: the order of the rows leaves no trace.
    """

    names: tuple[str, ...]
    labels: tuple[tuple[str, ...], ...]
    codes: Ints
    """Rows by dimensions; -1 where the row does not say."""
    at: Ints
    k: Floats
    n: Floats

    @classmethod
    def of(cls, cells: Sequence[Cell]) -> Table:
        """The table of `cells`; a dimension that a cell leaves out is unknown there."""
        names = sorted({name for cell in cells for name in cell.values})
        columns = [[cell.values.get(name) for cell in cells] for name in names]
        counts = [(cell.at, cell.k, cell.n) for cell in cells]
        return cls.columns(
            dict(zip(names, columns, strict=True)),
            *(list(column) for column in (zip(*counts, strict=True) if counts else ((), (), ()))),
        )

    @classmethod
    def columns(
        cls,
        dimensions: Mapping[str, Sequence[str | None]],
        at: Sequence[int] | Ints,
        k: Sequence[float] | Floats,
        n: Sequence[float] | Floats,
    ) -> Table:
        """The same from columns of one length; None where a row does not say."""
        names = sorted(dimensions)
        labels = [tuple(sorted({v for v in dimensions[name] if v is not None})) for name in names]
        codes = np.full((len(k), len(names)), -1, np.int64)
        for place, name in enumerate(names):
            index: dict[str | None, int] = {label: i for i, label in enumerate(labels[place])}
            index[None] = -1
            codes[:, place] = [index[value] for value in dimensions[name]]
        return cls(
            tuple(names),
            tuple(labels),
            codes,
            np.asarray(at, np.int64),
            np.asarray(k, np.float64),
            np.asarray(n, np.float64),
        )

    def leaves(self) -> tuple[Ints, Ints]:
        """The distinct combinations, sorted, and which of them each row is."""
        return distinct(self.codes)


def distinct(codes: Ints) -> tuple[Ints, Ints]:
    """The distinct rows of `codes`, sorted, and which of them each row is."""
    if not codes.shape[1]:
        return codes[:1], np.zeros(len(codes), np.int64)
    key = np.zeros(len(codes), np.int64)
    for code in codes.T:
        wide = key * (int(code.max(initial=0)) + 2) + code + 1
        key = np.unique(wide, return_inverse=True)[1].astype(np.int64)
    _, first, which = np.unique(key, return_index=True, return_inverse=True)
    return codes[first], which.astype(np.int64)


def sums(group: Ints, values: Floats, size: int) -> Floats:
    """`values` summed by their group, 0 to `size`."""
    return np.bincount(group, values, size).astype(np.float64, copy=False)


@dataclass(frozen=True, slots=True)
class Cuboid:
    """All elements that name the same dimensions."""

    places: tuple[int, ...]
    """Of the dimensions in the table."""
    leaf: Ints
    """Leaves that say something of each of them ..."""
    element: Ints
    """... and the element that each is in."""
    codes: Ints
    """Elements by dimensions."""

    def sums(self, values: Floats) -> Floats:
        """`values` of the leaves, summed by element."""
        return sums(self.element, values[self.leaf], len(self.codes))


def cuboids(leaves: Ints) -> Iterable[Cuboid]:
    """Every set of at most `DEPTH` dimensions, the whole first.

    Args:
        leaves: codes of shape (leaves, dimensions); -1 where a leaf does not say.
    """
    everything = np.arange(len(leaves), dtype=np.int64)
    yield Cuboid((), everything, np.zeros_like(everything), np.zeros((1, 0), np.int64))
    seen = 1
    for depth in range(1, DEPTH + 1):
        chosen = list(combinations(range(leaves.shape[1]), depth))
        seen += len(chosen)
        if depth > 1 and seen > CUBOIDS:
            return
        for places in chosen:
            codes = leaves[:, places]
            known = np.flatnonzero((codes >= 0).all(axis=1))
            if len(known):
                found, element = distinct(codes[known])
                yield Cuboid(places, known, element, found)
