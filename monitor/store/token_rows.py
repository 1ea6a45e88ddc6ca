"""Tokens that open the desk from another machine: their digests, never their text."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

import sqlalchemy as sa

from monitor.store import tables as t

KEPT = timedelta(days=90)
"""A token that ended is shown so long."""


@dataclass(frozen=True, slots=True)
class Token:
    """One token."""

    id: str
    digest: str
    name: str
    role: str
    created_by: str
    created_at: datetime
    expires_at: datetime
    revoked_at: datetime | None = None
    used_at: datetime | None = None


class TokenRows:
    """The tokens within one transaction."""

    def __init__(self, connection: sa.Connection) -> None:
        self._c = connection

    def add(self, token: Token) -> None:
        """Keep a new token, and forget those that ended long ago."""
        r = t.tokens
        old = token.created_at - KEPT
        ended = sa.or_(r.c.expires_at < old, r.c.revoked_at < old)
        self._c.execute(r.delete().where(ended))
        values = {name: getattr(token, name) for name in Token.__dataclass_fields__}
        self._c.execute(r.insert().values(values))

    def get(self, token_id: str) -> Token | None:
        """One token, whatever became of it."""
        row = self._c.execute(t.tokens.select().where(t.tokens.c.id == token_id)).one_or_none()
        return None if row is None else _token(row)

    def all(self, limit: int = 1000) -> list[Token]:
        """Newest first."""
        r = t.tokens
        rows = self._c.execute(r.select().order_by(r.c.created_at.desc(), r.c.id).limit(limit))
        return [_token(row) for row in rows]

    def revoke(self, token_id: str, now: datetime) -> bool:
        """End a token for good; False when it had been already, or is not there."""
        r = t.tokens
        open_row = r.update().where(r.c.id == token_id, r.c.revoked_at.is_(None))
        return self._c.execute(open_row.values(revoked_at=now)).rowcount > 0

    def used(self, token_id: str, now: datetime) -> None:
        """It was used now."""
        r = t.tokens
        self._c.execute(r.update().where(r.c.id == token_id).values(used_at=now))


def _token(row: sa.Row[tuple[object, ...]]) -> Token:
    return Token(**{name: getattr(row, name) for name in Token.__dataclass_fields__})
