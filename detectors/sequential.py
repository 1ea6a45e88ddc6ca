"""The sums behind a sequential test of counts. Pure functions of arrays, one column per series.

Sources: Shiryaev-Roberts procedure (Shiryaev 1963, Roberts 1966) over a grid of rate ratios, with
negative-binomial likelihood increments as in Hoehle and Paul, "Count data regression charts for the
monitoring of surveillance time series" (2008).
"""

from __future__ import annotations

import numpy as np

from detectors.columns import Bools, Floats

_LEAST_VARIANCE = 1e-9


def nb_llr(k: Floats, m0: Floats, m1: Floats, v: Floats) -> Floats:
    """Log-likelihood ratio of counts `k` for mean `m1` against mean `m0`, in nats.

    Both negative binomial with variance `m + v m**2`; `v` near 0 is Poisson. Shapes broadcast.
    Means must be above 0.

    >>> float(nb_llr(np.array(10.0), np.array(5.0), np.array(10.0), np.array(0.0))).__round__(3)
    1.931
    """
    v = np.maximum(v, _LEAST_VARIANCE)
    grown = np.log1p(v * m1) - np.log1p(v * m0)
    llr: Floats = k * (np.log(m1 / m0) - grown) - grown / v
    return llr


def sr_step(
    log_r: Floats, llr: Floats, cap: Floats, live: Bools, start: Floats | float = 1.0
) -> Floats:
    """One step of log Shiryaev-Roberts, `R' = (start + R) L`, not above `cap`.

    `start` is how many chances to have begun here a bucket stands for: 1 in the textbook. A bucket
    whose evidence counts for a tenth is a tenth of a chance, or chances alone would add up to a
    score where evidence comes slowly. What is not `live` stays as it was.

    >>> sr_step(np.array([-np.inf]), np.array([0.5]), np.array([9.0]), np.array([True])).tolist()
    [0.5]
    """
    moved = np.minimum(np.logaddexp(np.log(start), log_r) + llr, cap)
    return np.where(live, moved, log_r)


def temper(e: Floats, v_short: Floats, v_long: Floats, buckets: Floats | float) -> Floats:
    """How much one bucket's evidence counts when the noise of neighbouring buckets goes together.

    The variance of `buckets` buckets of mean `e` were they independent, over the variance they
    have: a slow wave of the rate makes many buckets say the same thing, which is said only once.
    Between 0 and 1.
    """
    return np.minimum(1.0, (1.0 + v_short * e) / (1.0 + v_long * e * buckets))
