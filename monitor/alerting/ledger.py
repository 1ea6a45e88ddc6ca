"""What a team's budget was spent on, and which rule should wake nobody any more. Pure.

Only a person's verdict spends: a page that nobody judged is open, and told apart.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from monitor.alerting.alerts import Alert
from monitor.alerting.budget import Allowance, Share, crowded
from monitor.incidents.model import Incident

FALSE_VERDICTS = frozenset({"false_positive", "benign_shift", "test_traffic"})
"""Verdicts that say: this page should not have woken anybody."""

Judged = Literal["false", "true", "open"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Paged:
    """An incident that a statistical rule paged a team about."""

    incident: str
    at: datetime
    rule: str
    team: str
    verdict: str | None

    @property
    def judged(self) -> Judged:
        """What its verdict says of the page."""
        if self.verdict is None:
            return "open"
        return "false" if self.verdict in FALSE_VERDICTS else "true"


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleSpend:
    """One rule's part of a team's ledger, in pages."""

    rule: str
    tier: str
    series: int
    """Its series that may page the team."""
    expected: float
    """False pages that the division leaves its series over the weeks of the allowance ..."""
    fleets: int
    expected_together: float
    """... and its fleets, whose pages are counted with the rule's."""
    false: int
    true: int
    open: int

    @property
    def share(self) -> float:
        """False pages that the division leaves the rule."""
        return self.expected + self.expected_together

    @property
    def over(self) -> float:
        """False pages beyond its share; negative below."""
        return self.false - self.share


@dataclass(frozen=True, slots=True, kw_only=True)
class Ledger:
    """What a team may spend, and has spent."""

    team: str
    share: Share
    since: datetime
    """What was paged before is out of the window."""
    rules: tuple[RuleSpend, ...]
    """Those that page or have paged, by name."""
    crowded: str
    """What it means that more series page the team than a budget is meant for; empty else."""

    @property
    def allowance(self) -> Allowance:
        """What the team may spend."""
        return self.share.allowance

    @property
    def spent(self) -> int:
        """False pages."""
        return sum(rule.false for rule in self.rules)

    @property
    def open(self) -> int:
        """Pages that nobody has judged."""
        return sum(rule.open for rule in self.rules)

    @property
    def left(self) -> float:
        """False pages until it is used up."""
        return max(0.0, self.allowance.false_pages - self.spent)

    @property
    def overspent(self) -> bool:
        """More than was allowed."""
        return self.spent > self.allowance.false_pages


@dataclass(frozen=True, slots=True)
class Proposal:
    """A rule that a person should demote, and why."""

    team: str
    rule: str
    tier: str
    """To which."""
    reason: str


def demotion(rule: str, tier: str) -> str:
    """The command that demotes a rule."""
    return f"tocsin rule demote {rule} --to {tier} --reason TEXT"


def blamed(incident: Incident, alerts: Sequence[Alert], team: str) -> Paged | None:
    """The page of an incident, laid to the rule that was the first to be allowed to wake somebody.

    None where no rule paged: a person escalated it, or it is a drill.
    """
    paging = [alert for alert in alerts if alert.tier == "page"]
    if incident.paged_at is None or incident.drill or not paging:
        return None
    first = min(paging, key=lambda alert: (alert.detected_at, alert.signal, alert.fingerprint))
    return Paged(
        incident=incident.name,
        at=incident.paged_at,
        rule=first.signal,
        team=team,
        verdict=incident.verdict,
    )


def ledger(
    share: Share,
    paged: Iterable[Paged],
    tiers: Mapping[str, str],
    now: datetime,
    *,
    capped: bool = True,
) -> Ledger:
    """A team's ledger at `now`; pages of other teams, and from before the window, are left out.

    Args:
        share: the team's.
        paged: in any order.
        tiers: the tier of each rule.
        now: the end of the window.
        capped: False for a profile with thresholds of its own, which no budget moves.
    """
    since = now - timedelta(weeks=share.allowance.weeks)
    own = [page for page in paged if page.team == share.team and since < page.at <= now]
    names = sorted({*share.rules, *(page.rule for page in own)})
    return Ledger(
        team=share.team,
        share=share,
        since=since,
        rules=tuple(_spend(name, share, own, tiers) for name in names),
        crowded=crowded(share, tiers) if capped else "",
    )


def _spend(rule: str, share: Share, paged: Iterable[Paged], tiers: Mapping[str, str]) -> RuleSpend:
    judged = [page.judged for page in paged if page.rule == rule]
    return RuleSpend(
        rule=rule,
        tier=tiers.get(rule, "shadow"),
        series=share.rules.get(rule, 0),
        expected=share.expected(rule),
        fleets=share.fleets.get(rule, 0),
        expected_together=share.expected_together(rule),
        false=judged.count("false"),
        true=judged.count("true"),
        open=judged.count("open"),
    )


def proposals(found: Ledger) -> tuple[Proposal, ...]:
    """Which rules to demote, worst first, until what still pages has kept within the budget.

    What a rule spent that no longer pages is spent, but blames nobody else. The worst is the one
    furthest over its share, not the one that pages most: a rule of many series may cost more than
    one of a single series.
    """
    paging = sorted(
        (rule for rule in found.rules if rule.tier == "page" and rule.over > 0 and rule.false),
        key=lambda rule: (-rule.over, rule.rule),
    )
    left = sum(rule.false for rule in found.rules if rule.tier == "page")
    proposed = []
    for rule in paging:
        if left <= found.allowance.false_pages:
            break
        left -= rule.false
        reason = (
            f"team {found.team} had {found.spent} false pages in {found.allowance.weeks} weeks, "
            f"{found.allowance.false_pages:g} allowed; {rule.rule} had {rule.false} of them, its "
            f"share is {rule.share:.2g}" + (f", and {rule.true} true" if rule.true else "")
        )
        proposed.append(Proposal(found.team, rule.rule, "ticket", reason))
    return tuple(proposed)
