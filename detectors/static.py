"""Is the rate beyond a limit that a person has set? No baseline, no learning.

For what has a limit by contract or by law, and for what is not normal however usual it is: checks
that have never run fire no detector that learns.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from river import base

from detectors.columns import pack, unpack
from detectors.model import State, Verdict
from detectors.verdicts import percent, span
from detectors.window import CLEAR_S, Hold, Window, bucket

_KIND = ("tocsin-static", 2)
_MOST = 1_000.0


class StaticDetector(base.AnomalyDetector):
    """Fires while k / n over a window is beyond a fixed limit, with enough traffic to tell.

    A bucket is `{"t": start in unix seconds, "k": flagged, "n": all}`. The score is the rate over
    the limit (for `down`, the limit over the rate), its threshold 1. Below `min_n` interactions in
    the window nothing is said: the verdict is warming, not quiet.

    >>> detector = StaticDetector(rate=0.2, min_n=50, hold_s=120)
    >>> for minute in range(30):
    ...     detector.learn_one({"t": 60 * minute, "k": 1 if minute < 20 else 8, "n": 20})
    >>> detector.verdict.reason
    'rate 40.0 % (40 of 100 over 5 min), limit 20.0 %, for 8 min'
    """

    PARAMETERS: ClassVar[dict[str, str]] = {
        "rate": "the limit: a share of n, above 0 and at most 1",
        "direction": "up: fires at the limit and above; down: at the limit and below",
        "min_n": "least interactions in the window",
        "window_s": "length of the window, seconds",
        "hold_s": "for how long the rate must be beyond the limit, seconds",
        "clear_s": "for how long the rate must be within the limit to end the firing, seconds",
        "bucket_s": "length of a bucket, seconds",
    }

    def __init__(
        self,
        rate: float = 0.5,
        direction: Literal["up", "down"] = "up",
        min_n: float = 50.0,
        window_s: int = 300,
        hold_s: int = 0,
        clear_s: int = CLEAR_S,
        bucket_s: int = 60,
    ) -> None:
        if not 0 < rate <= 1:
            raise ValueError(f"a rate above 0 and at most 1 can be a limit, not {rate:g}")
        if direction not in ("up", "down"):
            raise ValueError(f"direction must be up or down, not {direction!r}")
        if direction == "down" and rate == 1:
            raise ValueError("a limit of 1 downwards would always fire")
        if min_n < 1 or min(window_s, clear_s, bucket_s) < 1 or hold_s < 0:
            raise ValueError("min_n, window_s, clear_s and bucket_s are at least 1")
        self.rate = rate
        self.direction: Literal["up", "down"] = direction
        self.min_n = min_n
        self.window_s = window_s
        self.hold_s = hold_s
        self.clear_s = clear_s
        self.bucket_s = bucket_s
        self._window = Window(window_s, bucket_s=bucket_s)
        self._hold = Hold()
        self._last: int | None = None
        self._verdict: Verdict | None = None

    @property
    def verdict(self) -> Verdict | None:
        """What was said of the last bucket learned; None before the first."""
        return self._verdict

    @property
    def idle(self) -> bool:
        """Neither firing nor about to."""
        return self._hold.since is None

    def learn_one(self, x: Mapping[Any, float]) -> None:
        """Take in one bucket.

        Raises:
            ValueError: `x` lacks t, k or n, or breaks `0 <= k <= n` or the order of time.
        """
        start, k, n = bucket(x, self._last)
        self._window.add(start, k, n)
        k, n = self._window.ahead(start)
        score, end = self._score(k, n), start + self.bucket_s
        holds = score >= 1
        self._hold.learn(start, end, holds, hold_s=self.hold_s, clear_s=self.clear_s)
        self._last = start
        self._verdict = self._say(score, k, n, end)

    def score_one(self, x: Mapping[Any, float]) -> float:
        """The score that learning `x` next would give.

        Raises:
            ValueError: as `learn_one`.
        """
        start, k, n = bucket(x, self._last)
        old_k, old_n = self._window.ahead(start)
        return self._score(old_k + k, old_n + n)

    def _score(self, k: float, n: float) -> float:
        if n < self.min_n:
            return 0.0
        observed = k / n
        ratio = observed / self.rate if self.direction == "up" else self.rate / max(observed, 1e-9)
        return min(ratio, _MOST)

    def _say(self, score: float, k: float, n: float, end: int) -> Verdict:
        since = self._hold.since
        expected = self.rate * n
        return Verdict(
            state=self._state(n),
            score=score,
            threshold=1.0,
            direction=self.direction,
            observed=k / n if n > 0 else 0.0,
            baseline=self.rate,
            k=int(k),
            n=int(n),
            expected=expected,
            excess=int(k) - expected,
            window_buckets=-(-self.window_s // self.bucket_s),
            onset=since if self._hold.firing else None,
            reason=self._reason(k, n, end),
        )

    def _state(self, n: float) -> State:
        if self._hold.firing:
            return State.FIRING
        return State.QUIET if n >= self.min_n else State.WARMING

    def _reason(self, k: float, n: float, end: int) -> str:
        window = span(self.window_s)
        if n < self.min_n:
            return f"too little traffic to tell: {n:.0f} of {self.min_n:.0f} over {window}"
        text = f"rate {percent(k / n)} ({k:.0f} of {n:.0f} over {window}), limit "
        text += percent(self.rate)
        if self._hold.since is None:
            return text
        lasted = span(end - self._hold.since)
        return f"{text}, for {lasted}" if self._hold.firing else f"{text}, for {lasted} so far"

    def snapshot(self) -> bytes:
        """Everything learned, as plain data."""
        header = {
            "bins": self._window.dump(),
            "hold": self._hold.dump(),
            "last": self._last,
        }
        return pack(_KIND, header, {})

    def restore(self, data: bytes) -> None:
        """Go on from a snapshot; the verdict comes with the next bucket.

        Raises:
            ValueError: `data` is no snapshot of this kind and version.
        """
        header, _ = unpack(_KIND, data)
        window = Window(self.window_s, bucket_s=self.bucket_s)
        window.load(header["bins"])
        self._hold, self._window = Hold.load(header["hold"]), window
        self._last, self._verdict = header["last"], None
