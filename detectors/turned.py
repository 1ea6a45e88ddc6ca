"""Rates above a half are tested by what is not flagged.

A test of counts asks for ratios, and from 75 % to 95 % is none that it could tell from noise; of
the rest only a fifth is left. What is learned and what is said stay in the terms of what was
counted.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from detectors.baseline import Baseline
from detectors.columns import Bools, Column, Columns, Floats
from detectors.shift import Bucket, ShiftTest

_TURNED_FROM, _TURNED_TO = 0.55, 0.45  # of the rate, for testing what was not flagged instead
_LEAST_REST = 0.25  # of what is usually not flagged, where an hour's habits leave less to expect
_MOST_NOISE = 1.0  # relative variance of the rest

SPEC = {"turned": Column(dtype="?")}


class Turned:
    """Reads and writes the column of `SPEC` for all series at once."""

    def __init__(self, columns: Columns, baseline: Baseline, shift: ShiftTest) -> None:
        self._c, self._baseline, self._shift = columns, baseline, shift

    def decide(self) -> None:
        """Look which series are flagged more often than not; one that fires stays as it is."""
        c, rate = self._c, self._baseline.rate()
        turned = rate > np.where(c["turned"], _TURNED_TO, _TURNED_FROM)
        changed = (turned != c["turned"]) & ~c["firing"]
        if changed.any():
            self._shift.reset(changed)
            c["turned"][changed] = turned[changed]

    def sides(self) -> tuple[Bools, Bools]:
        """Which series are tested for a rise, and which for a fall, of what is tested."""
        c, turned = self._c, self._c["turned"]
        up, down = c["watch_up"], c["watch_down"]
        return np.where(turned, down, up), np.where(turned, up, down)

    def tested(self, now: Bucket) -> Bucket:
        """The bucket in what is tested: as counted, or what was not flagged."""
        turned = self._c["turned"]
        if not turned.any():
            return now
        least = _LEAST_REST * now.n * (1.0 - self._baseline.rate())
        rest = np.maximum(np.maximum(now.n - now.e, least), 1e-9)
        # The same deviations, relative to another mean.
        scale = np.where(turned, now.e / rest, 1.0)
        return replace(
            now,
            k=np.where(turned, now.n - now.k, now.k),
            e=np.where(turned, rest, now.e),
            doubt=now.doubt * scale,
            unseasoned=now.unseasoned * scale,
            v_short=np.where(turned, np.minimum(now.v_short * scale**2, _MOST_NOISE), now.v_short),
            v_long=np.where(turned, np.minimum(now.v_long * scale**2, _MOST_NOISE), now.v_long),
        )

    def per_minute(self) -> Floats:
        """Expected count a minute of what is tested."""
        rate = self._baseline.rate()
        rest = np.divide(1.0 - rate, rate, out=np.ones_like(rate), where=rate > 0)
        each: Floats = self._baseline.per_minute() * np.where(self._c["turned"], rest, 1.0)
        return each
