"""Detectors that are built anew after a start or a take-over hold up nobody, and miss nothing."""

from __future__ import annotations

import sqlite3
from contextlib import closing

import pytest

from monitor.decide import Decide, Decided
from monitor.detection import FLEETS, SLICES, SNAPSHOT, Detection
from monitor.metrics import Metrics
from monitor.store.store import Store
from tests.scenario.conftest import StageFor
from tests.scenario.stage import MINUTE, Stage
from tests.scenario.test_stories import bad_call, minute, play


def lose_snapshots(stage: Stage) -> None:
    """All history must be replayed."""
    with stage.store.write() as tx:
        for name in (SNAPSHOT, FLEETS, SLICES):
            tx.decisions.save_snapshot(name, 0, b"")


def test_no_damaged_snapshot_ends_the_daemon(stage_for: StageFor) -> None:
    """With every stored snapshot unreadable it starts, warns and judges as it would have."""
    stage = stage_for()
    with closing(sqlite3.connect(stage.path)) as raw, raw:
        stored = raw.execute("SELECT name, data FROM snapshots WHERE length(data) > 0").fetchall()
        for name, data in stored:
            raw.execute("UPDATE snapshots SET data = ? WHERE name = ?", (data[::-1], name))
    assert {"rates", "seen", "definitions", "levels"} <= {name for name, _ in stored}
    stage.restart()
    play(stage, 10, refused={"chat": 6})
    assert stage.only().signal == "refusal_rate"


def test_who_writes_does_not_wait_for_a_rebuild(stage_for: StageFor) -> None:
    """Between any two buckets that a restart replays, another process can write."""
    stage = stage_for()
    lose_snapshots(stage)
    plan, policy = stage.configured.plan, stage.configured.policy
    with stage.store.read() as tx:
        pipeline = tx.stream.known_pipeline(plan)
        assert pipeline is not None
        position = tx.decisions.position(pipeline)
    other, built = Store(f"sqlite:///{stage.path}"), 0
    detection = Detection(plan, stage.configured.profile)
    for _ in detection.rebuild(stage.store.read, position, policy.budgets):
        built += 1
        if built % 40 == 0:
            with other.write() as tx:
                tx.touch()
    other.close()
    assert built > 2 * 350, "six hours of series, and of children"


def test_a_never_event_is_paged_while_the_detectors_are_built(
    stage_for: StageFor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A long history does not keep what needs no detector from ringing."""
    monkeypatch.setattr("monitor.decide.SITTING_S", 0.05)
    stage = stage_for()
    lose_snapshots(stage)
    stage.restart()
    stage.feed([bad_call(stage.now, 9_000_001)])
    stage.now += MINUTE
    for _ in range(2):
        stage.ingest.step(stage.now, timeout_s=0)
    stage.ingest.flush(stage.now)
    assert stage.decide.step(stage.now) == Decided(0, caught_up=False)
    assert stage.only().paged_at is not None
    steps = 1
    while not stage.decide.step(stage.now).caught_up:
        steps += 1
    assert steps > 2, "it was built in several sittings"
    play(stage, 10, refused={"chat": 6})
    assert [i.signal for i in stage.incidents()][1:] == ["refusal_rate"]


def test_detectors_that_fell_behind_are_built_anew(stage_for: StageFor) -> None:
    """Where somebody else has decided meanwhile, nothing is decided twice and nothing missed."""
    stage = stage_for()
    play(stage, 3)
    plan, profile = stage.configured.plan, stage.configured.profile
    other = Decide(stage.store, plan, profile, stage.pager, Metrics())
    for decides in (*[True] * 5, False):
        for feature in ("chat", "search"):
            stage.feed(minute(stage.now, feature=feature))
        stage.now += MINUTE
        stage.ingest.step(stage.now, timeout_s=0)
        stage.ingest.flush(stage.now)
        if decides:
            while not other.step(stage.now).caught_up:
                pass
    assert stage.decide.step(stage.now) == Decided(0, caught_up=False)
    play(stage, 10, refused={"chat": 6})
    assert stage.only().signal == "refusal_rate"
