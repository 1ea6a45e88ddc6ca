"""Rows of runbook runs: the run value as JSON, the file it was pinned to, and its next deadline."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from monitor.store import tables as t


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRow:
    """One run of a runbook for one incident."""

    id: str
    incident: str
    runbook: str
    state: str
    body: bytes
    """The run value, encoded by `runbooks.engine`."""
    source: str
    """The runbook's text as it was when the run started: an edit never reaches a running one."""
    deadline_at: datetime | None
    started_at: datetime
    live: bool


class RunRows:
    """The runs' rows within one transaction."""

    def __init__(self, connection: sa.Connection) -> None:
        self._c = connection

    def save(self, run: RunRow) -> None:
        """Insert or replace."""
        values = {
            "id": run.id,
            "incident": run.incident,
            "runbook": run.runbook,
            "state": run.state,
            "body": run.body.decode(),
            "source": run.source,
            "deadline_at": run.deadline_at,
            "started_at": run.started_at,
            "live": run.live,
        }
        r = t.runs
        if self._c.execute(r.update().where(r.c.id == run.id).values(values)).rowcount == 0:
            self._c.execute(r.insert().values(values))

    def of_incident(self, incident: str) -> list[RunRow]:
        """Runs of an incident, newest first."""
        r = t.runs
        query = r.select().where(r.c.incident == incident).order_by(r.c.started_at.desc(), r.c.id)
        return [_row(row) for row in self._c.execute(query)]

    def live(self) -> list[RunRow]:
        """Runs that are not over."""
        r = t.runs
        query = r.select().where(r.c.live.is_(True)).order_by(r.c.started_at)
        return [_row(row) for row in self._c.execute(query)]

    def get(self, run: str) -> RunRow | None:
        """One run."""
        row = self._c.execute(t.runs.select().where(t.runs.c.id == run)).one_or_none()
        return None if row is None else _row(row)


def _row(row: Any) -> RunRow:
    return RunRow(
        id=row.id,
        incident=row.incident,
        runbook=row.runbook,
        state=row.state,
        body=row.body.encode(),
        source=row.source,
        deadline_at=row.deadline_at,
        started_at=row.started_at,
        live=row.live,
    )
