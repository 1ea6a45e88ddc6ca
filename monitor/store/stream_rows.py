"""Rows of the stream: partitions, progress, cells, vocabulary, quarantine, gaps, never-events."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from typing import Any

import msgspec
import sqlalchemy as sa

from monitor.store import tables as t
from monitor.store.finding_rows import FindingRows
from monitor.store.upserts import insert_new, upsert
from monitor.stream.counting import Bucket, Emission, Occurrence, Progress
from monitor.stream.signals import Plan

BASE = "base"


@dataclass(frozen=True, slots=True)
class PartitionRow:
    """What decide knows of one partition: its progress and, by the wall clock, its liveness."""

    topic: str
    topic_id: str
    number: int
    closed: int | None
    watermark: float | None
    finished: bool
    position: int
    end: int
    caught_up_at: datetime | None
    behind_since: datetime | None
    seen_at: datetime | None
    totals: dict[str, int]


@dataclass(slots=True)
class Counts:
    """The cells of one bucket, summed over partitions."""

    base: dict[tuple[str, ...], list[int]]
    narrow: dict[tuple[str, tuple[str, ...], str], list[int]]


def _dumps(value: object) -> str:
    return msgspec.json.encode(value).decode()


class StreamRows(FindingRows):
    """The stream's rows within one transaction."""

    # -- pipeline -------------------------------------------------------------------------------

    def known_pipeline(self, plan: Plan) -> int | None:
        """The version under which the cells of `plan` are stored, if there are any."""
        return self._c.execute(
            sa.select(t.pipelines.c.id).where(t.pipelines.c.digest == _digest(_definition(plan)))
        ).scalar()

    def pipeline(self, plan: Plan, now: datetime) -> int:
        """The same; a new plan opens a new one."""
        found = self.known_pipeline(plan)
        if found is not None:
            return found
        definition = _definition(plan)
        values = {"digest": _digest(definition), "definition": definition, "created_at": now}
        key = self._c.execute(t.pipelines.insert().values(values)).inserted_primary_key
        assert key is not None
        return int(key[0])

    # -- progress -------------------------------------------------------------------------------

    def progress(self, pipeline: int, topic_id: str, number: int) -> Progress | None:
        """As last stored, or None for a partition never read."""
        p = t.progress
        row = self._c.execute(
            p.select().where(
                p.c.pipeline == pipeline, p.c.topic_id == topic_id, p.c.number == number
            )
        ).one_or_none()
        if row is None:
            return None
        return Progress(
            low_water=row.low_water,
            hi=row.hi,
            closed=row.closed,
            watermark=row.watermark,
            doubted=tuple(msgspec.json.decode(row.doubted)),
            finished=row.finished,
            totals=msgspec.json.decode(row.totals),
            leaks=msgspec.json.decode(row.leaks),
        )

    def words(self, pipeline: int, topic_id: str, number: int) -> dict[str, set[str]]:
        """Label values that a partition has admitted, by dimension."""
        v = t.vocabulary
        rows = self._c.execute(
            sa.select(v.c.dimension, v.c.value).where(
                v.c.pipeline == pipeline, v.c.topic_id == topic_id, v.c.number == number
            )
        )
        words: dict[str, set[str]] = defaultdict(set)
        for dimension, value in rows:
            words[dimension].add(value)
        return words

    def fullest(self, pipeline: int) -> dict[str, int]:
        """By dimension, how many label values the partition has admitted that has the most."""
        v = t.vocabulary
        each = (
            sa.select(v.c.dimension, sa.func.count().label("many"))
            .where(v.c.pipeline == pipeline)
            .group_by(v.c.dimension, v.c.topic_id, v.c.number)
            .subquery()
        )
        most = sa.select(each.c.dimension, sa.func.max(each.c.many)).group_by(each.c.dimension)
        return {row[0]: row[1] for row in self._c.execute(most)}

    def first_seen(self, pipeline: int, dimension: str, value: str) -> int | None:
        """Start of the first bucket with this label value."""
        v = t.vocabulary
        return self._c.execute(
            sa.select(sa.func.min(v.c.bucket)).where(
                v.c.pipeline == pipeline, v.c.dimension == dimension, v.c.value == value
            )
        ).scalar()

    def admitted(self, pipeline: int, dimension: str, since: int) -> dict[str, int]:
        """Label values first seen from `since` on, with the start of that bucket.

        What was there in the first bucket of all is not news: nothing is known before it.
        """
        v = t.vocabulary
        first = sa.func.min(v.c.bucket)
        oldest = (
            sa.select(sa.func.min(v.c.bucket)).where(v.c.pipeline == pipeline).scalar_subquery()
        )
        rows = self._c.execute(
            sa.select(v.c.value, first)
            .where(v.c.pipeline == pipeline, v.c.dimension == dimension)
            .group_by(v.c.value)
            .having(first >= since, first > oldest)
        )
        return {value: int(bucket) for value, bucket in rows}

    def save(self, pipeline: int, topic_id: str, number: int, emission: Emission) -> None:
        """Write an emission: cells and progress together. A lower `hi` never overwrites."""
        where = {"pipeline": pipeline, "topic_id": topic_id, "number": number}
        new = emission.progress
        self._late(where, emission.late)
        self._c.execute(
            upsert(self._c, t.progress, newest="hi"),
            {
                **where,
                "low_water": new.low_water,
                "hi": new.hi,
                "closed": new.closed,
                "watermark": new.watermark,
                "doubted": _dumps(new.doubted),
                "finished": new.finished,
                "totals": _dumps(new.totals),
                "leaks": _dumps(new.leaks),
            },
        )
        rows = [
            {**where, "bucket": b.start, "hi": new.hi, **cell}
            for b in emission.buckets
            for cell in _cells(b)
        ]
        if rows:
            self._c.execute(upsert(self._c, t.cells, newest="hi"), rows)
        if emission.admissions:
            self._c.execute(
                insert_new(self._c, t.vocabulary),
                [
                    {**where, "dimension": a.dimension, "value": a.value, "bucket": a.bucket}
                    for a in emission.admissions
                ],
            )
        if emission.occurrences:
            self._c.execute(
                insert_new(self._c, t.occurrences),
                [_occurrence(o, topic_id, number) for o in emission.occurrences],
            )

    def rewind(self, pipeline: int, topic_id: str, number: int, offset: int) -> None:
        """The log was cut off at `offset`: what is stored gives way to what comes there now."""
        for table in (t.progress, t.cells):
            self._c.execute(
                table.update()
                .where(
                    table.c.pipeline == pipeline,
                    table.c.topic_id == topic_id,
                    table.c.number == number,
                    table.c.hi > offset,
                )
                .values(hi=offset)
            )

    def _late(self, where: dict[str, Any], late: Iterable[tuple[int, int]]) -> None:
        """Add what no earlier owner of the partition has added: only offsets from its `hi` on."""
        keyed = [t.progress.c[k] == v for k, v in where.items()]
        hi = self._c.execute(sa.select(t.progress.c.hi).where(*keyed).with_for_update()).scalar()
        new = Counter(bucket for offset, bucket in late if offset >= (hi or 0))
        for bucket, count in new.items():
            keyed = [t.late.c[k] == v for k, v in {**where, "bucket": bucket}.items()]
            known = self._c.execute(sa.select(t.late.c.count).where(*keyed)).scalar()
            if known is None:
                self._c.execute(t.late.insert().values({**where, "bucket": bucket, "count": count}))
            else:
                self._c.execute(t.late.update().where(*keyed).values(count=known + count))

    def known(self, topic: str, topic_id: str, numbers: Sequence[int], now: datetime) -> None:
        """Note that these partitions are there; what is known of one already stays."""
        if numbers:
            values = {"topic": topic, "topic_id": topic_id, "position": 0, "end": 0, "seen_at": now}
            rows = [{**values, "number": number} for number in numbers]
            self._c.execute(insert_new(self._c, t.partitions), rows)

    def liveness(
        self, topic: str, topic_id: str, positions: Sequence[tuple[int, int, int]], now: datetime
    ) -> None:
        """Note (number, position, end) of partitions as seen now; decide's idleness rests on it."""
        p = t.partitions
        for number, at, end in positions:
            keyed = (p.c.topic_id == topic_id, p.c.number == number)
            row = self._c.execute(p.select().where(*keyed)).one_or_none()
            caught_up = behind = None
            if at >= end:
                same = row is not None and row.position == at and row.caught_up_at is not None
                caught_up = row.caught_up_at if row is not None and same else now
            else:
                known = None if row is None else row.behind_since
                behind = known or now
            values = {
                "topic": topic,
                "position": at,
                "end": end,
                "caught_up_at": caught_up,
                "behind_since": behind,
                "seen_at": now,
            }
            if row is None:
                self._c.execute(
                    p.insert().values(topic_id=topic_id, number=number, first_bucket=None, **values)
                )
            else:
                self._c.execute(p.update().where(*keyed).values(values))

    def partitions(self, pipeline: int) -> list[PartitionRow]:
        """All partitions of the current topic (the one seen last), read or not."""
        p, g = t.partitions, t.progress
        newest = sa.select(p.c.topic_id).order_by(p.c.seen_at.desc()).limit(1).scalar_subquery()
        rows = self._c.execute(
            sa.select(p, g.c.closed, g.c.watermark, g.c.finished, g.c.totals)
            .join_from(
                p,
                g,
                sa.and_(
                    g.c.topic_id == p.c.topic_id,
                    g.c.number == p.c.number,
                    g.c.pipeline == pipeline,
                ),
                isouter=True,
            )
            .where(p.c.topic_id == newest)
            .order_by(p.c.number)
        )
        return [
            PartitionRow(
                topic=r.topic,
                topic_id=r.topic_id,
                number=r.number,
                closed=r.closed,
                watermark=r.watermark,
                finished=bool(r.finished),
                position=r.position,
                end=r.end,
                caught_up_at=r.caught_up_at,
                behind_since=r.behind_since,
                seen_at=r.seen_at,
                totals=msgspec.json.decode(r.totals) if r.totals else {},
            )
            for r in rows
        ]

    # -- cells ----------------------------------------------------------------------------------

    def counts(self, pipeline: int, first: int, end: int) -> dict[int, Counts]:
        """Cells of buckets starting in [first, end), summed over partitions, by bucket."""
        c = t.cells
        rows = self._c.execute(
            sa.select(c.c.bucket, c.c.cuboid, c.c.dims, c.c.counts).where(
                c.c.pipeline == pipeline, c.c.bucket >= first, c.c.bucket < end
            )
        )
        found: dict[int, Counts] = {}
        for bucket, cuboid, dims, counts in rows:
            into = found.setdefault(bucket, Counts({}, {}))
            key = msgspec.json.decode(dims)
            values = msgspec.json.decode(counts)
            if cuboid == BASE:
                _sum(into.base, tuple(key), values)
            else:
                _sum(into.narrow, (cuboid, tuple(key[:-1]), key[-1]), values)
        return found

    def cell_count(self, pipeline: int, first: int, end: int, most: int) -> int:
        """How many cells buckets starting in [first, end) have; `most` where there are more."""
        c = t.cells
        some = (
            sa.select(c.c.bucket)
            .where(c.c.pipeline == pipeline, c.c.bucket >= first, c.c.bucket < end)
            .limit(most)
        )
        return self._c.execute(sa.select(sa.func.count()).select_from(some.subquery())).scalar_one()

    def first_bucket(self, pipeline: int, since: int | None = None) -> int | None:
        """Start of the oldest bucket with cells (from `since` on)."""
        c = t.cells
        query = sa.select(sa.func.min(c.c.bucket)).where(c.c.pipeline == pipeline)
        if since is not None:
            query = query.where(c.c.bucket >= since)
        return self._c.execute(query).scalar()

    def topics(self, pipeline: int) -> dict[str, int]:
        """Start of the oldest bucket with cells, by topic id."""
        c = t.cells
        rows = self._c.execute(
            sa.select(c.c.topic_id, sa.func.min(c.c.bucket))
            .where(c.c.pipeline == pipeline)
            .group_by(c.c.topic_id)
        )
        return {topic: int(first) for topic, first in rows}

    def last_bucket(self, pipeline: int, before: int) -> int | None:
        """Start of the newest bucket with cells before `before`."""
        c = t.cells
        query = sa.select(sa.func.max(c.c.bucket)).where(
            c.c.pipeline == pipeline, c.c.bucket < before
        )
        return self._c.execute(query).scalar()

    def late_by_bucket(self, pipeline: int, first: int, end: int) -> dict[int, int]:
        """Interactions that came after their bucket was closed."""
        x = t.late
        rows = self._c.execute(
            sa.select(x.c.bucket, sa.func.sum(x.c.count))
            .where(x.c.pipeline == pipeline, x.c.bucket >= first, x.c.bucket < end)
            .group_by(x.c.bucket)
        )
        return {bucket: int(count) for bucket, count in rows}


def _definition(plan: Plan) -> str:
    """All that decides what a cell means."""
    each = [[s.name, s.each, s.value, str(s.k), str(s.n_each), s.by] for s in plan.items()]
    return _dumps(
        {
            "bucket_s": plan.bucket_s,
            "lateness_s": plan.lateness_s,
            "dimensions": plan.dimensions,
            "slots": plan.slots,
            "each": each,
            "sources": plan.volume() is not None,
        }
    )


def _digest(text: str) -> str:
    return sha256(text.encode()).hexdigest()


def _cells(bucket: Bucket) -> Iterable[dict[str, str]]:
    for base_key, counts in bucket.base.items():
        yield {"cuboid": BASE, "dims": _dumps(base_key), "counts": _dumps(counts)}
    for (signal, by, value), counts in bucket.narrow.items():
        yield {"cuboid": signal, "dims": _dumps([*by, value]), "counts": _dumps(counts)}


def _occurrence(o: Occurrence, topic_id: str, number: int) -> dict[str, Any]:
    return {
        "rule": o.rule,
        "source": o.source,
        "topic_id": topic_id,
        "number": number,
        "offset": o.offset,
        "bucket": o.bucket,
        "at": o.at,
        "dims": _dumps(o.dimensions),
        "event_id": o.event_id,
        "handled_at": None,
    }


def _sum(into: dict[Any, list[int]], key: Any, counts: list[int]) -> None:
    known = into.get(key)
    if known is None:
        into[key] = counts
    else:
        into[key] = [a + b for a, b in zip(known, counts, strict=True)]
