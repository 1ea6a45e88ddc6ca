"""`tocsin rule`, `budget` and `tickets` on a served desk: what people read and programs get."""

from __future__ import annotations

import io
import json
import sys

import pytest

from tests.tui.conftest import Run
from tests.tui.story_desk import StoryDesk


class Terminal(io.StringIO):
    """Standard input at which somebody sits."""

    def isatty(self) -> bool:
        return True


def test_a_budget_at_a_glance(tocsin: Run, desk: StoryDesk) -> None:
    """A bar of what is spent and open, the division, the shift, each rule, and what to type."""
    desk.tier, desk.spent = "page", 2
    status, out, _ = tocsin("budget", "--ascii")
    assert status == 0
    lines = out.splitlines()
    assert lines[0] == "team default  OVERSPENT"
    assert lines[1].startswith(
        "  ################????????  2 of 1 spent in 4 weeks, 0 left, 1 open"
    )
    assert "3 series and 1 fleet, 0.062 false pages each a week" in out
    assert "too many" not in out
    assert "refusal_rate pages now: 3 series" in out
    assert "2 of 2 incidents paged in twelve hours; the next may page at 2026-11-20 14:00" in out
    assert "tocsin rule demote refusal_rate --to ticket --reason TEXT" in out
    row = next(line for line in lines if line.strip().startswith("refusal_rate   "))
    assert row.split()[:7] == ["refusal_rate", "page", "3", "0.75", "2", "2", "1"]
    whole = next(line for line in lines if line.strip().startswith("refusal_rate (fleet)"))
    assert whole.split()[2:8] == ["page", "1", "0.25", "0", "0", "0"]


def test_too_many_series_are_said(tocsin: Run, desk: StoryDesk) -> None:
    """A team with more paging series than a budget is meant for reads what that means."""
    desk.crowded = True
    assert "  too many  31 series page team default\n" in tocsin("budget", "--ascii")[1]


def test_a_budget_for_programs(tocsin: Run) -> None:
    """One object, teams as an array; an unknown team is exit 4."""
    status, out, _ = tocsin("budget", "--team", "default", "--json")
    body = json.loads(out)
    assert (status, body["schema"]) == (0, "tocsin.budget/1")
    assert body["data"][0]["shift_free_at"] == "2026-11-20T14:00:00Z"
    assert body["data"][0]["proposals"] == []
    assert sum(one["expected"] for one in body["data"][0]["rules"]) == 1.0
    assert tocsin("budget", "--team", "ops")[0] == 4
    assert tocsin("budget", "-o", "id")[1] == "default\n"


def test_rules_say_whether_they_are_offered(tocsin: Run) -> None:
    """A table for people, an array for programs."""
    status, out, _ = tocsin("rule", "list")
    assert status == 0
    assert out.splitlines()[1].split()[:6] == ["refusal_rate", "shadow", "profile", "1", "-", "yes"]
    (row,) = json.loads(tocsin("rule", "list", "--json")[1])["data"]
    assert (row["tier"], row["offered"], row["since"]) == ("shadow", True, None)


def test_a_promotion_shows_its_backtest_first(
    tocsin: Run, desk: StoryDesk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The pages it would have made, then the question; no is exit 5 and moves nothing."""
    monkeypatch.setattr(sys, "stdin", Terminal("n\n"))
    status, out, err = tocsin("rule", "promote", "refusal_rate")
    assert status == 5
    assert "1 page: 0 true, 0 false, 1 that nobody has judged" in out
    assert "\npages at what a quiet series reaches once in 12 weeks\n" in out
    assert "\nwithout tenant, model and release series: no counts by tenant are stored\n" in out
    assert "2026-11-17 09:06:00Z  environment=prod feature=chat  60" in out
    assert "move refusal_rate from shadow to page? [y/N]" in err
    assert desk.log == []
    monkeypatch.setattr(sys, "stdin", Terminal("y\n"))
    status, out, _ = tocsin("rule", "promote", "refusal_rate", "--reason", "it is time")
    assert status == 0
    assert desk.log == [("promote_rule", {"tier": "page", "reason": "it is time"})]
    assert out.splitlines()[-1] == "refusal_rate is at page, was at shadow"


def test_without_a_terminal_a_promotion_wants_yes(tocsin: Run, desk: StoryDesk) -> None:
    """Nobody is there to answer: exit 7; with --yes it is done, as text and as JSON."""
    status, out, err = tocsin("rule", "promote", "refusal_rate")
    assert status == 7
    assert "--yes" in err
    assert "1 that nobody has judged" in out
    assert desk.log == []
    assert tocsin("rule", "promote", "refusal_rate", "--to", "ticket", "--yes")[0] == 0
    body = json.loads(tocsin("rule", "promote", "refusal_rate", "--yes", "--json")[1])
    assert body["schema"] == "tocsin.promote_rule/1"
    assert (body["data"]["moved"], body["data"]["was"]) == (True, "ticket")
    assert body["data"]["backtest"]["episodes"][0]["incidents"] == ["INC-0137"]


def test_a_promotion_over_the_budget_is_refused(tocsin: Run, desk: StoryDesk) -> None:
    """Exit 5 with the reason, after the backtest; --over-budget goes on."""
    desk.spent = 1
    status, out, err = tocsin("rule", "promote", "refusal_rate")
    assert status == 5
    assert "1 that nobody has judged" in out
    assert "refusal_rate would overspend the budget of team default" in err
    assert "--over-budget --reason TEXT" in err
    assert desk.log == []
    words = ("rule", "promote", "refusal_rate", "--over-budget", "--reason", "known", "--yes")
    status, out, _ = tocsin(*words)
    assert status == 0
    assert "against it  refusal_rate would overspend the budget of team default" in out
    assert desk.tier == "page"


def test_a_demotion_takes_a_reason_and_no_question(tocsin: Run, desk: StoryDesk) -> None:
    """It is at once; without a reason it is wrong usage, and read-only it is refused."""
    desk.tier = "page"
    assert tocsin("rule", "demote", "refusal_rate")[0] == 2
    assert tocsin("rule", "demote", "refusal_rate", "--reason", "x", "--read-only")[0] == 5
    assert tocsin("rule", "demote", "refusal_rate", "--reason", "two for nothing")[0] == 0
    assert desk.log == [("demote_rule", {"tier": "ticket", "reason": "two for nothing"})]


def test_history_tickets_and_a_late_verdict(tocsin: Run, desk: StoryDesk) -> None:
    """What was proposed is told apart from what was done; an empty digest says so."""
    assert "page -> ticket proposed  tocsin  two for nothing" in tocsin("rule", "history")[1]
    assert "nobody has moved a rule" in tocsin("rule", "history", "error_rate")[1]
    said = "no tickets in the last day; --days N looks further back"
    assert said in tocsin("tickets")[1]
    assert "folded into the digest" in tocsin("tickets", "--days", "7")[1]
    assert json.loads(tocsin("tickets", "--json")[1])["data"] == []
    words = ("inc", "verdict", "INC-0137", "--verdict", "benign_shift", "--reason", "a new model")
    assert tocsin(*words)[0] == 0
    assert desk.log[-1][1] == {
        "ref": "INC-0137",
        "verdict": "benign_shift",
        "reason": "a new model",
    }


@pytest.mark.parametrize(
    "words",
    [("budget",), ("tickets",), ("rule", "list"), ("rule", "promote"), ("rule", "demote"),
     ("rule", "history"), ("inc", "verdict")],
)  # fmt: skip
def test_help_has_examples(tocsin: Run, words: tuple[str, ...]) -> None:
    """Each command shows how it is typed."""
    status, out, _ = tocsin(*words, "--help")
    assert status == 0
    assert f"Examples\n  tocsin {' '.join(words)}" in out.replace("Examples:", "Examples")
