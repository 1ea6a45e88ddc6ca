"""The shape of a day: a factor for each hour, learned as one smooth curve that closes at midnight.

What an hour teaches says something about its neighbours too, the less the further they are: a
Gaussian process over the circle of the day (Rasmussen and Williams, "Gaussian Processes for Machine
Learning", 2006, 2.2 and the periodic kernel of 4.2.3). Its posterior gives each hour's factor, and
how far that is from known.
"""

from __future__ import annotations

import numpy as np

from detectors.columns import Column, Columns, Floats, Ints

HOURS = 24
VARIANCE = 0.09
"""A typical hour is within +-30 % of the day's level."""
_REACH = 0.8  # of what an hour says: 0.9 of it holds an hour further, 0.2 six hours further
_ROUGH = 0.03  # share of the variance that is an hour's own
_LEAST = 0.05  # no hour is expected to have less than this of the day's level
_ROWS = 512  # solved at once
_NOTHING = 1e-9

_AT = np.arange(HOURS)
_TURN = np.sin(np.pi * (_AT[:, None] - _AT) / HOURS) ** 2
_COVARIANCE = VARIANCE * (
    (1.0 - _ROUGH) * np.exp(-2.0 * _TURN / _REACH**2) + _ROUGH * np.eye(HOURS)
)

SPEC = {
    "hour_factor": Column(lead=(HOURS,), fill=1),
    "hour_error": Column(lead=(HOURS,), fill=VARIANCE),
}


def smooth(ratio: Floats, noise: Floats) -> tuple[Floats, Floats]:
    """What is expected of each hour.

    Args:
        ratio: observed / expected of each hour, shape (24, series).
        noise: variance of its error; very large where nothing is known.

    Returns:
        The factors, and the variances of their errors, of the same shape.

    >>> noise = np.full((24, 1), 1e-3)
    >>> noise[12] = 1e9
    >>> factor, error = smooth(1.0 + 0.3 * np.cos(np.pi * np.arange(24.0)[:, None] / 12), noise)
    >>> round(float(factor[12, 0]), 2)
    0.7
    >>> bool(error[12, 0] > error[11, 0])
    True
    """
    # In units of the noise, so that an hour of which nothing is known is a row of its own.
    sure = (1.0 / np.sqrt(noise)).T
    system = np.eye(HOURS) + sure[:, :, None] * _COVARIANCE * sure[:, None, :]
    right = sure[:, :, None] * _COVARIANCE
    half = np.linalg.solve(system, right)
    off = (ratio - 1.0).T * sure
    factor = 1.0 + np.einsum("sij,si->js", half, off)
    error = VARIANCE - np.einsum("sij,sij->js", half, right)
    return np.maximum(factor, _LEAST), np.maximum(error, 0.0)


def noise_of(e: Floats, days: Floats, noise: Floats) -> Floats:
    """Variance of the error of an observed factor: of the count, and of what moves day by day."""
    own: Floats = 1.0 / np.maximum(e, _NOTHING) + noise / np.maximum(days, _NOTHING)
    return own


class Hours:
    """Reads and writes the columns of `SPEC` for all series at once.

    Args:
        columns: with `hour_k`, `hour_e` and `hour_days`: observed, expected at the level, and days
            of evidence of each hour.
        least_days: of evidence that an hour needs before it says anything.
    """

    def __init__(self, columns: Columns, least_days: float) -> None:
        self._c = columns
        self._least = least_days

    def draw(self, rows: Ints, noise: Floats) -> None:
        """Draw the curves of these rows anew.

        Args:
            rows: of the columns.
            noise: relative variance of each row's rate from one day's hour to the next day's.
        """
        c = self._c
        for at in range(0, len(rows), _ROWS):
            some = rows[at : at + _ROWS]
            k, e, days = (c[f"hour_{name}"][:, some] for name in ("k", "e", "days"))
            own = noise_of(e, days, noise[some])
            factor, error = smooth(np.divide(k, e, out=np.ones_like(k), where=e > 0), own)
            c["hour_factor"][:, some] = np.where((days >= self._least) & (e > 0), factor, 1.0)
            c["hour_error"][:, some] = error

    def factor(self, hour: int) -> Floats:
        """Of one hour, per series; 1 where nothing is known."""
        factor: Floats = self._c["hour_factor"][hour]
        return factor

    def error(self, hour: int) -> Floats:
        """Variance of its error, per series."""
        error: Floats = self._c["hour_error"][hour]
        return error

    def mean(self, rows: Ints) -> Floats:
        """Mean factor of all hours of these rows, weighed by their traffic."""
        e = self._c["hour_e"][:, rows]
        whole = e.sum(axis=0)
        hours = (e * self._c["hour_factor"][:, rows]).sum(axis=0)
        mean: Floats = np.divide(hours, whole, out=np.ones_like(whole), where=whole > 0)
        return mean
