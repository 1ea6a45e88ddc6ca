"""What a new set of signals takes over from the one before it, partition by partition.

A pipeline is what cells are counted under; another set of signals is another pipeline. It goes on
where the one before stands, so that nothing of the log is passed over and nothing judged twice:

- Of each partition it takes the furthest progress there is. From its low water on, the log is read
  again: buckets that were open are counted whole by the new signals.
- Cells of buckets that were closed and not yet judged are carried over as far as both count the
  same. A counter that only the new one has is 0 in them: `mixed_until` says for how long.
- The position is the furthest of any pipeline. It is one for the installation: going back to
  signals of before goes back to nothing that was judged.

Two pipelines may be alive, while machines are replaced one by one. A partition that another
pipeline has read further is not at rest (`StreamRows.partitions`), and no bucket is complete
without it: whoever decides waits until all count alike, and the log is read again from where the
partition was handed over.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec
import sqlalchemy as sa

from monitor.store import tables as t
from monitor.store.late_rows import BASE
from monitor.store.pipeline_rows import Definition, PipelineRows, defined
from monitor.store.upserts import insert_new, upsert
from monitor.stream.signals import Plan

MIXED = "mixed:"
"""Snapshots of this name and a pipeline's number; the bucket is the end of what it took over."""
_PASSED = b"passed over"
"""Data of such a row where the cells could not be carried over."""


@dataclass(frozen=True, slots=True)
class Inherited:
    """Where a partition goes on under new signals."""

    pipeline: int
    """Of which it was taken over."""
    offset: int
    """From where the log is read again."""
    passed: int
    """Seconds of events, counted in buckets of another length, that are not judged."""


class HeirRows:
    """The taking over within one transaction."""

    def __init__(self, connection: sa.Connection) -> None:
        self._c = connection

    def mixed_until(self, pipeline: int) -> int:
        """Cells of buckets before it may be another pipeline's, and lack what it did not count."""
        return self._mixed(pipeline)[0]

    def position(self, pipeline: int, bucket_s: int) -> int | None:
        """Move the pipeline to the furthest of those that read the same topic; where it is then.

        Args:
            pipeline: whose buckets are to be judged from now on.
            bucket_s: their length.
        """
        p, g = t.position, t.progress
        topics = sa.select(g.c.topic_id).where(g.c.pipeline == pipeline)
        alike = sa.select(g.c.pipeline).where(g.c.topic_id.in_(topics))
        mine = sa.or_(p.c.pipeline == pipeline, p.c.pipeline.in_(alike))
        row = self._c.execute(p.select().where(mine).order_by(p.c.bucket.desc()).limit(1)).first()
        if row is None:
            return None
        end, how = self._mixed(pipeline)
        at = max(row.bucket, end) if how == _PASSED else row.bucket
        at = _up(at, bucket_s)
        if row.pipeline != pipeline or at != row.bucket:
            values = {"pipeline": pipeline, "bucket": at, "event_now": row.event_now}
            self._c.execute(upsert(self._c, p), values)
        return at

    def inherit(self, plan: Plan, pipeline: int, topic_id: str, number: int) -> Inherited | None:
        """Go on where another pipeline has read a partition further than this one.

        Args:
            plan: what the pipeline counts.
            pipeline: its number.
            topic_id: of the topic.
            number: of the partition.

        Returns:
            None where nobody has.
        """
        g = t.progress
        where = (g.c.topic_id == topic_id, g.c.number == number)
        rows = self._c.execute(g.select().where(*where).order_by(g.c.hi)).all()
        own = next((row.hi for row in rows if row.pipeline == pipeline), -1)
        if not rows or rows[-1].hi <= own:
            return None
        found, source = rows[-1], PipelineRows(self._c).definition(rows[-1].pipeline)
        closed = None if found.closed is None else _up(found.closed, plan.bucket_s)
        values = {**found._asdict(), "pipeline": pipeline, "closed": closed}
        self._c.execute(upsert(self._c, g), values)
        self._words(found, pipeline, plan, source)
        self._unrest(topic_id, number)
        position, passed = self.position(pipeline, plan.bucket_s), 0
        if closed is not None and _alike(source, plan):
            carried = self._carry(found, source, plan, pipeline, min(closed, position or 0))
            mixed = [one for one in carried if (position or 0) <= one < closed]
            if mixed:
                self._mix(pipeline, max(mixed) + plan.bucket_s, b"")
        elif closed is not None:
            passed = max(0, closed - (position or closed))
            self._mix(pipeline, closed, _PASSED)
            self.position(pipeline, plan.bucket_s)
        return Inherited(found.pipeline, found.low_water, passed)

    # -- inside ---------------------------------------------------------------------------------

    def _mixed(self, pipeline: int) -> tuple[int, bytes]:
        s = t.snapshots
        row = self._c.execute(s.select().where(s.c.name == f"{MIXED}{pipeline}")).one_or_none()
        return (0, b"") if row is None else (row.bucket, row.data)

    def _mix(self, pipeline: int, until: int, how: bytes) -> None:
        self._c.execute(
            upsert(self._c, t.snapshots, newest="bucket"),
            {"name": f"{MIXED}{pipeline}", "bucket": until, "data": how},
        )

    def _carry(
        self, found: Any, source: Definition, plan: Plan, pipeline: int, first: int
    ) -> list[int]:
        """Write what both pipelines count from bucket `first` on, in the new layout; the buckets.

        Those not judged are wanted, and those that are open beside them: what they grow by, when
        they are read again, tells what came late.
        """
        known = {(slot.on, slot.conditions): at for at, slot in enumerate(source.slots)}
        slots = [known.get((slot.on, slot.conditions)) for slot in plan.slots]
        tables = _shared(plan, source)
        c = t.cells
        whose = [c.c[name] == getattr(found, name) for name in ("pipeline", "topic_id", "number")]
        query = sa.select(c.c.bucket).distinct().where(*whose, c.c.bucket >= first)
        buckets = list(self._c.execute(query).scalars())
        for bucket in buckets:
            rows = []
            for cell in self._c.execute(c.select().where(*whose, c.c.bucket == bucket)):
                counts = cell.counts
                if cell.cuboid == BASE:
                    old = msgspec.json.decode(counts, type=list[int])
                    new = [0 if at is None else old[at] for at in slots]
                    counts = msgspec.json.encode(new).decode()
                if cell.cuboid == BASE or cell.cuboid in tables:
                    rows.append({**cell._asdict(), "pipeline": pipeline, "counts": counts})
            if rows:
                self._c.execute(upsert(self._c, c, newest="hi"), rows)
        return buckets

    def _words(self, found: Any, pipeline: int, plan: Plan, source: Definition) -> None:
        """Labels it has told apart stay told apart, and are no news."""
        v = t.vocabulary.c
        names = {*plan.dimensions, *_shared(plan, source)}
        rest = (v.topic_id, v.number, v.dimension, v.value, v.bucket)
        query = sa.select(sa.literal(pipeline).label("pipeline"), *rest).where(
            v.pipeline == found.pipeline,
            v.topic_id == found.topic_id,
            v.number == found.number,
            v.dimension.in_(sorted(names)),
        )
        columns = ["pipeline", *(column.name for column in rest)]
        insert = insert_new(self._c, t.vocabulary)
        self._c.execute(insert.from_select(columns, query))

    def _unrest(self, topic_id: str, number: int) -> None:
        """It is to be read again: what was known of it at its end is of another reading."""
        p = t.partitions
        keyed = (p.c.topic_id == topic_id, p.c.number == number)
        self._c.execute(p.update().where(*keyed).values(caught_up_at=None))


def _up(at: int, bucket_s: int) -> int:
    """The next start of a bucket."""
    return -(-at // bucket_s) * bucket_s


def _alike(source: Definition, plan: Plan) -> bool:
    """Whether both have the same buckets and base cells."""
    return (source.bucket_s, source.dimensions) == (plan.bucket_s, plan.dimensions)


def _shared(plan: Plan, source: Definition) -> set[str]:
    """Names of what has a table of its own and is counted alike by both."""
    shared = {one[0] for one in {*defined(plan).each} & {*source.each}}
    volume = plan.volume()
    return shared | {volume.name} if volume is not None and source.sources else shared
