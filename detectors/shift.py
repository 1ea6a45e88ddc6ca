"""Has a rate moved against its baseline? Shiryaev-Roberts over a grid of ratios, vectorised.

Beside each statistic runs a CUSUM of the same evidence. Where the CUSUM last stood at zero is the
estimate of when the move began, and the counts since then are what is said about it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from detectors.columns import Bools, Column, Columns, Floats, Ints
from detectors.model import RateConfig
from detectors.sequential import nb_llr, sr_step, temper

_DECIDED = 8.0  # nats after which a move counts as decided
_BUCKET_SHARE = 0.5  # one bucket gives at most half the threshold: no blip pages alone
_ROOM = 2.0  # statistics stop at this many thresholds, to come down soon after an incident
_BACK_RATIO = 3.0  # "still moved" means by at most this much, whatever the rate has done
_BACK_EVIDENCE = 3.0  # nats for "at the baseline" before a bucket of a firing series is quiet
_BACK_ROOM = 6.0
_APART = 0.93  # what is as likely back as not, over what is as likely moved as not; at most
_FALL_FLOOR = 2.0  # every rare signal is at zero now and then: a fall is held to twice the floor


def spec(config: RateConfig) -> dict[str, Column]:
    """The columns of the test: a row for each rise looked for, then one for each fall."""
    moves = (2 * len(config.ratios),)
    return {
        "sr": Column(lead=moves, fill=-np.inf),
        "run": Column(lead=moves),
        "run_k": Column(lead=moves),
        "run_n": Column(lead=moves),
        "run_e": Column(lead=moves),
        "run_from": Column(lead=moves, dtype="i8"),
        "back": Column(),
    }


@dataclass(frozen=True, slots=True)
class Bucket:
    """One bucket of all series, with what was expected of it. Arrays have shape (series,)."""

    start_s: int
    k: Floats
    n: Floats
    e: Floats
    """Expected k."""
    doubt: Floats
    """Relative error of `e`."""
    unseasoned: Floats
    """The part of it that is the time of day's."""
    v_short: Floats
    v_long: Floats
    live: Bools
    """Warm, and with traffic: the only series that are tested."""


class ShiftTest:
    """Reads and writes the columns of `spec` for all series at once."""

    def __init__(self, config: RateConfig, columns: Columns, bucket_s: int) -> None:
        self._slack = 1.0 + config.slack
        self._rises = len(config.ratios)
        least = max(min(config.ratios), self._slack * 1.01)
        self._even = (least - self._slack) / np.log(least / self._slack)
        """Times the expectation, at which a count speaks neither for a move nor against it."""
        self._ratio = np.array([*config.ratios, *(1.0 / one for one in config.ratios)])[:, None]
        self._is_up = self._ratio > 1.0
        self._c = columns
        self._minutes = bucket_s / 60
        self._delay = max(1, round(config.delay_s / bucket_s))

    def update(self, bucket: Bucket, threshold: Floats, *, falls: bool) -> None:
        """Take in one bucket. `falls`: whether any series is watched for falls."""
        used = slice(None) if falls else slice(0, self._rises)
        ratio, up = self._ratio[used], self._is_up[used]
        live = bucket.live
        e = np.where(live, np.maximum(bucket.e, 1e-300), 1.0)
        doubted = np.where(up, e * (1.0 + bucket.doubt), e / (1.0 + bucket.doubt))
        null = np.where(up, doubted * self._slack, doubted / self._slack)
        moved = doubted * ratio
        length = self._length(e, null, moved, bucket)
        weight = temper(e, bucket.v_short, bucket.v_long, length)
        llr = nb_llr(bucket.k, null, moved, bucket.v_short) * weight
        llr = np.clip(llr, -threshold, _BUCKET_SHARE * threshold)
        sr = self._c["sr"][used]
        sr[:] = sr_step(sr, llr, _ROOM * threshold, live, weight * self._minutes)
        self._update_runs(used, bucket, llr, _ROOM * threshold)

    def _length(self, e: Floats, null: Floats, moved: Floats, bucket: Bucket) -> Floats:
        """In how many buckets a move is decided, at most a learning delay.

        Over so many buckets the noise that goes together counts: a strong move is decided before a
        slow wave of the rate could have made it.
        """
        each = nb_llr(moved, null, moved, bucket.v_short) * (1.0 + bucket.v_short * e)
        left = each - _DECIDED * bucket.v_long * e
        length: Floats = np.divide(
            _DECIDED, left, out=np.full_like(left, self._delay), where=left > 0
        )
        return np.clip(length, 1.0, self._delay)

    def _update_runs(self, used: slice, bucket: Bucket, llr: Floats, cap: Floats) -> None:
        c, live = self._c, bucket.live
        run = c["run"][used]
        fresh = (run <= 0.0) & live
        for name, more in (("run_k", bucket.k), ("run_n", bucket.n), ("run_e", bucket.e)):
            column = c[name][used]
            column[:] = np.where(fresh, 0.0, column) + np.where(live, more, 0.0)
        start = c["run_from"][used]
        start[fresh] = bucket.start_s
        run[:] = np.where(live, np.minimum(np.maximum(run, 0.0) + llr, cap), run)

    def score(self, up: Bools, down: Bools) -> tuple[Floats, Bools]:
        """The largest statistic of the watched sides, at least 0, and whether it is a rise."""
        sr = self._c["sr"]
        rise = np.where(up, sr[: self._rises].max(axis=0), -np.inf)
        fall = np.where(down, sr[self._rises :].max(axis=0), -np.inf)
        return np.maximum(np.maximum(rise, fall), 0.0), rise >= fall

    def candidates(
        self, threshold: Floats, min_ratio: Floats, min_excess: Floats, min_n: Floats
    ) -> Bools:
        """Shape (moves, series): which statistics are over everything that is asked."""
        c = self._c
        k, e = c["run_k"], c["run_e"]
        over: Bools = c["sr"] >= threshold
        if not over.any():
            return over
        far = np.where(self._is_up, k >= min_ratio * e, k * min_ratio <= e)
        big = np.where(self._is_up, k - e, (e - k) / _FALL_FLOOR) >= min_excess
        passed: Bools = over & far & big & (c["run_n"] >= min_n)
        return passed

    def lead(self, candidates: Bools, rows: Ints) -> tuple[Ints, Bools]:
        """For these rows, the strongest candidate's index, and whether it is a rise."""
        sr = np.where(candidates[:, rows], self._c["sr"][:, rows], -np.inf)
        index = sr.argmax(axis=0)
        return index, self._is_up[index, 0]

    def update_back(self, bucket: Bucket, rise: Bools, min_ratio: Floats, firing: Bools) -> None:
        """For firing series: evidence that the rate is at its baseline again."""
        back = self._c["back"]
        live = bucket.live & firing
        if not live.any():
            back[:] = np.where(firing, back, 0.0)
            return
        # Half-way (in logarithms) to how far it had moved: a strong move is over sooner for sure.
        k, e = np.maximum(self._c["fire_k"], 0.5), np.maximum(self._c["fire_e"], 0.5)
        moved_by = np.sqrt(np.where(rise, k / e, e / k))
        ratio = np.clip(np.maximum(min_ratio, moved_by), 1.3, _BACK_RATIO)
        e = np.where(live, np.maximum(bucket.e, 1e-300), 1.0)
        # The same null as when it began to fire, for a baseline known from little may be too low;
        # but nearer home where a rate could be both back and moved, and would ring again and again.
        slack = np.clip(_APART * self._even * np.log(ratio) / (ratio - 1.0), 1.0, self._slack)
        null = slack * (1.0 + bucket.doubt)
        home = np.where(rise, e * null, e / null)
        moved = np.where(rise, home * ratio, home / ratio)
        weight = temper(e, bucket.v_short, bucket.v_long, self._delay)
        llr = nb_llr(bucket.k, moved, home, bucket.v_short) * weight
        back[:] = np.where(live, np.clip(back + llr, 0.0, _BACK_ROOM), np.where(firing, back, 0.0))

    def is_back(self) -> Bools:
        """Which series have shown enough evidence of being at their baseline again."""
        enough: Bools = self._c["back"] >= _BACK_EVIDENCE
        return enough

    def reset(self, which: Bools) -> None:
        """Forget all evidence of these series."""
        if which.any():
            self._c["sr"][:, which] = -np.inf
            self._c["run"][:, which] = 0.0
            self._c["back"][which] = 0.0
