"""Stories of fifty features that all move at once: one alert of the whole, one page."""

from __future__ import annotations

import random
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest

from monitor.desk.stored import fed
from tests.scenario.stage import MINUTE, Stage
from tests.scenario.traffic import Story, event, events

CALM = Story(
    seed=5,
    rate=0.15,
    times=1.0,
    features=tuple(f"surface-{number:02}" for number in range(50)),
    per_minute=2.0,
    quiet_hours=4,
)


def hour(times: float) -> Iterator[list[dict[str, Any]]]:
    """The hour after the onset, minute by minute, with all refusals multiplied."""
    story = replace(CALM, times=times, moved=CALM.features)
    after = (one for one in events(story) if one["time"] >= CALM.onset.isoformat())
    for _, minute in groupby(after, key=lambda one: one["time"][:16]):
        yield list(minute)


@pytest.fixture(scope="module")
def calm(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Any]]:
    """Four quiet hours of fifty features."""
    path = tmp_path_factory.mktemp("calm") / "x.db"
    stage = Stage(path, CALM.onset)
    stage.feed(one for one in events(CALM) if one["time"] < CALM.onset.isoformat())
    stage.tick()
    assert stage.incidents() == []
    stage.close()
    return path, stage.tape.records


@pytest.fixture
def stage(calm: tuple[Path, list[Any]], tmp_path: Path) -> Iterator[Stage]:
    """An installation at the end of the quiet hours."""
    shutil.copy(calm[0], tmp_path / "x.db")
    made = Stage(tmp_path / "x.db", CALM.onset, records=calm[1])
    yield made
    made.close()


def test_a_shock_too_weak_for_any_feature_is_one_page_of_the_whole(stage: Stage) -> None:
    """1.8 times the refusals on fifty features: one more every few minutes on each, together
    one alert of the environment, which says on how many and where the most of it is; the page is
    one, and the receiver hears when it is over."""
    for number, minute in enumerate(hour(1.8)):
        stage.feed(minute)
        stage.advance()
        if number == 30:
            stage.restart()
    incident = stage.only()
    assert dict(incident.dimensions) == {"environment": "prod"}
    assert CALM.onset < incident.detected_at <= CALM.onset + 40 * MINUTE
    said = stage.timeline(incident)[0].entry.text
    assert "everywhere a little" in said
    assert "over 50 series" in said
    assert "the most in surface-" in said
    assert stage.rings() == ["trigger"]
    told_at_the_desk(stage, "everywhere a little")
    for minute in hour(1.0):
        shifted = [later(one) for one in minute]
        stage.feed(shifted)
        stage.advance()
    assert stage.only().normal_at is not None
    assert stage.rings() == ["trigger", "resolve"]
    with closing(sqlite3.connect(stage.path)) as other:
        other.execute("DELETE FROM cells WHERE bucket < ?", (int(CALM.onset.timestamp()),))
        other.commit()
    made = stage.desk().backtest(signal="refusal_rate", days=1)
    assert made.pages == 1
    assert made.without == (
        "without tenant, model and release series: their counts begin on 2026-11-16 10:00 UTC only"
    )


def told_at_the_desk(stage: Stage, words: str) -> None:
    """`explain` tells what the standing alert of the whole says, `backtest` the page it made."""
    incident, desk = stage.only(), stage.desk()
    assert incident.signal is not None
    found = desk.explain(signal=incident.signal, limit=100)
    whole = found[0]
    assert (whole.state, whole.dimensions) == ("firing", {"environment": "prod"})
    assert (whole.incident, whole.onset_at) == (incident.name, incident.impact_at)
    assert words in whole.sentence
    assert whole.score >= whole.threshold
    part = next(one for one in found if one.state == "quiet" and "feature" in one.dimensions)
    assert part.sentence.endswith(f"; but prod as a whole fires: {incident.name}")
    made = desk.backtest(signal=incident.signal, days=1)
    assert (made.pages, made.without) == (1, "")
    assert made.episodes[0].detected_at == incident.detected_at
    assert made.episodes[0].dimensions == {"environment": "prod"}
    assert words in made.episodes[0].reason
    begin = int((CALM.onset - timedelta(hours=BEFORE)).timestamp())
    plan = stage.configured.plan
    rule = next(one for one in plan.rates() if one.name == incident.signal)
    short = fed(stage.store.read, plan, rule, begin, begin + 7_200, 1)
    assert short.cells is None
    assert short.without.startswith("without tenant, model and release series: over 1 of their c")


def later(made: dict[str, Any]) -> dict[str, Any]:
    """The same event an hour after, as another one."""
    time = made["time"].replace("T10:", "T11:")
    return {**made, "id": f"{made['id']}-later", "time": time}


def test_a_strong_shock_on_all_is_one_incident_not_fifty(stage: Stage) -> None:
    """Six times the refusals on fifty features: features fire as well, and every one of them
    joins the one incident; whoever is on call is rung once."""
    for _, minute in zip(range(12), hour(6.0), strict=False):
        stage.feed(minute)
        stage.advance()
    incident = stage.only()
    assert stage.kinds(incident).count("ALERT") >= 30
    assert stage.rings().count("trigger") == 1


TENANTS = tuple(f"t_{number:04x}" for number in range(12))
BEFORE = 3
"""Quiet hours."""


def tenanted(loud: str | None) -> list[dict[str, Any]]:
    """Two features shared by twelve tenants; after three hours one tenant is mostly refused."""
    rng = random.Random(9)
    made = []
    begin = CALM.onset - timedelta(hours=BEFORE)
    for number in range(60 * (BEFORE + 1) * 60):
        at = begin + timedelta(seconds=number)
        tenant = TENANTS[min(int(rng.paretovariate(0.5)) - 1, len(TENANTS) - 1)]
        strange = tenant == loud and at >= CALM.onset
        refused = rng.random() < (0.9 if strange else 0.1)
        made.append(
            event(
                at,
                number,
                feature=rng.choice(("chat", "search")),
                status="refused" if refused else "answered",
                actor={"tenant": tenant},
            )
        )
    return made


def night(path: Path, loud: str | None, restarts: frozenset[int] = frozenset()) -> list[str]:
    """What the only incident's timeline says after the hour; nothing where there is none."""
    stage = Stage(path, CALM.onset - timedelta(hours=BEFORE))
    rest = tenanted(loud)
    for number in range(60 * (BEFORE + 1)):
        stage.feed(rest[60 * number : 60 * (number + 1)])
        stage.advance()
        if number in restarts:
            stage.restart()
    found = stage.incidents()
    said = [item.entry.text for one in found for item in stage.timeline(one)]
    assert len(found) <= 1
    if found:
        assert dict(found[0].dimensions)["environment"] == "prod"
        assert stage.rings() == ["trigger"]
        told_at_the_desk(stage, f"tenant {loud} alone")
    stage.close()
    return said


def test_one_tenant_alone_is_an_alert_of_the_whole_that_names_it(tmp_path: Path) -> None:
    """One small tenant of twelve is refused nearly always: the page names it, and it is the same
    whether or not the process was killed on the way."""
    whole = night(tmp_path / "x.db", "t_0003")
    assert any("tenant t_0003 alone" in text for text in whole)
    kills = frozenset({59, 60, 61, 130, 181, 183})
    assert night(tmp_path / "y.db", "t_0003", kills) == whole


def test_tenants_on_a_quiet_day_are_no_alert(tmp_path: Path) -> None:
    """Twelve tenants followed one by one give no incident where nothing happens."""
    assert night(tmp_path / "x.db", None) == []
