"""Is a store whole? Its schema, the database's own view of itself, and every timeline's chain."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

import sqlalchemy as sa

from monitor.incidents.timeline import broken_at
from monitor.store import schema
from monitor.store import tables as t
from monitor.store.engine import Password, open_to_look, sqlite_path
from monitor.store.errors import StoreError, StoreUnavailable
from monitor.store.incident_rows import IncidentRows
from monitor.store.lease_rows import LeaseRows

CLOCK_S = 2.0
"""The database's clock and this machine's may differ by so much."""
_NAMED = 5
"""Broken timelines that are named; the others are counted."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What one look came to."""

    name: str
    state: Literal["ok", "warn", "bad"]
    text: str


def check_store(url: str, now: datetime, password: Password | None = None) -> list[Finding]:
    """Look at a store without changing it, also while a daemon runs.

    Args:
        url: of the store, which is there.
        now: this machine's clock.
        password: for a server.

    Raises:
        StoreError: it cannot be opened at all.
    """
    engine = open_to_look(url, password)
    try:
        return list(_findings(engine, now))
    except sa.exc.DBAPIError as problem:
        raise StoreUnavailable(f"the store does not answer: {problem.orig}") from problem
    finally:
        engine.dispose()


def _findings(engine: sa.Engine, now: datetime) -> Iterator[Finding]:
    if sqlite_path(engine) is not None:
        found = _integrity(engine)
        yield found
        if found.state == "bad":
            return
    current = _schema(engine)
    yield current
    if engine.dialect.name == "postgresql":
        yield from _server(engine, now)
    if schema.revision(engine) is not None:
        yield _timelines(engine)


def _integrity(engine: sa.Engine) -> Finding:
    try:
        with engine.connect() as connection:
            rows = list(connection.exec_driver_sql("PRAGMA integrity_check(5)").scalars())
    except sa.exc.DatabaseError as problem:
        rows = [str(problem.orig)]
    if rows == ["ok"]:
        return Finding("file", "ok", "every page and index is whole")
    damage = "; ".join(" ".join(row.split()) for row in rows)
    return Finding("file", "bad", f"damaged: {damage}. Restore a backup: tocsin store restore FILE")


def _schema(engine: sa.Engine) -> Finding:
    found, ours = schema.look(engine), schema.head()
    current = found.revision
    if current == ours:
        return Finding("schema", "ok", f"{current}, as this Tocsin needs it")
    if current is None:
        return Finding("schema", "warn", f"none yet; the first start makes {ours}")
    try:
        schema.refuse_newer(found)
    except StoreError as problem:
        return Finding("schema", "bad", str(problem))
    if found.newer:
        text = f"{current}, of a newer Tocsin; this one has {ours} and may work on it"
        return Finding("schema", "warn", text)
    how = "the next start" if sqlite_path(engine) is not None else "`tocsin store migrate`"
    return Finding("schema", "warn", f"{current}; {how} upgrades it to {ours}")


def _server(engine: sa.Engine, now: datetime) -> Iterator[Finding]:
    with engine.connect() as connection:
        version = connection.exec_driver_sql("SHOW server_version").scalar_one()
        yield Finding("server", "ok", f"PostgreSQL {version}")
        for name in ("fsync", "full_page_writes", "synchronous_commit"):
            value = connection.exec_driver_sql(f"SHOW {name}").scalar_one()
            if value == "off":
                text = (
                    f"{name} is off: after a crash pages that were queued may be gone; turn it on"
                )
                yield Finding("server", "bad", text)
        apart = abs((LeaseRows(connection).now(now) - now).total_seconds())
        text = f"its clock and ours are {apart:.1f} s apart"
        yield Finding("clock", "ok" if apart <= CLOCK_S else "warn", text)
        mighty = connection.exec_driver_sql(
            "SELECT rolsuper FROM pg_roles WHERE rolname = current_user"
        ).scalar_one()
        if mighty:
            text = "the role is a superuser; a daemon needs little: see `tocsin store roles`"
            yield Finding("role", "warn", text)


def _timelines(engine: sa.Engine) -> Finding:
    """Each timeline in a transaction of its own: a long one would keep the log from shrinking."""
    e = t.timeline
    with engine.connect() as connection:
        names = list(connection.execute(sa.select(e.c.incident).distinct()).scalars())
    entries, broken = 0, []
    for name in names:
        with engine.connect() as connection:
            chain = IncidentRows(connection).timeline(name)
            entries += len(chain)
            if (at := broken_at(chain)) is not None:
                incident = IncidentRows(connection).get(name)
                said = name if incident is None else f"INC-{incident.number:04}"
                broken.append(f"{said} from entry {at} on")
    if broken:
        more = f" and {len(broken) - _NAMED} more" if len(broken) > _NAMED else ""
        text = f"changed after they were written: {', '.join(broken[:_NAMED])}{more}"
        return Finding("timelines", "bad", text)
    return Finding("timelines", "ok", f"{entries} entries of {len(names)} chains fit")
