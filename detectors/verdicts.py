"""The verdicts of one step of a bank: arrays first, sentences only for those that are read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import overload

import numpy as np

from detectors.calibration import rarity
from detectors.columns import Bools, Floats, Ints
from detectors.model import Direction, State, Verdict

_FAR = 1_000.0  # a ratio beyond this is said in words


def span(seconds: int) -> str:
    """`seconds` as people say it.

    >>> [span(40), span(300), span(5400), span(259200)]
    ['40 s', '5 min', '90 min', '72 h']
    """
    if seconds < 60:
        return f"{seconds} s"
    if seconds < 2 * 3_600:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3_600:.0f} h"


def percent(rate: float) -> str:
    """A rate with the digits that matter.

    >>> [percent(0.41), percent(0.00123), percent(0.0000042), percent(0.0)]
    ['41.0 %', '0.12 %', '0.00042 %', '0 %']
    """
    share = 100.0 * rate
    if share == 0:
        return "0 %"
    if share >= 1:
        return f"{share:.1f} %"
    digits = min(8, 1 - int(np.floor(np.log10(share))))
    return f"{share:.{digits}f} %"


def times(observed: float, baseline: float) -> str:
    """How the two compare, in words.

    >>> [times(0.41, 0.1), times(0.0, 0.1), times(0.5, 1e-7)]
    ['4.1x', 'none left', 'over 1000x']
    """
    if observed <= 0:
        return "none left"
    ratio = observed / baseline if baseline > 0 else np.inf
    if ratio > _FAR:
        return "over 1000x"
    return f"{ratio:.1f}x" if ratio >= 0.1 else f"{ratio:.2g}x"


@dataclass(frozen=True, slots=True)
class Verdicts(Sequence[Verdict]):
    """One row per id, in the order they were given. Arrays have shape (ids,)."""

    ids: Sequence[str]
    start_s: int
    bucket_s: int
    warming: Bools
    firing: Bools
    rising: Bools
    score: Floats
    threshold: Floats
    k: Floats
    n: Floats
    expected: Floats
    onset: Ints
    """Unix seconds; of this bucket's start where nothing fires."""
    until: Ints
    """Unix seconds; start of the last bucket that the counts cover."""
    progress: Floats
    """Share of the warm-up that is done, 0 to 1."""
    fraction: Floats
    """Expected k / n of this bucket alone."""
    calibrated: bool = False
    """Whether the score says how rare it is; else it is in nats."""
    idle: Floats | None = None
    """Buckets without traffic up to this one and with it; None where only traffic is spoken of."""

    def __len__(self) -> int:
        return len(self.ids)

    @overload
    def __getitem__(self, index: int) -> Verdict: ...
    @overload
    def __getitem__(self, index: slice) -> list[Verdict]: ...
    def __getitem__(self, index: int | slice) -> Verdict | list[Verdict]:
        if isinstance(index, slice):
            return [self._build(i) for i in range(*index.indices(len(self)))]
        return self._build(range(len(self))[index])

    def __iter__(self) -> Iterator[Verdict]:
        return (self._build(i) for i in range(len(self)))

    def firing_rows(self) -> Ints:
        """Positions of the series that fire; read only these and the rest costs nothing."""
        return np.flatnonzero(self.firing)

    def _build(self, i: int) -> Verdict:
        firing = bool(self.firing[i])
        k, n, e = float(self.k[i]), float(self.n[i]), float(self.expected[i])
        fraction = float(self.fraction[i])
        baseline = e / n if n > 0 else fraction
        direction: Direction = "up" if self.rising[i] else "down"
        state = State.QUIET
        if firing:
            state = State.FIRING
        elif self.warming[i]:
            state = State.WARMING
        onset = int(self.onset[i])
        return Verdict(
            state=state,
            score=float(self.score[i]),
            threshold=float(self.threshold[i]),
            direction=direction,
            observed=k / n if n > 0 else 0.0,
            baseline=baseline,
            k=int(k),
            n=int(n),
            expected=e,
            excess=k - e,
            window_buckets=(int(self.until[i]) - onset) // self.bucket_s + 1,
            onset=onset if firing else None,
            reason=self._reason(i, state, baseline),
            silent_since=self._silent_since(i),
        )

    def _silent_since(self, i: int) -> int | None:
        idle = 0 if self.idle is None else int(self.idle[i])
        return self.start_s - (idle - 1) * self.bucket_s if idle else None

    def _reason(self, i: int, state: State, baseline: float) -> str:
        k, n, e = float(self.k[i]), float(self.n[i]), float(self.expected[i])
        score, threshold = float(self.score[i]), float(self.threshold[i])
        if state is State.WARMING:
            return f"still learning what is normal: {100 * self.progress[i]:.0f} % of the evidence"
        if n <= 0:
            return "no traffic in this bucket"
        observed = k / n
        own = 100 * float(self.progress[i])
        young = f"; warming, {own:.0f} % of the evidence is its own" if own < 100 else ""
        if state is State.QUIET:
            near = f"score {score:.1f} of {threshold:.1f}"
            return f"rate {percent(observed)}, baseline {percent(baseline)}; {near}{young}"
        length = span(int(self.until[i] - self.onset[i]) + self.bucket_s)
        sure = f"score {score:.1f} over {threshold:.1f}"
        if self.calibrated:
            sure = f"a quiet series gets there {rarity(score)} ({sure})"
        off = f"{k - e:.0f} more" if k >= e else f"{e - k:.0f} fewer"
        since = self._silent_since(i)
        if since is not None:
            sure = f"no traffic since {datetime.fromtimestamp(since, UTC):%H:%M} UTC; {sure}"
        return (
            f"rate {percent(observed)} against a baseline of {percent(baseline)} "
            f"({times(observed, baseline)}), {k:.0f} of {n:.0f} over {length}, "
            f"{off} than expected; {sure}{young}"
        )
