"""Rows of the stream: partitions, progress, cells, vocabulary, quarantine, gaps, never-events."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import msgspec
import sqlalchemy as sa

from monitor.store import tables as t
from monitor.store.late_rows import BASE
from monitor.store.pipeline_rows import PipelineRows
from monitor.store.upserts import insert_new, upsert
from monitor.stream.cells import Bucket, Emission, Occurrence, Progress
from monitor.stream.log_clock import ClockState, leaders
from monitor.stream.strays import Stray

UNSEEN = timedelta(seconds=30)
"""Between two looks of ingest lies a second or two; so much only when nobody looked."""


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
    strays: dict[str, Stray] = field(default_factory=dict)
    """Sources whose events were late or far ahead; their names are hostile text."""
    leaders: tuple[str, ...] = ()
    """Sources that say the time the partition's clock has; as hostile."""
    outrun: bool = False
    """By other signals it was read further: what waits to be read again is no rest."""


@dataclass(slots=True)
class Counts:
    """The cells of one bucket, summed over partitions."""

    base: dict[tuple[str, ...], list[int]]
    narrow: dict[tuple[str, tuple[str, ...], str], list[int]]


@dataclass(frozen=True, slots=True)
class _Times:
    """The column `doubted`, which held a list of times before."""

    clock: ClockState
    strays: dict[str, Stray]


_times: msgspec.json.Decoder[_Times | list[float]] = msgspec.json.Decoder(_Times | list[float])


def _told(text: str, watermark: float | None) -> _Times:
    try:
        found = _times.decode(text)
    except msgspec.ValidationError:  # a release before wrote down the names of the new fields
        found = []
    if isinstance(found, list):
        return _Times(ClockState(watermark, tuple(found)), {})
    return found


def _dumps(value: object) -> str:
    return msgspec.json.encode(value).decode()


class StreamRows(PipelineRows):
    """The stream's rows within one transaction."""

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
        times = _told(row.doubted, row.watermark)
        return Progress(
            low_water=row.low_water,
            hi=row.hi,
            closed=row.closed,
            watermark=row.watermark,
            clock=times.clock,
            strays=times.strays,
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
        """Write an emission: cells and progress together.

        A lower `hi` never overwrites, nor adds a cell: whoever was further has written them all,
        and taken back those that it knows better.
        """
        where = {"pipeline": pipeline, "topic_id": topic_id, "number": number}
        new = emission.progress
        further = self._late(where, emission.late) > new.hi
        self._c.execute(
            upsert(self._c, t.progress, newest="hi"),
            {
                **where,
                "low_water": new.low_water,
                "hi": new.hi,
                "closed": new.closed,
                "watermark": new.watermark,
                "doubted": _dumps(_Times(new.clock, new.strays)),
                "finished": new.finished,
                "totals": _dumps(new.totals),
                "leaks": _dumps(new.leaks),
            },
        )
        if emission.withdrawn and not further:
            self._withdraw(where, emission)
        rows = [
            {**where, "bucket": b.start, "hi": new.hi, **cell}
            for b in (() if further else emission.buckets)
            for cell in _cells(b)
        ]
        if rows:
            self._passed_over(where, rows)
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

    def _withdraw(self, where: dict[str, Any], emission: Emission) -> None:
        c = t.cells
        self._c.execute(
            c.delete().where(
                *(c.c[name] == value for name, value in where.items()),
                c.c.bucket.in_(emission.withdrawn),
            )
        )

    def rewind(self, topic_id: str, number: int, offset: int) -> None:
        """The log was cut off at `offset`: what is stored gives way to what comes there now.

        Cells of open buckets go: a replay from low water writes those that are still true.
        """
        g = t.progress.c
        where = (g.topic_id == topic_id, g.number == number)
        for pipeline in self._c.execute(sa.select(g.pipeline).where(*where)).scalars().all():
            self._rewind(pipeline, topic_id, number, offset)

    def _rewind(self, pipeline: int, topic_id: str, number: int, offset: int) -> None:
        g, c = t.progress, t.cells
        where = (g.c.pipeline == pipeline, g.c.topic_id == topic_id, g.c.number == number)
        cells = (c.c.pipeline == pipeline, c.c.topic_id == topic_id, c.c.number == number)
        closed = self._c.execute(sa.select(g.c.closed).where(*where)).scalar()
        self._c.execute(c.delete().where(*cells, c.c.bucket >= (closed or 0)))
        self._c.execute(c.update().where(*cells, c.c.hi > offset).values(hi=offset))
        self._c.execute(g.update().where(*where, g.c.hi > offset).values(hi=offset))
        # Whoever is killed now is followed by one that begins here, not behind what is new.
        self._c.execute(g.update().where(*where, g.c.low_water > offset).values(low_water=offset))

    def known(self, topic: str, topic_id: str, numbers: Sequence[int], now: datetime) -> None:
        """Note that these partitions are there; what is known of one already stays."""
        if numbers:
            values = {"topic": topic, "topic_id": topic_id, "position": 0, "end": 0, "seen_at": now}
            rows = [{**values, "number": number} for number in numbers]
            self._c.execute(insert_new(self._c, t.partitions), rows)

    def liveness(
        self,
        topic: str,
        topic_id: str,
        positions: Sequence[tuple[int, int, int]],
        now: datetime,
        silent: Container[int] = (),
    ) -> None:
        """Note (number, position, end) of partitions as seen now; decide's idleness rests on it.

        A clock that was put back takes with it what lies in its future now. Time in which nobody
        looked is neither rest nor lag: mostly it is a clock that was put forward.

        Args:
            topic: its name.
            topic_id: of the topic.
            positions: of the partitions that are ours.
            now: the time.
            silent: those that brought no event since the look before: what is refused moves no
                clock, and must not keep a partition from being at rest.
        """
        p = t.partitions
        for number, at, end in positions:
            keyed = (p.c.topic_id == topic_id, p.c.number == number)
            row = self._c.execute(p.select().where(*keyed)).one_or_none()
            gap = timedelta() if row is None or row.seen_at is None else now - row.seen_at
            unseen = gap if gap > UNSEEN else timedelta()
            caught_up = behind = None
            mute = row is not None and number in silent and at >= row.end
            if at >= end or mute:
                still = row is not None and (row.position == at or mute)
                same = row is not None and still and row.caught_up_at is not None
                caught_up = min(row.caught_up_at + unseen, now) if row and same else now
            else:
                # Whoever has read what was the end at the last look is not behind: more has come.
                still = row is not None and row.behind_since is not None and at < row.end
                behind = min(row.behind_since + unseen, now) if row and still else now
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
        own = (g.c.closed, g.c.watermark, g.c.finished, g.c.totals, g.c.doubted, g.c.hi)
        most = (
            sa.select(g.c.number, sa.func.max(g.c.hi).label("hi"))
            .where(g.c.topic_id == newest)
            .group_by(g.c.number)
            .subquery()
        )
        mine = (g.c.topic_id == p.c.topic_id, g.c.number == p.c.number, g.c.pipeline == pipeline)
        rows = self._c.execute(
            sa.select(p, *own, most.c.hi.label("furthest"))
            .join_from(p, g, sa.and_(*mine), isouter=True)
            .join(most, most.c.number == p.c.number, isouter=True)
            .where(p.c.topic_id == newest)
            .order_by(p.c.number)
        )
        found = [(r, _told(r.doubted or "[]", r.watermark)) for r in rows]
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
                strays=times.strays,
                leaders=tuple(leaders(times.clock)),
                outrun=r.furthest is not None and (r.hi is None or r.hi < r.furthest),
            )
            for r, times in found
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
        """Start of the newest bucket with cells before `before`, whichever signals they are of."""
        c, g = t.cells, t.progress
        topics = sa.select(g.c.topic_id).where(g.c.pipeline == pipeline)
        alike = sa.select(g.c.pipeline).where(g.c.topic_id.in_(topics)).distinct()
        found = [
            self._c.execute(
                sa.select(sa.func.max(c.c.bucket)).where(c.c.pipeline == one, c.c.bucket < before)
            ).scalar()
            for one in {pipeline, *self._c.execute(alike).scalars()}
        ]
        return max((bucket for bucket in found if bucket is not None), default=None)


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
