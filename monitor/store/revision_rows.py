"""Revisions of the configuration: what was in force from when on, and who put it there."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from monitor.store import tables as t

KEPT = 1_000
"""The newest revisions that are kept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Revision:
    """A configuration that was in force from `at` on."""

    id: int
    """People write r7."""
    at: datetime
    who: str
    """The person who asked for it, or `start`."""
    via: str
    digest: str
    """SHA-256 of the body, without what one machine has for itself."""
    body: str
    """The whole configuration as JSON text; secrets are references."""
    note: str
    """The keys that changed, without values."""


class RevisionRows:
    """The revisions within one transaction."""

    def __init__(self, connection: sa.Connection) -> None:
        self._c = connection

    def add(
        self, *, who: str, via: str, digest: str, body: str, note: str, now: datetime
    ) -> Revision:
        """Keep a revision, and let go of those before the last `KEPT`."""
        r = t.revisions
        key = self._c.execute(
            r.insert().values(at=now, who=who, via=via, digest=digest, body=body, note=note)
        ).inserted_primary_key
        assert key is not None
        number = int(key[0])
        self._c.execute(r.delete().where(r.c.id <= number - KEPT))
        return Revision(id=number, at=now, who=who, via=via, digest=digest, body=body, note=note)

    def latest(self) -> Revision | None:
        """The one in force; None before the first start."""
        r = t.revisions
        row = self._c.execute(r.select().order_by(r.c.id.desc()).limit(1)).one_or_none()
        return None if row is None else _revision(row)

    def known(self, digest: str) -> Revision | None:
        """The newest with this digest; None where it never was, or is kept no more."""
        r = t.revisions
        asked = r.select().where(r.c.digest == digest).order_by(r.c.id.desc()).limit(1)
        row = self._c.execute(asked).one_or_none()
        return None if row is None else _revision(row)

    def get(self, number: int) -> Revision | None:
        """One revision; None where it never was, or is kept no more."""
        r = t.revisions
        row = self._c.execute(r.select().where(r.c.id == number)).one_or_none()
        return None if row is None else _revision(row)

    def newest(self, limit: int = 50) -> list[Revision]:
        """The last ones, newest first."""
        r = t.revisions
        rows = self._c.execute(r.select().order_by(r.c.id.desc()).limit(limit))
        return [_revision(row) for row in rows]


def _revision(row: Any) -> Revision:
    return Revision(
        id=row.id,
        at=row.at,
        who=row.who,
        via=row.via,
        digest=row.digest,
        body=row.body,
        note=row.note,
    )
