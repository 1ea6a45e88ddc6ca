"""Weeks go by after a night: what was counted goes, what people need of it stays."""

from __future__ import annotations

from datetime import timedelta

import msgspec

from monitor.incidents.model import Incident
from monitor.processes.posts import Sole
from monitor.retention import SETTLE, TABLES, Retention
from monitor.review.facts import Review, gather
from monitor.store import tables as t
from tests.ageing import rows
from tests.scenario.conftest import StageFor
from tests.scenario.stage import Stage
from tests.scenario.test_stories import play
from tests.scenario.traffic import event


def review(stage: Stage, incident: Incident) -> Review:
    """As it is now; the time at which somebody asks is not part of it."""
    with stage.store.read() as tx:
        return gather(tx, stage.configured, incident, incident.detected_at + timedelta(days=90))


def aged(stage: Stage) -> None:
    """A round of ageing, now."""
    retention = Retention(stage.store, lambda: stage.configured, Sole(), stage.metrics)
    retention.step(stage.now - SETTLE)
    for _ in range(len(TABLES) + 60):
        retention.step(stage.now)


def test_a_night_is_told_the_same_after_months(stage_for: StageFor) -> None:
    """A spike rings and closes; six weeks later its cells are gone, and its review, chart and sums
    read as they did. An event of that night that only comes now is counted as late, there too:
    nothing is judged anew and nobody is rung, nor after a restart from the log."""
    stage = stage_for()
    play(stage, 10, refused={"chat": 6})
    play(stage, 75)
    night = stage.only()
    assert night.resolved_at is not None
    before, old = review(stage, night), int(night.detected_at.timestamp())
    assert before.impact is not None
    assert before.impact.flagged > 0
    stage.now += timedelta(weeks=6)
    play(stage, 5)
    aged(stage)
    assert first_cell(stage) > old
    assert review(stage, night) == before

    known, rings = stage.incidents(), stage.rings()
    stage.feed([event(night.detected_at, 1, status="refused")])
    play(stage, 2)
    stage.restart()
    play(stage, 2)
    aged(stage)
    assert first_cell(stage) > old
    assert review(stage, night) == msgspec.structs.replace(before, late=before.late + 1)
    assert stage.incidents() == known
    assert stage.rings() == rings


def first_cell(stage: Stage) -> int:
    """Start of the oldest bucket that is counted."""
    return min(int(str(row[1])) for row in rows(stage.store, t.cells))
