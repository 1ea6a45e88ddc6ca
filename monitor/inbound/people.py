"""Who somebody outside is here: accounts of Slack and PagerDuty, and the people behind them. Pure.

Ids decide, never display names: anybody may call himself what he likes.
"""

from __future__ import annotations

from collections.abc import Iterable

from monitor.inbound.settings import Person
from monitor.views import Principal


class People:
    """The people of the configuration, by account.

    Args:
        people: with no account twice.
        team: the Slack workspace in which their member ids count.
    """

    def __init__(self, people: Iterable[Person], *, team: str = "") -> None:
        known = list(people)
        self._team = team
        self._slack = {person.slack: person for person in known if person.slack}
        self._pagerduty = {person.pagerduty: person for person in known if person.pagerduty}

    def of_slack(self, team: str, user: str) -> Principal | None:
        """Who a member of a workspace is; None for a stranger, and for another workspace."""
        found = self._slack.get(user) if team == self._team else None
        return None if found is None else Principal(name=found.name, role=found.role, via="slack")

    def of_pagerduty(self, user: str) -> Principal | None:
        """Who a PagerDuty user is; None for a stranger."""
        found = self._pagerduty.get(user)
        if found is None:
            return None
        return Principal(name=found.name, role=found.role, via="pagerduty")
