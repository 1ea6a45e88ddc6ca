"""How likely is as much by chance? An upper bound, for what was picked out among many.

The bound is Chernoff's for a negative binomial tail (Chernoff 1952, Ann. Math. Stat. 23:493), times
the number of things that were looked at (Bonferroni). How far the rate strays by itself is seen in
its own past, by the median, so that an earlier incident there does not excuse this one.
"""

from __future__ import annotations

import numpy as np

from detectors.columns import Floats

_MEDIAN = 0.455
"""Of the square of a standard normal: what a median of squares is of their mean."""
_USUAL, _WORTH = 0.04, 4.0
"""Where the past is short: a rate strays by a fifth, which counts as so many times of it."""
_LEAST = 1e-6  # where less was expected, nothing is to be learned
_KNOWN = 10.0
"""Events' worth of what is known of a rate before it has a past."""


def chance(
    k: float, expected: float, *, past_k: Floats, past_expected: Floats, among: int
) -> float:
    """At most how likely chance alone shows as much in any of `among` things, 0 to 1.

    Args:
        k: counted now.
        expected: what was to be expected of it, above 0.
        past_k: counted at each time of the past, of shape (times,).
        past_expected: what was to be expected of that, by the same rate.
        among: how many things were looked at.

    >>> past = np.full(20, 10.0)
    >>> round(chance(12, 10.0, past_k=past, past_expected=past, among=5), 3)
    1.0
    >>> round(chance(60, 10.0, past_k=past, past_expected=past, among=5), 6)
    0.0
    """
    shape = 1.0 / (_strays(past_k, past_expected) + 1.0 / (past_k.sum() + _KNOWN))
    told = shape * np.log((k + shape) / (expected + shape))
    told -= k * np.log((expected + shape) / (k + shape) * k / expected) if k > 0 else 0.0
    return float(np.clip(among * np.exp(min(told, 0.0)), 0.0, 1.0))


def _strays(k: Floats, expected: Floats) -> float:
    """Variance of the rate over its square, beyond what counting alone gives."""
    known = expected > _LEAST
    times = int(known.sum())
    seen = 0.0
    if times:
        off = np.median((k[known] / expected[known] - 1.0) ** 2) / _MEDIAN
        seen = max(0.0, float(off - np.median(1.0 / expected[known])))
    return (times * seen + _WORTH * _USUAL) / (times + _WORTH)
