"""What every store must do, one suite for all of them.

On PostgreSQL it runs as the daemon's role, so that it also shows that the least rights suffice.
"""

from __future__ import annotations

import os
import stat
import threading
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext

from monitor.completeness import partitions
from monitor.incidents.model import State
from monitor.incidents.timeline import Entry, broken_at
from monitor.notify.channel import Kind, Message
from monitor.store import tables as t
from monitor.store.decision_rows import Point, Seen, TierRow
from monitor.store.engine import sqlite_path
from monitor.store.finding_rows import QUARANTINE_KEPT, GapRow, Quarantined
from monitor.store.outbox import LEASE, LONGEST_WAIT
from monitor.store.ownership import owner, owner_lock
from monitor.store.run_rows import RunRow
from monitor.store.store import Store, StoreError, StoreUnavailable, Tx
from monitor.stream.cells import Bucket, Emission, Occurrence, Progress
from monitor.stream.log_clock import ClockState, Witness
from monitor.stream.signals import default_signals, plan
from monitor.stream.strays import Stray
from tests.making import T0, alert, incident, minutes

PLAN = plan(default_signals())


# -- schema -----------------------------------------------------------------------------------


def test_the_migrated_schema_is_the_one_in_the_code(store: Store) -> None:
    """What the migrations make is what the tables say: nothing to add, drop or change."""
    with store.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, t.metadata) == []


def test_opening_again_changes_nothing(store: Store, url: str) -> None:
    """A second process opens what is there."""
    with store.write() as tx:
        tx.touch()
    again = Store(url)
    with again.read() as tx:
        assert tx.revision() == 1
    again.close()


@pytest.mark.parametrize("text", ["nonsense", "sqlite://", "sqlite:///:memory:"])
def test_a_bad_url_is_refused(text: str) -> None:
    """No URL, or a store that would forget its pages, is refused with an example."""
    with pytest.raises(StoreError, match=r"sqlite:///tocsin\.db"):
        Store(text)


def test_a_folder_that_is_not_there_is_said(tmp_path: Path) -> None:
    """The store cannot be opened, and nothing else breaks."""
    with pytest.raises(StoreError, match="cannot open the store"):
        Store(f"sqlite:///{tmp_path / 'gone' / 'x.db'}")


def test_a_sqlite_store_is_for_its_owner_alone(tmp_path: Path) -> None:
    """The file and its side files are 0600 from the first, whatever the process's mask."""
    path = tmp_path / "x.db"
    before = os.umask(0)
    try:
        opened = Store(f"sqlite:///{path}")
        with opened.write() as tx:
            tx.touch()
        files = sorted(tmp_path.iterdir())
        modes = {stat.S_IMODE(file.stat().st_mode) for file in files}
    finally:
        os.umask(before)
    opened.close()
    assert [file.name for file in files] == ["x.db", "x.db-shm", "x.db-wal"]
    assert modes == {0o600}


def test_the_rights_of_an_old_store_stay(tmp_path: Path) -> None:
    """A file that is there keeps what its owner gave it."""
    path = tmp_path / "x.db"
    path.touch(0o640)
    path.chmod(0o640)
    Store(f"sqlite:///{path}").close()
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


# -- one owner --------------------------------------------------------------------------------


def test_one_daemon_owns_a_sqlite_store(tmp_path: Path) -> None:
    """A second daemon is refused with the pid of the first; after its end the store is free."""
    opened = Store(f"sqlite:///{tmp_path / 'x.db'}")
    with owner_lock(opened.engine):
        lock = tmp_path / "x.db.lock"
        assert stat.S_IMODE(lock.stat().st_mode) == 0o600
        with (
            pytest.raises(StoreError, match=rf"another daemon \(pid {os.getpid()}\) owns"),
            owner_lock(opened.engine),
        ):
            pytest.fail("two owners")
    with owner_lock(opened.engine):
        assert sqlite_path(opened.engine) == tmp_path / "x.db"
    opened.close()


def test_whether_a_daemon_owns_a_store_can_be_asked(tmp_path: Path) -> None:
    """Its pid while it lives, None before and after; asking makes no file."""
    url = f"sqlite:///{tmp_path / 'x.db'}"
    assert owner(url) is None
    assert list(tmp_path.iterdir()) == []
    opened = Store(url)
    with owner_lock(opened.engine):
        assert owner(url) == str(os.getpid())
    assert owner(url) is None
    with owner_lock(opened.engine):
        opened.close()
    assert owner("postgresql+psycopg://127.0.0.1/tocsin") is None
    with pytest.raises(StoreError, match="not a store URL"):
        owner("nonsense")


# -- transactions -----------------------------------------------------------------------------


class BrokenError(Exception):
    """Something that goes wrong within a transaction."""


def test_a_transaction_is_whole_or_nothing(store: Store) -> None:
    """What an exception leaves is not there; what ends well is."""
    with pytest.raises(BrokenError):
        _write_and_break(store)
    with store.read() as tx:
        assert tx.incidents.search() == []
    with store.write() as tx:
        tx.incidents.save(incident())
    with store.read() as tx:
        assert tx.incidents.search() == [incident()]


def _write_and_break(store: Store) -> None:
    with store.write() as tx:
        tx.incidents.save(incident())
        raise BrokenError


def test_reading_writes_nothing(store: Store) -> None:
    """A view of the store is rolled back."""
    with store.read() as tx:
        tx.incidents.latest()
    with store.read() as tx:
        assert tx.revision() == 0


def test_readers_see_one_moment(store: Store) -> None:
    """A view does not change while somebody writes."""
    with store.read() as tx:
        assert tx.incidents.latest() is None
        with store.write() as other:
            other.incidents.save(incident())
        assert tx.incidents.latest() is None
    with store.read() as tx:
        assert tx.incidents.latest() == incident()


def test_a_writer_that_must_wait_waits(store: Store) -> None:
    """Two writers at once: both are done in turn, none is lost."""

    def add() -> None:
        for _ in range(10):
            with store.write() as tx:
                tx.touch()

    threads = [threading.Thread(target=add) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with store.read() as tx:
        assert tx.revision() == 30


def test_a_store_that_does_not_answer_is_unavailable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A lock that is held too long is an error to try again after, not a crash."""
    monkeypatch.setattr("monitor.store.engine.BUSY_MS", 50)
    ours, theirs = (Store(f"sqlite:///{tmp_path / 'x.db'}") for _ in range(2))
    with theirs.write() as tx:
        tx.touch()
        with pytest.raises(StoreUnavailable, match="does not answer"), ours.write():
            pytest.fail("two writers")
    ours.close()
    theirs.close()


def test_the_revision_grows(store: Store) -> None:
    """Each touch is one more."""
    for expected in (1, 2, 3):
        with store.write() as tx:
            tx.touch()
            assert tx.revision() == expected


# -- the stream -------------------------------------------------------------------------------


def emission(hi: int, counts: list[int], *, late: list[tuple[int, int]] | None = None) -> Emission:
    """An emission of one open bucket with one cell, written at `hi`."""
    bucket = Bucket(600, 0)
    bucket.base[("prod", "chat", "m", "", "")] = counts
    bucket.narrow["tool_misuse_by_tier", ("prod", "chat"), "write"] = [1, 2]
    return Emission(Progress(hi=hi, closed=540, watermark=601.5), [bucket], late or [], [], [])


def test_a_cell_of_a_lower_offset_never_overwrites(store: Store) -> None:
    """The highest offset wins, in whatever order the writers come."""
    key = ("prod", "chat", "m", "", "")
    for hi, counts, expected in ((10, [5], [5]), (8, [4], [5]), (12, [6], [6]), (12, [7], [7])):
        with store.write() as tx:
            tx.stream.save(1, "t", 0, emission(hi, counts))
            found = tx.stream.counts(1, 600, 660)[600]
            assert found.base == {key: expected}
            assert found.narrow == {("tool_misuse_by_tier", ("prod", "chat"), "write"): [1, 2]}
            progress = tx.stream.progress(1, "t", 0)
            assert progress is not None
            assert progress.hi == max(hi, 10)


def test_cells_of_partitions_are_summed(store: Store) -> None:
    """Each partition has its own cells; a reader sees their sum, of one pipeline only."""
    with store.write() as tx:
        tx.stream.save(1, "t", 0, emission(10, [5]))
        tx.stream.save(1, "t", 1, emission(3, [2]))
        tx.stream.save(2, "t", 0, emission(10, [90]))
        assert tx.stream.counts(1, 600, 660)[600].base == {("prod", "chat", "m", "", ""): [7]}
        assert tx.stream.counts(1, 660, 720) == {}
        assert tx.stream.first_bucket(1) == 600
        assert tx.stream.first_bucket(1, since=601) is None


def test_late_interactions_are_added_once(store: Store) -> None:
    """An offset that an earlier owner has counted as late is not counted again."""
    with store.write() as tx:
        tx.stream.save(1, "t", 0, emission(10, [5], late=[(8, 0), (9, 60)]))
        tx.stream.save(1, "t", 0, emission(11, [5], late=[(9, 60), (10, 60)]))
        assert tx.stream.late_by_bucket(1, 0, 600) == {0: 1, 60: 2}


def test_what_comes_after_its_bucket_was_decided_is_late_once(store: Store) -> None:
    """A partition that was passed over as idle delivers old events: their cells grow, and what they
    grow by is late. A replay writes what is there, a slower owner nothing; a log cut off takes no
    late ones back."""
    steps = ((10, 5, 0), (12, 7, 2), (12, 7, 2), (11, 6, 2), (20, 9, 4), (30, 3, 4))
    with store.write() as tx:
        tx.decisions.move(1, 660, T0)
        tx.stream.save(1, "t", 0, Emission(Progress(hi=1), [], [], [], []))
        tx.decisions.move(1, 600, T0)
        tx.stream.save(1, "t", 0, emission(10, [5, 1]))
        tx.decisions.move(1, 660, T0)
        for hi, count, late in steps:
            tx.stream.save(1, "t", 0, emission(hi, [count, 1]))
            assert tx.stream.late_by_bucket(1, 0, 999) == ({600: late} if late else {})
        tx.stream.save(1, "t", 1, emission(5, [4]))
        assert tx.stream.late_by_bucket(1, 0, 999) == {600: 8}, "of every partition"


def test_progress_comes_back_as_it_was(store: Store) -> None:
    """Everything a counter needs to go on survives the store."""
    witnesses = (Witness("//a", 601.25, 590.0, refuted=False), Witness("//b", 1.0, None, True))
    progress = Progress(
        low_water=3,
        hi=9,
        closed=540,
        watermark=601.25,
        clock=ClockState(601.25, (700.5, 800.0), witnesses, 700.5, 2),
        strays={"//b": Stray(7, 3600)},
        finished=True,
        totals={"counted": 6},
        leaks={"leak": 540},
    )
    with store.write() as tx:
        tx.stream.save(1, "t", 0, Emission(progress, [], [], [], []))
        assert tx.stream.progress(1, "t", 0) == progress
        assert tx.stream.progress(1, "t", 1) is None


def test_progress_that_an_older_version_stored_is_read(store: Store) -> None:
    """Its list of doubted times is the clock that it had, with no witnesses."""
    with store.write() as tx:
        saved = Progress(low_water=3, hi=9, watermark=601.25)
        tx.stream.save(1, "t", 0, Emission(saved, [], [], [], []))
    with store.engine.begin() as connection:
        connection.execute(t.progress.update().values(doubted="[700.5]"))
    with store.read() as tx:
        found = tx.stream.progress(1, "t", 0)
    assert found is not None
    assert found.clock == ClockState(601.25, (700.5,))


def test_progress_that_an_older_version_has_garbled_is_read(store: Store) -> None:
    """It takes the new clock for a list and writes down the names of its fields."""
    with store.write() as tx:
        saved = Progress(low_water=3, hi=9, watermark=601.25)
        tx.stream.save(1, "t", 0, Emission(saved, [], [], [], []))
    with store.engine.begin() as connection:
        connection.execute(t.progress.update().values(doubted='["clock","strays"]'))
    with store.read() as tx:
        found = tx.stream.progress(1, "t", 0)
    assert found is not None
    assert (found.hi, found.clock) == (9, ClockState(601.25))


def test_cells_that_never_were_are_taken_back(store: Store) -> None:
    """A bucket whose time the log contradicted goes, and no slower owner brings it back."""
    with store.write() as tx:
        tx.stream.save(1, "t", 0, emission(10, [5]))
        tx.stream.save(1, "t", 0, Emission(Progress(hi=12), [], [], [], [], {600}))
        tx.stream.save(1, "t", 0, emission(11, [5]))
        assert tx.stream.counts(1, 600, 660) == {}


def test_a_pipeline_is_named_by_what_it_counts(store: Store) -> None:
    """The same plan has one id; another bucket length is another pipeline."""
    with store.write() as tx:
        assert tx.stream.known_pipeline(PLAN) is None
        first = tx.stream.pipeline(PLAN, T0)
        assert tx.stream.pipeline(PLAN, T0) == tx.stream.known_pipeline(PLAN) == first
        assert tx.stream.pipeline(plan(default_signals(), bucket_s=10), T0) != first


def test_liveness_remembers_since_when(store: Store) -> None:
    """Caught up and behind keep their first moment until the partition moves or catches up."""
    with store.write() as tx:
        for second, at, end in ((0, 5, 5), (1, 5, 5), (2, 7, 7), (3, 7, 9), (4, 8, 9), (5, 9, 9)):
            tx.stream.liveness("topic", "t", [(0, at, end)], T0 + timedelta(seconds=second))
            (part,) = tx.stream.partitions(1)
            expected = {0: (0, None), 1: (0, None), 2: (2, None), 3: (None, 3), 4: (None, 3)}
            caught, behind = expected.get(second, (5, None))
            since = [None if s is None else T0 + timedelta(seconds=s) for s in (caught, behind)]
            assert [part.caught_up_at, part.behind_since] == since


def test_what_is_no_event_does_not_keep_a_partition_from_rest(store: Store) -> None:
    """Refused records alone, however many, hold up nobody's buckets; an event does."""
    with store.write() as tx:
        for second in range(5):
            look = [(0, 10 * second, 10 * second), (1, 10 * second, 10 * second + 4)]
            now = T0 + timedelta(seconds=second)
            tx.stream.liveness("topic", "t", look, now, silent={0, 1} if second else {0})
        first, busy = tx.stream.partitions(1)
        assert first.caught_up_at == T0
        assert busy.caught_up_at == T0 + timedelta(seconds=1)
        tx.stream.liveness("topic", "t", [(0, 50, 50), (1, 50, 54)], T0 + timedelta(seconds=5))
        first, busy = tx.stream.partitions(1)
        assert (first.caught_up_at, busy.caught_up_at) == (T0 + timedelta(seconds=5), None)


def test_a_clock_put_back_leaves_nothing_in_the_future(store: Store) -> None:
    """What lies ahead of the clock now began now: neither rest nor lag waits for the jump."""
    back = T0 - minutes(60)
    with store.write() as tx:
        for at in (T0, back):
            tx.stream.liveness("topic", "t", [(0, 5, 5), (1, 5, 9)], at)
        rests, lags = tx.stream.partitions(1)
        assert (rests.caught_up_at, lags.behind_since) == (back, back)
        assert rests.seen_at == lags.seen_at == back


def test_time_in_which_nobody_looked_is_neither_rest_nor_lag(store: Store) -> None:
    """A clock put forward by an hour, or an ingest that was down for one: what was at rest for ten
    seconds still is, and for no longer."""
    ten = timedelta(seconds=10)
    with store.write() as tx:
        for at in (T0, T0 + ten, T0 + ten + minutes(60)):
            tx.stream.liveness("topic", "t", [(0, 5, 5), (1, 5, 9)], at)
        rests, lags = tx.stream.partitions(1)
        assert rests.caught_up_at == lags.behind_since == T0 + minutes(60)
        assert rests.seen_at == T0 + ten + minutes(60)


def test_who_reads_as_fast_as_the_log_grows_is_not_behind(store: Store) -> None:
    """Always a few records from the head, and always past what the end was at the look before."""
    with store.write() as tx:
        for second in range(900):
            at, now = 5000 * second, T0 + timedelta(seconds=second)
            tx.stream.liveness("topic", "t", [(0, at, at + 20), (1, 10 * second, at + 20)], now)
        keeps_up, lags = tx.stream.partitions(1)
        assert keeps_up.behind_since == T0 + timedelta(seconds=899)
        assert lags.behind_since == T0


def test_machines_whose_clocks_disagree_agree_on_rest(store: Store) -> None:
    """What ingest notes on the clock that all share, decide has on its own, however wrong."""
    wrong = datetime.now(UTC) - minutes(60)
    with store.write() as tx:
        tx.stream.liveness("topic", "t", [(0, 5, 5)], tx.leases.now(wrong))
        (part,) = partitions(tx, 1, wrong)
        assert part.seen_at is not None
        assert abs(part.seen_at - wrong) < minutes(1)
        assert part.caught_up_at == part.seen_at
        assert part.behind_since is None


def test_only_the_newest_topic_counts(store: Store) -> None:
    """A topic made anew has partitions of its own."""
    with store.write() as tx:
        tx.stream.liveness("topic", "old", [(0, 5, 5), (1, 5, 5)], T0)
        tx.stream.liveness("topic", "new", [(0, 0, 0)], T0 + minutes(1))
        assert [(p.topic_id, p.number) for p in tx.stream.partitions(1)] == [("new", 0)]


def occurrence(offset: int, at: datetime) -> Occurrence:
    """A never-event."""
    return Occurrence("rule", "//s", int(at.timestamp()), offset, at, {"feature": "chat"}, "e")


def test_occurrences_quarantine_and_gaps_are_kept_once(store: Store) -> None:
    """A replay finds the same ones; what was handled stays handled."""
    found = [occurrence(2, T0 + minutes(1)), occurrence(1, T0)]
    row = Quarantined("topic", "t", 0, 4, "schema", "$.x", 120, "d", T0)
    gap = GapRow("topic", "t", 0, 5, 9, "retention", T0)
    for _ in range(2):
        with store.write() as tx:
            tx.stream.save(1, "t", 0, Emission(Progress(), [], [], found, []))
            tx.stream.quarantine([row])
            tx.stream.gap(gap)
            assert tx.stream.quarantined() == [row]
            assert tx.stream.quarantine_counts() == {"schema": 1}
    with store.read() as tx:
        opened = tx.stream.open_occurrences()
    assert [o.offset for _, _, o in opened] == [1, 2]
    until = int(T0.timestamp())
    with store.write() as tx:
        assert [o.offset for _, _, o in tx.stream.open_occurrences(until=until)] == [1]
        assert tx.stream.open_gaps() == [gap]
        tx.stream.occurrence_handled("t", 0, opened[0][2], T0)
        tx.stream.gap_handled(gap, T0)
        tx.stream.save(1, "t", 0, Emission(Progress(), [], [], found, []))
        assert [o.offset for _, _, o in tx.stream.open_occurrences()] == [2]
        assert tx.stream.open_gaps() == []


def test_the_quarantine_keeps_the_newest(store: Store) -> None:
    """Over its limit the oldest findings go, also those of one moment, lowest offset first."""

    def rows(first: int, count: int, at: datetime) -> list[Quarantined]:
        return [
            Quarantined("topic", "t", 0, first + n, "schema", "$.x", 1, "d", at)
            for n in range(count)
        ]

    with store.write() as tx:
        tx.stream.quarantine(rows(0, QUARANTINE_KEPT, T0))
        assert tx.stream.quarantine_counts() == {"schema": QUARANTINE_KEPT}
        new = rows(QUARANTINE_KEPT, 3, T0 + minutes(1))
        tx.stream.quarantine(new)
        assert tx.stream.quarantine_counts() == {"schema": QUARANTINE_KEPT}
        kept = tx.stream.quarantined(QUARANTINE_KEPT)
    assert kept[:3] == new[::-1]
    assert kept[-1].offset == 3


# -- decisions --------------------------------------------------------------------------------


def test_decisions_come_back(store: Store) -> None:
    """Position, points, snapshots and tiers are stored and replaced."""
    point = Point(("prod", "chat"), 3, 20, 0.05, 1.25, "q")
    with store.write() as tx:
        assert tx.decisions.position(1) is None
        tx.decisions.move(1, 600, T0)
        tx.decisions.move(1, 660, T0 + minutes(1))
        assert tx.decisions.position(1) == 660
        assert tx.decisions.event_now(1) == T0 + minutes(1)
        tx.decisions.save_points([Seen("a", 600, [point]), Seen("b", 540, [])])
        assert tx.decisions.points("a", 0, 700) == {600: [point]}
        both = [(540, "b", []), (600, "a", [point])]
        assert tx.decisions.all_points(("a", "b"), 0, 700) == both
        assert tx.decisions.all_points(("a",), 0, 700) == both[1:]
        assert tx.decisions.first_point(("a", "b"), 0, 700) == 540
        assert tx.decisions.first_point(("a", "b"), 541, 600) is None
        assert tx.decisions.counted("a", 600, 660)
        assert not tx.decisions.counted("a", 660, 720)
        assert not tx.decisions.counted("b", 0, 700)
        tx.decisions.save_snapshot("s", 600, b"\x00one")
        tx.decisions.save_snapshot("s", 660, b"\xfftwo")
        assert tx.decisions.snapshot("s") == (660, b"\xfftwo")
        tier = TierRow("a", "page", "ada", "backtest", T0)
        tx.decisions.set_tier(tier)
        assert tx.decisions.tiers() == {"a": tier}


# -- incidents --------------------------------------------------------------------------------


def test_an_incident_comes_back_whole(store: Store) -> None:
    """Every field survives; saving again replaces."""
    full = incident(
        state=State.ACTIVE,
        acknowledged_at=T0,
        acknowledged_by="ada",
        commander="ada",
        verified_at=T0 + timedelta(microseconds=1),
        verdict="attack",
        paged_at=T0,
        groups=frozenset({"a", "b"}),
        drill=True,
    )
    with store.write() as tx:
        tx.incidents.save(incident())
        tx.incidents.save(full)
        assert tx.incidents.get(full.uuid) == full
        assert tx.incidents.by_number(7) == full
        assert tx.incidents.get("none") is None


def test_a_new_incident_replaces_none(store: Store) -> None:
    """What is there under its uuid stays; a number that is taken is an error, not silence."""
    resolved = incident(state=State.RESOLVED, verdict="attack")
    with store.write() as tx:
        assert tx.incidents.add(resolved)
        assert not tx.incidents.add(incident(number=8))
        assert tx.incidents.search() == [resolved]
    with pytest.raises(sa.exc.IntegrityError), store.write() as tx:
        tx.incidents.add(incident(uuid="2" * 32))


def test_incidents_are_found(store: Store) -> None:
    """By state, severity, time and person; the newest open one is the latest."""
    made = [
        incident(uuid=f"{n:032x}", number=n, severity=f"SEV{n}", detected_at=T0 + minutes(n))
        for n in (1, 2, 3)
    ]
    made[2] = incident(uuid=f"{3:032x}", number=3, state=State.CLOSED, commander="ada")
    with store.write() as tx:
        for one in made:
            tx.incidents.save(one)
        assert [i.number for i in tx.incidents.search()] == [3, 2, 1]
        assert [i.number for i in tx.incidents.search(states=["closed"])] == [3]
        assert [i.number for i in tx.incidents.search(severity="SEV1")] == [1]
        assert [i.number for i in tx.incidents.search(since=T0 + minutes(2))] == [2]
        assert [i.number for i in tx.incidents.search(person="ada")] == [3]
        assert [i.number for i in tx.incidents.search(limit=1)] == [3]
        assert [i.number for i in tx.incidents.open()] == [1, 2]
        latest = tx.incidents.latest()
        assert latest is not None
        assert latest.number == 2
        assert tx.incidents.next_number() == 4


def test_alerts_of_a_series_follow_each_other(store: Store) -> None:
    """An alert is replaced by its own later state; a new detection is another alert."""
    first = alert(incident=incident().uuid)
    second = alert(incident=incident().uuid, at=T0 + minutes(60))
    with store.write() as tx:
        tx.incidents.save_alert(first)
        assert tx.incidents.firing() == {first.fingerprint: first}
        cleared = replace(first, cleared_at=T0 + minutes(10))
        tx.incidents.save_alert(cleared)
        assert tx.incidents.firing() == {}
        tx.incidents.save_alert(second)
        assert tx.incidents.alerts_of(incident().uuid) == [cleared, second]
        assert tx.incidents.recent_alerts(1) == [second]


def test_a_timeline_is_a_chain(store: Store) -> None:
    """Entries are appended in order, one key once, across transactions."""
    for number in range(3):
        with store.write() as tx:
            entries = [
                Entry(kind="NOTE", text=f"n{number}", actor="ada", occurred_at=T0, data={"n": 1.5}),
                Entry(kind="ACK", text="again", actor="ada", occurred_at=T0, key="ack"),
            ]
            tx.incidents.append("i", entries, T0 + minutes(number))
    with store.read() as tx:
        chain = tx.incidents.timeline("i")
        assert [item.entry.text for item in chain] == ["n0", "again", "n1", "n2"]
        assert broken_at(chain) is None
        assert [item.seq for item in tx.incidents.timeline("i", after=2)] == [3, 4]
        assert len(tx.incidents.timeline("i", limit=2)) == 2


@pytest.mark.parametrize(("text", "shown"), [("a\0b", "a\\x00b"), ("a\udcffb", "a\\udcffb")])
def test_no_text_from_outside_breaks_a_transaction(store: Store, text: str, shown: str) -> None:
    """NUL and half a surrogate pair become visible, the chain holds, and searches find nothing."""
    raw = incident(title=text)
    entry = Entry(kind="NOTE", text=text, actor=text, occurred_at=T0)
    with store.write() as tx:
        pipeline = tx.stream.pipeline(PLAN, T0)
        assert tx.stream.first_seen(pipeline, "feature", text) is None
        assert tx.incidents.get(text) is None
        tx.incidents.save(raw)
        tx.incidents.append(raw.uuid, (entry,), T0)
        tx.incidents.add_change("release", text, T0, {}, text, T0)
    with store.read() as tx:
        kept = tx.incidents.get(raw.uuid)
        chain = tx.incidents.timeline(raw.uuid)
    assert kept is not None
    assert kept.title == chain[0].entry.text == shown
    assert broken_at(chain) is None


def test_changes_by_their_own_time(store: Store) -> None:
    """Newest first, within a span."""
    with store.write() as tx:
        for minute in (5, 1, 3):
            at = T0 + minutes(minute)
            tx.incidents.add_change("flag", f"at {minute}", at, {"feature": "chat"}, "ada", T0)
        assert [c.title for c in tx.incidents.changes()] == ["at 5", "at 3", "at 1"]
        assert [c.title for c in tx.incidents.changes(since=T0 + minutes(3))] == ["at 5", "at 3"]
        assert [c.title for c in tx.incidents.changes(until=T0 + minutes(1))] == ["at 1"]


def test_runs_come_back(store: Store) -> None:
    """A run is replaced by its later state; live ones are found."""
    row = RunRow(
        id="r1", incident="i", runbook="b", state="running", body=b'{"a":1}', source="text",
        deadline_at=T0, started_at=T0, live=True,
    )  # fmt: skip
    with store.write() as tx:
        tx.runs.save(row)
        assert tx.runs.get("r1") == row
        assert tx.runs.live() == [row]
        assert tx.runs.of_incident("i") == [row]
        assert tx.runs.get("r2") is None


# -- the outbox -------------------------------------------------------------------------------


def message(key: str, *, kind: Kind = Kind.TRIGGER) -> Message:
    """A page."""
    return Message(key, kind, "d", "INC-0007", "SEV2", "triage", "title", ("a", "b"))


def put(tx: Tx, key: str, *, incident_id: str = "i", receiver: str = "r") -> bool:
    """Queue a page."""
    return tx.outbox.put(incident_id, receiver, message(key), T0)


def claimed(store: Store, owner: str = "me", at: datetime = T0, **options: object) -> list[str]:
    """Keys of what an owner claims."""
    with store.write() as tx:
        return [page.message.id for page in tx.outbox.claim(owner, at, **options)]  # type: ignore[arg-type] # passed through


def test_a_page_is_queued_once(store: Store) -> None:
    """The same key is the same page."""
    with store.write() as tx:
        assert put(tx, "a")
        assert not put(tx, "a")
        assert tx.outbox.counts() == {"new": 1}


def test_pages_of_an_incident_wait_for_each_other(store: Store) -> None:
    """Order is kept for a receiver and an incident; others go ahead."""
    with store.write() as tx:
        put(tx, "a1")
        put(tx, "a2")
        put(tx, "b1", incident_id="j")
        put(tx, "c1", receiver="s")
    assert claimed(store) == ["a1", "b1", "c1"]
    assert claimed(store) == []
    with store.write() as tx:
        first = tx.outbox.of_incident("i")[0]
        assert tx.outbox.sent(first, "me", {"ts": "1"}, "ok", T0)
        (second,) = tx.outbox.claim("me", T0)
        assert second.message.id == "a2"
        assert second.message.receipt == {"ts": "1"}


def test_a_busy_receiver_is_left_alone(store: Store) -> None:
    """Nothing is claimed for whom a send is under way, and never more than the limit."""
    with store.write() as tx:
        put(tx, "a")
        put(tx, "b", receiver="s", incident_id="j")
        put(tx, "c", receiver="s", incident_id="k")
    assert claimed(store, busy=["r"], limit=1) == ["b"]


def test_an_expired_lease_is_claimed_again_under_the_same_key(store: Store) -> None:
    """The outcome of a dead owner is unknown: it is sent again, and says that it may repeat."""
    with store.write() as tx:
        put(tx, "a")
    assert claimed(store, "dead") == ["a"]
    assert claimed(store, "me", T0 + LEASE - timedelta(seconds=1)) == []
    with store.write() as tx:
        assert tx.outbox.next_due() == T0 + LEASE
        (page,) = tx.outbox.claim("me", T0 + LEASE)
        assert page.message.id == "a"
        assert page.message.attempt == 2
        assert not tx.outbox.sent(page, "dead", {}, "", T0)
        assert tx.outbox.sent(page, "me", {}, "", T0)
        assert tx.outbox.delivered() == 1
        assert tx.outbox.next_due() is None


def test_a_retry_waits_and_a_dead_page_blocks_nobody(store: Store) -> None:
    """A page to try again is due at its time; one that is dead lets the next one go."""
    with store.write() as tx:
        put(tx, "a1")
        put(tx, "a2")
        (page,) = tx.outbox.claim("me", T0)
        assert tx.outbox.again(page, "me", T0 + minutes(1), "503")
        assert tx.outbox.next_due() == T0
        assert tx.outbox.claim("me", T0) == []
        (page,) = tx.outbox.claim("me", T0 + minutes(1))
        assert page.message.id == "a1"
        assert tx.outbox.dead(page, "me", "gone")
        (page,) = tx.outbox.claim("me", T0 + minutes(1))
        assert page.message.id == "a2"
        assert tx.outbox.counts() == {"dead": 1, "claimed": 1}


def test_a_page_dated_further_ahead_than_any_wait_is_due(store: Store) -> None:
    """A clock that is put back holds no page up for as long; a wait that is honest is kept."""
    with store.write() as tx:
        put(tx, "a")
        put(tx, "b", incident_id="j")
        one, other = tx.outbox.claim("me", T0)
        assert tx.outbox.again(one, "me", T0 + LONGEST_WAIT, "429")
        assert tx.outbox.again(other, "me", T0 + minutes(120), "the clock was two hours ahead")
    assert claimed(store) == ["b"]
    assert claimed(store, at=T0 - minutes(120)) == ["a", "b"], "b's claim is by that clock too"


def test_a_page_that_cannot_be_read_holds_up_no_other(store: Store) -> None:
    """It stays as it is written, for a release that can read it, and the others are sent."""
    with store.write() as tx:
        put(tx, "newer")
        put(tx, "b", incident_id="j")
        o = t.outbox
        written = o.update().where(o.c.key == "newer").values(body='{"kind": "of tomorrow"}')
        tx._c.execute(written)
    assert claimed(store) == ["b"]
    assert claimed(store, "another") == []
    assert claimed(store, "another", T0 + LEASE) == ["b"]
    body = '{"kind": "of tomorrow"}'
    with store.write() as tx:
        assert tx._c.execute(sa.select(o.c.body).where(o.c.key == "newer")).scalar() == body
        tx._c.execute(written.values(body=msgspec.json.encode(message("newer")).decode()))
    assert claimed(store, "later", T0 + LEASE + LEASE) == ["newer", "b"]


def test_a_claim_dated_further_ahead_than_any_lease_has_run_out(store: Store) -> None:
    """Who claimed it by a clock that was put back since may be dead; one that lives is left."""
    with store.write() as tx:
        put(tx, "a")
    assert claimed(store, "dead", T0 + minutes(120)) == ["a"]
    assert claimed(store, "me", T0 + minutes(120) - LEASE) == []
    assert claimed(store, "me", T0) == ["a"]
    assert claimed(store, "another", T0 - timedelta(seconds=1)) == []


def test_what_a_dead_daemon_held_is_released(store: Store) -> None:
    """At a start, pages claimed by others are due at once; one's own are not."""
    with store.write() as tx:
        put(tx, "a")
        put(tx, "b", incident_id="j")
        tx.outbox.claim("dead", T0, limit=1)
        tx.outbox.claim("me", T0)
        assert tx.outbox.release(["me"], T0) == 1
    assert claimed(store) == ["a"]


def test_what_is_released_keeps_its_place_unless_it_kills_its_senders(store: Store) -> None:
    """It goes before what waits already; after many deaths it goes behind."""
    with store.write() as tx:
        put(tx, "a")
        put(tx, "b", incident_id="j")
        for death in range(1, 8):
            (page,) = tx.outbox.claim("dead", T0 + minutes(death), limit=1)
            first = page.message.id
            assert first == ("a" if death <= 6 else "b")
            assert tx.outbox.release([], T0 + minutes(death)) == 1


def rated(tx: Tx, uuid: str, severity: str, **more: object) -> None:
    """An incident with a page."""
    tx.incidents.save(incident(uuid=uuid, number=len(uuid), severity=severity, **more))
    put(tx, uuid, incident_id=uuid)


def test_the_most_urgent_page_goes_first(store: Store) -> None:
    """By the incident's severity as it is now, then by time; what kills its senders goes last."""
    with store.write() as tx:
        for uuid, severity in (("i", "SEV4"), ("ii", "SEV1"), ("iii", "SEV2"), ("iiii", "SEV1")):
            rated(tx, uuid, severity)
    assert claimed(store) == ["ii", "iiii", "iii", "i"]
    with store.write() as tx:
        for _ in range(5):
            tx.outbox.release([], T0)
            (page,) = tx.outbox.claim("dead", T0, limit=1)
            assert page.message.id == "ii"
        tx.outbox.release([], T0)
    assert claimed(store) == ["iiii", "iii", "i", "ii"]


def test_attempts_that_their_sender_survived_are_no_deaths(store: Store) -> None:
    """However often a top page was refused, or lacked something of ours, one kill while it is under
    way puts it behind no other."""
    with store.write() as tx:
        rated(tx, "i", "SEV3")
        rated(tx, "ii", "SEV1")
        for sure in (True, True, True, False, True, True, True):
            page = tx.outbox.claim("me", T0, limit=1)[0]
            assert page.message.id == "ii"
            assert tx.outbox.again(page, "me", T0, "503", sure=sure)
        tx.outbox.claim("dead", T0, limit=1)
        assert tx.outbox.release([], T0) == 1
    assert claimed(store) == ["ii", "i"]


def test_a_receiver_that_rests_is_left_alone_for_so_long(store: Store) -> None:
    """What has been due for the longest wait goes all the same, and where it is asked for the first
    attempt of a top page; what is handed back was not tried."""
    with store.write() as tx:
        rated(tx, "i", "SEV1")
        rated(tx, "ii", "SEV2")
        put(tx, "other", incident_id="j", receiver="s")
    assert claimed(store, resting=["r"]) == ["other"]
    late = T0 + LONGEST_WAIT
    with store.write() as tx:
        (page,) = tx.outbox.claim("me", T0, resting=["r"], try_top=True)
        assert (page.message.id, page.hurries, page.attempts) == ("i", True, 1)
        assert tx.outbox.hand_back(page, "me")
        (page,) = tx.outbox.claim("me", T0, resting=["r"], try_top=True)
        assert page.attempts == 1
        assert tx.outbox.again(page, "me", T0, "429", sure=True)
        assert tx.outbox.claim("me", T0, resting=["r"], try_top=True) == []
        early = late - timedelta(seconds=1)
        assert tx.outbox.claim("me", early, busy=["s"], resting=["r"]) == []
    assert claimed(store, at=late, busy=["s"], resting=["r"]) == ["i", "ii"]


def test_a_page_knows_whether_it_can_have_been_heard(store: Store) -> None:
    """Not after failures that are sure; after one that is not, or a death, for good."""
    with store.write() as tx:
        put(tx, "a")
        for number, sure in enumerate((True, True, False, True), 1):
            (page,) = tx.outbox.claim("me", T0)
            assert page.message.fresh == (number <= 3)
            tx.outbox.again(page, "me", T0, "503", sure=sure)
        put(tx, "b", incident_id="j")
        tx.outbox.claim("dead", T0)
        tx.outbox.release([], T0)
        assert [page.message.fresh for page in tx.outbox.claim("me", T0)] == [False, False]


def test_what_ended_unheard_is_overtaken_with_what_follows(store: Store) -> None:
    """Its end goes with it, unless another page of its key may have rung."""
    with store.write() as tx:
        for uuid, heard in (("i", False), ("ii", True)):
            rated(tx, uuid, "SEV2", state=State.RESOLVED)
            (page,) = tx.outbox.claim("me", T0)
            assert page.over
            if heard:
                tx.outbox.again(page, "me", T0, "no answer")
                (page,) = tx.outbox.claim("me", T0)
                assert not page.over
                tx.outbox.dead(page, "me", "gone", sure=True)
                tx.outbox.put(uuid, "r", message("again"), T0)
                (page,) = tx.outbox.claim("me", T0)
                assert page.over
            tx.outbox.put(uuid, "r", message(f"{uuid}-end", kind=Kind.RESOLVE), T0)
            assert tx.outbox.overtake(page, "me", "over")
            assert not tx.outbox.overtake(page, "me", "over")
    assert claimed(store) == ["ii-end"]
    with store.read() as tx:
        assert [page.state for page in tx.outbox.of_incident("i")] == ["overtaken"] * 2


def test_times_are_exact(store: Store) -> None:
    """Microseconds and far years survive."""
    for at in (datetime(1970, 1, 1, tzinfo=UTC), datetime(2100, 12, 31, 23, 59, 59, 999_999, UTC)):
        with store.write() as tx:
            tx.decisions.move(1, 0, at)
            assert tx.decisions.event_now(1) == at
