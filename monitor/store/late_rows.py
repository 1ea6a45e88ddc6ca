"""Rows of what came late: beside the cells, for reports, and read by no detector.

An interaction is late in two ways. Its partition had closed its bucket: counting says so. Or its
partition had not, but was passed over as idle, and the bucket was decided without it: then the
cells grow, as the log has it, and what they grow by is noted here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec
import sqlalchemy as sa

from monitor.store import tables as t
from monitor.store.finding_rows import FindingRows

BASE = "base"
"""The cuboid whose first counter is all interactions."""


class LateRows(FindingRows):
    """The late counts within one transaction."""

    def _late(self, where: Mapping[str, Any], late: Iterable[tuple[int, int]]) -> int:
        """Add what no earlier owner of the partition has added: only offsets from its `hi` on.

        Returns:
            That `hi`, locked until the end of the transaction.
        """
        keyed = [t.progress.c[k] == v for k, v in where.items()]
        hi = self._c.execute(sa.select(t.progress.c.hi).where(*keyed).with_for_update()).scalar()
        hi = hi or 0
        self._add(where, Counter(bucket for offset, bucket in late if offset >= hi))
        return hi

    def _passed_over(self, where: Mapping[str, Any], cells: Sequence[Mapping[str, Any]]) -> None:
        """Note what the cells of decided buckets grow by, before they are written.

        A replay and a second owner write what is there already: nothing grows.
        """
        p = t.position
        query = sa.select(p.c.bucket).where(p.c.pipeline == where["pipeline"])
        decided = self._c.execute(query).scalar() or 0
        grown: Counter[int] = Counter()
        for bucket in sorted({cell["bucket"] for cell in cells if cell["bucket"] < decided}):
            known = self._interactions(where, bucket)
            for cell in cells:
                if cell["bucket"] == bucket and cell["cuboid"] == BASE:
                    before, hi = known.get(cell["dims"], (0, 0))
                    if cell["hi"] >= hi:
                        grown[bucket] += _first(cell["counts"]) - before
        self._add(where, +grown)

    def _interactions(self, where: Mapping[str, Any], bucket: int) -> dict[str, tuple[int, int]]:
        """Interactions of the partition's cells of one bucket and their `hi`, by dimensions."""
        c = t.cells.c
        keyed = [c[k] == v for k, v in {**where, "bucket": bucket, "cuboid": BASE}.items()]
        rows = self._c.execute(sa.select(c.dims, c.counts, c.hi).where(*keyed))
        return {row.dims: (_first(row.counts), row.hi) for row in rows}

    def _add(self, where: Mapping[str, Any], new: Mapping[int, int]) -> None:
        for bucket, count in new.items():
            keyed = [t.late.c[k] == v for k, v in {**where, "bucket": bucket}.items()]
            known = self._c.execute(sa.select(t.late.c.count).where(*keyed)).scalar()
            if known is None:
                self._c.execute(t.late.insert().values({**where, "bucket": bucket, "count": count}))
            else:
                self._c.execute(t.late.update().where(*keyed).values(count=known + count))

    def late_by_bucket(self, pipeline: int, first: int, end: int) -> dict[int, int]:
        """Interactions that came after their bucket was closed, or decided without them."""
        x = t.late
        rows = self._c.execute(
            sa.select(x.c.bucket, sa.func.sum(x.c.count))
            .where(x.c.pipeline == pipeline, x.c.bucket >= first, x.c.bucket < end)
            .group_by(x.c.bucket)
        )
        return {bucket: int(count) for bucket, count in rows}


def _first(counts: str) -> int:
    """The first counter of a cell as it is stored."""
    return msgspec.json.decode(counts, type=list[int])[0]
