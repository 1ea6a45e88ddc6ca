"""Rows that age: what traffic writes goes when nobody looks so far back, a few rows at a time.

Each question is answered by an index from its low end, so that a round over a store in which
nothing has aged costs next to nothing. What people and incidents did is not asked for here.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import msgspec
import sqlalchemy as sa

from monitor.store import postgres
from monitor.store import tables as t
from monitor.store.decision_rows import _POINTS, DecisionRows
from monitor.store.outbox import WAITING

MARK = "aged"
"""Name of the snapshot whose bucket is the mark."""
_NOBODYS = t.alerts.c.incident.concat("").is_(None)
"""No index has it: SQLite would take that of the incident, and sort all alerts of none."""
PAGES = 500
"""Numbers of pages whose attempts are looked at together."""


@dataclass(frozen=True, slots=True)
class Gone:
    """What one look came to."""

    rows: int
    """Removed or made smaller."""
    onward: int | None
    """Where the next look begins; None when nothing is left."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What an incident is about, and when."""

    signal: str | None
    dimensions: dict[str, str]
    began: datetime
    """Its onset or its detection, whichever was earlier."""
    ended: datetime | None


class AgeingRows:
    """The ageing of rows within one transaction. Buckets are unix seconds, spans [first, end)."""

    def __init__(self, connection: sa.Connection) -> None:
        self._c = connection

    # -- what there is --------------------------------------------------------------------------

    def mark(self) -> int:
        """Before this bucket points are those of incidents only; 0 where all of them are there."""
        stored = DecisionRows(self._c).snapshot(MARK)
        return 0 if stored is None else stored[0]

    def move(self, bucket: int) -> None:
        """Everything before `bucket` has aged."""
        DecisionRows(self._c).save_snapshot(MARK, bucket, b"")

    def pipelines(self) -> list[int]:
        """All that anything was ever counted under."""
        return list(self._c.execute(sa.select(t.pipelines.c.id)).scalars())

    def signals(self) -> list[str]:
        """Names under which there are points."""
        return self._distinct(t.points.c.signal)

    def evidence(self, since: datetime) -> list[Evidence]:
        """Incidents that had not ended by `since`."""
        i = t.incidents
        query = sa.select(i.c.signal, i.c.dims, i.c.impact_at, i.c.detected_at, i.c.resolved_at)
        rows = self._c.execute(
            query.where(sa.or_(i.c.resolved_at.is_(None), i.c.resolved_at >= since))
        )
        return [
            Evidence(
                signal=row.signal,
                dimensions=msgspec.json.decode(row.dims),
                began=min(row.impact_at or row.detected_at, row.detected_at),
                ended=row.resolved_at,
            )
            for row in rows
        ]

    # -- what goes ------------------------------------------------------------------------------

    def cells(self, pipeline: int, first: int, end: int, most: int) -> Gone:
        """Remove cells of a pipeline.

        Not those of a bucket that its partition has not closed, as one that is silent for weeks:
        it may write them again, and what is written is compared with what was there.
        """
        c, g = t.cells.c, t.progress.c
        still_open = sa.exists().where(
            g.pipeline == pipeline,
            g.topic_id == c.topic_id,
            g.number == c.number,
            sa.or_(g.closed.is_(None), g.closed <= c.bucket),
        )
        whose = sa.and_(c.pipeline == pipeline, ~still_open)
        return self._buckets(t.cells, whose, first, end, most)

    def late(self, pipeline: int, first: int, end: int, most: int) -> Gone:
        """Remove late counts of a pipeline."""
        c = t.late.c
        return self._buckets(t.late, c.pipeline == pipeline, first, end, most)

    def points(self, signal: str, first: int, end: int, most: int) -> Gone:
        """Remove points of a signal."""
        return self._buckets(t.points, t.points.c.signal == signal, first, end, most)

    def thin(
        self, signal: str, first: int, end: int, held: Collection[tuple[str, ...]], most: int
    ) -> Gone:
        """Leave of a signal's points only those of the `held` series."""
        p = t.points
        where = (p.c.signal == signal, p.c.bucket >= first, p.c.bucket < end)
        query = sa.select(p.c.bucket, p.c.data).where(*where).order_by(p.c.bucket).limit(most)
        found = self._c.execute(query).all()
        rows = 0
        for bucket, data in found:
            points = _POINTS.decode(data)
            kept = [point for point in points if point.dims in held]
            if len(kept) == len(points):
                continue
            rows += 1
            keyed = (p.c.signal == signal, p.c.bucket == bucket)
            if kept:
                values = {"data": msgspec.msgpack.encode(kept)}
                self._c.execute(p.update().where(*keyed).values(values))
            else:
                self._c.execute(p.delete().where(*keyed))
        return Gone(rows, found[-1].bucket + 1 if len(found) == most else None)

    def occurrences(self, pipeline: int, until: datetime, most: int) -> Gone:
        """Remove never-events that were decided before `until`.

        Not those that a replay of the log would tell again: their rows are why it pages no more.
        """
        o, g = t.occurrences, t.progress
        again = sa.exists().where(
            g.c.pipeline == pipeline,
            g.c.topic_id == o.c.topic_id,
            g.c.number == o.c.number,
            g.c.low_water <= o.c.offset,
        )
        rows = self._drop(o, (o.c.handled_at < until, ~again), (o.c.handled_at,), most)
        return Gone(len(rows), None if len(rows) < most else 0)

    def alerts(self, first: datetime, until: datetime, most: int) -> Gone:
        """Remove alerts of no incident that cleared in [first, until).

        The newest of all stays: its number would be given again, and a digest goes by numbers.
        """
        a = t.alerts
        newest = sa.select(sa.func.max(a.c.id)).scalar_subquery()
        where = (
            a.c.cleared_at >= first,
            a.c.cleared_at < until,
            _NOBODYS,
            a.c.id < newest,
        )
        rows = self._drop(a, where, (a.c.cleared_at,), most)
        return Gone(len(rows), None if len(rows) < most else 0)

    def attempts(self, first: int, until: datetime) -> Gone:
        """Remove attempts of `PAGES` pages from `first` on, of those that are done with.

        What a page came to is on the page itself; of one that still waits its sender counts them.
        """
        a, o = t.attempts, t.outbox
        page = self._c.execute(sa.select(sa.func.min(a.c.page)).where(a.c.page >= first)).scalar()
        made = self._c.execute(sa.select(o.c.created_at).where(o.c.id == page)).scalar()
        if page is None or made is None or made >= until:
            return Gone(0, None)
        done = sa.select(o.c.id).where(
            o.c.id >= page,
            o.c.id < page + PAGES,
            o.c.created_at < until,
            o.c.state.not_in(WAITING),
        )
        where = (a.c.page >= page, a.c.page < page + PAGES, a.c.page.in_(done))
        return Gone(self._c.execute(a.delete().where(*where)).rowcount, page + PAGES)

    # -- inside ---------------------------------------------------------------------------------

    def _buckets(
        self, table: sa.Table, whose: sa.ColumnElement[bool], first: int, end: int, most: int
    ) -> Gone:
        at = table.c.bucket
        rows = self._drop(table, (whose, at >= first, at < end), (at,), most)
        return Gone(len(rows), None if len(rows) < most else max(rows))

    def _drop(
        self,
        table: sa.Table,
        where: tuple[sa.ColumnElement[bool], ...],
        order: tuple[sa.Column[Any], ...],
        most: int,
    ) -> list[int]:
        """Delete at most `most` rows; the first column of `order` of each.

        Found by the index and deleted by their place in the table: neither database knows a DELETE
        with a LIMIT.
        """
        server = self._c.dialect.name == "postgresql"
        row: sa.ColumnClause[int] = sa.literal_column("ctid" if server else "rowid")
        some = sa.select(row).select_from(table).where(*where).order_by(*order).limit(most)
        chosen: sa.ColumnElement[bool] = row.in_(some)
        if server:
            postgres.by_index(self._c)
            # As an array it is looked up row by row.
            chosen = row == sa.func.any(sa.func.array(some.scalar_subquery()))
        return list(self._c.execute(table.delete().where(chosen).returning(order[0])).scalars())

    def _distinct(self, column: sa.Column[str]) -> list[str]:
        """The values of an index's first column, one look for each: DISTINCT reads all rows."""
        found: list[str] = []
        query = sa.select(sa.func.min(column))
        value: str | None = self._c.execute(query).scalar()
        while value is not None:
            found.append(value)
            value = self._c.execute(query.where(column > value)).scalar()
        return found
