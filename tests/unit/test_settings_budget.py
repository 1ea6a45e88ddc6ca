"""`paging.budget`: what it means, and what is wrong with it where."""

from __future__ import annotations

from pathlib import Path

import pytest

from monitor.alerting.budget import Allowance
from monitor.config.settings import load, resolve
from runbooks.problems import Problems

TEAMS = """
paging:
  budget:
    false_pages: 2
    weeks: 2
    teams:
      - {name: payments, matchers: ['feature=~"checkout|refunds"'], false_pages: 0.5}
      - {name: default, weeks: 8}
"""


def write(path: Path, text: str) -> Path:
    """A configuration."""
    file = path / "tocsin.yaml"
    file.write_text("version: 1\n" + text, "utf-8")
    return file


def problems(path: Path, text: str) -> list[str]:
    """What is wrong, with line and column."""
    with pytest.raises(Problems) as caught:
        load(write(path, text))
    return [f"{p.line}:{p.col} {p.code} {p.text}" for p in caught.value.problems]


def test_a_budget_nobody_set_is_one_page_in_four_weeks(tmp_path: Path) -> None:
    """The default of every team."""
    budgets = resolve(load(write(tmp_path, ""))[0]).policy.budgets
    assert budgets.default == Allowance(1.0, 4)
    assert budgets.names() == ("default",)


def test_teams_take_what_they_do_not_say_from_all(tmp_path: Path) -> None:
    """A team of features, and another span for those who are left."""
    budgets = resolve(load(write(tmp_path, TEAMS))[0]).policy.budgets
    assert budgets.of("payments") == Allowance(0.5, 2)
    assert budgets.of("default") == Allowance(2.0, 8)
    assert budgets.team_of({"signal": "refusal_rate", "feature": "refunds"}) == "payments"
    assert budgets.team_of({"signal": "refusal_rate", "feature": "chat"}) == "default"


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("false_pages: 0", "4:18 value"),
        ("weeks: 1.5", "4:12 type"),
        ("weeks: 99", "4:12 value"),
        ("pages: 1", "4:5 unknown-key"),
        ("teams: [{name: 'a b', matchers: [signal=x]}]", "4:20 value"),
        ("teams: [{name: ops}]", "4:20 unknown no series belongs to the team 'ops'"),
        ("teams: [{name: a, matchers: ['oops']}]", "4:34 value not a matcher"),
        ("teams: [{name: a, matchers: ['featur=x']}]", "4:34 unknown 'featur' is no label"),
        (
            "teams: [{name: a, matchers: [signal=x]}, {name: a, matchers: [signal=y]}]",
            "4:53 duplicate two teams are named 'a'",
        ),
    ],
)
def test_what_is_wrong_is_told_with_its_place(tmp_path: Path, line: str, said: str) -> None:
    """One mistake, one line of the file, one sentence."""
    found = problems(tmp_path, f"paging:\n  budget:\n    {line}\n")
    assert len(found) == 1
    assert found[0].startswith(said), found
