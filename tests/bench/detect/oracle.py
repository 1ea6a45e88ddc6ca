"""The bound: a sequential test that is told the true rate, its noise, and when incidents end.

Shiryaev-Roberts over five ratios with negative-binomial increments, tempered where neighbouring
minutes go together; nothing to learn and nothing left over from the last incident. Written apart
from `detectors/`, so that it moves only when somebody means it to.
"""

from __future__ import annotations

import numpy as np

from tests.bench.detect.study import Scene, Scores

RATIOS = np.array([1.5, 2.0, 3.0, 5.0, 10.0])[:, None]
SLACK = 1.25
_HOUR = 60
_CAP = 25.0


def scores(scene: Scene) -> Scores:
    """The best that can be known of each bucket."""
    assert scene.truth is not None
    k, n, rate = (np.ascontiguousarray(one.T) for one in (scene.k, scene.n, scene.truth))
    p0, rho, wave, tau = (
        np.array([cell[name] for cell in scene.cells]) for name in ("p0", "rho", "ar_sd", "ar_tau")
    )
    # A mean over an hour of a wave that forgets in `tau` keeps this share of its variance.
    x = _HOUR / tau
    slow = wave**2 * 2 * (x - 1 + np.exp(-x)) / x**2
    v_short = wave**2 + rho * (1 - p0) / p0
    v_long = slow + rho * (1 - p0) / p0 / _HOUR
    resets: dict[int, list[int]] = {}
    for series, until in scene.ends:
        resets.setdefault(until, []).append(series)
    log_r = np.full((len(RATIOS), len(scene.k)), -np.inf)
    found = np.zeros(k.shape, np.float32)
    for at in range(len(k)):
        if at in resets:
            log_r[:, resets[at]] = -np.inf
        mean = np.maximum(rate[at] * n[at], 1e-12)
        null = mean * SLACK
        moved = mean * RATIOS
        grown = np.log1p(v_short * moved) - np.log1p(v_short * null)
        llr = k[at] * (np.log(moved / null) - grown) - grown / v_short
        llr *= np.minimum(1.0, (1 + v_short * mean) / (1 + v_long * mean * _HOUR))
        live = n[at] > 0
        step = np.minimum(np.logaddexp(0.0, log_r) + llr, _CAP)
        log_r = np.where(live, step, log_r)
        found[at] = np.maximum(log_r.max(axis=0), 0.0)
    return np.ascontiguousarray(found.T)
