"""The store does not answer: a page goes out without it, and the store is told afterwards."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from datetime import timedelta
from functools import partial
from pathlib import Path

import pytest

from monitor.incidents.model import Origin, State
from monitor.incidents.timeline import broken_at
from monitor.processes.plight import BUSY_S, QUIET_S, Plights, longest
from monitor.store.store import Store
from tests.integration.watch_stage import Stage, secrets, sqlite, stage


@pytest.fixture
def on_stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stage]:
    for name, value in secrets().items():
        monkeypatch.setenv(name, value)
    with stage(sqlite(tmp_path), {}) as made:
        made.tick(2)
        yield made


def paged(on_stage: Stage) -> bool:
    return any(one.state == "triggered" for one in on_stage.pagerduty.incidents)


def resolved(on_stage: Stage) -> bool:
    found = on_stage.pagerduty.incidents
    return bool(found) and all(one.state == "resolved" for one in found)


def told(store: str) -> tuple[str, list[str], State]:
    """The one incident about Tocsin: title, timeline kinds, state."""
    opened = Store(store)
    try:
        with opened.read() as tx:
            (incident,) = [i for i in tx.incidents.search() if i.origin is Origin.TOCSIN]
            timeline = tx.incidents.timeline(incident.uuid)
            assert broken_at(timeline) is None
            return incident.title, [entry.entry.kind for entry in timeline], incident.state
    finally:
        opened.close()


def test_a_locked_store_pages_within_thirty_seconds_and_the_end_is_told(
    on_stage: Stage, tmp_path: Path
) -> None:
    """Another writer holds SQLite: a page by the emergency road, its end, and a timeline of it."""
    other = sqlite3.connect(tmp_path / "tocsin.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    ticks = on_stage.until(lambda: paged(on_stage))
    assert ticks * 3 <= 30
    (page,) = on_stage.pagerduty.incidents
    assert "storage down" in page.summary
    other.execute("ROLLBACK")
    other.close()
    on_stage.until(lambda: resolved(on_stage) and not on_stage.auditor._road.episodes)
    title, kinds, state = told(on_stage.configured.settings.store)
    assert "storage down" in title
    assert {"DETECT", "PAGE", "SENT", "NORMAL", "CLOSED"} <= set(kinds)
    assert state is State.CLOSED
    assert [message.edits > 0 for message in on_stage.slack.messages if not message.thread_ts] == [
        True
    ]


def test_a_store_that_was_moved_away_is_not_made_anew(on_stage: Stage, tmp_path: Path) -> None:
    """The file is gone: it pages, makes no empty file in its place, and ends when it is back."""
    files = [tmp_path / f"tocsin.db{end}" for end in ("", "-wal", "-shm")]
    for file in files:
        if file.exists():
            file.rename(file.with_name("moved-" + file.name))
    on_stage.until(lambda: paged(on_stage))
    assert not (tmp_path / "tocsin.db").exists()
    for file in files:
        moved = file.with_name("moved-" + file.name)
        if moved.exists():
            moved.rename(file)
    on_stage.until(lambda: resolved(on_stage) and not on_stage.auditor._road.episodes)
    assert told(on_stage.configured.settings.store)[2] is State.CLOSED


def test_a_short_lock_is_no_page(on_stage: Stage, tmp_path: Path) -> None:
    """A writer of nine seconds is waited for."""
    other = sqlite3.connect(tmp_path / "tocsin.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    on_stage.tick(3)
    other.execute("ROLLBACK")
    other.close()
    on_stage.tick(4)
    assert not on_stage.pagerduty.incidents


def test_a_store_in_which_others_write_without_pause_is_not_down(
    on_stage: Stage, tmp_path: Path
) -> None:
    """Our turn to write never comes, but theirs does: the store works."""
    other = sqlite3.connect(tmp_path / "tocsin.db", isolation_level=None)
    other.execute("INSERT OR IGNORE INTO revision (id, value) VALUES (1, 0)")
    for _ in range(10):
        other.execute("BEGIN IMMEDIATE")
        other.execute("UPDATE revision SET value = value + 1")
        on_stage.tick()
        other.execute("COMMIT")
    other.close()
    on_stage.tick(3)
    assert not on_stage.pagerduty.incidents


def test_a_clock_that_creeps_delays_no_page(on_stage: Stage, tmp_path: Path) -> None:
    """The wall stands still, or is put back a little again and again: half a minute is one."""
    steady = on_stage.now.timestamp()
    other = sqlite3.connect(tmp_path / "tocsin.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    for number in range(1, 11):
        on_stage.auditor.step(on_stage.now, steady + 3 * number)
        on_stage.auditor._road.settle(10)
    assert len(on_stage.pagerduty.incidents) == 1
    other.execute("ROLLBACK")
    other.close()


@pytest.mark.parametrize("seconds", [-3600, 3600])
def test_a_clock_that_jumps_is_told_and_is_no_failure_of_the_store(
    on_stage: Stage, seconds: int
) -> None:
    """An hour to or fro: an incident of its own kind, no page that the storage is down."""
    steady = on_stage.now.timestamp()
    on_stage.now += timedelta(seconds=seconds)
    for number in range(1, 4):
        on_stage.now += timedelta(seconds=3)
        on_stage.auditor.step(on_stage.now, steady + 3 * number)
    store = Store(on_stage.configured.settings.store)
    with store.read() as tx:
        (own,) = tx.watch.own()
        pages = tx.outbox.of_incident(own.uuid)
    store.close()
    assert f"{seconds:+d} s" in own.title
    assert own.severity == "SEV3"
    assert {page.receiver for page in pages} == {"slack", "pagerduty"}
    assert not on_stage.pagerduty.incidents


def test_an_audit_that_cannot_be_written_pages_by_itself(on_stage: Stage, tmp_path: Path) -> None:
    """What it finds becomes no incident for two minutes: nobody else would be told of it."""
    other = sqlite3.connect(tmp_path / "tocsin.db", isolation_level=None)
    other.execute(
        "CREATE TRIGGER no_more BEFORE INSERT ON outbox BEGIN SELECT RAISE(ABORT, 'no more'); END"
    )
    on_stage.now += timedelta(seconds=301)
    on_stage.tick(2)
    assert [one.check for one in on_stage.auditor._found] == ["ingest"], (
        "what it could read, it has"
    )
    ticks = on_stage.until(lambda: paged(on_stage), 50)
    assert 110 <= ticks * 3 <= 135
    (page,) = on_stage.pagerduty.incidents
    assert "storage down" in page.summary
    assert "auditor, audit: the store does not work: no more" in str(page)
    other.execute("DROP TRIGGER no_more")
    other.close()
    on_stage.until(lambda: resolved(on_stage) and not on_stage.auditor._road.episodes)


def pages_after(
    ticks: int,
    stage: Stage,
    tmp_path: Path,
    process: str,
    loop: str,
    problem: str,
    usual_s: float = 0.0,
) -> Plights:
    """Let the store refuse a loop at each tick: it pages after so many, and not before."""
    folder = tmp_path / "plights"
    folder.mkdir()
    stage.auditor._plight = partial(longest, folder)
    plights = Plights(folder / process)
    for _ in range(ticks):
        plights.suffer(loop, problem, stage.now.timestamp(), usual_s)
        stage.tick()
        assert not paged(stage)
    plights.suffer(loop, problem, stage.now.timestamp(), usual_s)
    stage.until(lambda: paged(stage), 5)
    return plights


def test_a_loop_whose_turn_does_not_come_for_a_minute_pages(
    on_stage: Stage, tmp_path: Path
) -> None:
    """A store to which others write is not down, but for this loop it is."""
    pages_after(20, on_stage, tmp_path, "control", "decide", "the store is busy", BUSY_S)


def test_work_that_the_store_refuses_pages_though_the_auditor_can_write(
    on_stage: Stage, tmp_path: Path
) -> None:
    """A row of the auditor finds room where counts find none: whose work is refused says so."""
    full = 'could not extend "base/1":\nNo space'
    ingest = pages_after(5, on_stage, tmp_path, "ingest-0", "ingest", full)
    (page,) = on_stage.pagerduty.incidents
    assert "storage down" in page.summary
    assert "ingest-0, ingest: could not extend" in str(page)
    on_stage.now += timedelta(seconds=QUIET_S)
    ingest.recover("ingest", on_stage.now.timestamp())
    on_stage.until(lambda: resolved(on_stage))
