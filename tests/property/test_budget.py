"""A team's budget: its division loses nothing, and its ledger counts verdicts and nothing else."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from monitor.alerting.budget import Allowance, Budgets, Share, Team, change, divide, outdated
from monitor.alerting.ledger import Paged, ledger, proposals
from monitor.alerting.promotion import overspends, projected, untried
from monitor.alerting.routes import parse_matcher
from monitor.desk.rule_reading import budget_view
from monitor.incidents.actions import VERDICTS
from monitor.spending import Shift
from tests.making import T0

RULES = ("refusal_rate", "tool_misuse", "error_rate")
TEAMS = ("default", "payments", "safety")

allowances = st.builds(
    Allowance, st.floats(0.1, 50, allow_nan=False).map(lambda x: round(x, 2)), st.integers(1, 12)
)
budgets = st.builds(
    lambda default, payments, safety: Budgets(
        default,
        (
            Team("payments", payments, (parse_matcher('feature=~"pay.*"'),)),
            Team("safety", safety),
        ),
        {"tool_misuse": "safety"},
    ),
    allowances,
    allowances,
    allowances,
)
series = st.lists(
    st.fixed_dictionaries(
        {
            "signal": st.sampled_from(RULES),
            "environment": st.just("prod"),
            "feature": st.sampled_from(["chat", "pay", "payout", "search"]),
        }
    ),
    max_size=40,
)
pages = st.lists(
    st.builds(
        Paged,
        incident=st.just("INC-0001"),
        at=st.integers(-60, 0).map(lambda days: T0 + timedelta(days=days)),
        rule=st.sampled_from(RULES),
        team=st.sampled_from(TEAMS),
        verdict=st.sampled_from([None, *VERDICTS]),
    ),
    max_size=30,
)
shares = st.builds(
    Share,
    st.sampled_from(TEAMS),
    allowances,
    st.dictionaries(st.sampled_from(RULES), st.integers(0, 40)),
    st.dictionaries(st.sampled_from(RULES), st.integers(0, 3)),
)
fleets = st.lists(
    st.fixed_dictionaries(
        {"signal": st.sampled_from(RULES), "environment": st.sampled_from(["prod", "stage"])}
    ),
    max_size=6,
)
TIERS = dict.fromkeys(RULES, "page")


@given(budgets, series, fleets)
def test_a_division_spends_the_whole_budget(
    found: Budgets, labels: list[dict[str, str]], together: list[dict[str, str]]
) -> None:
    """What the series and fleets of a team may cost together is its allowance, and each is
    somebody's; a team without any has its whole allowance for the first one. The ledger, and what
    the desk shows, add up to the same."""
    made = divide(found, RULES, labels, together)
    assert made.keys() == set(TEAMS)
    assert sum(share.series for share in made.values()) == len(labels)
    assert sum(share.parts for share in made.values()) == len(labels) + len(together)
    for team, share in made.items():
        whole = share.allowance.false_pages
        assert share.allowance == found.of(team)
        told = ledger(share, [], TIERS, T0)
        if share.parts:
            sums = (share.expected(rule) + share.expected_together(rule) for rule in RULES)
            assert math.isclose(sum(sums), whole)
            weekly = share.per_series_week * share.parts * share.allowance.weeks
            assert math.isclose(weekly, whole)
            assert math.isclose(sum(rule.share for rule in told.rules), whole)
            shown = budget_view(told, Shift(()), None, None).rules
            assert math.isclose(sum(row.expected for row in shown), whole)
        else:
            assert share.per_series_week == share.allowance.per_week
    assert not outdated(made, found, RULES)
    assert outdated(made, found, RULES[:1])


@given(budgets, series, st.randoms(use_true_random=False))
def test_a_division_knows_no_order(
    found: Budgets, labels: list[dict[str, str]], rng: object
) -> None:
    """In which order series are seen changes nobody's threshold."""
    mixed = sorted(labels, key=lambda _: rng.random())  # type: ignore[attr-defined] # a Random
    assert divide(found, RULES, mixed) == divide(found, reversed(RULES), labels)


@given(budgets, series)
def test_one_more_series_leaves_less_for_each(found: Budgets, labels: list[dict[str, str]]) -> None:
    """Another series of a team lowers what each of its series may cost, and no other team's."""
    before = divide(found, RULES, labels)
    more = {"signal": "error_rate", "environment": "prod", "feature": "payroll"}
    after = divide(found, RULES, [*labels, more])
    assert after["default"] == before["default"]
    if before["payments"].series:
        assert after["payments"].per_series_week < before["payments"].per_series_week
    assert "error_rate" in change(before["payments"], after["payments"])
    assert change(before["safety"], after["safety"]) == ""


@given(shares, pages, st.randoms(use_true_random=False))
def test_a_ledger_knows_no_order(share: Share, paged: list[Paged], rng: object) -> None:
    """The same pages are the same ledger and the same proposals, however they are read."""
    mixed = sorted(paged, key=lambda _: rng.random())  # type: ignore[attr-defined] # a Random
    one, other = ledger(share, paged, TIERS, T0), ledger(share, mixed, TIERS, T0)
    assert one == other
    assert proposals(one) == proposals(other)


@given(shares, pages, pages)
def test_more_pages_never_spend_less(share: Share, paged: list[Paged], more: list[Paged]) -> None:
    """Spend grows with pages, and what is left never grows nor falls below nothing."""
    before, after = ledger(share, paged, TIERS, T0), ledger(share, paged + more, TIERS, T0)
    assert after.spent >= before.spent
    assert 0 <= after.left <= before.left <= share.allowance.false_pages


@given(shares, pages)
def test_only_a_verdict_spends(share: Share, paged: list[Paged]) -> None:
    """Every page of the team within the window is false, true or open; unjudged ones spend
    nothing until they are called false, and then they all do."""
    found = ledger(share, paged, TIERS, T0)
    since = T0 - timedelta(weeks=share.allowance.weeks)
    own = [page for page in paged if page.team == share.team and page.at > since]
    true = sum(rule.true for rule in found.rules)
    assert found.spent + found.open + true == len(own)
    judged = [replace(p, verdict="false_positive") if p.verdict is None else p for p in paged]
    assert ledger(share, judged, TIERS, T0).spent == found.spent + found.open


@given(shares, pages)
def test_proposals_bring_it_within_the_budget(share: Share, paged: list[Paged]) -> None:
    """Nothing is proposed while the budget holds; what is proposed pages, is over its share, and
    without it the rest has kept within the budget, or nothing that is left is over its share."""
    found = ledger(share, paged, TIERS, T0)
    made = proposals(found)
    if not found.overspent:
        assert made == ()
        return
    by_name = {rule.rule: rule for rule in found.rules}
    assert all(by_name[one.rule].over > 0 for one in made)
    gone = {one.rule for one in made}
    left = sum(rule.false for rule in found.rules if rule.rule not in gone)
    rest = [rule for rule in found.rules if rule.rule not in gone and rule.over > 0 and rule.false]
    assert left <= found.allowance.false_pages or not rest
    fewer = ledger(share, paged, {**TIERS, **dict.fromkeys(gone, "ticket")}, T0)
    assert not gone & {one.rule for one in proposals(fewer)}


@given(st.integers(1, 20), st.floats(0.5, 20), shares, pages)
def test_a_backtest_that_objects_would_overspend(
    unexplained: int, weeks: float, share: Share, paged: list[Paged]
) -> None:
    """The objection is there exactly where spend and projection together exceed the allowance."""
    found = ledger(share, paged, TIERS, T0)
    more = projected(unexplained, weeks, share.allowance.weeks)
    said = overspends("refusal_rate", {share.team: unexplained}, weeks, [found])
    assert bool(said) == (found.spent + more > share.allowance.false_pages)
    assert overspends("refusal_rate", {}, weeks, [found]) == ""
    assert untried("refusal_rate", 0.0, 0)
