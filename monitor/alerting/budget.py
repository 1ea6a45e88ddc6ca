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

    @property
    def series(self) -> int:
        """How many series may page the team."""
        return sum(self.rules.values())

    @property
    def per_series_week(self) -> float:
        """False pages that one series may cost in a week."""
        return self.allowance.per_week / max(1, self.series)

    def expected(self, rule: str) -> float:
        """False pages that a rule's series may cost over the weeks of the allowance."""
        return self.per_series_week * self.rules.get(rule, 0) * self.allowance.weeks


def divide(
    budgets: Budgets, rules: Iterable[str], series: Iterable[Mapping[str, str]]
) -> dict[str, Share]:
    """Every team's share, by team: each of its paging series gets the same.

    Args:
        budgets: what each team may spend.
        rules: names of the rules at tier `page`.
        series: the trusted labels of each series of these rules.
    """
    counts: dict[str, Counter[str]] = {team: Counter() for team in budgets.names()}
    for labels in series:
        counts[budgets.team_of(labels)][labels["signal"]] += 1
    named = sorted(rules)
    return {
        team: Share(team, budgets.of(team), {rule: found[rule] for rule in named})
        for team, found in counts.items()
    }


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
        return f"{after.allowance} over {after.series} series"
    told = []
    if before.allowance != after.allowance:
        told.append(f"{after.allowance}, was {before.allowance}")
    for rule in sorted({*before.rules, *after.rules}):
        old, new = before.rules.get(rule), after.rules.get(rule)
        if old is None:
            told.append(f"{rule} pages now: {new} series")
        elif new is None:
            told.append(f"{rule} pages no more")
        elif new != old:
            told.append(f"{rule}: {new} series, were {old}")
    return "; ".join(told)
