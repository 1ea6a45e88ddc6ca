"""Rows of rules: who moved them between tiers and on what grounds, and how budgets were divided.

Both are append-only: what was promised to a team, and who changed it, stays.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

import msgspec
import sqlalchemy as sa

from monitor.alerting.budget import Allowance, Share
from monitor.store import tables as t

_FLEETS = " (fleet)"


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleEvent:
    """Something that happened to a rule."""

    at: datetime
    rule: str
    kind: Literal["tier", "proposal"]
    """`tier`: a person moved it; `proposal`: its demotion was proposed."""
    tier: str
    """To which, or to which it should go."""
    was: str
    actor: str
    via: str = ""
    reason: str
    body: str = ""
    """The backtest that a promotion rests on, as JSON text; empty where there is none."""
    id: int = 0
    """0 until it is stored."""


@dataclass(frozen=True, slots=True)
class Divided:
    """A team's share from a bucket on, and why it is another."""

    bucket: int
    """Unix seconds."""
    share: Share
    reason: str


class RuleRows:
    """The rows of rules within one transaction."""

    def __init__(self, connection: sa.Connection) -> None:
        self._c = connection

    def log(self, event: RuleEvent) -> None:
        """Write down what happened to a rule."""
        names = [name for name in RuleEvent.__dataclass_fields__ if name != "id"]
        self._c.execute(t.rule_log.insert().values({name: getattr(event, name) for name in names}))

    def events(self, rule: str = "", *, kind: str = "", limit: int = 100) -> list[RuleEvent]:
        """Newest first; of one rule and of one kind where they are named."""
        log = t.rule_log
        query = log.select().order_by(log.c.id.desc()).limit(limit)
        if rule:
            query = query.where(log.c.rule == rule)
        if kind:
            query = query.where(log.c.kind == kind)
        return [_event(row) for row in self._c.execute(query)]

    def divide(self, rows: Iterable[Divided]) -> None:
        """Write down shares that are in force from a bucket on."""
        values = [
            {
                "bucket": row.bucket,
                "team": row.share.team,
                "false_pages": row.share.allowance.false_pages,
                "weeks": row.share.allowance.weeks,
                "rules": msgspec.json.encode(_counts(row.share), order="deterministic").decode(),
                "reason": row.reason,
            }
            for row in rows
        ]
        if values:
            self._c.execute(t.divisions.insert(), values)

    def shares(self) -> dict[str, Divided]:
        """What is in force, by team; of teams that are no more, what was."""
        d = t.divisions
        newest = (
            sa.select(d.c.team, sa.func.max(d.c.bucket).label("bucket"))
            .group_by(d.c.team)
            .subquery()
        )
        both = sa.and_(d.c.team == newest.c.team, d.c.bucket == newest.c.bucket)
        rows = self._c.execute(sa.select(d).join(newest, both))
        return {row.team: _divided(row) for row in rows}

    def divisions(self, team: str = "", limit: int = 100) -> list[Divided]:
        """How budgets were divided, newest first."""
        d = t.divisions
        query = d.select().order_by(d.c.bucket.desc(), d.c.team).limit(limit)
        if team:
            query = query.where(d.c.team == team)
        return [_divided(row) for row in self._c.execute(query)]


def _event(row: Any) -> RuleEvent:
    return RuleEvent(**{name: getattr(row, name) for name in RuleEvent.__dataclass_fields__})


def _counts(share: Share) -> dict[str, int]:
    """Series by rule, and fleets by rule under a name that no rule can have."""
    return dict(share.rules) | {rule + _FLEETS: many for rule, many in share.fleets.items()}


def _divided(row: Any) -> Divided:
    counts = msgspec.json.decode(row.rules, type=dict[str, int])
    rules = {name: many for name, many in counts.items() if not name.endswith(_FLEETS)}
    fleets = {n.removesuffix(_FLEETS): m for n, m in counts.items() if n.endswith(_FLEETS)}
    share = Share(row.team, Allowance(row.false_pages, row.weeks), rules, fleets)
    return Divided(row.bucket, share, row.reason)
