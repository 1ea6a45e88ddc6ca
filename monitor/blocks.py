"""What the series of each feature counted and were expected to count, over blocks of time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Self

import msgspec
import numpy as np

from detectors.columns import Bools, Floats, Ints
from detectors.shift import Bucket
from monitor.stream.series import Dims


@dataclass(frozen=True, slots=True)
class Block:
    """One that is complete. Arrays have shape (series of the bank,)."""

    start_s: int
    k: Floats
    n: Floats
    e: Floats
    """Expected k; 0 for a series that is not warm, or had no traffic."""
    hot: Set[str]
    """Ids of series that fired by themselves in it."""


class _Stored(msgspec.Struct, array_like=True):
    block: int | None
    hot: list[str]
    sums: bytes


class Blocks:
    """The block under way, by row of the bank, and which row is what.

    Args:
        block_s: seconds of a block, a multiple of `bucket_s`.
        bucket_s: seconds of a bucket.
    """

    def __init__(self, block_s: int, bucket_s: int) -> None:
        self.block_s = block_s
        self._bucket_s = bucket_s
        self._of: dict[str, Dims] = {}
        self._features: dict[Dims, dict[str, str]] = {}
        self._row: dict[str, int] = {}
        self._place: Ints = np.zeros(0, np.int64)
        """Which feature each row is of, by its place in `_features`; -1 for none."""
        self._block: int | None = None
        self._hot: set[str] = set()
        self._sums: Floats = np.zeros((3, 0))

    def know(self, name: str, feature: Dims, rate: str) -> None:
        """Take in the series `name`: what people call a `rate` of a feature."""
        self._of[name] = feature
        self._features.setdefault(feature, {})[rate] = name

    def series(self, feature: Dims) -> Mapping[str, str]:
        """Ids of a feature's series, by the name of the rate."""
        return self._features[feature]

    def row(self, name: str) -> int:
        """Where the arrays of a block have the series of this id."""
        return self._row[name]

    def busy(self, values: Floats | Bools) -> list[Dims]:
        """Features with any of `values` (shape (rows,)) above 0, in the order of arrival."""
        places = np.unique(self._place[(values > 0) & (self._place >= 0)])
        features = list(self._features)
        return [features[place] for place in places.tolist()]

    def take(self, ids: Sequence[str], bucket: Bucket, firing: Set[str]) -> list[Block]:
        """Add one bucket; the blocks that it completes, two after a hole.

        Args:
            ids: every series of the bank, in its order.
            bucket: what was expected of them, as the bank that judged it says.
            firing: ids of those that fire by themselves.
        """
        if len(ids) != len(self._place):
            self._grow(ids)
        block = bucket.start_s // self.block_s
        done = [self._done(self._block)] if self._block not in (None, block) else []
        self._block = block
        self._sums += np.where(bucket.live, np.stack((bucket.k, bucket.n, bucket.e)), 0.0)
        self._hot |= firing & self._of.keys()
        if (bucket.start_s + self._bucket_s) // self.block_s != block:
            done.append(self._done(block))
        return done

    def _grow(self, ids: Sequence[str]) -> None:
        """Rows for series that have come since."""
        self._sums = np.pad(self._sums, ((0, 0), (0, len(ids) - self._sums.shape[1])))
        self._row = {name: row for row, name in enumerate(ids)}
        places = {feature: place for place, feature in enumerate(self._features)}
        found = [self._of.get(name) for name in ids]
        self._place = np.array([-1 if one is None else places[one] for one in found], np.int64)

    def _done(self, block: int | None) -> Block:
        assert block is not None
        k, n, e = self._sums
        made = Block(block * self.block_s, k, n, e, self._hot)
        self._block, self._hot, self._sums = None, set(), np.zeros_like(self._sums)
        return made

    def snapshot(self) -> bytes:
        """The block under way; its rows are those of the bank's snapshot."""
        return msgspec.msgpack.encode(_Stored(self._block, sorted(self._hot), self._sums.tobytes()))

    @classmethod
    def restore(cls, data: bytes, block_s: int, bucket_s: int) -> Self:
        """That which `snapshot` stored; the series are to be made known again.

        Raises:
            ValueError: it is no snapshot of a block.
        """
        try:
            stored = msgspec.msgpack.decode(data, type=_Stored)
        except msgspec.MsgspecError as error:
            raise ValueError(f"not a snapshot of a block: {error}") from error
        made = cls(block_s, bucket_s)
        made._block, made._hot = stored.block, set(stored.hot)
        made._sums = np.frombuffer(stored.sums).reshape(3, -1).copy()
        return made
