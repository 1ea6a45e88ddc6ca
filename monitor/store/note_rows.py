"""Rows of notes: what changed for good, told to people and never paged."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

import msgspec
import sqlalchemy as sa

from monitor.store import tables as t
from monitor.store.upserts import insert_new

NOTES_KEPT = 10_000
"""The oldest go."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NoteRow:
    """The level of a series changed."""

    kind: Literal["level", "judge"]
    """`judge`: what fits is another version of who judges it, not a product that moved."""
    signal: str
    dimensions: dict[str, str]
    at: datetime
    """When it was noticed, on event time."""
    onset_at: datetime
    before: float | None
    """k / n, for a level."""
    after: float | None
    text: str
    fits: str
    """The recorded change that fits, in words; empty where none does."""
    key: str
    """The same finding always has the same one: a replay writes no second row."""


class NoteRows:
    """The notes' rows within one transaction."""

    def __init__(self, connection: sa.Connection) -> None:
        self._c = connection

    def add(self, row: NoteRow) -> None:
        """Keep a note, the newest `NOTES_KEPT` of all."""
        n = t.notes
        self._c.execute(
            insert_new(self._c, n),
            {
                "kind": row.kind,
                "signal": row.signal,
                "dims": msgspec.json.encode(row.dimensions, order="deterministic").decode(),
                "at": row.at,
                "onset_at": row.onset_at,
                "before": row.before,
                "after": row.after,
                "text": row.text,
                "fits": row.fits,
                "key": row.key,
            },
        )
        newest = self._c.execute(sa.select(sa.func.max(n.c.id))).scalar() or 0
        self._c.execute(n.delete().where(n.c.id <= newest - NOTES_KEPT))

    def since(
        self, since: datetime | None = None, until: datetime | None = None, limit: int = 200
    ) -> list[NoteRow]:
        """By their onset, newest first."""
        n = t.notes
        query = n.select().order_by(n.c.onset_at.desc(), n.c.id.desc()).limit(limit)
        if since is not None:
            query = query.where(n.c.onset_at >= since)
        if until is not None:
            query = query.where(n.c.onset_at <= until)
        return [_note(row) for row in self._c.execute(query)]

    def noticed(self, since: datetime, *, after: int = 0, limit: int = 200) -> list[NoteRow]:
        """Noticed since then and stored after the note of this number, newest first."""
        n = t.notes
        query = n.select().where(n.c.id > after, n.c.at >= since)
        rows = self._c.execute(query.order_by(n.c.id.desc()).limit(limit))
        return [_note(row) for row in rows]

    def newest(self) -> int:
        """The number of the newest note; 0 without any."""
        return int(self._c.execute(sa.select(sa.func.max(t.notes.c.id))).scalar() or 0)


def _note(row: Any) -> NoteRow:
    return NoteRow(
        kind=row.kind,
        signal=row.signal,
        dimensions=msgspec.json.decode(row.dims),
        at=row.at,
        onset_at=row.onset_at,
        before=row.before,
        after=row.after,
        text=row.text,
        fits=row.fits,
        key=row.key,
    )
