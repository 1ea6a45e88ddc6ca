"""`paging.budget`: how many false pages a team bears, and which teams there are."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated

import msgspec

from monitor.alerting.budget import Allowance, Budgets, Team
from monitor.alerting.routes import parse_matcher
from monitor.stream.rules import Rule, names
from monitor.stream.signals import Signal

FalsePages = Annotated[float, msgspec.Meta(gt=0, le=1000)]
Weeks = Annotated[int, msgspec.Meta(ge=1, le=52)]


class TeamBudget(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A team with series, or with a budget, of its own.

    Attributes:
        name: What it is called.
        matchers: Conditions on trusted labels, as `feature=~"checkout|refunds"`; the first team
            whose conditions all hold has the series. Absent: the rules that name it as `team`.
        false_pages: Instead of what every team bears.
        weeks: Instead of every team's.
    """

    name: Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$")]
    matchers: tuple[str, ...] = ()
    false_pages: FalsePages | None = None
    weeks: Weeks | None = None


class Budget(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """At most `false_pages` in `weeks` for a team, from all statistical rules together.

    Attributes:
        false_pages: Pages that turn out to be for nothing.
        weeks: The span they are counted over.
        teams: Those that are not like that.
    """

    false_pages: FalsePages = 1.0
    weeks: Weeks = 4
    teams: tuple[TeamBudget, ...] = ()

    def budgets(self, signals: Iterable[Signal], rules: Iterable[Rule] = ()) -> Budgets:
        """For the decisions; a rule beside a signal's own detector is of the signal's team.

        Raises:
            ValueError: a matcher is none; `load` has told so with its place.
        """
        default = Allowance(self.false_pages, self.weeks)
        owners = {signal.name: signal.team for signal in signals}
        owners |= {
            name: owners[rule.signal]
            for rule in rules
            if rule.signal in owners
            for name in names(rule)
        }
        return Budgets(
            default=default,
            teams=tuple(
                Team(
                    one.name,
                    Allowance(
                        default.false_pages if one.false_pages is None else one.false_pages,
                        default.weeks if one.weeks is None else one.weeks,
                    ),
                    tuple(parse_matcher(text) for text in one.matchers),
                )
                for one in self.teams
            ),
            owners=owners,
        )
