"""Has a whole fleet moved a little? Groups of series, tested together bucket by bucket.

A shock of 1.2x on every surface is nobody's alarm on any of them, and beyond doubt on all. The pool
keeps a fading memory of each series over several lengths, adds up what the series of a group say
(`common.py`), learns how much quiet groups wander as a whole, and decides which group fires.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import asdict
from typing import Any, Self

import numpy as np

from detectors import common
from detectors.columns import Bools, Column, Columns, Floats, Ints, pack, unpack
from detectors.common import Evidence, Parts
from detectors.fleet import Fleet, PoolConfig
from detectors.model import Watch
from detectors.shift import Bucket

_KIND = ("tocsin-pool", 1)
_CLIP = 9.0  # a squared move beyond 3 sigma teaches as if it were 3 sigma
_RUN_RATIO = 1.2  # the move whose beginning is dated
_RUN_BUCKETS = 30.0  # how long a wave of one series' rate is taken to last when dating
_RUN_ROOM = 30.0
_LEAST_EXCESS = 0.5
_FORGOTTEN = 5_000  # buckets, after which no memory holds anything
_CALM = 0.25  # share of the threshold below which a group is at rest
_SIGNS = (1, -1)


class Pool:
    """Groups of series, each tested as one.

    Args:
        config: how.
        bucket_s: length of a bucket in seconds.
    """

    def __init__(self, config: PoolConfig, *, bucket_s: int = 60) -> None:
        self._config = config
        self._bucket_s = bucket_s
        memory = np.maximum(np.array(config.memory_s, np.float64) / bucket_s, 1.5)[:, None]
        self._keep: Floats = 1.0 - 1.0 / memory
        self._buckets: Floats = (1.0 + self._keep) / (1.0 - self._keep)
        """How many buckets each memory is worth."""
        lead = (len(config.memory_s),)
        self._s = Columns({name: Column(lead=lead) for name in ("k", "e", "e2")})
        self._g = Columns(_group_spec(lead))
        self._series: dict[str, int] = {}
        self._groups: dict[str, int] = {}
        self._of: list[int] = []
        self._order: Ints = np.zeros(0, np.int64)
        self._parts = Parts(self._order, self._order)
        self._dirty = False
        self._last_ids: tuple[str, ...] = ()
        self._last_rows: Ints = self._order
        self._bucket: int | None = None

    @property
    def config(self) -> PoolConfig:
        """As given."""
        return self._config

    @property
    def bucket_s(self) -> int:
        """As given."""
        return self._bucket_s

    def add(self, series: str, group: str, *, watch: Watch = "up", min_excess: float = 0.0) -> None:
        """Put a new series into a group; a known one stays where it is.

        Args:
            series: its id.
            group: the fleet's name.
            watch: which way the fleet may not move.
            min_excess: where it is above the configured one.
        """
        if group not in self._groups:
            self._groups[group] = len(self._g)
            self._g.append(1)
        row = self._groups[group]
        self._g["watched"][:, row] = (watch != "down", watch != "up")
        self._g["min_excess"][row] = max(min_excess, self._config.min_excess)
        if series not in self._series:
            self._series[series] = len(self._s)
            self._s.append(1)
            self._of.append(row)
            self._dirty = True

    def step(
        self, ids: Sequence[str], bucket: Bucket, *, asked: Set[str] = frozenset()
    ) -> list[Fleet]:
        """Take in one bucket and say what the groups do that fire.

        Args:
            ids: the bucket's series, each once; those never added are left out.
            bucket: what was expected of them, as the bank that judged it says.
            asked: groups of which a word is wanted although they are quiet.

        Raises:
            ValueError: the bucket is not after the last, or `ids` are not its series.
        """
        at = bucket.start_s // self._bucket_s
        if self._bucket is not None and at <= self._bucket:
            raise ValueError(f"bucket {bucket.start_s} is not after the last")
        if len(ids) != len(bucket.k):
            raise ValueError(f"{len(ids)} ids for {len(bucket.k)} series")
        self._arrange()
        passed = 1 if self._bucket is None else at - self._bucket
        self._bucket = at
        now = self._scattered(ids, bucket)
        self._remember(now, passed)
        series = self._evidence(now)
        ratio, top = self._judge(now, series)
        firing = self._g["firing"].tolist()
        return [
            self._fleet(name, now, series, float(ratio[row]), int(top[row]))
            for name, row in self._groups.items()
            if firing[row] or name in asked
        ]

    def scores(self) -> dict[str, float]:
        """The last score of every group."""
        values = self._g["score"].tolist()
        return {name: values[row] for name, row in self._groups.items()}

    def _arrange(self) -> None:
        if self._dirty:
            group = np.array(self._of, np.int64)
            # By name within a group, so that sums do not depend on who came first.
            self._order = np.lexsort((np.array(list(self._series)), group))
            group = group[self._order]
            present = np.unique(group, return_index=True)[1]
            self._parts = Parts(group, present)
            self._dirty = False

    def _scattered(self, ids: Sequence[str], bucket: Bucket) -> Bucket:
        """The bucket by our own rows; who has no data or no expectation is silent."""
        names = tuple(ids)
        if names != self._last_ids:
            self._last_rows = np.array([self._series.get(name, -1) for name in names], np.int64)
            self._last_ids = names
        known = self._last_rows >= 0
        rows = self._last_rows[known]
        live = np.zeros(len(self._s), np.bool_)
        live[rows] = bucket.live[known]
        full = {}
        for name in ("k", "n", "e", "doubt", "unseasoned", "v_short", "v_long"):
            full[name] = np.zeros(len(self._s))
            full[name][rows] = getattr(bucket, name)[known]
        for name in ("k", "n", "e"):
            full[name] = np.where(live, full[name], 0.0)
        return Bucket(start_s=bucket.start_s, live=live, **full)

    def _remember(self, now: Bucket, passed: int) -> None:
        for name, more, keep in (
            ("k", now.k, self._keep),
            ("e", now.e, self._keep),
            ("e2", now.e, self._keep**2),
        ):
            column = self._s[name]
            # One by one, so that a gap fades to the bit like as many empty buckets.
            for _ in range(min(passed, _FORGOTTEN)):
                column *= keep
            column += more

    def _evidence(self, now: Bucket) -> Evidence:
        """Of each series, in the order of groups."""
        level = now.doubt**2 - now.unseasoned**2
        v = now.v_long + now.v_short / self._buckets + self._config.doubt**2 * level
        k, e, e2 = (self._s[name][:, self._order] for name in ("k", "e", "e2"))
        return common.of_series(k, e, e2, v[:, self._order], self._config.reach)

    def _unknown(self, now: Bucket) -> Floats:
        """Relative variance of what is unknown of all series of a group alike: the season."""
        if not len(self._order):
            return np.zeros(0)
        doubt = np.where(now.live, now.unseasoned, np.inf)[self._order]
        least: Floats = np.minimum.reduceat(doubt, self._parts.start)
        return np.where(np.isfinite(least), least, 0.0) ** 2

    def _judge(self, now: Bucket, series: Evidence) -> tuple[Floats, Ints]:
        c, g = self._config, self._g
        excess, doubt = self._excess(), self._unknown(now)
        sides = [common.of_groups(series, self._parts, c.slack, sign) for sign in _SIGNS]
        nats = np.stack(
            [
                common.score(one, excess, doubt, c.slack, sign)
                for one, sign in zip(sides, _SIGNS, strict=True)
            ]
        )
        many = self._parts.sums((series.expected[-1] > 0).astype(np.float64)) >= c.least
        nats = np.where(g["watched"][:, None] & many, nats, 0.0)
        best = nats.max(axis=1)
        rising = best[0] >= best[1]
        side = np.where(rising, 0, 1)
        rows = np.arange(len(side))
        top = nats[side, :, rows].argmax(axis=1) if len(side) else side
        moves = np.stack([one.move() for one in sides])
        ratio = 1.0 + moves[side, top, rows]
        g["score"][:] = best[side, rows]
        # A bucket without any traffic says nothing, not even that all is calm.
        awake = self._parts.sums(now.live[self._order].astype(np.float64)) > 0
        self._learn(sides[0], excess, awake & (g["score"] < _CALM * c.threshold))
        self._date(now)
        far = np.where(rising, ratio, 1.0 / np.maximum(ratio, 1e-9)) >= c.min_ratio
        big = np.abs(g["run_k"] - g["run_e"])[side, rows] >= g["min_excess"]
        self._decide((g["score"] >= c.threshold) & far & big, rising, nats, awake)
        return ratio, top

    def _excess(self) -> Floats:
        """Variance of each quiet group over that of independent series, per memory."""
        g, c = self._g, self._config
        looks = c.prior_looks
        excess: Floats = (looks * c.excess + g["excess_s"]) / (looks + g["excess_i"])
        return np.maximum(excess, _LEAST_EXCESS)

    def _learn(self, groups: Evidence, excess: Floats, calm: Bools) -> None:
        g = self._g
        square = np.minimum(groups.move() ** 2 * groups.expected, _CLIP * excess)
        live = (groups.expected > 0) & calm & ~g["firing"]
        # Neighbouring buckets share most of a memory: together they are one look, not many.
        look = 1.0 / self._buckets
        keep = 0.5 ** (self._bucket_s / self._config.half_life_s)
        for name, more in (("excess_s", square * look), ("excess_i", look)):
            g[name][:] = np.where(live, g[name] * keep + more, g[name])

    def _date(self, now: Bucket) -> None:
        """Run a CUSUM beside each side: where it last stood at zero is where a move began."""
        g, parts = self._g, self._parts
        v = now.v_long * _RUN_BUCKETS + now.v_short
        one = common.of_series(now.k, now.e, now.e, v, self._config.reach)
        expected, more = (parts.sums(part[self._order]) for part in (one.expected, one.more))
        step = _RUN_RATIO - 1.0
        llr = np.stack(
            (
                (expected + more) * np.log(_RUN_RATIO) - step * expected,
                (expected + more) * -np.log(_RUN_RATIO) + step / _RUN_RATIO * expected,
            )
        )
        fresh = g["run"] <= 0
        totals = {name: parts.sums(getattr(now, name)[self._order]) for name in ("k", "n", "e")}
        for name, total in {**totals, "expected": expected, "more": more}.items():
            run = g[f"run_{name}"]
            run[:] = np.where(fresh, 0.0, run) + total
        g["run_from"][fresh] = now.start_s
        g["run"][:] = np.clip(np.maximum(g["run"], 0.0) + llr, 0.0, _RUN_ROOM)

    def _decide(self, passed: Bools, rising: Bools, nats: Floats, awake: Bools) -> None:
        c, g = self._config, self._g
        g["streak"][awake] = np.where(passed, g["streak"] + 1, 0)[awake]
        # While firing, only the memories that can have come down by now say whether it is over.
        side = np.where(g["rising"], 0, 1)
        short = max(1, len(c.memory_s) // 2)
        still = nats[side, :short, np.arange(len(side))].max(axis=1) if len(side) else rising
        calm = still < _CALM * c.threshold
        g["clear"][awake] = np.where(g["firing"] & calm, g["clear"] + 1, 0)[awake]
        start = ~g["firing"] & awake & (g["streak"] >= c.min_duration_buckets)
        g["rising"][:] = np.where(start, rising, g["rising"])
        g["clear"][start] = 0
        over = g["firing"] & (g["clear"] >= c.clear_buckets)
        g["firing"][:] = (g["firing"] | start) & ~over
        if over.any():
            self._forget(over)

    def _forget(self, groups: Bools) -> None:
        """What was said of an incident is no evidence for the next one."""
        rows = self._order[groups[self._parts.group]]
        for name in ("k", "e", "e2"):
            self._s[name][:, rows] = 0.0
        self._g["run"][:, groups] = 0.0
        self._g["streak"][groups] = 0

    def _fleet(self, name: str, now: Bucket, series: Evidence, ratio: float, top: int) -> Fleet:
        g, row = self._g, self._groups[name]
        firing = bool(g["firing"][row])
        rising = bool(g["rising"][row]) if firing else ratio >= 1
        side = 0 if rising else 1
        mine = np.flatnonzero(self._parts.group == row)
        silent = not now.live[self._order[mine]].any()
        mine = mine[series.expected[top, mine] > 0]
        more = series.more[top, mine] * (1 if rising else -1)
        ids = list(self._series)
        onset = int(g["run_from"][side, row]) if firing else now.start_s
        events = float(g["run_expected"][side, row])
        if firing and events > 0:
            ratio = 1.0 + float(g["run_more"][side, row]) / events
        return Fleet(
            group=name,
            firing=firing,
            rising=rising,
            score=float(g["score"][row]),
            threshold=self._config.threshold,
            ratio=ratio,
            series=len(mine),
            moved=int((more > 0).sum()),
            loudest=ids[int(self._order[mine[more.argmax()]])] if len(mine) else "",
            k=int(g["run_k"][side, row]),
            n=int(g["run_n"][side, row]),
            expected=float(g["run_e"][side, row]),
            onset=onset,
            length_s=now.start_s - onset + self._bucket_s,
            silent=silent,
        )

    def snapshot(self) -> bytes:
        """Everything learned, as an npz with a JSON header; the same state, the same bytes."""
        header = {
            "config": asdict(self._config),
            "bucket_s": self._bucket_s,
            "bucket": self._bucket,
            "series": list(self._series),
            "of": self._of,
            "groups": list(self._groups),
        }
        arrays = {f"series_{name}": one for name, one in self._s.dump().items()}
        arrays |= {f"group_{name}": one for name, one in self._g.dump().items()}
        return pack(_KIND, header, arrays)

    @classmethod
    def restore(cls, data: bytes) -> Self:
        """The pool that `snapshot` stored.

        Raises:
            ValueError: `data` is no snapshot of this kind and version. Replay the buckets then.
        """
        header, arrays = unpack(_KIND, data)
        try:
            pool = cls(_config_of(header["config"]), bucket_s=header["bucket_s"])
            series, of, groups = header["series"], header["of"], header["groups"]
        except (KeyError, TypeError) as error:
            raise ValueError(f"the snapshot's header is incomplete: {error}") from error
        if len(of) != len(series) or not all(0 <= row < len(groups) for row in of):
            raise ValueError("the snapshot's series and groups do not agree")
        for prefix, columns, rows in (("series_", pool._s, series), ("group_", pool._g, groups)):
            own = {n.removeprefix(prefix): a for n, a in arrays.items() if n.startswith(prefix)}
            columns.load(own, len(rows))
        pool._series = {name: row for row, name in enumerate(series)}
        pool._groups = {name: row for row, name in enumerate(groups)}
        pool._of, pool._bucket, pool._dirty = list(of), header["bucket"], True
        return pool


def _group_spec(lead: tuple[int, ...]) -> dict[str, Column]:
    sides = (len(_SIGNS),)
    return {
        "watched": Column(lead=sides, dtype="?"),
        "min_excess": Column(),
        "excess_s": Column(lead=lead),
        "excess_i": Column(lead=lead),
        "run": Column(lead=sides),
        "run_k": Column(lead=sides),
        "run_n": Column(lead=sides),
        "run_e": Column(lead=sides),
        "run_expected": Column(lead=sides),
        "run_more": Column(lead=sides),
        "run_from": Column(lead=sides, dtype="i8"),
        "score": Column(),
        "streak": Column(),
        "clear": Column(),
        "firing": Column(dtype="?"),
        "rising": Column(dtype="?", fill=1),
    }


def _config_of(stored: Mapping[str, Any]) -> PoolConfig:
    return PoolConfig(**{**stored, "memory_s": tuple(stored["memory_s"])})
