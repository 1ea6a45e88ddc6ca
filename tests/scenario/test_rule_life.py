"""A rule's life: shadow, promoted against its backtest, false pages, demoted; and who is told."""

from __future__ import annotations

from datetime import timedelta

import pytest

from monitor.rule_views import Budget
from monitor.stream.rules import BurnRateRule, StaticRule
from monitor.views import DeskError
from tests.scenario.conftest import StageFor
from tests.scenario.stage import Stage
from tests.scenario.test_stories import play

RULE = "refusal_rate"


def spike(stage: Stage) -> None:
    """Ten minutes of refusals, and long enough without for them to be over."""
    play(stage, 10, refused={"chat": 8})
    play(stage, 40)


def ours(stage: Stage) -> Budget:
    """The only team's budget."""
    (found,) = stage.desk().budget()
    return found


def refused(stage: Stage, **options: object) -> str:
    """What the desk says to a promotion that it refuses."""
    with pytest.raises(DeskError) as caught:
        stage.desk().promote_rule(RULE, **options)  # type: ignore[arg-type] # as given
    assert caught.value.code == "refused"
    return str(caught.value)


def test_from_shadow_to_page_and_back(stage_for: StageFor) -> None:
    """In shadow nobody hears of a spike; its backtest speaks against paging; promoted all the same
    it wakes twice for nothing, which overspends; the demotion is proposed once, and ends it."""
    stage = stage_for()
    desk = stage.desk()
    desk.demote_rule(RULE, tier="shadow", reason="it has not earned it")
    spike(stage)
    assert stage.incidents() == []
    assert "would overspend the budget of team default: 1 page in" in refused(stage)
    tried = desk.promote_rule(RULE, try_only=True)
    assert (tried.moved, tried.was, tried.tier) == (False, "shadow", "page")
    assert tried.backtest is not None
    assert (tried.backtest.pages, tried.backtest.unjudged) == (1, 1)
    assert tried.objection

    made = desk.promote_rule(RULE, over_budget=True, reason="that one was real")
    assert made.moved
    for number in (1, 2):
        assert ours(stage).spent == number - 1
        spike(stage)
        assert stage.rings().count("trigger") == number
        assert ours(stage).unjudged == 1
        desk.resolve("latest", verdict="benign_shift", reason="a new model")
        assert (ours(stage).spent, ours(stage).unjudged) == (number, 0)
    assert ours(stage).overspent
    (proposal,) = ours(stage).proposals
    assert (proposal.rule, proposal.tier) == (RULE, "ticket")
    assert "BUDGET" in stage.kinds(stage.incidents()[-1])
    part = next(part for part in desk.overview().parts if part.name == "budget")
    assert part.state == "warn"
    assert "2 of 1 spent in 4 weeks, refusal_rate 2: demote refusal_rate" in part.text

    desk.judge("INC-0001", verdict="test_traffic")
    assert [row.kind for row in desk.rule_history(rule=RULE)] == ["proposal", "tier", "tier"]
    desk.demote_rule(RULE, tier="ticket", reason="two for nothing")
    assert ours(stage).proposals == []
    spike(stage)
    assert stage.rings().count("trigger") == 2
    (ticket,) = desk.tickets()
    assert ticket.id == "INC-0003"
    assert ticket.reason == "no alert of it is promoted to page: ticket only"
    history = desk.rule_history(rule=RULE)
    assert [(row.was, row.tier) for row in history] == [
        ("page", "ticket"),
        ("page", "ticket"),
        ("shadow", "page"),
        ("page", "shadow"),
    ]
    assert history[2].actor == "ada"
    assert history[2].reason == "that one was real (over the budget)"
    assert history[2].backtest is not None


def test_a_good_backtest_is_enough(stage_for: StageFor) -> None:
    """A rule that found nothing in what is stored is promoted without more words."""
    stage = stage_for()
    desk = stage.desk()
    desk.demote_rule(RULE, tier="shadow", reason="anew")
    made = desk.promote_rule(RULE)
    assert made.moved
    assert made.objection == ""
    (row,) = [row for row in desk.rules() if row.name == RULE]
    assert (row.tier, row.set_by, row.tested_pages) == ("page", "ada", 0)
    assert row.reason.startswith("its backtest: 0 pages in 6 hours of 3 series")
    stage.advance()
    assert {one.rule for one in ours(stage).rules} >= {RULE}


def test_nothing_stored_speaks_for_nothing(stage_for: StageFor) -> None:
    """Without traffic there is nothing to test on: refused, unless somebody says why."""
    stage = stage_for(fresh=True, profile="quiet")
    assert "nothing that is stored of refusal_rate could be judged" in refused(stage)
    with pytest.raises(DeskError, match="a reason is needed"):
        stage.desk().promote_rule(RULE, over_budget=True)
    assert stage.desk().promote_rule(RULE, tier="ticket").moved


def test_a_rule_goes_one_way_at_a_time(stage_for: StageFor) -> None:
    """Promotion goes up, demotion goes down; neither stays, and an unknown rule is said."""
    stage = stage_for(fresh=True, profile="quiet")
    desk = stage.desk()
    assert refused(stage, tier="shadow") == "refusal_rate is at shadow already"
    with pytest.raises(DeskError, match="denied_tool_ran pages on the first occurrence"):
        desk.demote_rule("denied_tool_ran", tier="shadow", reason="too loud")
    with pytest.raises(DeskError, match="is no rate"):
        desk.promote_rule("denied_tool_ran")
    with pytest.raises(DeskError, match="no rule 'refusals'"):
        desk.demote_rule("refusals", tier="shadow", reason="too loud")
    desk.promote_rule(RULE, tier="ticket")
    with pytest.raises(DeskError, match="is at ticket, page is above that") as caught:
        desk.demote_rule(RULE, tier="page", reason="x")
    assert caught.value.hint == "tocsin rule promote refusal_rate --to page"
    with pytest.raises(DeskError, match="a demotion needs a reason"):
        desk.demote_rule(RULE, tier="shadow", reason=" ")


LIMIT = StaticRule(name="refusals_high", signal=RULE, rate=0.3, where={"feature": "chat"})
SLO = BurnRateRule(name="errors_slo", signal="error_rate", objective=0.99)


def test_rules_people_know_have_the_same_life(stage_for: StageFor) -> None:
    """Fixed limits and burn rates are listed with their tier and how often they fired; one is
    promoted by its backtest and demoted again, and the running daemon does as it is told."""
    stage = stage_for(profile="quiet", rules=(LIMIT, SLO))
    desk = stage.desk()
    rows = {row.name: row for row in desk.rules()}
    assert [rows[name].tier for name in ("refusals_high", "errors_slo_1h")] == ["ticket", "ticket"]
    assert rows["refusals_high"].set_by == "configuration"
    play(stage, 8, refused={"chat": 10})
    play(stage, 40)
    assert {row.name: row.fired for row in desk.rules()}["refusals_high"] == 1
    assert stage.rings() == []

    tried = desk.promote_rule("refusals_high", try_only=True)
    assert tried.backtest is not None
    assert (tried.backtest.signal, tried.backtest.pages) == ("refusals_high", 1)
    assert "refusals_high would overspend the budget of team default" in tried.objection
    desk.promote_rule("refusals_high", over_budget=True, reason="the limit is the contract's")
    play(stage, 8, refused={"chat": 10})
    assert stage.rings().count("trigger") == 1
    play(stage, 40)
    row = next(row for row in desk.rules() if row.name == "refusals_high")
    assert (row.tier, row.set_by, row.tested_pages) == ("page", "ada", 1)
    (budget,) = desk.budget()
    assert next(one for one in budget.rules if one.rule == "refusals_high").unjudged == 1

    desk.resolve("latest", verdict="benign_shift", reason="load test")
    desk.demote_rule("refusals_high", tier="shadow", reason="that was a load test")
    play(stage, 8, refused={"chat": 10})
    assert stage.rings().count("trigger") == 1
    history = desk.rule_history(rule="refusals_high")
    assert [(one.was, one.tier) for one in history if one.kind == "tier"] == [
        ("page", "shadow"),
        ("ticket", "page"),
    ]
    assert desk.backtest(signal="errors_slo_1h", days=1).thresholds == [1.0]
    row = next(row for row in desk.rules() if row.name == "refusals_high")
    assert row.offer == "for the digest; promote it if its backtest is good"


def test_only_what_was_judged_is_time_in_shadow(stage_for: StageFor) -> None:
    """A week after a recording of some hours a rule has been in shadow for these hours; one that
    counted nothing says that and no more."""
    stage = stage_for(profile="quiet")
    stage.now += timedelta(days=7)
    rows = {row.name: row for row in stage.desk().rules()}
    assert rows[RULE].offer.startswith("0.")
    assert rows[RULE].offer.endswith(" of 14 days in shadow")
    uncounted = [row for row in rows.values() if row.tier == "shadow" and not row.counted_since]
    assert {row.offer for row in uncounted} == {"nothing was counted yet"}


def test_what_no_backtest_can_speak_for_says_where_its_tier_is(stage_for: StageFor) -> None:
    """What is merely new, and what pages by its nature, is refused with the key and the command."""
    stage = stage_for(fresh=True, profile="quiet")
    with pytest.raises(DeskError) as caught:
        stage.desk().promote_rule("new_tool")
    assert caught.value.code == "refused"
    assert caught.value.hint == (
        "tiers: {new_tool: page} in the configuration, then: tocsin config reload"
    )


def test_what_is_merely_new_comes_back_from_shadow(stage_for: StageFor) -> None:
    """Lowered at the desk, it is raised there again as far as nobody is woken; to page needs the
    configuration and, as a person's word stands over it, this command once more."""
    stage = stage_for(fresh=True, profile="quiet")
    desk = stage.desk()
    desk.demote_rule("new_tool", tier="shadow", reason="we try many tools this week")
    assert not desk.promote_rule("new_tool", tier="ticket", try_only=True).moved
    made = desk.promote_rule("new_tool", tier="ticket", reason="the week is over")
    assert (made.moved, made.was, made.tier, made.backtest) == (True, "shadow", "ticket", None)
    with pytest.raises(DeskError, match="is no rate") as caught:
        desk.promote_rule("new_tool")
    assert caught.value.hint is not None
    assert caught.value.hint.endswith("and again: tocsin rule promote new_tool")


def test_a_page_wants_a_week_of_traffic(stage_for: StageFor) -> None:
    """Six quiet hours are no evidence that a rule is quiet: refused, unless somebody says why; a
    ticket wakes nobody and needs no week."""
    stage = stage_for(profile="quiet")
    desk = stage.desk()
    assert "refusal_rate was judged on 6 hours of traffic only: a page needs 7 days" in refused(
        stage
    )
    tried = desk.promote_rule(RULE, try_only=True)
    assert tried.backtest is not None
    assert (tried.backtest.pages, tried.backtest.judged_days) == (0, 1)
    assert desk.promote_rule(RULE, tier="ticket").moved
    assert desk.promote_rule(RULE, over_budget=True, reason="launch is tonight").moved
    assert desk.rule_history(rule=RULE)[0].reason == "launch is tonight (on little evidence)"
