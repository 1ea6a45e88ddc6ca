"""A team's budget of false pages, and its division over the series that may page. Pure.

The promise is to people: so many false pages in so many weeks, however many series they watch. What
a detector needs is a rate of false pages for one series; that is the promise, divided.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from monitor.alerting.routes import Matcher

OWNER = "default"
"""The team of a rule that names none."""
PARENTS = 30
"""So many paging series a team's budget is meant for: parents page, children explain."""


@dataclass(frozen=True, slots=True)
class Allowance:
    """At most so many false pages in so many weeks, from all statistical rules together."""

    false_pages: float = 1.0
    weeks: int = 4

    @property
    def per_week(self) -> float:
        """False pages a week."""
        return self.false_pages / self.weeks

    def __str__(self) -> str:
        pages = "page" if self.false_pages == 1 else "pages"
        span = "week" if self.weeks == 1 else f"{self.weeks} weeks"
        return f"{self.false_pages:g} false {pages} in {span}"


@dataclass(frozen=True, slots=True)
class Team:
    """Who is on call together; without matchers, who owns the rules that name this team."""

    name: str
    allowance: Allowance
    matchers: tuple[Matcher, ...] = ()


@dataclass(frozen=True, slots=True)
class Budgets:
    """Every team's allowance, and whose a series is."""

    default: Allowance = Allowance()
    """Of a team that has none of its own."""
    teams: tuple[Team, ...] = ()
    owners: Mapping[str, str] = field(default_factory=dict)
    """The team that a rule names, by rule."""

    def team_of(self, labels: Mapping[str, str]) -> str:
        """Whose pages a series or an incident makes: the first team whose matchers all match.

        Args:
            labels: the trusted ones: signal, severity and dimension values.
        """
        for team in self.teams:
            if team.matchers and all(matcher.matches(labels) for matcher in team.matchers):
                return team.name
        return self.owners.get(labels.get("signal", ""), OWNER)

    def of(self, team: str) -> Allowance:
        """What a team may spend."""
        return next((one.allowance for one in self.teams if one.name == team), self.default)

    def names(self) -> tuple[str, ...]:
        """All teams there are, sorted."""
        return tuple(sorted({OWNER, *self.owners.values(), *(team.name for team in self.teams)}))


@dataclass(frozen=True, slots=True)
class Share:
    """A team's allowance, divided over its paging series."""

    team: str
    allowance: Allowance
    rules: Mapping[str, int]
    """The team's series of each paging rule; 0 for a rule that pages other teams only."""
    fleets: Mapping[str, int] = field(default_factory=dict)
    """The team's fleets of these rules, none where it is 0: series that are tested together, with
    the children that are followed one by one."""

    @property
    def series(self) -> int:
        """How many series may page the team."""
        return sum(self.rules.values())

    @property
    def parts(self) -> int:
        """How many get the same part of the allowance: each series, and each fleet."""
        return self.series + sum(self.fleets.values())

    @property
    def per_series_week(self) -> float:
        """False pages that one series, or one fleet, may cost in a week."""
        return self.allowance.per_week / max(1, self.parts)

    def expected(self, rule: str) -> float:
        """False pages that a rule's series may cost over the weeks of the allowance."""
        return self.per_series_week * self.rules.get(rule, 0) * self.allowance.weeks

    def expected_together(self, rule: str) -> float:
        """False pages that a rule's fleets may cost over the weeks of the allowance."""
        return self.per_series_week * self.fleets.get(rule, 0) * self.allowance.weeks


Labels = Mapping[str, str]


def divide(
    budgets: Budgets, rules: Iterable[str], series: Iterable[Labels], fleets: Iterable[Labels] = ()
) -> dict[str, Share]:
    """Every team's share, by team: each of its paging series and fleets gets the same.

    Args:
        budgets: what each team may spend.
        rules: names of the rules at tier `page`.
        series: the trusted labels of each series of these rules.
        fleets: the trusted labels of each fleet of these rules: those of the whole.
    """
    alone, together = _counts(budgets, series), _counts(budgets, fleets)
    named = sorted(rules)
    return {
        team: Share(
            team,
            budgets.of(team),
            {rule: alone[team][rule] for rule in named},
            {rule: together[team][rule] for rule in named if together[team][rule]},
        )
        for team in budgets.names()
    }


def _counts(budgets: Budgets, found: Iterable[Labels]) -> dict[str, Counter[str]]:
    counts: dict[str, Counter[str]] = {team: Counter() for team in budgets.names()}
    for labels in found:
        counts[budgets.team_of(labels)][labels["signal"]] += 1
    return counts


def crowded(share: Share, tiers: Mapping[str, str]) -> str:
    """What it means that more series page a team than a budget is meant for, and what to do.

    Args:
        share: the team's.
        tiers: the tier of each rule; one that pages no more is not worth demoting.

    Returns:
        One line; empty where the series are few enough.
    """
    if share.series <= PARENTS:
        return ""
    paging = {rule: many for rule, many in share.rules.items() if tiers.get(rule) == "page"}
    most = max(paging, key=lambda rule: (paging[rule], rule), default="")
    each = 1 / share.per_series_week
    later = each * share.allowance.per_week / PARENTS
    advice = f"tocsin rule demote {most} --to ticket ({paging[most]} series), " if most else ""
    return (
        f"{share.series} series page team {share.team}, a budget is meant for {PARENTS}: each may "
        f"page for nothing once in {each:.0f} weeks only and waits for evidence that is "
        f"{later:.1f} times rarer than with {PARENTS}, so that all alarms come later; "
        f"{advice}matchers for a second team (paging.budget.teams), or more false_pages"
    )


def outdated(shares: Mapping[str, Share], budgets: Budgets, rules: Iterable[str]) -> bool:
    """Whether a person has changed what the shares rest on: tiers, allowances or teams."""
    paging = set(rules)
    return shares.keys() != set(budgets.names()) or any(
        set(share.rules) != paging or share.allowance != budgets.of(team)
        for team, share in shares.items()
    )


def change(before: Share | None, after: Share) -> str:
    """Why a share is another now, in one line; empty where it is the same.

    >>> one = Share("default", Allowance(), {"refusal_rate": 1})
    >>> change(one, Share("default", Allowance(), {"refusal_rate": 3}))
    'refusal_rate: 3 series, were 1'
    """
    if before == after:
        return ""
    if before is None:
        return f"{after.allowance} over {_counted(after.series, sum(after.fleets.values()))}"
    told: list[str] = []
    if before.allowance != after.allowance:
        told.append(f"{after.allowance}, was {before.allowance}")
    for rule in sorted({*before.rules, *after.rules}):
        old, new = ((one.rules.get(rule), one.fleets.get(rule, 0)) for one in (before, after))
        if old[0] is None:
            told.append(f"{rule} pages now: {_counted(new[0] or 0, new[1])}")
        elif new[0] is None:
            told.append(f"{rule} pages no more")
        elif new[1] != old[1]:
            told.append(f"{rule}: {_counted(new[0], new[1])}, were {_counted(old[0], old[1])}")
        elif new != old:
            told.append(f"{rule}: {new[0]} series, were {old[0]}")
    return "; ".join(told)


def _counted(series: int, fleets: int) -> str:
    together = f" and {fleets} fleet{'' if fleets == 1 else 's'}" if fleets else ""
    return f"{series} series{together}"
