"""Is a rate far off within minutes? A scan over short windows, beside the test for moves that last.

Evidence that adds up bucket by bucket is slow where a few events say it all: the turns of a small
tenant, all refused. Here the last minutes are looked at together, against the negative binomial
that the baseline expects (a scan statistic over time; the score is close to the negative logarithm
of the chance to see as much). Only moves up, and only far ones.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Self

import numpy as np

from detectors.columns import Column, Columns, Floats, Ints, pack, unpack
from detectors.sequential import nb_llr
from detectors.shift import Bucket
from detectors.verdicts import Verdicts

_KIND = ("tocsin-bursts", 1)
_SPREAD = 2  # buckets that must bring something: no blip pages alone


@dataclass(frozen=True, slots=True)
class BurstConfig:
    """When a burst is one."""

    threshold: float = 16.0
    """Least score, in nats."""
    windows: tuple[int, ...] = (2, 3, 4, 6)
    """Buckets that are looked at together."""
    min_ratio: float = 4.0
    """Least observed / expected."""
    min_excess: float = 3.0
    """Least number of interactions above what was expected; a series may want more."""
    doubt: float = 0.5
    """Share of the bank's doubt by which the expectation is raised."""

    def __post_init__(self) -> None:
        if not (self.threshold > 0 and self.min_ratio > 1 and self.min_excess > 0):
            raise ValueError("a burst needs threshold > 0, min_ratio > 1 and min_excess > 0")
        if not self.windows or min(self.windows) < _SPREAD or self.doubt < 0:
            raise ValueError(f"windows must be at least {_SPREAD} buckets, doubt not negative")


class Bursts:
    """The last minutes of many series.

    Args:
        config: when a burst is one.
        bucket_s: length of a bucket in seconds.
    """

    def __init__(self, config: BurstConfig, *, bucket_s: int = 60) -> None:
        self._config = config
        self._bucket_s = bucket_s
        self._length = max(config.windows)
        ring = Column(lead=(self._length,))
        spec = dict.fromkeys(("k", "n", "e"), ring)
        self._c = Columns({**spec, "min_excess": Column(fill=config.min_excess)})
        self._row: dict[str, int] = {}
        self._bucket: int | None = None

    def add(self, series: str, *, min_excess: float = 0.0) -> None:
        """Create a series, or change its floor."""
        if series not in self._row:
            self._row[series] = len(self._c)
            self._c.append(1)
        floor = max(min_excess, self._config.min_excess)
        self._c["min_excess"][self._row[series]] = floor

    def drop(self, series: Iterable[str]) -> None:
        """Forget these series; unknown ones are no error."""
        gone = set(series)
        kept = [name for name in self._row if name not in gone]
        self._c.keep(np.array([self._row[name] for name in kept], np.int64))
        self._row = {name: row for row, name in enumerate(kept)}

    def step(self, ids: Sequence[str], bucket: Bucket) -> Verdicts:
        """Take in one bucket and judge each series.

        Args:
            ids: the bucket's series, each once; new ones are created.
            bucket: what was expected of them, as the bank that judged it says.

        Raises:
            ValueError: the bucket is not after the last, or `ids` are not its series.
        """
        at = bucket.start_s // self._bucket_s
        if self._bucket is not None and at <= self._bucket:
            raise ValueError(f"bucket {bucket.start_s} is not after the last")
        if len(ids) != len(bucket.k):
            raise ValueError(f"{len(ids)} ids for {len(bucket.k)} series")
        for name in ids:
            if name not in self._row:
                self.add(name)
        rows = np.array([self._row[name] for name in ids], np.int64)
        self._remember(at, rows, bucket)
        return self._judge(ids, rows, bucket)

    def _remember(self, at: int, rows: Ints, bucket: Bucket) -> None:
        passed = self._length if self._bucket is None else min(self._length, at - self._bucket)
        self._bucket = at
        doubted = bucket.e * (1.0 + self._config.doubt * bucket.doubt)
        for name, more in (("k", bucket.k), ("n", bucket.n), ("e", doubted)):
            ring = self._c[name]
            if passed < self._length:
                ring[passed:] = ring[:-passed].copy()
            ring[:passed] = 0.0
            ring[0, rows] = np.where(bucket.live, more, 0.0)

    def _judge(self, ids: Sequence[str], rows: Ints, bucket: Bucket) -> Verdicts:
        k, n, e = (self._c[name][:, rows].cumsum(axis=0) for name in ("k", "n", "e"))
        busy = (self._c["k"][:, rows] > 0).cumsum(axis=0)
        many = len(rows)
        best, window = np.zeros(many), np.ones(many, np.int64)
        for length in self._config.windows:
            last = length - 1
            score = self._score(k[last], e[last], bucket, length)
            far = (k[last] >= self._config.min_ratio * e[last]) & bucket.live
            big = k[last] - e[last] >= self._c["min_excess"][rows]
            score = np.where(far & big & (busy[last] >= _SPREAD), score, 0.0)
            window = np.where(score > best, length, window)
            best = np.maximum(best, score)
        column, last_rows = np.arange(many), window - 1
        expected = e[last_rows, column]
        return Verdicts(
            ids=tuple(ids),
            start_s=bucket.start_s,
            bucket_s=self._bucket_s,
            warming=~bucket.live,
            firing=best >= self._config.threshold,
            rising=np.ones(many, np.bool_),
            score=best,
            threshold=np.full(many, self._config.threshold),
            k=k[last_rows, column],
            n=n[last_rows, column],
            expected=expected,
            onset=bucket.start_s - last_rows * self._bucket_s,
            until=np.full(many, bucket.start_s),
            progress=np.ones(many),
            fraction=np.divide(bucket.e, bucket.n, out=np.zeros(many), where=bucket.n > 0),
        )

    @staticmethod
    def _score(k: Floats, e: Floats, bucket: Bucket, length: int) -> Floats:
        """Near the negative logarithm of the chance of `k` or more (Stirling, one-term tail)."""
        seen, mean = np.maximum(k, 1.0), np.maximum(e, 1e-9)
        v = bucket.v_short / length + bucket.v_long
        nats: Floats = nb_llr(seen, mean, seen, v) + 0.5 * np.log(2.0 * np.pi * seen)
        return np.where((k > e) & (e > 0), nats, 0.0)

    def snapshot(self) -> bytes:
        """The last minutes, as an npz with a JSON header."""
        header = {
            "config": asdict(self._config),
            "bucket_s": self._bucket_s,
            "bucket": self._bucket,
            "ids": list(self._row),
        }
        return pack(_KIND, header, self._c.dump())

    @classmethod
    def restore(cls, data: bytes, config: BurstConfig) -> Self:
        """What `snapshot` stored.

        Raises:
            ValueError: `data` is no snapshot of this kind, version and `config`.
        """
        header, arrays = unpack(_KIND, data)
        try:
            if _plain(header["config"]) != asdict(config):
                raise ValueError("the snapshot was taken with other settings")
            made, names = cls(config, bucket_s=header["bucket_s"]), header["ids"]
        except (KeyError, TypeError) as error:
            raise ValueError(f"the snapshot's header is incomplete: {error}") from error
        made._c.load(arrays, len(names))
        made._row = {name: row for row, name in enumerate(names)}
        made._bucket = header["bucket"]
        return made


def _plain(stored: Mapping[str, Any]) -> dict[str, Any]:
    return {**stored, "windows": tuple(stored["windows"])}
