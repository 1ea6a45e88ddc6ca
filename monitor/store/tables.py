"""The tables; private to this folder. Times are whole microseconds since 1970 UTC.

Every deadline is a row with a UTC time, so that the process may die anywhere.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

import sqlalchemy as sa

from monitor.store.columns import UtcTime, Words

metadata = sa.MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)
BigId = sa.BigInteger().with_variant(sa.Integer, "sqlite")
"""SQLite counts rows only in an INTEGER PRIMARY KEY."""


def _table(name: str, *columns: Any) -> sa.Table:
    return sa.Table(name, metadata, *columns)


def _text(name: str, *, null: bool = False, default: str | None = None) -> sa.Column[str]:
    return sa.Column(name, Words, nullable=null, server_default=default)


def _int(name: str, *, null: bool = False) -> sa.Column[int]:
    return sa.Column(name, sa.BigInteger, nullable=null)


def _time(name: str, *, null: bool = True) -> sa.Column[datetime]:
    return sa.Column(name, UtcTime, nullable=null)


def _real(name: str, *, null: bool = True) -> sa.Column[float]:
    return sa.Column(name, sa.Double, nullable=null)


# -- the stream ----------------------------------------------------------------------

pipelines = _table(
    "pipelines",
    sa.Column("id", BigId, primary_key=True),
    _text("digest"),
    _text("definition"),
    _time("created_at", null=False),
    sa.UniqueConstraint("digest"),
)

partitions = _table(
    "partitions",
    _text("topic_id"),
    _int("number"),
    _text("topic"),
    _int("first_bucket", null=True),
    _int("position"),
    _int("end"),
    _time("caught_up_at"),
    _time("behind_since"),
    _time("seen_at"),
    sa.PrimaryKeyConstraint("topic_id", "number"),
)

progress = _table(
    "progress",
    _int("pipeline"),
    _text("topic_id"),
    _int("number"),
    _int("low_water"),
    _int("hi"),
    _int("closed", null=True),
    _real("watermark"),
    _text("doubted"),
    sa.Column("finished", sa.Boolean, nullable=False),
    _text("totals"),
    _text("leaks"),
    sa.PrimaryKeyConstraint("pipeline", "topic_id", "number"),
)

cells = _table(
    "cells",
    _int("pipeline"),
    _int("bucket"),
    _text("topic_id"),
    _int("number"),
    _text("cuboid"),
    _text("dims"),
    _text("counts"),
    _int("hi"),
    sa.PrimaryKeyConstraint("pipeline", "bucket", "topic_id", "number", "cuboid", "dims"),
)

late = _table(
    "late",
    _int("pipeline"),
    _int("bucket"),
    _text("topic_id"),
    _int("number"),
    _int("count"),
    sa.PrimaryKeyConstraint("pipeline", "bucket", "topic_id", "number"),
)

vocabulary = _table(
    "vocabulary",
    _int("pipeline"),
    _text("topic_id"),
    _int("number"),
    _text("dimension"),
    _text("value"),
    _int("bucket"),
    sa.PrimaryKeyConstraint("pipeline", "topic_id", "number", "dimension", "value"),
)

occurrences = _table(
    "occurrences",
    _text("rule"),
    _text("source"),
    _text("topic_id"),
    _int("number"),
    _int("offset"),
    _int("bucket"),
    _time("at", null=False),
    _text("dims"),
    _text("event_id"),
    _time("handled_at"),
    sa.PrimaryKeyConstraint("rule", "source", "topic_id", "number", "offset"),
    sa.Index(None, "handled_at"),
)

quarantine = _table(
    "quarantine",
    _text("topic_id"),
    _int("number"),
    _int("offset"),
    _text("topic"),
    _text("rule"),
    _text("path"),
    _int("length"),
    _text("digest"),
    _time("at", null=False),
    sa.PrimaryKeyConstraint("topic_id", "number", "offset", "rule", "path"),
)

gaps = _table(
    "gaps",
    _text("topic_id"),
    _int("number"),
    _int("first"),
    _int("last"),
    _text("topic"),
    _text("reason"),
    _time("at", null=False),
    _time("handled_at"),
    sa.PrimaryKeyConstraint("topic_id", "number", "first"),
)

# -- decisions ----------------------------------------------------------------------

position = _table(
    "position",
    _int("pipeline"),
    _int("bucket"),
    _time("event_now"),
    sa.PrimaryKeyConstraint("pipeline"),
)

points = _table(
    "points",
    _text("signal"),
    _int("bucket"),
    sa.Column("data", sa.LargeBinary, nullable=False),
    sa.PrimaryKeyConstraint("signal", "bucket"),
)

snapshots = _table(
    "snapshots",
    _text("name"),
    _int("bucket"),
    sa.Column("data", sa.LargeBinary, nullable=False),
    sa.PrimaryKeyConstraint("name"),
)

tiers = _table(
    "tiers",
    _text("signal"),
    _text("tier"),
    _text("actor"),
    _text("reason"),
    _time("at", null=False),
    sa.PrimaryKeyConstraint("signal"),
)

rule_log = _table(
    "rule_log",
    sa.Column("id", BigId, primary_key=True),
    _time("at", null=False),
    _text("rule"),
    _text("kind"),
    _text("tier"),
    _text("was"),
    _text("actor"),
    _text("via"),
    _text("reason"),
    _text("body"),
    sa.Index(None, "rule"),
)

divisions = _table(
    "divisions",
    _int("bucket"),
    _text("team"),
    _real("false_pages", null=False),
    _int("weeks"),
    _text("rules"),
    _text("reason"),
    sa.PrimaryKeyConstraint("team", "bucket"),
)

alerts = _table(
    "alerts",
    sa.Column("id", BigId, primary_key=True),
    _text("fingerprint"),
    _text("incident", null=True),
    _time("detected_at", null=False),
    _time("cleared_at"),
    _text("body"),
    sa.Index(None, "fingerprint"),
    sa.Index(None, "incident"),
    sa.Index(None, "cleared_at"),
)

# -- incidents ----------------------------------------------------------------------

incidents = _table(
    "incidents",
    _text("uuid"),
    _int("number"),
    _text("title"),
    _text("severity"),
    _text("origin"),
    _text("state"),
    _text("signal", null=True),
    _text("dims"),
    _text("groups"),
    _time("detected_at", null=False),
    _time("impact_at"),
    _time("acknowledged_at"),
    _text("acknowledged_by", null=True),
    _text("commander", null=True),
    _time("mitigated_at"),
    _time("verified_at"),
    _time("normal_at"),
    _time("resolved_at"),
    _time("closed_at"),
    _text("verdict", null=True),
    _time("paged_at"),
    _text("escalation"),
    sa.Column("drill", sa.Boolean, nullable=False),
    sa.PrimaryKeyConstraint("uuid"),
    sa.UniqueConstraint("number"),
    sa.Index(None, "state"),
)

timeline = _table(
    "timeline",
    _text("incident"),
    _int("seq"),
    _text("kind"),
    _text("text"),
    _text("actor"),
    _time("occurred_at", null=False),
    _time("recorded_at", null=False),
    _text("key", null=True),
    _text("data"),
    _int("revises", null=True),
    _text("previous"),
    _text("digest"),
    sa.PrimaryKeyConstraint("incident", "seq"),
    sa.UniqueConstraint("incident", "key"),
)

changes = _table(
    "changes",
    sa.Column("id", BigId, primary_key=True),
    _text("kind"),
    _text("title"),
    _time("at", null=False),
    _text("dims"),
    _text("actor"),
    _time("recorded_at", null=False),
    sa.Index(None, "at"),
)

notes = _table(
    "notes",
    sa.Column("id", BigId, primary_key=True),
    _text("kind"),
    _text("signal"),
    _text("dims"),
    _time("at", null=False),
    _time("onset_at", null=False),
    _real("before"),
    _real("after"),
    _text("text"),
    _text("fits"),
    _text("key"),
    sa.UniqueConstraint("key"),
    sa.Index(None, "onset_at"),
)

digests = _table(
    "digests",
    _text("receiver"),
    _text("day"),
    _time("at", null=False),
    _int("incident"),
    _int("alert"),
    _int("note"),
    sa.PrimaryKeyConstraint("receiver", "day"),
)

runs = _table(
    "runs",
    _text("id"),
    _text("incident"),
    _text("runbook"),
    _text("state"),
    _text("body"),
    _text("source"),
    _time("deadline_at"),
    _time("started_at", null=False),
    sa.Column("live", sa.Boolean, nullable=False),
    sa.PrimaryKeyConstraint("id"),
    sa.Index(None, "incident"),
    sa.Index(None, "live"),
)

# -- pages ----------------------------------------------------------------------

outbox = _table(
    "outbox",
    sa.Column("id", BigId, primary_key=True),
    _text("incident"),
    _text("receiver"),
    _text("kind"),
    _text("dedup_key"),
    _text("body"),
    _text("state"),
    _int("attempts"),
    _time("created_at", null=False),
    _time("next_at"),
    _time("lease_until"),
    _text("owner", null=True),
    _time("sent_at"),
    _text("receipt"),
    _text("detail"),
    _text("key"),
    sa.UniqueConstraint("key"),
    sa.Index(None, "state", "next_at"),
    sa.Index(None, "incident"),
)

attempts = _table(
    "attempts",
    _int("page"),
    _int("attempt"),
    _time("at", null=False),
    _text("outcome"),
    _text("detail"),
    _real("seconds"),
    sa.PrimaryKeyConstraint("page", "attempt"),
)

revision = _table(
    "revision",
    _int("id"),
    _int("value"),
    sa.PrimaryKeyConstraint("id"),
)

# -- processes and people ------------------------------------------------------------

leases = _table(
    "leases",
    _text("name"),
    _text("holder"),
    _int("epoch"),
    _time("until", null=False),
    _time("since", null=False),
    sa.PrimaryKeyConstraint("name"),
)

tokens = _table(
    "tokens",
    _text("id"),
    _text("digest"),
    _text("name"),
    _text("role"),
    _text("created_by"),
    _time("created_at", null=False),
    _time("expires_at", null=False),
    _time("revoked_at"),
    _time("used_at"),
    sa.PrimaryKeyConstraint("id"),
    sa.UniqueConstraint("digest"),
)

audit = _table(
    "audit",
    sa.Column("id", BigId, primary_key=True),
    _time("at", null=False),
    _text("who"),
    _text("via"),
    _text("action"),
    _text("outcome"),
    _text("detail"),
    sa.Index(None, "at"),
)

revisions = _table(
    "revisions",
    sa.Column("id", BigId, primary_key=True),
    _time("at", null=False),
    _text("who"),
    _text("via"),
    _text("digest"),
    _text("body"),
    _text("note"),
)

received = _table(
    "received",
    _text("key"),
    _text("source"),
    _time("at", null=False),
    sa.PrimaryKeyConstraint("key"),
    sa.Index(None, "at"),
)

# -- the schema itself ---------------------------------------------------------------

compatibility = _table(
    "compatibility",
    sa.Column("id", BigId, primary_key=True),
    _text("oldest"),
)
"""One row: from which schema on a Tocsin may open this store. Each migration writes it."""
