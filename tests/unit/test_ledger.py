"""The words and edges of budgets: whose a page is, what blames whom, when a rule is offered."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from monitor.alerting.budget import Allowance, Budgets, Share, Team, change
from monitor.alerting.ledger import Paged, blamed, ledger, proposals
from monitor.alerting.promotion import objection, offer, rises
from monitor.alerting.routes import parse_matcher
from monitor.division import NOMINAL, threshold
from monitor.metrics import Metrics
from monitor.scoreboard import budgets
from tests.making import T0, alert, incident, minutes

PAYMENTS = Team("payments", Allowance(2.0, 2), (parse_matcher('feature=~"pay.*"'),))
BUDGETS = Budgets(teams=(PAYMENTS,), owners={"tool_misuse": "safety"})


def page(
    rule: str = "refusal_rate", verdict: str | None = "false_positive", **fields: object
) -> Paged:
    """A page of the default team, yesterday."""
    base = Paged(
        incident="INC-0001", at=T0 - timedelta(days=1), rule=rule, team="default", verdict=verdict
    )
    return replace(base, **fields)  # type: ignore[arg-type] # as given


def test_the_first_team_whose_matchers_match_has_a_series() -> None:
    """Matchers go before what the rule names; what nobody has is the default team's."""
    assert BUDGETS.team_of({"signal": "tool_misuse", "feature": "payout"}) == "payments"
    assert BUDGETS.team_of({"signal": "tool_misuse", "feature": "chat"}) == "safety"
    assert BUDGETS.team_of({"signal": "refusal_rate", "feature": "chat"}) == "default"
    assert BUDGETS.names() == ("default", "payments", "safety")
    assert BUDGETS.of("payments") == Allowance(2.0, 2)
    assert str(BUDGETS.of("safety")) == "1 false page in 4 weeks"


def test_the_rule_that_was_first_to_page_is_blamed() -> None:
    """Not the ticket that opened the incident; a drill, and what a person escalated, blame none."""
    paged = incident(paged_at=T0)
    ticket = alert(tier="ticket", signal="error_rate", at=T0 - minutes(9))
    late = alert(signal="tool_misuse", at=T0 + minutes(1))
    found = blamed(paged, [late, ticket, alert()], "default")
    assert found == Paged(
        incident="INC-0007", at=T0, rule="refusal_rate", team="default", verdict=None
    )
    assert blamed(paged, [ticket], "default") is None
    assert blamed(replace(paged, drill=True), [alert()], "default") is None
    assert blamed(incident(), [alert()], "default") is None


def test_the_worst_is_the_one_furthest_over_its_share() -> None:
    """Of two rules with two false pages each, the one of a single series is proposed; once it is
    demoted, what it spent blames nobody else."""
    share = Share("default", Allowance(2.0, 4), {"refusal_rate": 19, "error_rate": 1})
    paged = [page(), page(), page("error_rate"), page("error_rate"), page("error_rate", "attack")]
    tiers = {"refusal_rate": "page", "error_rate": "page"}
    (proposal,) = proposals(ledger(share, paged, tiers, T0))
    assert (proposal.rule, proposal.tier) == ("error_rate", "ticket")
    assert proposal.reason == (
        "team default had 4 false pages in 4 weeks, 2 allowed; error_rate had 2 of them, its "
        "share is 0.1, and 1 true"
    )
    after = ledger(share, paged, {**tiers, "error_rate": "ticket"}, T0)
    assert after.overspent
    assert proposals(after) == ()


def test_a_page_leaves_the_window() -> None:
    """After four weeks to the second it is spent no more, and one of another team never was."""
    share = Share("default", Allowance(), {"refusal_rate": 1})
    old = page(at=T0 - timedelta(weeks=4))
    assert ledger(share, [old, page(team="payments")], {}, T0).spent == 0
    assert ledger(share, [replace(old, at=old.at + minutes(1))], {}, T0).spent == 1


@pytest.mark.parametrize(
    ("after", "said"),
    [
        (Share("a", Allowance(), {"x": 2, "y": 1}), "y pages now: 1 series"),
        (Share("a", Allowance(), {}), "x pages no more"),
        (
            Share("a", Allowance(2.0), {"x": 2}),
            "2 false pages in 4 weeks, was 1 false page in 4 weeks",
        ),
    ],
)
def test_a_new_division_says_why(after: Share, said: str) -> None:
    """Which rule came, went or grew, and which allowance changed."""
    before = Share("a", Allowance(), {"x": 2})
    assert change(before, after) == said
    assert change(None, before) == "1 false page in 4 weeks over 2 series"
    assert change(before, before) == ""


def test_a_rule_is_offered_after_two_weeks_in_shadow() -> None:
    """Only one that is worth it, only from shadow, and the reason says what is missing."""
    worth = {"worth": True, "now": T0}
    early = offer("r", "shadow", since=T0 - timedelta(days=9), **worth)  # type: ignore[arg-type] # as given
    assert (early.offered, early.reason) == (False, "9.0 of 14 days in shadow")
    assert offer("r", "shadow", worth=True, since=T0 - timedelta(days=14), now=T0).offered
    assert offer("r", "shadow", worth=True, since=None, now=T0).reason == "nothing was counted yet"
    assert offer("r", "page", worth=True, since=None, now=T0).reason == "at page already"
    assert not offer("r", "shadow", worth=False, since=T0 - timedelta(days=99), now=T0).offered
    assert rises("shadow", "ticket")
    assert not rises("page", "ticket")


def test_a_spent_budget_objects_to_one_more_page() -> None:
    """One page in four weeks fits a budget of one; with one spent it does not."""
    share = Share("default", Allowance(), {"error_rate": 1})
    free = ledger(share, [], {}, T0)
    spent = ledger(share, [page("error_rate")], {}, T0)
    assert objection("refusal_rate", {"default": 1}, 4.0, [free]) == ""
    assert objection("refusal_rate", {"default": 1}, 4.0, [spent]) == (
        "refusal_rate would overspend the budget of team default: 1 page in 4.0 weeks without a "
        "true verdict make 1 in 4 weeks; allowed are 1 false page in 4 weeks, and 1 of it is spent"
    )


def test_a_smaller_budget_is_a_higher_threshold() -> None:
    """At what the profile was calibrated to nothing changes; e times rarer is one nat more."""
    assert threshold(9.0, NOMINAL) == pytest.approx(9.0)
    assert threshold(9.0, NOMINAL / 2.718281828) == pytest.approx(10.0)
    assert threshold(9.0, NOMINAL * 10) < 9.0
    assert threshold(2.0, 50.0) == 1.0


def test_a_team_that_is_gone_is_told_no_more() -> None:
    """Its gauges go back to nought, so that an alert on them clears."""
    metrics = Metrics()
    share = Share("ops", Allowance(2.0), {"refusal_rate": 1})
    budgets(metrics, [ledger(share, [page(team="ops"), page(team="ops", verdict=None)], {}, T0)])
    told = metrics.render().decode()
    assert 'tocsin_budget_false_pages{team="ops"} 2.0' in told
    assert 'tocsin_budget_spent_pages{team="ops"} 1.0' in told
    assert 'tocsin_budget_unjudged_pages{team="ops"} 1.0' in told
    budgets(metrics, [ledger(Share("default", Allowance(), {}), [], {}, T0)])
    told = metrics.render().decode()
    assert 'tocsin_budget_spent_pages{team="ops"} 0.0' in told
    assert 'tocsin_budget_false_pages{team="default"} 1.0' in told
