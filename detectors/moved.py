"""Did this combination of values move, and by what it was before? Each leaf for itself.

A leaf's past is the calmer half of the time before, so that an earlier incident is not taken for
normal; where it is thin, that of the leaf's values stands in. What a leaf says is a negative-
binomial likelihood ratio: its rate multiplied, against a rate that strays.
"""

from __future__ import annotations

import numpy as np

from detectors.cells import Table, sums
from detectors.columns import Bools, Floats, Ints

TINY = 1e-9
SCALES: tuple[tuple[float, tuple[float, ...]], ...] = (
    (3.0, (2.0, 4.0, 8.0, 16.0, 32.0)),
    (30.0, (1.4, 2.0, 3.0)),
    (300.0, (1.1, 1.2, 1.4)),
)
"""Shape of the negative binomial, and what a leaf that moved moved by.

In the first a single leaf's rate strays by half without a reason, in the others by a fifth and by a
seventeenth: they are for moves so small that in the first no leaf speaks.
"""
_LOUDEST = 7.0
"""Nats that one leaf can say for an element."""
_STAYED = 2.75
"""A leaf that stayed put counts this much more than one that moved."""
_PRIOR_LEAF, _PRIOR_VALUE = 2.0, 5.0
"""Events' worth of what its values say in the past of a leaf, and of the whole in a value's."""
_BLOCKS, _BLOCK_EVENTS = 6, 30.0
"""Parts of the past, and the events that each must hold to be told calm from not."""


def calm(table: Table, before: Bools, *, falling: bool) -> Bools:
    """Rows of the calmer half of the past: where the rate was lowest (for a fall: highest).

    Args:
        table: all rows.
        before: which of them are the past; at least one.
        falling: whether it is a fall that is explained.
    """
    times, which = np.unique(table.at[before], return_inverse=True)
    k, n = table.k[before], table.n[before]
    count = int(max(1, min(_BLOCKS, len(times), k.sum() // _BLOCK_EVENTS)))
    block = which * count // len(times)
    rates = sums(block, k, count) / np.maximum(sums(block, n, count), TINY)
    order = np.argsort(-rates if falling else rates, kind="stable")
    kept = np.zeros(len(table.k), np.bool_)
    kept[before] = np.isin(block, order[: (count + 1) // 2])
    return kept


def usual_rates(codes: Ints, k: Floats, n: Floats) -> Floats:
    """The usual rate of each leaf, above 0 and below 1.

    Args:
        codes: of shape (leaves, dimensions); -1 where a leaf does not say.
        k: counted in the past of each leaf, of shape (leaves,).
        n: of how many.
    """
    whole = (k.sum() + 0.5) / (n.sum() + 1.0)
    logs = np.zeros(len(codes))
    for code in (codes + 1).T:
        own_k, own_n = (sums(code, counts, int(code.max()) + 1) for counts in (k, n))
        ratio = (own_k + _PRIOR_VALUE) / (own_n + _PRIOR_VALUE / whole) / whole
        ratio[0] = 1.0
        logs += np.log(ratio)[code]
    prior = whole * np.exp(np.clip(logs, -4.0, 4.0))
    usual = float((prior * n).sum())
    if usual > 0:
        prior = prior * (n.sum() * whole / usual)
    prior = np.clip(prior, TINY, 0.95)
    rates: Floats = (k + _PRIOR_LEAF) / (n + _PRIOR_LEAF / prior)
    return rates


def words(k: Floats, n: Floats, expected: Floats, *, rising: bool, scale: int = 0) -> Floats:
    """What each leaf says, in nats: above nought that it moved, below that it stayed put.

    Args:
        k: counted in each leaf, of shape (leaves,).
        n: of how many.
        expected: what was to be expected of `k`.
        rising: whether a rise is looked for, or a fall.
        scale: which of `SCALES` it is listened to at.
    """
    shape, by = SCALES[scale]
    times = np.array(by)[:, None]
    usual = np.maximum(expected, TINY)
    risen = np.maximum(np.minimum(usual * times, 0.95 * n), usual)
    moved = risen if rising else usual / times
    odds = k * np.log(moved / usual) - (k + shape) * np.log((shape + moved) / (shape + usual))
    top = odds.max(axis=0)
    said = top + np.log(np.exp(odds - top).mean(axis=0))
    bounded: Floats = np.where(said > 0, np.minimum(said, _LOUDEST), _STAYED * said)
    return bounded
