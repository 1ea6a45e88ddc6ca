"""Budgets divided while an installation runs: who notices, and that kills change no threshold."""

from __future__ import annotations

import random
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from monitor.alerting.budget import Allowance, Budgets, Share, Team
from monitor.config.settings import Paging, Settings, resolve
from monitor.daemon import Daemon, build
from monitor.notify.settings import LogSettings
from monitor.store.rule_rows import Divided
from monitor.store.store import Store
from monitor.stream.sources.files import FileSource
from tests.scenario.conftest import StageFor
from tests.scenario.stage import Stage
from tests.scenario.test_restarts import TABLES, Bench, run
from tests.scenario.test_stories import play
from tests.scenario.traffic import Story, events, write

BUDGETS = Budgets(default=Allowance(40.0, 1))
"""Generous, so that thresholds differ from the profile's by more than a rounding."""


class Budgeted(Bench):
    """A bench whose daemons divide a budget."""

    def daemon(self, name: str) -> Daemon:
        settings = Settings(
            store=f"sqlite:///{self.folder / name}",
            profile="loud",
            paging=Paging(receivers=(LogSettings(name="log"),)),
        )
        configured = resolve(settings)
        return build(
            replace(
                configured,
                profile=replace(configured.profile, capped=True),
                policy=replace(configured.policy, budgets=BUDGETS),
            ),
            source=FileSource([str(self.file)], max_records=250),
            store=Store(settings.store),
            page=False,
        )

    def divisions(self, name: str) -> list[Any]:
        """How the budget was divided."""
        engine = sa.create_engine(f"sqlite:///{self.folder / name}")
        with engine.connect() as connection:
            text = "SELECT bucket, team, rules, reason FROM divisions ORDER BY bucket, team"
            found = connection.execute(sa.text(text)).all()
        engine.dispose()
        return list(found)


def test_kills_change_no_threshold(tmp_path: Path) -> None:
    """With a budget divided anew as series come, a killed run finds, scores and pages what an
    unkilled one does, and divides at the same buckets."""
    story = Story(seed=8, rate=0.1, features=("chat", "search"), quiet_hours=4, after_hours=1)
    late = (story.onset - timedelta(minutes=150)).isoformat()
    lines = [
        one
        for one in events(story)
        if one["time"] > late or one["data"]["deployment"]["feature"] == "chat"
    ]
    bench = Budgeted(write(tmp_path / "events.ndjson", lines), tmp_path)
    assert run(bench, "whole", None) == 0
    assert run(bench, "killed", random.Random(5)) >= 3
    whole, killed = bench.rows("whole"), bench.rows("killed")
    for table in TABLES:
        assert killed[table] == whole[table], table
    assert bench.divisions("killed") == bench.divisions("whole")
    assert "error_rate: 3 series, were 2" in bench.divisions("whole")[-1].reason
    assert whole["incidents"]


def divided(stage: Stage, team: str = "default") -> list[Divided]:
    """A team's divisions, newest first."""
    with stage.store.read() as tx:
        return tx.rules.divisions(team)


def shares(stage: Stage) -> dict[str, Share]:
    """What is in force."""
    with stage.store.read() as tx:
        return {team: row.share for team, row in tx.rules.shares().items()}


def test_a_moved_rule_is_divided_at_the_next_bucket(stage_for: StageFor) -> None:
    """The row names the rule and the bucket; nothing is written while nothing changes."""
    stage = stage_for()
    play(stage, 2)
    before = divided(stage)
    assert before
    stage.desk().demote_rule("error_rate", tier="shadow", reason="not now")
    assert divided(stage) == before
    play(stage, 1)
    row, *older = divided(stage)
    assert older == before
    assert row.reason == "error_rate pages no more"
    assert row.bucket == int(stage.now.timestamp()) - 60
    play(stage, 3)
    assert divided(stage)[0] == row
    (budget,) = stage.desk().budget()
    assert budget.divided_why == "error_rate pages no more"
    assert "error_rate" not in {rule.rule for rule in budget.rules}


def test_another_budget_is_divided_at_the_next_bucket(stage_for: StageFor) -> None:
    """A reload brings a team and an allowance; both are in force one bucket later, after a kill
    too, and the cap of a shift is each team's own."""
    stage = stage_for()
    play(stage, 1)
    teams = (Team("search", Allowance(2.0, 4), ()),)
    budgets = Budgets(Allowance(3.0, 4), teams, {"refusal_rate": "search"})
    policy = replace(stage.pager.policy, budgets=budgets)
    stage.pager.policy = policy
    stage.configured = replace(stage.configured, policy=policy)
    play(stage, 1)
    found = shares(stage)
    assert found["search"].allowance == Allowance(2.0, 4)
    assert found["search"].rules["refusal_rate"] == 3  # of two features, and of the whole
    assert found["default"].rules["refusal_rate"] == 0
    assert divided(stage)[0].reason.startswith("3 false pages in 4 weeks, was 1 false page")
    stage.restart()
    play(stage, 2)
    assert shares(stage) == found
    assert len(divided(stage, "search")) == 1
    assert [one.team for one in stage.desk().budget()] == ["default", "search"]


@pytest.mark.parametrize(("owners", "rings"), [({}, 0), ({"refusal_rate": "safety"}, 1)])
def test_the_shift_of_one_team_is_not_anothers(
    stage_for: StageFor, owners: dict[str, str], rings: int
) -> None:
    """Two incidents that paged one team keep a third from paging it, and no other team."""
    from tests.making import incident

    stage = stage_for(capped=True)
    stage.pager.policy = replace(stage.pager.policy, budgets=Budgets(owners=owners))
    with stage.store.write() as tx:
        for number in (1, 2):
            tx.incidents.save(
                incident(
                    uuid=f"{number:032x}",
                    number=number,
                    signal="tool_misuse",
                    state="closed",
                    detected_at=stage.now,
                    paged_at=stage.now,
                )
            )
    play(stage, 10, refused={"chat": 8})
    assert stage.rings().count("trigger") == rings


def test_what_is_tested_together_has_a_part_of_its_own(stage_for: StageFor) -> None:
    """Each rule that pages has a row for its series and one for their fleet and children; all rows
    together expect the whole budget, and each series has what is left of it."""
    stage = stage_for(capped=True)
    play(stage, 2)
    (budget,) = stage.desk().budget()
    assert sum(row.expected for row in budget.rules) == pytest.approx(budget.false_pages)
    rows = {row.rule: row for row in budget.rules}
    assert (rows["refusal_rate"].series, rows["refusal_rate (fleet)"].series) == (3, 1)
    assert budget.fleets == sum(name.endswith(" (fleet)") for name in rows)
    parts = budget.series + budget.fleets
    assert budget.per_series_week == pytest.approx(budget.false_pages / budget.weeks / parts)
    assert budget.crowded == ""
