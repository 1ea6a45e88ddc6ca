"""A process that is killed at any step, and built anew, ends where an unkilled one does."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from monitor.alerting.alerts import fingerprint
from monitor.config.settings import Paging, Settings, resolve
from monitor.daemon import Daemon, build
from monitor.notify.settings import LogSettings
from monitor.store.store import Store
from monitor.stream.rules import BurnRateRule, BurnWindow, StaticRule
from monitor.stream.sources.files import FileSource
from runbooks.durations import Duration
from tests.scenario.traffic import Story, event, events, write

WALL = datetime(2026, 11, 22, tzinfo=UTC)
RULES = (
    StaticRule(name="refusals_high", signal="refusal_rate", rate=0.3, hold=Duration(minutes=4)),
    BurnRateRule(
        name="slo",
        signal="refusal_rate",
        objective=0.7,
        windows=(BurnWindow(factor=1.2, over=Duration(hours=1)),),
        tier="page",
        whole=True,
    ),
)
TABLES = {
    "cells": "bucket, number, cuboid, dims, counts, hi",
    "late": "bucket, number, count",
    "occurrences": 'rule, source, number, "offset", bucket, at, dims, event_id',
    "vocabulary": "dimension, value, bucket",
    "progress": "number, low_water, hi, closed, watermark, finished, totals",
    "position": "bucket",
    "points": "signal, bucket, data",
    "quarantine": 'number, "offset", rule, path, length',
    "alerts": "fingerprint, detected_at, cleared_at",
    "incidents": "signal, dims, detected_at, severity, state, normal_at, closed_at, paged_at",
    "outbox": "kind, state, created_at",
}
"""Everything that two runs must have in common; ids of people's words and attempts may differ."""


def recording() -> list[dict[str, Any]]:
    """Nine hours, a hole and an hour: a step, a silence, never-events, copies, rubbish ..."""
    story = Story(seed=31, rate=0.1, features=("chat", "search"), quiet_hours=6, after_hours=2)
    silent = (story.onset + timedelta(minutes=95)).isoformat()
    back = (story.onset + timedelta(minutes=125)).isoformat()
    rng = random.Random(31)
    lines: list[dict[str, Any]] = []
    for number, one in enumerate(events(story)):
        feature = one["data"]["deployment"]["feature"]
        if feature == "search" and silent < one["time"] < back:
            continue
        lines.append(one)
        at = datetime.fromisoformat(one["time"])
        if rng.random() < 0.02:
            lines.append(rng.choice(lines[-50:]))
        if rng.random() < 0.005:
            lines.append({**one, "subject": "another body"})
        if rng.random() < 0.002:
            lines.append(event(at - timedelta(minutes=3), 5_000_000 + number))
        if rng.random() < 0.003:
            tool = {"tool": f"tool_{rng.randrange(12)}", "decision": "allowed"}
            lines.append(event(at, 8_000_000 + number, tool_calls=[tool]))
        if rng.random() < 0.001:
            call = {"tool": "x", "decision": "denied", "status": "ok"}
            lines.append(event(at, 6_000_000 + number, tool_calls=[call]))
        if rng.random() < 0.001:
            lines.append({**event(at, 7_000_000 + number), "prompt": "say it"})
    for number, one in enumerate(lines[:1500]):
        at = datetime.fromisoformat(one["time"]) + timedelta(hours=16)
        lines.append({**one, "id": f"next{number}", "time": at.isoformat()})
    return lines


@dataclass(frozen=True, slots=True)
class Bench:
    """The recording and where its stores lie."""

    file: Path
    folder: Path

    def daemon(self, name: str) -> Daemon:
        """A new process on the store of this name."""
        settings = Settings(
            store=f"sqlite:///{self.folder / name}",
            profile="loud",
            rules=RULES,
            paging=Paging(receivers=(LogSettings(name="log"),)),
        )
        configured = resolve(settings)
        policy = replace(configured.policy, capped=True)
        return build(
            replace(configured, policy=policy),
            source=FileSource([str(self.file)], max_records=250),
            store=Store(settings.store),
            page=False,
        )

    def rows(self, name: str) -> dict[str, list[Any]]:
        """What is in the store."""
        engine = sa.create_engine(f"sqlite:///{self.folder / name}")
        with engine.connect() as connection:
            found = {
                table: connection.execute(
                    sa.text(f"SELECT {columns} FROM {table} ORDER BY {columns}")
                ).all()
                for table, columns in TABLES.items()
            }
        engine.dispose()
        return {table: list(rows) for table, rows in found.items()}


def kill(daemon: Daemon) -> None:
    """Let go of what a dead process would not hold, and of nothing that must be written."""
    daemon.runs.close()
    daemon.deliver.close()
    daemon.source.close()
    daemon.store.close()


def run(bench: Bench, name: str, rng: random.Random | None) -> int:
    """Play the recording; with `rng` a process dies now and then. How many died."""
    deaths = 0
    daemon = bench.daemon(name)
    while True:
        try:
            play(daemon, rng)
        except KilledError:
            deaths += 1
            kill(daemon)
            daemon = bench.daemon(name)
        else:
            kill(daemon)
            return deaths


class KilledError(Exception):
    """The process is no more."""


def play(daemon: Daemon, rng: random.Random | None) -> None:
    """`Daemon.step_replay` until the end, with a chance to die between any two transactions."""

    def perhaps_die() -> None:
        if rng is not None and rng.random() < 0.06:
            raise KilledError

    while not daemon.ingest.finished:
        daemon.ingest.step(WALL, timeout_s=0)
        perhaps_die()
        caught_up = False
        while not caught_up:
            limit = 60 if rng is None else rng.randrange(1, 60)
            caught_up = daemon.decide.step(WALL, limit=limit).caught_up
            perhaps_die()
            daemon.tell_time()
            daemon.drain()
            perhaps_die()


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    """The recording, and an unkilled run of it in the store `whole`."""
    folder = tmp_path_factory.mktemp("restarts")
    made = Bench(write(folder / "events.ndjson", recording()), folder)
    assert run(made, "whole", None) == 0
    return made


def test_the_recording_has_everything(bench: Bench) -> None:
    """What the runs are compared on is there: every table has rows, and each kind of incident."""
    rows = bench.rows("whole")
    assert all(rows.values()), {table: len(found) for table, found in rows.items()}
    opened = {row[0] for row in rows["incidents"]}
    assert {"refusal_rate", "denied_tool_ran", "new_tool"} <= opened
    told = {row[0] for row in rows["alerts"]}
    prod = {"environment": "prod"}
    assert fingerprint("no_data", {**prod, "feature": "search"}) in told
    assert fingerprint("refusals_high", {**prod, "feature": "chat"}) in told
    assert fingerprint("slo_1h", prod) in told
    assert fingerprint("lost_source", {**prod, "source": "//gateway/search"}) in told


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_kills_change_nothing(bench: Bench, seed: int) -> None:
    """Cells, late counts, never-events, points, alerts, incidents and pages are the same."""
    deaths = run(bench, f"killed{seed}", random.Random(seed))
    assert deaths >= 5
    whole, killed = bench.rows("whole"), bench.rows(f"killed{seed}")
    for table in TABLES:
        assert killed[table] == whole[table], table
