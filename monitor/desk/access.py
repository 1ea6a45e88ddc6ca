"""The ways in, at the desk: tokens and the audit."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Literal, cast, get_args

from monitor import views
from monitor.clock import WallClock
from monitor.desk.base import DeskBase
from monitor.desk.tokens import LONGEST_LIFE, mint, name_problem
from monitor.store.audit_rows import Audited
from monitor.store.store import Tx
from monitor.store.token_rows import Token
from monitor.views import DeskError

TokenRole = Literal["reader", "responder", "admin"]
_WALL = WallClock()


class AccessDesk(DeskBase):
    """Questions and commands about tokens and the audit.

    They run on the wall clock: a recording's own says nothing about when a token ends.
    """

    def tokens(self, *, limit: int = 100) -> list[views.TokenRow]:
        """Newest first."""
        self._must("admin")
        with self._reading() as tx:
            now = _WALL.now()
            return [_row(token, now) for token in tx.tokens.all(min(max(limit, 0), 1000))]

    def create_token(
        self, *, name: str, role: str = "responder", seconds: int = 2_592_000
    ) -> views.TokenMade:
        """A token for a person or a program."""
        self._must("admin")
        if problem := name_problem(name):
            raise DeskError("invalid", problem)
        if role not in get_args(TokenRole):
            raise DeskError("invalid", f"unknown role {role!r}", "reader, responder or admin")
        if role == "admin" and self._who.via == "tls":
            raise DeskError(
                "forbidden",
                "a token of an admin makes no other one",
                "make it on the desk's own machine",
            )
        if not 60 <= seconds <= LONGEST_LIFE.total_seconds():
            raise DeskError("invalid", "a token is good for a minute to a year (365d)")
        minted, now = mint(), _WALL.now()
        until = (now + timedelta(seconds=seconds)).replace(microsecond=0)
        token = Token(minted.id, minted.digest, name, role, self._who.name, now, until)
        with self._writing() as tx:
            tx.tokens.add(token)
            detail = f"{token.id} for {name}, {role}, until {until:%Y-%m-%d %H:%M} UTC"
            self._write_down(tx, "create_token", detail, now)
            return views.TokenMade(
                text=f"token {detail}",
                id=token.id,
                token=minted.text,
                expires_at=until,
                revision=tx.revision(),
            )

    def revoke_token(self, token: str) -> views.Done:
        """End a token."""
        if not (self._who.token and token == self._who.token):
            self._must("admin")
        now = _WALL.now()
        with self._writing() as tx:
            row = tx.tokens.get(token)
            if row is None:
                raise DeskError("not_found", "there is no such token", "tocsin token list")
            if not tx.tokens.revoke(row.id, now):
                raise DeskError("refused", f"token {row.id} of {row.name} is revoked already")
            self._write_down(tx, "revoke_token", f"{row.id} of {row.name}", now)
            return views.Done(text=f"token {row.id} of {row.name} revoked", revision=tx.revision())

    def audit(self, *, limit: int = 100) -> list[views.AuditLine]:
        """Newest first."""
        self._must("admin")
        with self._reading() as tx:
            return [
                views.AuditLine(
                    at=row.at,
                    who=row.who,
                    via=row.via,
                    action=row.action,
                    outcome=row.outcome,
                    detail=row.detail,
                )
                for row in tx.audit.newest(min(max(limit, 0), 10_000))
            ]

    def _write_down(self, tx: Tx, action: str, detail: str, now: datetime) -> None:
        who = self._who
        tx.audit.add(Audited(now, who.name, who.via, action, "done", detail))


def _row(token: Token, now: datetime) -> views.TokenRow:
    ended: Literal["live", "expired", "revoked"] = "live"
    if token.revoked_at is not None:
        ended = "revoked"
    elif token.expires_at <= now:
        ended = "expired"
    return views.TokenRow(
        id=token.id,
        name=token.name,
        role=cast("TokenRole", token.role),
        state=ended,
        created_by=token.created_by,
        created_at=token.created_at,
        expires_at=token.expires_at,
        revoked_at=token.revoked_at,
        used_at=token.used_at,
    )
