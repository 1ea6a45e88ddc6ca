"""What people use to watch a rate, each as a score to be swept: higher is more anomalous.

All are vectorised over series and run on every bucket of every series. Re-implementations, with the
window a careful user would choose: the figures of each are its own only as far as that. Sources:
EWMA control chart (Roberts 1959); EARS C2 (Hutwagner 2003), local and by time of day; Farrington
Flexible (Noufaily 2013), here a streaming imitation in steps of ten minutes; multi-window burn rate
(Google SRE workbook, chapter 5); Page-Hinkley (Page 1954) as its statistic, never reset.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from detectors.columns import Floats, Ints
from tests.bench.detect.study import Scene, Scores

DAY = 1440
WARM = 21 * DAY
_HALF = 0.5


def _sums(values: Ints | Floats, width: int) -> Floats:
    """Sum over the last `width` buckets, along the second axis."""
    total = np.cumsum(values, axis=1, dtype=np.float64)
    out = total.copy()
    out[:, width:] -= total[:, :-width]
    return out


def _before(values: Floats, shift: int) -> Floats:
    """The values of `shift` buckets ago; 0 before the first."""
    out = np.zeros_like(values)
    out[:, shift:] = values[:, :-shift]
    return out


def _usual(scene: Scene) -> Floats:
    """Mean rate of the warm-up, shape (series, 1)."""
    warm = slice(None, min(WARM, scene.warm))
    k, n = scene.k[:, warm].sum(axis=1), scene.n[:, warm].sum(axis=1)
    rate: Floats = ((k + _HALF) / np.maximum(n, 1))[:, None]
    return rate


def fixed(scene: Scene, minutes: int) -> Scores:
    """The rate of the last minutes over that of three weeks."""
    k, n = _sums(scene.k, minutes), _sums(scene.n, minutes)
    return (np.divide(k, n, out=np.zeros_like(k), where=n > 0) / _usual(scene)).astype(np.float32)


def ewma(scene: Scene, weight: float = 0.1) -> Scores:
    """How many standard deviations a smoothed rate is above the one before today's move."""
    rate = np.divide(scene.k, scene.n, out=np.zeros(scene.k.shape), where=scene.n > 0)
    usual = _usual(scene)[:, 0]
    spread = rate[:, : scene.warm].std(axis=1) + 1e-9
    level, found = usual.copy(), np.zeros(rate.shape, np.float32)
    sigma = spread * np.sqrt(weight / (2 - weight))
    for at in range(rate.shape[1]):
        level += np.where(scene.n[:, at] > 0, weight * (rate[:, at] - level), 0.0)
        found[:, at] = (level - usual) / sigma
    return np.maximum(found, 0)


def ears_local(scene: Scene, step: int = 15) -> Scores:
    """EARS C2 on counts: the last quarter of an hour against seven before it, two left out."""
    k = _sums(scene.k, step)
    past = np.stack([_before(k, step * lag) for lag in range(3, 10)])
    return _z(k, past)


def ears_daily(scene: Scene, step: int = 15) -> Scores:
    """The same against the same time of the seven days before."""
    k = _sums(scene.k, step)
    past = np.stack([_before(k, DAY * lag) for lag in range(1, 8)])
    return _z(k, past)


def _z(now: Floats, past: Floats) -> Scores:
    spread = np.maximum(past.std(axis=0, ddof=1), 1.0)
    z: Scores = np.maximum((now - past.mean(axis=0)) / spread, 0).astype(np.float32)
    return z


def farrington(scene: Scene, step: int = 10) -> Scores:
    """Exceedance of ten minutes over a quasi-Poisson mean of the same times of day, by weeks."""
    k, n = _sums(scene.k, step), _sums(scene.n, step)
    lags = [DAY * day + near * step for day in range(1, 15) for near in (-3, -1, 0, 1, 3)]
    past_k, past_n = np.zeros_like(k), np.zeros_like(k)
    squares = np.zeros_like(k)
    for lag in lags:
        past_k += _before(k, lag)
        past_n += _before(n, lag)
    rate = (past_k + _HALF) / np.maximum(past_n, 1)
    for lag in lags:
        mean = np.maximum(rate * _before(n, lag), 1e-3)
        squares += (_before(k, lag) - mean) ** 2 / mean
    phi = np.maximum(squares / len(lags), 1.0)
    mean = np.maximum(rate * n, 1e-3)
    # The 2/3 power makes counts nearly normal (Farrington 1996).
    sigma = (2 / 3) * mean ** (1 / 6) * np.sqrt(phi + phi * mean / np.maximum(past_k, 1))
    found = (k ** (2 / 3) - mean ** (2 / 3)) / sigma
    return np.maximum(found, 0).astype(np.float32)


def burn_rate(scene: Scene) -> Scores:
    """Multi-window burn rate: the objective is the usual rate; both windows of a pair must burn."""
    usual = _usual(scene)
    found = np.zeros(scene.k.shape)
    for short, long, pace in ((5, 60, 14.4), (30, 360, 6.0), (120, 1440, 3.0)):
        burn = [
            _sums(scene.k, width) / np.maximum(_sums(scene.n, width), 1) / usual
            for width in (short, long)
        ]
        found = np.maximum(found, np.minimum(*burn) / pace)
    return found.astype(np.float32)


def page_hinkley(scene: Scene, slack: float = 0.5) -> Scores:
    """Page-Hinkley of the standardised rate, upward, as its statistic."""
    usual = _usual(scene)
    mean = usual * scene.n
    z = (scene.k - mean) / np.sqrt(np.maximum(mean, 0.05)) - slack
    total = np.cumsum(z, axis=1)
    return (total - np.minimum.accumulate(total, axis=1)).astype(np.float32)


def cusum(scene: Scene) -> Scores:
    """Poisson CUSUM for twice the mean of the warm-up."""
    mean = _usual(scene) * scene.n
    llr = scene.k * np.log(2.0) - mean
    level, found = np.zeros(len(llr)), np.zeros(llr.shape, np.float32)
    for at in range(llr.shape[1]):
        level = np.maximum(level + llr[:, at], 0.0)
        found[:, at] = level
    return found


PEERS: Mapping[str, Callable[[Scene], Scores]] = {
    "fixed ratio, 5 min": lambda scene: fixed(scene, 5),
    "fixed ratio, 30 min": lambda scene: fixed(scene, 30),
    "EWMA": ewma,
    "EARS C2, local": ears_local,
    "EARS C2, time of day": ears_daily,
    "burn rate, 3 windows": burn_rate,
    "Page-Hinkley statistic": page_hinkley,
    "CUSUM x2": cusum,
    "Farrington-like, 10 min": farrington,
}
