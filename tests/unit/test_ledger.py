"""The words and edges of budgets: whose a page is, what blames whom, when a rule is offered."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import timedelta

import pytest

from detectors.profiles import PAGE
from monitor.alerting.budget import Allowance, Budgets, Share, Team, change, crowded
from monitor.alerting.ledger import Paged, blamed, ledger, proposals
from monitor.alerting.promotion import offer, overspends, rises, untried
from monitor.alerting.routes import parse_matcher
from monitor.config.settings import Settings, resolve
from monitor.division import TOGETHER, Division, threshold
from monitor.metrics import Metrics
from monitor.scoreboard import budgets
from tests.making import T0, alert, incident, minutes

PAYMENTS = Team("payments", Allowance(2.0, 2), (parse_matcher('feature=~"pay.*"'),))
CONFIGURED = resolve(Settings(profile="page"))
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
        (Share("a", Allowance(), {"x": 2}, {"x": 1}), "x: 2 series and 1 fleet, were 2 series"),
        (
            Share("a", Allowance(), {"x": 2, "y": 5}, {"y": 2}),
            "y pages now: 5 series and 2 fleets",
        ),
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
    worth = {"worth": True, "until": T0}
    early = offer("r", "shadow", since=T0 - timedelta(days=9), **worth)  # type: ignore[arg-type] # as given
    assert (early.offered, early.reason) == (False, "9.0 of 14 days in shadow")
    assert offer("r", "shadow", worth=True, since=T0 - timedelta(days=14), until=T0).offered
    assert (
        offer("r", "shadow", worth=True, since=None, until=T0).reason == "nothing was counted yet"
    )
    assert offer("r", "page", worth=True, since=None, until=T0).reason == "at page already"
    assert not offer("r", "shadow", worth=False, since=T0 - timedelta(days=99), until=T0).offered
    none = offer("r", "shadow", worth=False, since=None, until=T0)
    assert none.reason == "nothing was counted yet"
    moved = offer("r", "shadow", since=T0 + timedelta(days=1), **worth)  # type: ignore[arg-type] # as given
    assert moved.reason == "0.0 of 14 days in shadow"
    assert rises("shadow", "ticket")
    assert not rises("page", "ticket")


def test_a_spent_budget_objects_to_one_more_page() -> None:
    """One page in four weeks fits a budget of one; with one spent it does not."""
    share = Share("default", Allowance(), {"error_rate": 1})
    free = ledger(share, [], {}, T0)
    spent = ledger(share, [page("error_rate")], {}, T0)
    assert overspends("refusal_rate", {"default": 1}, 4.0, [free]) == ""
    assert overspends("refusal_rate", {"default": 1}, 4.0, [spent]) == (
        "refusal_rate would overspend the budget of team default: 1 page in 4.0 weeks without a "
        "true verdict make 1 in 4 weeks; allowed are 1 false page in 4 weeks, and 1 of it is spent"
    )


def test_a_page_needs_seven_days_that_were_judged() -> None:
    """Nothing is too little, hours are, and so are two days with a long hole between them."""
    assert untried("r", 0.0, 0, least=0).startswith("nothing that is stored of r could be judged")
    assert "judged on 6.9 days of traffic only" in untried("r", 6.9 / 7, 7)
    assert "judged on 2 days of 3.0 weeks of traffic only" in untried("r", 3.0, 2)
    assert untried("r", 1.0, 7) == ""
    assert untried("r", 0.01, 1, least=0) == ""


def test_a_share_is_the_calibrated_threshold() -> None:
    """A thirtieth of one page in four weeks is what the profile ships; e times rarer is one more;
    beyond what was calibrated the nearest threshold that was."""
    assert threshold(1 / 120) == pytest.approx(PAGE.alarm.threshold)
    assert threshold(1 / 120 / math.e) == pytest.approx(PAGE.alarm.threshold + 1)
    assert threshold(1e-9) == threshold(1e-4)
    assert threshold(50.0) == threshold(10.0)


def test_what_a_crowd_costs_is_said_in_words() -> None:
    """Each part, how much rarer its evidence, the rule with the most that still pages, and what to
    do; nothing is said of thirty."""
    share = Share("ops", Allowance(), {"a": 30, "b": 29}, {"a": 1})
    assert crowded(replace(share, rules={"a": 30}), {"a": "page"}) == ""
    said = crowded(share, {"a": "ticket", "b": "page"})
    assert said.startswith(
        "59 series page team ops, a budget is meant for 30: each may page for nothing once in 240 "
        "weeks only and waits for evidence that is 2.0 times rarer than with 30, so that all "
        "alarms come later; tocsin rule demote b --to ticket (29 series), "
    )
    assert "demote" not in crowded(share, {})
    assert ledger(share, [], {}, T0).crowded == crowded(share, {})
    assert ledger(share, [], {}, T0, capped=False).crowded == ""


def test_a_fleet_has_the_part_of_a_series() -> None:
    """Where it is tested at less than it ships with it must show more, the logarithm of how much
    less; a larger part than it costs changes nothing, and where nothing is divided neither."""
    (signal,) = (one for one in CONFIGURED.plan.rates() if one.name == "refusal_rate")
    division = Division(CONFIGURED.plan, CONFIGURED.profile)
    assert division.demand(signal, ("prod",)) == 0.0
    division.promote(signal, [("prod", f"f{number}") for number in range(29)])
    assert division.demand(signal, ("prod",)) == pytest.approx(math.log(TOGETHER * 120))
    alarm = division.alarm(signal, ("prod", "f1"))
    assert alarm.threshold == pytest.approx(threshold(1 / 120))
    division.promote(signal, [("prod", "chat"), ("prod", "search"), ("prod",)])
    assert division.demand(signal, ("prod",)) == 0.0  # a fourth of 0.25 a week
    loud = resolve(Settings(profile="loud"))
    assert Division(loud.plan, loud.profile).demand(signal, ("prod",)) == 0.0


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
