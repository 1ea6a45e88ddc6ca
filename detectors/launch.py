"""The first days of a series: born with the habits of its siblings, which it then outgrows.

A new series takes over the level of established siblings, their daily shape and their noise, each
with the weight of little evidence. The level is worth less the more the siblings differ among each
other (random effects after DerSimonian and Laird, "Meta-analysis in clinical trials", 1986).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from detectors.columns import Columns, Floats, Ints

_HALF_EVENT = 0.5
_LEAST_EVENTS = 30.0  # flagged interactions before a series can be an example
_LEAST_EXAMPLES = 2
_HOUR_EVENTS = 200.0  # the weight of siblings' hours, in flagged interactions
_NOISE_WEIGHT = 4.0  # of siblings' noise, in units of the assumption's
ESTABLISHED_S = 86_400
"""Time with traffic after which a series can be an example."""


@dataclass(frozen=True, slots=True)
class Birth:
    """How much of its siblings a new series is given."""

    events: float = 10.0
    """Most flagged interactions that the siblings' level is worth."""
    days: float = 3.0
    """Days that the siblings' daily shape is worth."""
    noise: float = 0.01
    """Relative variance of a quiet rate that is assumed before it is learned."""


def examples(columns: Columns, siblings: Ints, least_buckets: float) -> Ints:
    """Those siblings that know enough of themselves."""
    seen = columns["seen_buckets"][siblings] >= least_buckets
    events = columns["level_k"][siblings] >= _LEAST_EVENTS
    found: Ints = siblings[seen & events & columns["warm"][siblings]]
    return found if len(found) >= _LEAST_EXAMPLES else found[:0]


def pooled(k: Floats, x: Floats) -> tuple[float, float]:
    """Typical rate of several series, and the relative variance from one to another.

    Args:
        k: flagged interactions of each, above 0.
        x: interactions of each.

    >>> rate, spread = pooled(np.array([100.0, 100.0]), np.array([1000.0, 1000.0]))
    >>> round(rate, 3), spread
    (0.1, 0.0)
    """
    log_rate, own = np.log(k / x), 1.0 / k
    weight = 1.0 / own
    mean = (weight * log_rate).sum() / weight.sum()
    spread = (weight * (log_rate - mean) ** 2).sum() - (len(k) - 1)
    scale = weight.sum() - (weight**2).sum() / weight.sum()
    between = max(0.0, float(spread / scale)) if scale > 0 else 0.0
    weight = 1.0 / (own + between)
    return float(np.exp((weight * log_rate).sum() / weight.sum())), between


def bear(columns: Columns, row: int, like: Ints, birth: Birth) -> None:
    """Give the new series `row` the habits of the series `like`; nothing where there are none."""
    if not len(like):
        return
    c = columns
    rate, between = pooled(c["level_k"][like] + _HALF_EVENT, c["level_x"][like])
    events = min(birth.events, 1.0 / between) if between > 0 else birth.events
    c["level_k"][row], c["level_x"][row] = events, (events + _HALF_EVENT) / rate
    for name in ("hour", "week"):
        k, e = c[f"{name}_k"][:, like].sum(axis=-1), c[f"{name}_e"][:, like].sum(axis=-1)
        share = np.minimum(1.0, _HOUR_EVENTS / np.maximum(e, _HALF_EVENT))
        c[f"{name}_k"][:, row], c[f"{name}_e"][:, row] = k * share, e * share
        days = c[f"{name}_days"][:, like].mean(axis=-1)
        c[f"{name}_days"][:, row] = np.minimum(days, birth.days)
    for name in ("short", "long"):
        info = c[f"{name}_i"][like].sum()
        if info > 0:
            weight = min(info, _NOISE_WEIGHT / birth.noise**2)
            c[f"{name}_s"][row] = weight * c[f"{name}_s"][like].sum() / info
            c[f"{name}_i"][row] = weight
    c["warm"][row] = True
