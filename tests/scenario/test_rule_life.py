"""A rule's life: shadow, promoted against its backtest, false pages, demoted; and who is told."""

from __future__ import annotations

import pytest

from monitor.rule_views import Budget
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
    with pytest.raises(DeskError, match="no learned rate"):
        desk.promote_rule("denied_tool_ran")
    with pytest.raises(DeskError, match="no rule 'refusals'"):
        desk.demote_rule("refusals", tier="shadow", reason="too loud")
    desk.promote_rule(RULE, tier="ticket")
    with pytest.raises(DeskError, match="is at ticket, page is above that") as caught:
        desk.demote_rule(RULE, tier="page", reason="x")
    assert caught.value.hint == "tocsin rule promote refusal_rate --to page"
    with pytest.raises(DeskError, match="a demotion needs a reason"):
        desk.demote_rule(RULE, tier="shadow", reason=" ")
