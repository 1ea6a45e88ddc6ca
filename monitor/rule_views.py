"""What the desk answers about rules and budgets; as `monitor.views`, frozen values as JSON."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from monitor.detect_views import Backtest
from monitor.views import Done, View

Tier = Literal["shadow", "ticket", "page"]


class Spend(View, frozen=True, kw_only=True):
    """One rule's part of a team's budget, in pages."""

    rule: str
    """With ` (fleet)` behind it for what its series and children may page together; such a page
    is counted with the rule."""
    tier: Tier
    series: int
    """Its series, or fleets, that may page the team."""
    expected: float
    """False pages that the division leaves them over the weeks of the budget."""
    false: int
    true: int
    unjudged: int


class Proposed(View, frozen=True, kw_only=True):
    """A rule that a person should demote."""

    rule: str
    tier: Tier
    """To which."""
    reason: str
    command: str


class Budget(View, frozen=True, kw_only=True):
    """What a team may spend, and has spent."""

    team: str
    false_pages: float
    weeks: int
    since: datetime
    """What was paged before counts no more."""
    spent: int
    unjudged: int
    """Pages that nobody has judged: open to judgement, spent once somebody calls them false."""
    left: float
    overspent: bool
    series: int
    fleets: int = 0
    """Fleets of these series: each is tested as one, and has the part of a series."""
    per_series_week: float
    """False pages that each of these series and fleets may cost in a week: its threshold follows
    from it."""
    crowded: str = ""
    """What it means that more series page the team than a budget is meant for, and what to do."""
    rules: list[Spend]
    proposals: list[Proposed]
    shift_paged: int
    """Incidents of statistical rules that paged the team in the last twelve hours."""
    shift_cap: int | None
    """How many may; None where the profile pages at once."""
    shift_free_at: datetime | None
    """When the next one may page; None where it may now."""
    divided_at: datetime | None
    """Since when the budget has been divided as it is."""
    divided_why: str


class RuleRow(View, frozen=True, kw_only=True):
    """A statistical rule and where it is in its life."""

    name: str
    title: str
    tier: Tier
    set_by: str
    """The person who moved it there, else `configuration` or `profile`."""
    since: datetime | None
    """When a person moved it; None where nobody has."""
    reason: str
    offered: bool
    offer: str
    """Why it is offered, or why not."""
    counted_since: datetime | None
    series: int
    """That may page somebody."""
    fired: int
    """How often it fired in the last four weeks; series that began together are one."""
    tested_at: datetime | None
    """When it was last promoted, with its backtest; None where it never was."""
    tested_weeks: float | None
    tested_pages: int | None
    """That it would have made in these weeks."""
    tested_true: int | None


class RuleChange(View, frozen=True, kw_only=True):
    """Something that happened to a rule."""

    at: datetime
    rule: str
    kind: Literal["tier", "proposal"]
    was: Tier
    tier: Tier
    actor: str
    via: str
    reason: str
    backtest: Backtest | None
    """What a promotion rests on."""


class RuleMoved(Done, frozen=True, kw_only=True):
    """A rule was moved, or could be: `moved` says which."""

    rule: str
    was: Tier
    tier: Tier
    moved: bool
    objection: str
    """What the budget says against it; empty where nothing."""
    backtest: Backtest | None
    """None for a demotion, and while it is under way."""
    progress: float = 1.0
    """How much of the backtest is done; ask again below 1."""


class Ticket(View, frozen=True, kw_only=True):
    """An incident that woke nobody."""

    id: str
    title: str
    severity: str
    state: str
    signal: str | None
    dimensions: dict[str, str]
    detected_at: datetime
    reason: str
    """Why not."""
