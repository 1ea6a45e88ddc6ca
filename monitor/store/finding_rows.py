"""Rows about what is wrong with the stream: quarantine, gaps, never-events."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

import msgspec
import sqlalchemy as sa

from monitor.store import tables as t
from monitor.store.upserts import insert_new
from monitor.stream.cells import Occurrence

QUARANTINE_KEPT = 10_000
"""Findings kept; the oldest go."""


@dataclass(frozen=True, slots=True)
class Quarantined:
    """One finding in a record that is not (or not wholly) what it should be; never its content."""

    topic: str
    topic_id: str
    number: int
    offset: int
    rule: str
    path: str
    length: int
    digest: str
    at: datetime


@dataclass(frozen=True, slots=True)
class GapRow:
    """Offsets the log no longer held."""

    topic: str
    topic_id: str
    number: int
    first: int
    last: int
    reason: str
    at: datetime


class FindingRows:
    """The findings' rows within one transaction."""

    def __init__(self, connection: sa.Connection) -> None:
        self._c = connection

    def quarantine(self, rows: Iterable[Quarantined]) -> None:
        """Keep findings, the newest `QUARANTINE_KEPT` of all; a replay finds the same ones."""
        values = [
            {name: getattr(row, name) for name in Quarantined.__dataclass_fields__} for row in rows
        ]
        if values:
            self._c.execute(insert_new(self._c, t.quarantine), values)
            self._trim_quarantine()

    def _trim_quarantine(self) -> None:
        q = t.quarantine
        count = self._c.execute(sa.select(sa.func.count()).select_from(q)).scalar() or 0
        if count <= QUARANTINE_KEPT:
            return
        key = list(q.primary_key.columns)
        oldest = sa.select(*key).order_by(q.c.at, q.c.offset).limit(count - QUARANTINE_KEPT)
        self._c.execute(q.delete().where(sa.tuple_(*key).in_(oldest)))

    def quarantined(self, limit: int = 100) -> list[Quarantined]:
        """The newest findings."""
        q = t.quarantine
        rows = self._c.execute(q.select().order_by(q.c.at.desc(), q.c.offset.desc()).limit(limit))
        return [
            Quarantined(**{name: getattr(r, name) for name in Quarantined.__dataclass_fields__})
            for r in rows
        ]

    def quarantine_counts(self) -> dict[str, int]:
        """Findings by rule."""
        q = t.quarantine
        rows = self._c.execute(sa.select(q.c.rule, sa.func.count()).group_by(q.c.rule))
        return {rule: int(count) for rule, count in rows}

    def gap(self, row: GapRow) -> None:
        """Keep a gap for decide to report."""
        values = {name: getattr(row, name) for name in GapRow.__dataclass_fields__}
        self._c.execute(insert_new(self._c, t.gaps), {**values, "handled_at": None})

    def open_gaps(self) -> list[GapRow]:
        """Gaps not yet reported."""
        rows = self._c.execute(t.gaps.select().where(t.gaps.c.handled_at.is_(None)))
        return [
            GapRow(**{name: getattr(r, name) for name in GapRow.__dataclass_fields__}) for r in rows
        ]

    def lost(self, topic_id: str, since: datetime) -> tuple[int, int]:
        """How many gaps a topic had from `since` on, and how many records they are."""
        g = t.gaps.c
        records = sa.func.coalesce(sa.func.sum(g.last - g.first + 1), 0)
        query = sa.select(sa.func.count(), records).where(g.topic_id == topic_id, g.at >= since)
        row = self._c.execute(query).one()
        return int(row[0]), int(row[1])

    def gap_handled(self, row: GapRow, now: datetime) -> None:
        """It was reported."""
        g = t.gaps
        self._c.execute(
            g.update()
            .where(g.c.topic_id == row.topic_id, g.c.number == row.number, g.c.first == row.first)
            .values(handled_at=now)
        )

    def open_occurrences(
        self, limit: int = 1000, until: int | None = None
    ) -> list[tuple[str, int, Occurrence]]:
        """Never-events not yet decided, oldest first, as (topic id, partition, occurrence).

        Args:
            limit: at most this many.
            until: only those of buckets that start by then.
        """
        o = t.occurrences
        query = o.select().where(o.c.handled_at.is_(None))
        if until is not None:
            query = query.where(o.c.bucket <= until)
        rows = self._c.execute(
            query.order_by(o.c.at, o.c.topic_id, o.c.number, o.c.offset).limit(limit)
        )
        return [
            (
                r.topic_id,
                r.number,
                Occurrence(
                    rule=r.rule,
                    source=r.source,
                    bucket=r.bucket,
                    offset=r.offset,
                    at=r.at,
                    dimensions=msgspec.json.decode(r.dims),
                    event_id=r.event_id,
                ),
            )
            for r in rows
        ]

    def occurrence_handled(
        self, topic_id: str, number: int, occurrence: Occurrence, now: datetime
    ) -> None:
        """It was decided."""
        o = t.occurrences
        self._c.execute(
            o.update()
            .where(
                o.c.rule == occurrence.rule,
                o.c.source == occurrence.source,
                o.c.topic_id == topic_id,
                o.c.number == number,
                o.c.offset == occurrence.offset,
            )
            .values(handled_at=now)
        )
