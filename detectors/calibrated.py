"""How rare which evidence is.

Made on 2026-11-23 by
`python -m tests.bench.calibrate_rate --seeds 21 22 --reps 2 --write`
(see there): do not edit.
"""

from __future__ import annotations

CURVE: tuple[tuple[float, float, float], ...] = (
    (0.115, -2.9, 1.0),
    (0.253, -2.11, 1.0),
    (0.484, -0.39, 0.89),
    (3.437, -3.34, 1.0),
    (14.481, -3.6, 0.82),
    (1089.553, -0.78, 0.5),
)
"""Expected k a minute, nats at score 0, nats for one more of score."""
