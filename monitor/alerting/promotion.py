"""When a rule may wake people: what its backtest would have cost, and when it is offered. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from monitor.alerting.ledger import Ledger

TIERS = ("shadow", "ticket", "page")
"""In the order in which a rule rises."""
LEAST_DAYS = 7
"""Of traffic that was judged, before a rule may wake people: each hour of the week has come once.
Half of `SHADOW_TIME`, after which a rule is offered: a person may have reasons to be earlier."""
SHADOW_TIME = timedelta(days=14)
"""A rule that is worth promoting is offered after so long in shadow."""


def rises(before: str, after: str) -> bool:
    """Whether a move between tiers is a promotion."""
    return TIERS.index(after) > TIERS.index(before)


def pages_of(count: int) -> str:
    """`1 page`, `3 pages`."""
    return "1 page" if count == 1 else f"{count} pages"


def span_of(weeks: float) -> str:
    """A span as people say it.

    >>> [span_of(0.05), span_of(0.5), span_of(3.9)]
    ['8 hours', '3.5 days', '3.9 weeks']
    """
    if weeks < 1 / 7:
        return f"{weeks * 7 * 24:.0f} hours"
    return f"{weeks * 7:.1f} days" if weeks < 1 else f"{weeks:.1f} weeks"


def projected(unexplained: int, backtest_weeks: float, weeks: int) -> float:
    """False pages in `weeks`, were each page false that no true verdict explains."""
    return unexplained * weeks / backtest_weeks if backtest_weeks > 0 else 0.0


def overspends(
    rule: str, unexplained: Mapping[str, int], weeks: float, ledgers: Sequence[Ledger]
) -> str:
    """What the budgets say against a rule that would page; empty where it fits them.

    Args:
        rule: its name.
        unexplained: by team, the pages it would have made that no incident with a true verdict
            explains: in shadow nobody was called, so nobody says that they would have been right.
        weeks: that the backtest judged.
        ledgers: of all teams, now.
    """
    for one in ledgers:
        pages = unexplained.get(one.team, 0)
        more = projected(pages, weeks, one.allowance.weeks)
        if pages and one.spent + more > one.allowance.false_pages:
            spent = f", and {one.spent} of it is spent" if one.spent else ""
            return (
                f"{rule} would overspend the budget of team {one.team}: "
                f"{pages_of(pages)} in {span_of(weeks)} without a true verdict make {more:.2g} in "
                f"{one.allowance.weeks} weeks; allowed are {one.allowance}{spent}"
            )
    return ""


def untried(rule: str, weeks: float, days: int, least: int = LEAST_DAYS) -> str:
    """Why a backtest says too little of a rule; empty where it says enough.

    Args:
        rule: its name.
        weeks: that the backtest judged; 0 where it judged nothing.
        days: on which there was traffic to judge.
        least: how many must be there.
    """
    if weeks <= 0:
        return (
            f"nothing that is stored of {rule} could be judged, so nothing speaks for it; "
            "leave it where it is until it has seen some days of traffic"
        )
    if 7 * weeks >= least and days >= least:
        return ""
    seen = span_of(weeks) if 7 * weeks < least else f"{days} days of {span_of(weeks)}"
    return (
        f"{rule} was judged on {seen} of traffic only: a page needs {least} days at least, so that "
        "each hour of the week has come once; leave it where it is until then"
    )


@dataclass(frozen=True, slots=True)
class Offer:
    """Whether a rule is offered for promotion, and why or why not."""

    offered: bool
    reason: str


def offer(rule: str, tier: str, *, worth: bool, since: datetime | None, until: datetime) -> Offer:
    """Whether to offer a rule.

    Args:
        rule: its name.
        tier: where it is.
        worth: whether its definition says that it is worth promoting.
        since: when it was first counted, or last came back to shadow; None before.
        until: end of what was judged: a recording of a day is a day, however old it is.
    """
    if tier != "shadow":
        return Offer(offered=False, reason=f"at {tier} already")
    if since is None:
        return Offer(offered=False, reason="nothing was counted yet")
    if not worth:
        return Offer(offered=False, reason="for the digest; promote it if its backtest is good")
    if until - since < SHADOW_TIME:
        days = max(until - since, timedelta()) / timedelta(days=1)
        return Offer(offered=False, reason=f"{days:.1f} of {SHADOW_TIME.days} days in shadow")
    text = f"in shadow since {since:%Y-%m-%d}: tocsin rule promote {rule}"
    return Offer(offered=True, reason=text)
