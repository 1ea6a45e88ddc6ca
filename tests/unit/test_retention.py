"""When rounds of ageing begin, how they go on, and what they say."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace

import msgspec
import pytest

from monitor.backtest import LEARN
from monitor.config.kept import DEFAULT, LEAST, Retention
from monitor.config.settings import load, resolve
from monitor.desk.detect import MOST_DAYS
from monitor.detection import REPLAYED_S
from monitor.metrics import Metrics
from monitor.noticing.levels import FORGOTTEN_S
from monitor.processes.posts import LEASE, Beside, Post, Sole
from monitor.retention import EVERY, LOOKS, ROWS, SETTLE, TABLES, horizon
from monitor.retention import Retention as Room
from monitor.silence import REMEMBERED
from monitor.store import tables as t
from monitor.store.lease_rows import Fenced
from monitor.store.roles import DELETED
from monitor.store.store import Store, StoreUnavailable
from monitor.stream.holes import HOLE_S
from runbooks.problems import Problems
from tests.ageing import CONFIGURED, NOW, decided, room, rows
from tests.ageing import counted as many
from tests.making import T0, minutes

START = int(T0.timestamp())


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """An empty store."""
    opened = Store(f"sqlite:///{tmp_path / 'x.db'}")
    yield opened
    opened.close()


def counted(store: Store, pipeline: int, cells: int, start: int = START) -> None:
    """So many cells of one bucket."""
    many(store, pipeline, [start], [f"f{number}" for number in range(cells)])


def left(store: Store) -> int:
    """Cells that are there."""
    return len(rows(store, t.cells))


def begun(retention: Room) -> None:
    """The room has settled; its first round is due at NOW."""
    retention.step(NOW - SETTLE)


# -- the horizon ------------------------------------------------------------------------------


def test_the_earlier_clock_counts() -> None:
    """What is judged up to, or the wall: neither a jump of one nor of the other takes anything."""
    expected = int((T0 - LEAST).timestamp()) // 60 * 60
    assert horizon(START, T0 + timedelta(days=9), LEAST) == expected
    assert horizon(START + 9 * 86_400, T0, LEAST) == expected


def test_the_least_retention_is_what_anything_is_rebuilt_from() -> None:
    """Detectors, levels, silences, fixed limits, and the hole before the oldest bucket; the default
    lets the longest backtest learn."""
    least = LEAST.total_seconds()
    assert least >= REPLAYED_S + HOLE_S
    assert least >= max(FORGOTTEN_S, REMEMBERED.total_seconds(), 2 * 7 * 86_400)
    assert timedelta(days=MOST_DAYS) + LEARN <= DEFAULT


def test_the_daemon_may_delete_what_ages() -> None:
    """Every table that a round looks at is among those out of which its role drops rows."""
    assert set(TABLES) <= DELETED


# -- configuration ----------------------------------------------------------------------------


@pytest.mark.parametrize(("text", "said"), [("28d", "29d or more"), ("5 weeks", "not a duration")])
def test_too_short_a_retention_is_refused_with_its_place(
    tmp_path: Path, text: str, said: str
) -> None:
    """The file, the line and the column, and why."""
    path = tmp_path / "tocsin.yaml"
    path.write_text(f"version: 1\nstore_retention: {text}\n")
    with pytest.raises(Problems) as caught:
        load(path)
    (problem,) = caught.value.problems
    assert (problem.line, problem.col) == (2, 18)
    assert said in str(problem)


def test_a_longer_retention_is_taken(tmp_path: Path) -> None:
    """As any duration."""
    path = tmp_path / "tocsin.yaml"
    path.write_text("version: 1\nstore_retention: 90d\n")
    assert load(path)[0].store_retention == timedelta(days=90)


# -- rounds -----------------------------------------------------------------------------------


def test_a_transaction_is_bounded_and_a_pause_follows(store: Store) -> None:
    """A store that grew for months is emptied a few thousand rows at a time."""
    counted(store, decided(store, NOW), 2 * ROWS + 100)
    retention, _ = room(store)
    begun(retention)
    found = []
    for _ in range(3):
        assert retention.step(NOW) is False
        found.append(left(store))
    assert found == [ROWS + 100, 100, 0]


def test_many_empty_spans_are_no_long_transaction(store: Store) -> None:
    """Pipelines of old configurations are looked at a hundred at a time."""
    decided(store, NOW)
    with store.engine.begin() as connection:
        for number in range(LOOKS + 10):
            connection.execute(
                t.pipelines.insert().values(digest=f"d{number}", definition="", created_at=T0)
            )
    with store.read() as tx:
        pipeline = tx.ageing.pipelines()[-1]
    counted(store, pipeline, 1)
    retention, _ = room(store)
    begun(retention)
    retention.step(NOW)
    assert left(store) == 1
    retention.step(NOW)
    assert left(store) == 0


def test_rounds_follow_one_another(store: Store) -> None:
    """The first after a minute, the next ten minutes later; a clock that was put back, or far
    ahead, does not keep one away."""
    pipeline = decided(store, NOW)
    retention, metrics = room(store)

    def finished(now: timedelta) -> bool:
        counted(store, pipeline, 1)
        for _ in range(len(TABLES) + 2):
            retention.step(NOW + now)
        return left(store) == 0

    assert not finished(timedelta())
    assert finished(SETTLE)
    assert not finished(SETTLE + EVERY - minutes(1))
    assert finished(SETTLE + EVERY + minutes(1))
    assert not finished(-minutes(60))
    assert finished(-minutes(60) + SETTLE)
    assert metrics.value("tocsin_aged_rows_total", table="cells") == 3


def test_another_retention_is_carried_out_at_once(store: Store) -> None:
    """A reload that makes room need not wait for the next round."""
    pipeline = decided(store, NOW)
    counted(store, pipeline, 1, int((NOW - timedelta(days=30)).timestamp()))
    now = [CONFIGURED]
    retention = Room(store, lambda: now[0], Sole(), Metrics())
    begun(retention)
    for _ in range(len(TABLES) + 2):
        retention.step(NOW)
    assert left(store) == 1
    shorter = msgspec.structs.replace(CONFIGURED.settings, store_retention=Retention(days=29))
    now[0] = resolve(shorter)
    retention.step(NOW + minutes(1))
    assert left(store) == 0


def test_nothing_is_done_before_anything_is_decided(store: Store) -> None:
    """A new store, and one whose detectors never ran, are looked at again later."""
    with store.write() as tx:
        pipeline = tx.stream.pipeline(CONFIGURED.plan, T0)
    counted(store, pipeline, 1)
    retention, _ = room(store)
    begun(retention)
    for _ in range(5):
        retention.step(NOW)
    assert left(store) == 1
    with store.read() as tx:
        assert retention.health(tx, NOW).text == "nothing has aged yet"


def test_a_round_that_was_broken_off_is_done_again(store: Store) -> None:
    """A store that does not answer ends it; the next one begins where rows are left."""
    counted(store, decided(store, NOW), ROWS + 1)
    broken = [False]

    def guard(_tx: object) -> None:
        if broken[0]:
            raise StoreUnavailable("gone")

    retention, _ = room(store, post=SimpleNamespace(guard=guard))
    begun(retention)
    retention.step(NOW)
    broken[0] = True
    with pytest.raises(StoreUnavailable):
        retention.step(NOW)
    assert left(store) == 1
    broken[0] = False
    for _ in range(len(TABLES) + 2):
        retention.step(NOW)
    assert left(store) == 0
    with store.read() as tx:
        assert "2 rows made room" in retention.health(tx, NOW).text
        assert tx.ageing.mark() == horizon(int(NOW.timestamp()), NOW, DEFAULT)


def test_who_lost_the_job_removes_nothing(store: Store) -> None:
    """A second loop of the same process is fenced by the lease under which it began."""
    counted(store, decided(store, NOW), 1)
    post = Post(store, "decide", "a")
    post.look(NOW)
    beside = Beside(post)
    retention, _ = room(store, post=beside)
    assert beside.begin() == post.begin() == 1
    begun(retention)
    Post(store, "decide", "b", lambda _: True).look(NOW + LEASE)
    with pytest.raises(Fenced) as caught:
        retention.step(NOW)
    assert left(store) == 1
    beside.lose(caught.value)
    assert post.held, "the first loop finds out by itself"
    with pytest.raises(Fenced), store.write() as tx:
        beside.guard(tx)


def test_a_position_that_went_back_ages_again(store: Store) -> None:
    """Signals that are counted anew from the log's beginning have points before the mark."""
    decided(store, NOW)
    retention, _ = room(store)

    def all_of_it(now: timedelta) -> int:
        retention.step(NOW + now - SETTLE)
        for _ in range(len(TABLES) + 2):
            retention.step(NOW + now)
        with store.read() as tx:
            return tx.ageing.mark()

    first = all_of_it(timedelta())
    decided(store, NOW - timedelta(days=9))
    assert all_of_it(EVERY + minutes(1)) == first - 9 * 86_400
