"""The audit: who was refused what, and what was done to the ways in.

Nothing is ever removed (the database itself refuses it); `monitor.desk.audit` bounds what is added.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from monitor.store import tables as t


@dataclass(frozen=True, slots=True)
class Audited:
    """One line of the audit; never a token, never what a request contained."""

    at: datetime
    who: str
    """Name of the principal, or `-` where nobody was recognised."""
    via: str
    """`socket`, `direct`, or `tls` and the address."""
    action: str
    """The desk's method, or `-`."""
    outcome: str
    """`done`, or the reason of a refusal in one word."""
    detail: str = ""


class AuditRows:
    """The audit within one transaction."""

    def __init__(self, connection: sa.Connection) -> None:
        self._c = connection

    def add(self, row: Audited) -> None:
        """Write a line."""
        values = {name: getattr(row, name) for name in Audited.__dataclass_fields__}
        self._c.execute(t.audit.insert().values(values))

    def newest(self, limit: int = 100) -> list[Audited]:
        """Newest first."""
        rows = self._c.execute(t.audit.select().order_by(t.audit.c.id.desc()).limit(limit))
        return [
            Audited(**{name: getattr(row, name) for name in Audited.__dataclass_fields__})
            for row in rows
        ]
