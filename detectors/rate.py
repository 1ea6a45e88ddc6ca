"""Has a yes/no rate moved? A bank tests k of n for many series at once, bucket by bucket.

The bank keeps time: it hands each bucket to the test at once, and to the baseline one learning
delay later; what was under suspicion by then waits in an account. It decides who fires and who is
done. What is normal is `baseline.py`; the evidence is `shift.py`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Self

import numpy as np
from numpy.typing import ArrayLike

from detectors import alarms, baseline, launch, shift, turned
from detectors.baseline import Baseline, Lesson
from detectors.calibration import Scale
from detectors.columns import Bools, Column, Columns, Floats, Ints, pack, unpack
from detectors.model import Alarm, RateConfig, config_of
from detectors.shift import Bucket, ShiftTest
from detectors.turned import Turned
from detectors.verdicts import Verdicts

_KIND = ("tocsin-rate-bank", 6)
_LEAST_NATS = 1.0  # no threshold is below this, whatever the scale
_BOTH_SIDES = np.log(2.0)  # of score: who watches both sides has twice the chances of a false page
_IDLE_S = 86_400  # evidence from before so long a silence is nobody's evidence any more

_STATE_COLUMNS = {
    "firing": Column(dtype="?"),
    "rising": Column(dtype="?", fill=1),
    "streak": Column(),
    "clear_streak": Column(),
    "fire_k": Column(),
    "fire_n": Column(),
    "fire_e": Column(),
    "onset": Column(dtype="i8"),
    "until": Column(dtype="i8"),
    "suspect": Column(),
    "idle": Column(),
    "zero_nats": Column(),
    "unit_nats": Column(fill=1),
}


def _spec(config: RateConfig, delay: int) -> dict[str, Column]:
    ring = {name: Column(lead=(delay,)) for name in ("ring_k", "ring_n", "ring_x")}
    known = {**alarms.SPEC, **_STATE_COLUMNS, **baseline.SPEC, **turned.SPEC}
    return {**known, **shift.spec(config), **ring}


class RateBank:
    """A sequential detector of k of n for many series.

    Args:
        config: how rates are learned and tested; its alarm is for series that bring none.
        bucket_s: length of a bucket in seconds; `config.delay_s` is rounded to whole buckets.

    >>> bank = RateBank(RateConfig(warm_expected=5.0), bucket_s=60)
    >>> for minute in range(300):
    ...     verdicts = bank.step(60 * minute, 60, ["chat"], [2], [20])
    >>> verdicts[0].state.value
    'quiet'
    >>> for minute in range(300, 303):
    ...     verdicts = bank.step(60 * minute, 60, ["chat"], [14], [20])
    >>> verdicts[0].reason[:48]
    'rate 70.0 % against a baseline of 10.0 % (7.0x),'
    """

    def __init__(self, config: RateConfig, *, bucket_s: int = 60) -> None:
        if bucket_s < 1:
            raise ValueError(f"bucket_s must be at least 1, not {bucket_s}")
        self._config = config
        self._bucket_s = bucket_s
        self._delay = max(1, round(config.delay_s / bucket_s))
        self._c = Columns(_spec(config, self._delay))
        self._baseline = Baseline(config, self._c, bucket_s)
        self._shift = ShiftTest(config, self._c, bucket_s)
        self._turned = Turned(self._c, self._baseline, self._shift)
        self._scale = Scale(config.curve)
        self._row: dict[str, int] = {}
        self._bucket: int | None = None
        self._last_ids: tuple[str, ...] = ()
        self._last_rows: Ints = np.zeros(0, np.int64)
        self._latest: Bucket | None = None

    @property
    def config(self) -> RateConfig:
        """As given."""
        return self._config

    @property
    def bucket_s(self) -> int:
        """As given."""
        return self._bucket_s

    @property
    def ids(self) -> list[str]:
        """Every series known, in order of arrival."""
        return list(self._row)

    @property
    def latest(self) -> Bucket | None:
        """What was expected of the newest bucket, in the order of `ids`; None before the first."""
        return self._latest

    @property
    def last_start_s(self) -> int | None:
        """Start of the newest bucket taken in, unix seconds; None before the first."""
        return None if self._bucket is None else self._bucket * self._bucket_s

    def add(
        self,
        series: str,
        *,
        alarm: Alarm | None = None,
        prior: tuple[float, float] | None = None,
    ) -> None:
        """Create a series, or change the alarm of one that exists.

        Args:
            series: its id.
            alarm: instead of the bank's.
            prior: (k, n) taken from a parent, as if seen; the series is then warm from the start.
                It only counts for a new series. Ten events' worth is a good size.

        Raises:
            ValueError: the prior is not `0 <= k <= n` with n above 0.
        """
        if prior is not None and not (0 <= prior[0] <= prior[1] and prior[1] > 0):
            raise ValueError(f"a prior needs 0 <= k <= n and n > 0, not {prior}")
        new = series not in self._row
        if new:
            self._row[series] = len(self._c)
            self._c.append(1)
        row = self._row[series]
        if new or alarm is not None:
            self._set_alarm(row, alarm or self._config.alarm)
        if new and prior is not None:
            for level in ("level", "slow"):
                self._c[f"{level}_k"][row], self._c[f"{level}_x"][row] = prior
            self._c["warm"][row] = True

    def bear(self, series: str, like: Iterable[str], *, alarm: Alarm | None = None) -> None:
        """As `add`, but a new series begins with the habits of its siblings (`launch.py`).

        Args:
            series: its id.
            like: its siblings; those that know little of themselves, or nothing, teach nothing.
            alarm: instead of the bank's.
        """
        new = series not in self._row
        self.add(series, alarm=alarm)
        if not new:
            return
        rows = np.array([self._row[one] for one in like if one in self._row], np.int64)
        established = launch.examples(self._c, rows, launch.ESTABLISHED_S / self._bucket_s)
        birth = launch.Birth(days=self._config.season_days, noise=self._config.noise)
        launch.bear(self._c, self._row[series], established, birth)
        self._baseline.draw_day(np.array([self._row[series]]))

    def _set_alarm(self, row: int, alarm: Alarm) -> None:
        for name, value in alarms.values(alarm).items():
            self._c[name][row] = value

    def drop(self, series: Iterable[str]) -> None:
        """Forget these series; unknown ones are no error."""
        gone = set(series)
        kept = [name for name in self._row if name not in gone]
        self._c.keep(np.array([self._row[name] for name in kept], np.int64))
        self._row = {name: row for row, name in enumerate(kept)}
        self._last_ids, self._last_rows = (), np.zeros(0, np.int64)

    def rebase(self, series: str) -> None:
        """Take the last learning delay as the new normal: a person called the shift benign.

        Raises:
            KeyError: no such series.
        """
        row, c = self._row[series], self._c
        one = np.zeros(len(c), np.bool_)
        one[row] = True
        k, x = c["ring_k"][:, row].sum(), c["ring_x"][:, row].sum()
        if x > 0:
            for level in ("level", "slow"):
                c[f"{level}_k"][row], c[f"{level}_x"][row] = k, x
            minutes = (c["ring_n"][:, row] > 0).sum() * (self._bucket_s / 60)
            c["level_minutes"][row] = minutes
        c["ring_k"][:, row] = c["ring_n"][:, row] = c["ring_x"][:, row] = 0.0
        c["suspect"][row], c["guilty"][row] = 0.0, False
        self._baseline.account.clear(np.array([row]))
        self._quiet(one)

    def step(
        self, start_s: int, bucket_s: int, ids: Sequence[str], k: ArrayLike, n: ArrayLike
    ) -> Verdicts:
        """Take in one complete bucket of any number of series and judge each.

        Args:
            start_s: start of the bucket, unix seconds: a multiple of `bucket_s`, after the last.
            bucket_s: the bank's.
            ids: series with data in this bucket, each once; new ones are created. n = 0 says "seen,
                no traffic". A known series that is missing has no data: it is not judged.
            k: flagged interactions, shape (ids,).
            n: all interactions, shape (ids,), `0 <= k <= n`.

        Raises:
            ValueError: any of the above does not hold; the bank is then unchanged.
        """
        if bucket_s != self._bucket_s:
            raise ValueError(f"this bank counts buckets of {self._bucket_s} s, not {bucket_s}")
        start_s = int(start_s)
        bucket, off = divmod(start_s, bucket_s)
        if off:
            raise ValueError(f"{start_s} is not the start of a bucket of {bucket_s} s")
        if self._bucket is not None and bucket <= self._bucket:
            raise ValueError(f"bucket {start_s} is not after {self.last_start_s}")
        counts_k, counts_n = _counts(len(ids), k, n)
        rows = self._rows_of(ids)
        self._advance_to(bucket)
        full_k, full_n = np.zeros(len(self._c)), np.zeros(len(self._c))
        full_k[rows], full_n[rows] = counts_k, counts_n
        x = full_n * self._baseline.season(start_s)
        self._latest = now = self._judge(start_s, full_k, full_n, x)
        slot = bucket % self._delay
        for name, values in (("ring_k", full_k), ("ring_n", full_n), ("ring_x", x)):
            self._c[name][slot] = values
        return self._verdicts(now, ids, rows)

    def _rows_of(self, ids: Sequence[str]) -> Ints:
        names = tuple(ids)
        if names != self._last_ids:
            if len(set(names)) != len(names):
                raise ValueError("a series is named twice in one step")
            for name in names:
                if name not in self._row:
                    self.add(name)
            self._last_rows = np.array([self._row[name] for name in names], np.int64)
            self._last_ids = names
        return self._last_rows

    def _advance_to(self, bucket: int) -> None:
        """Learn what has become old enough, through any buckets that brought nothing."""
        last = bucket - 1 if self._bucket is None else self._bucket
        # After one whole delay of nothing the rings are empty and there is no more to learn.
        emptied = min(bucket, last + self._delay + 2)
        for passing in (*range(last + 1, emptied), bucket):
            self._learn_old(passing)
            if passing < bucket:
                self._mark_idle(np.zeros(len(self._c), np.bool_))
        self._c["idle"][:] += bucket - emptied
        self._bucket = bucket

    def _learn_old(self, bucket: int) -> None:
        c, account = self._c, self._baseline.account
        slot = bucket % self._delay
        start_s = (bucket - self._delay) * self._bucket_s
        k, n, x = c["ring_k"][slot], c["ring_n"][slot], c["ring_x"][slot]
        if slot == 0:
            self._turned.decide()
            c["zero_nats"][:], c["unit_nats"][:] = self._scale.of(self._turned.per_minute())
            calm_x = np.where(c["firing"], 0.0, c["ring_x"].sum(axis=0))
            self._baseline.learn_long(c["ring_k"].sum(axis=0), calm_x)
        suspect = c["suspect"] > 0
        held = suspect & account.excusable(start_s)
        doubtful = suspect & ~account.spent(start_s)
        trimmed = account.trimmed(slot, self._baseline.rate(), doubtful) if doubtful.any() else k
        self._baseline.learn(Lesson(start_s, k, trimmed, n, x, held))
        for name in ("ring_k", "ring_n", "ring_x"):
            c[name][slot] = 0.0
        c["suspect"][:] = np.maximum(c["suspect"] - 1.0, 0.0)
        c["guilty"][:] |= c["firing"] & suspect
        if suspect.any():
            account.settle(suspect & (c["suspect"] <= 0), self._baseline.rate())

    def _judge(self, start_s: int, k: Floats, n: Floats, x: Floats) -> Bucket:
        c, test = self._c, self._shift
        now = Bucket(
            start_s=start_s,
            k=k,
            n=n,
            e=self._baseline.expected(c["watch_up"], c["watch_down"]) * x,
            doubt=self._baseline.doubt(start_s),
            unseasoned=self._baseline.unseasoned(start_s),
            v_short=self._baseline.noise_short(),
            v_long=self._baseline.noise_long(),
            live=(n > 0) & c["warm"],
        )
        self._quiet((n > 0) & (c["idle"] * self._bucket_s >= _IDLE_S))
        nats, tested, sides = self._nats(), self._turned.tested(now), self._turned.sides()
        test.update(tested, nats, falls=bool(sides[1].any()))
        self._end_firing(tested)
        self._begin_firing(tested, nats)
        score, _ = test.score(*sides)
        hot = score >= self._config.suspicion * nats
        seen = (hot | c["firing"]) & (n > 0)
        c["suspect"][:] = np.where(seen, self._delay + 1.0, c["suspect"])
        self._mark_idle(n > 0)
        return now

    def _nats(self) -> Floats:
        """Evidence at the threshold."""
        c = self._c
        nats: Floats = self._zero() + c["threshold"] * c["unit_nats"]
        return np.maximum(_LEAST_NATS, nats)

    def _zero(self) -> Floats:
        """Evidence at score 0."""
        c = self._c
        if not self._config.curve:
            return c["zero_nats"]
        both = c["watch_up"] & c["watch_down"]
        zero: Floats = c["zero_nats"] + np.where(both, _BOTH_SIDES * c["unit_nats"], 0.0)
        return zero

    def _begin_firing(self, now: Bucket, nats: Floats) -> None:
        c, test = self._c, self._shift
        passed = test.candidates(nats, c["min_ratio"], c["min_excess"], c["min_n"])
        half, (up, down) = len(passed) // 2, self._turned.sides()
        passed[:half] &= up
        passed[half:] &= down
        any_passed = passed.any(axis=0)
        c["streak"][:] = np.where(now.live, np.where(any_passed, c["streak"] + 1, 0), c["streak"])
        start = any_passed & ~c["firing"] & (c["streak"] >= c["min_duration"]) & now.live
        rows = np.flatnonzero(start)
        if not len(rows):
            return
        lead, rise = test.lead(passed, rows)
        c["rising"][rows] = rise
        c["onset"][rows] = c["run_from"][lead, rows]
        c["until"][rows] = now.start_s
        for fire, run in (("fire_k", "run_k"), ("fire_n", "run_n"), ("fire_e", "run_e")):
            c[fire][rows] = c[run][lead, rows]
        c["firing"][rows] = True
        c["back"][rows] = c["clear_streak"][rows] = 0.0

    def _end_firing(self, now: Bucket) -> None:
        """Judge the series that were firing before this bucket."""
        c, test = self._c, self._shift
        firing = c["firing"]
        if not firing.any():
            return
        test.update_back(now, c["rising"], c["min_ratio"], firing)
        back = test.is_back()
        more = firing & now.live & ~back
        for fire, value in (("fire_k", now.k), ("fire_n", now.n), ("fire_e", now.e)):
            c[fire][:] += np.where(more, value, 0.0)
        c["until"][more] = now.start_s
        # A wobble only holds the count; a whole loss of the evidence begins it anew.
        held = np.where(c["back"] > 0, c["clear_streak"], 0.0)
        streak = np.where(back, c["clear_streak"] + now.live, held)
        c["clear_streak"][:] = np.where(firing, streak, 0.0)
        self._quiet(firing & (c["clear_streak"] >= c["clear"]))

    def _mark_idle(self, traffic: Bools) -> None:
        """What fires goes on in silence, which is no return to normal, but not for ever."""
        idle = self._c["idle"]
        idle[:] = np.where(traffic, 0.0, idle + 1.0)
        self._quiet(self._c["firing"] & (idle * self._bucket_s >= self._config.stale_s))

    def _quiet(self, which: Bools) -> None:
        if which.any():
            self._shift.reset(which)
            for name in ("firing", "streak", "clear_streak"):
                self._c[name][which] = 0

    def _verdicts(self, now: Bucket, ids: Sequence[str], rows: Ints) -> Verdicts:
        c = self._c
        evidence, rise = self._shift.score(*self._turned.sides())
        score = np.maximum((evidence - self._zero()) / c["unit_nats"], 0.0)
        firing, warm, turned = c["firing"][rows], c["warm"][rows], c["turned"][rows]
        fired = c["fire_n"][rows]
        k, e = (
            np.where(turned, fired - c[fire][rows], c[fire][rows]) for fire in ("fire_k", "fire_e")
        )
        shown = {
            name: np.where(firing, fire, value[rows])
            for name, fire, value in (
                ("k", k, now.k),
                ("n", fired, now.n),
                ("expected", e, now.e),
            )
        }
        need_k = max(self._config.warm_expected, 1e-9)
        progress = np.minimum(
            c["seen_k"][rows] / need_k, c["seen_buckets"][rows] / self._config.warm_buckets
        )
        n = now.n[rows]
        fraction = np.divide(now.e[rows], n, out=self._baseline.rate()[rows], where=n > 0)
        return Verdicts(
            ids=tuple(ids),
            start_s=now.start_s,
            bucket_s=self._bucket_s,
            warming=~warm,
            firing=firing,
            rising=np.where(firing, c["rising"][rows], rise[rows]) ^ turned,
            score=np.where(warm, score[rows], 0.0),
            threshold=c["threshold"][rows],
            **shown,
            onset=np.where(firing, c["onset"][rows], now.start_s),
            until=np.where(firing, c["until"][rows], now.start_s),
            progress=np.clip(progress, 0.0, 1.0),
            fraction=fraction,
            calibrated=bool(self._config.curve),
            idle=c["idle"][rows],
        )

    def snapshot(self) -> bytes:
        """Everything learned, as an npz with a JSON header; the same state, the same bytes."""
        header = {
            "config": asdict(self._config),
            "bucket_s": self._bucket_s,
            "bucket": self._bucket,
            "ids": list(self._row),
        }
        return pack(_KIND, header, self._c.dump())

    @classmethod
    def restore(cls, data: bytes) -> Self:
        """The bank that `snapshot` stored.

        Raises:
            ValueError: `data` is no snapshot of this kind and version. Replay the buckets then.
        """
        header, arrays = unpack(_KIND, data)
        try:
            bank = cls(config_of(header["config"]), bucket_s=header["bucket_s"])
            names = header["ids"]
        except (KeyError, TypeError) as error:
            raise ValueError(f"the snapshot's header is incomplete: {error}") from error
        bank._c.load(arrays, len(names))
        bank._row = {name: row for row, name in enumerate(names)}
        bank._bucket = header["bucket"]
        return bank


def _counts(rows: int, k: ArrayLike, n: ArrayLike) -> tuple[Floats, Floats]:
    counts_k, counts_n = np.asarray(k, np.float64), np.asarray(n, np.float64)
    if counts_k.shape != (rows,) or counts_n.shape != (rows,):
        raise ValueError(f"k and n must have shape ({rows},)")
    if not (np.isfinite(counts_n).all() and (counts_k >= 0).all() and (counts_k <= counts_n).all()):
        raise ValueError("counts must be finite with 0 <= k <= n")
    return counts_k, counts_n
