"""A daemon's processes: back-off, places, leases, the watchdog, and what is told of all of it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from monitor.completeness import complete_until
from monitor.config.options import RunOptions
from monitor.health import processes
from monitor.processes.cores import cores
from monitor.processes.launch import UsageError, settings_for
from monitor.processes.loops import owned
from monitor.processes.place import place_of
from monitor.processes.posts import LEASE, RENEW, Post
from monitor.processes.roster import Member, private_folder, read_roster, write_roster
from monitor.processes.supervisor import backoff_s, in_words
from monitor.store.lease_rows import Fenced
from monitor.store.store import Store
from monitor.store.stream_rows import PartitionRow

T0 = datetime(2026, 11, 22, 12, tzinfo=UTC)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """An empty one."""
    opened = Store(f"sqlite:///{tmp_path / 'x.db'}")
    yield opened
    opened.close()


def run(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """A program of its own."""
    command = [sys.executable, "-c", textwrap.dedent(code), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_the_first_restart_is_at_once_and_then_it_waits_longer() -> None:
    """0, 1, 2, 4 ... 30 seconds, for ever."""
    assert [backoff_s(n) for n in (1, 2, 3, 4, 5, 6, 7, 8, 99)] == [0, 1, 2, 4, 8, 16, 30, 30, 30]


def test_how_a_child_ended_is_said_in_words() -> None:
    """A status, a signal with a name, and one without."""
    assert in_words(70) == "ended with status 70"
    assert in_words(-signal.SIGKILL) == "was killed by SIGKILL"
    assert in_words(-40) == "was killed by signal 40"


# -- leases -------------------------------------------------------------------------------------


def test_a_standby_follows_when_the_lease_is_out(store: Store) -> None:
    """Not before; and the epoch tells the two apart."""
    first, second = Post(store, "decide", "a"), Post(store, "decide", "b")
    first.look(T0)
    second.look(T0 + timedelta(seconds=1))
    assert (first.epoch, second.epoch, second.held) == (1, 0, False)
    assert second.other is not None
    assert second.other.holder == "a"
    second.look(T0 + LEASE + timedelta(seconds=1))
    assert second.epoch == 2
    assert second.other is None


def test_an_owner_that_renews_keeps_its_epoch(store: Store) -> None:
    """However long it lasts, nobody else gets it."""
    first, second = Post(store, "decide", "a"), Post(store, "decide", "b")
    for number in range(20):
        now = T0 + number * RENEW
        first.look(now)
        second.look(now)
    assert (first.epoch, second.epoch) == (1, 0)


def test_an_owner_that_was_paused_is_fenced_and_its_transaction_rolled_back(store: Store) -> None:
    """It believes that the job is its own, and writes nothing."""
    first, second = Post(store, "decide", "a"), Post(store, "decide", "b")
    first.look(T0)
    assert first.begin() == 1
    second.look(T0 + LEASE)
    assert first.held

    def work() -> None:
        with store.write() as tx:
            tx.touch()
            first.guard(tx)

    with pytest.raises(Fenced, match="epoch 1"):
        work()
    with store.read() as tx:
        assert tx.revision() == 0
    assert second.begin() == 2
    with store.write() as tx:
        second.guard(tx)


def test_the_work_of_an_epoch_is_not_done_under_the_next_one(store: Store) -> None:
    """A job that was lost and taken again meanwhile: what was built before may be out of date."""
    first, second = Post(store, "decide", "a"), Post(store, "decide", "b")
    first.look(T0)
    first.begin()
    second.look(T0 + LEASE)
    first.look(T0 + LEASE)
    first.look(T0 + 2 * LEASE)
    assert first.epoch == 3
    with pytest.raises(Fenced), store.write() as tx:
        first.guard(tx)


def test_an_owner_that_could_not_renew_stands_by_and_takes_its_own_job_again(store: Store) -> None:
    """With the same epoch where nobody else had it meanwhile, with another where somebody had."""
    first, second = Post(store, "decide", "a"), Post(store, "decide", "b")
    first.look(T0)
    first.look(T0 + 2 * LEASE)
    assert first.epoch == 1
    second.look(T0 + 4 * LEASE)
    first.look(T0 + 4 * LEASE)
    assert (first.held, second.epoch) == (False, 2)


def test_a_job_that_was_given_back_is_taken_at_once(store: Store) -> None:
    """And giving back what is somebody else's does nothing."""
    first, second = Post(store, "decide", "a"), Post(store, "decide", "b")
    first.look(T0)
    first.let_go()
    second.look(T0)
    assert (first.held, second.epoch) == (False, 2)
    first.let_go()
    second.look(T0 + RENEW)
    assert second.epoch == 2


def test_the_job_of_a_holder_that_is_known_to_be_dead_is_taken_at_once(store: Store) -> None:
    """A daemon that was started again does not wait for its own lease."""
    Post(store, "decide", "host/1/77").look(T0)
    again = Post(store, "decide", "host/1/78", lambda name: name.startswith("host/1/"))
    again.look(T0)
    assert again.epoch == 2


def test_a_room_begins_anew_in_each_epoch_and_rests_while_fenced(store: Store) -> None:
    """`forget` comes before the first step of an epoch, and only then."""
    told: list[str] = []
    fence = [False]

    def step(_now: datetime) -> bool:
        if fence[0]:
            raise Fenced("not ours")
        told.append("step")
        return True

    post = Post(store, "decide", "a")
    turn = owned(post, step, lambda: told.append("forget"))
    assert not turn(T0)
    post.look(T0)
    assert turn(T0)
    assert turn(T0)
    fence[0] = True
    assert not turn(T0)
    fence[0] = False
    assert not turn(T0)
    other = Post(store, "decide", "b")
    other.look(T0 + LEASE)
    post.look(T0 + 2 * LEASE)
    assert turn(T0)
    assert told == ["forget", "step", "step", "forget", "step"]


# -- places and folders -------------------------------------------------------------------------


def test_a_place_is_known_again_and_held_by_one(tmp_path: Path) -> None:
    """A second daemon on the same machine and store has a place of its own, and outlives nobody."""
    env = {"XDG_STATE_HOME": str(tmp_path)}
    with place_of("postgresql://h/d", None, env) as first:
        with place_of("postgresql://h/d", None, env) as second:
            assert second.name != first.name
            assert not second.dead(first.holder())
            assert (first.key, second.key) == (first.name[-8:], second.name[-8:])
            known = second.name
        with place_of("postgresql://h/d", None, env) as second:
            assert second.name == known
        old = first.holder()
    with place_of("postgresql://h/d", None, env) as again:
        assert again.name == first.name
        assert again.dead(old)
        assert again.holder() != old
        assert not again.dead("elsewhere/12345678/1-aa")


def test_the_folder_of_a_killed_daemon_is_swept_and_that_of_a_living_one_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its lock tells; whoever inherits the lock keeps the folder."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with private_folder() as living:
        dead = tmp_path / "tocsin-run-dead"
        (dead / "metrics").mkdir(parents=True)
        (dead / "alive").touch()
        with private_folder() as second:
            assert (living.path.exists(), dead.exists()) == (True, False)
            assert second.metrics.is_dir()
    assert list(tmp_path.iterdir()) == []


def test_the_roster_is_replaced_whole(tmp_path: Path) -> None:
    """What was written is read; before that it is empty."""
    path = tmp_path / "roster.json"
    assert read_roster(path) == []
    members = [Member(name="control", pid=7, since=T0, restarts=2, ended="was killed by SIGKILL")]
    write_roster(path, members)
    assert read_roster(path) == members


def test_the_overview_tells_processes_and_owners(store: Store) -> None:
    """Who is up, and of those that are not or died lately the story; whose the jobs are."""
    Post(store, "decide", "me").look(T0)
    Post(store, "runs", "other").look(T0)
    members = [
        Member(name="control", pid=7, since=T0 - timedelta(hours=1), up=True),
        Member(name="ingest-0", pid=None, since=T0, restarts=3, ended="ended with status 70"),
    ]
    with store.read() as tx:
        told = processes(tx, T0, members, "me")
        later = processes(tx, T0 + LEASE, members[:1], "me")
    Post(store, "runs", "me", lambda _: True).look(T0)
    with store.read() as tx:
        whole = processes(tx, T0, members[:1], "me")
        unknown = processes(tx, T0, [], "me")
    assert whole.text == "control up; decide ours, epoch 1, since 2026-11-22 12:00 UTC; " + (
        "runs ours, epoch 2, since 2026-11-22 12:00 UTC"
    )
    assert told.state == "warn"
    assert told.text.startswith("control up; ingest-0 pid none starting since 2026-11-22 12:00:00")
    assert "3 restarts; the last one ended with status 70" in told.text
    assert "decide ours, epoch 1" in told.text
    assert "runs other's, epoch 1" in told.text
    assert later.state == "ok"
    assert "decide nobody's" in later.text
    assert (unknown.state, unknown.text.partition(":")[0]) == ("warn", "who is up is not known")


@pytest.mark.parametrize(
    ("text", "most"), [("max 100000", None), ("150000 100000", 1), ("1000 100000", 1), ("x", None)]
)
def test_a_containers_quota_bounds_the_cores(tmp_path: Path, text: str, most: int | None) -> None:
    """At least one, at most those we may run on."""
    limit = tmp_path / "cpu.max"
    limit.write_text(text + "\n")
    assert cores(limit) == (most or len(os.sched_getaffinity(0)))


# -- flags and partitions -----------------------------------------------------------------------


def test_roles_and_workers_of_the_command_line_go_over_the_configuration(tmp_path: Path) -> None:
    """In the order of the road; a word that is no role is refused with a suggestion."""
    env = {"HOME": str(tmp_path)}
    chosen = settings_for(RunOptions(roles="runs, decide", workers=3), env).processes
    assert (chosen.roles, chosen.workers) == (("decide", "runs"), 3)
    with pytest.raises(UsageError, match="decide"):
        settings_for(RunOptions(roles="decid"), env)


def part(number: int, closed: int | None, seen: datetime | None, idle: int = 0) -> PartitionRow:
    """A partition, read to its end `idle` seconds before `T0`; 0 for one that is behind."""
    return PartitionRow(
        topic="t",
        topic_id="t1",
        number=number,
        closed=closed,
        watermark=None,
        finished=False,
        position=0,
        end=0,
        caught_up_at=T0 - timedelta(seconds=idle) if idle else None,
        behind_since=None,
        seen_at=seen,
        totals={},
    )


def test_an_idle_partition_does_not_block_and_one_that_nobody_reads_does() -> None:
    """What was idle when its reader died may have records by now."""
    reads = part(0, 600, T0)
    assert complete_until([reads, part(1, 60, T0, idle=40)], T0) == 600
    assert complete_until([reads, part(1, 60, T0 - timedelta(minutes=2), idle=200)], T0) == 60
    assert complete_until([reads, part(1, None, T0)], T0) is None


# -- the watchdog -------------------------------------------------------------------------------


def test_a_stall_ends_the_process_and_says_where_it_stood(tmp_path: Path) -> None:
    """Status 70, the stacks on standard error and in the file, which is bounded."""
    stacks = tmp_path / "stalls"
    stacks.write_text("x" * (300 * 1024))
    code = """
        import sys, threading
        from pathlib import Path
        from monitor.watchdog import Watchdog
        def hang():
            dog.enter("ingest")
            threading.Event().wait()
        dog = Watchdog(1.0, Path(sys.argv[1]))
        threading.Thread(target=hang).start()
        dog.start()
        """
    done = run(code, str(stacks))
    assert done.returncode == 70
    assert "in hang" in done.stderr
    assert "stall of ingest" in stacks.read_text()
    assert "in hang" in stacks.read_text()
    assert stacks.stat().st_size < 64 * 1024
    assert (tmp_path / "stalls.1").stat().st_size == 300 * 1024


def test_a_loop_that_ticks_or_has_leave_to_wait_is_left_alone(tmp_path: Path) -> None:
    """So is one that has ended in order; other threads may tick without meaning anything."""
    code = """
        import sys, threading, time
        from pathlib import Path
        from monitor.watchdog import Watchdog, allow, tick
        def turn():
            dog.enter("decide")
            for _ in range(40):
                time.sleep(0.1)
                tick()
            allow(30)
            time.sleep(4)
            dog.leave()
        beats = []
        dog = Watchdog(3.0, Path(sys.argv[1]), lambda: beats.append(1))
        thread = threading.Thread(target=turn)
        thread.start()
        dog.start()
        thread.join()
        time.sleep(4)
        tick()
        dog.close()
        sys.exit(0 if len(beats) > 3 else 1)
        """
    done = run(code, str(tmp_path / "stalls"))
    assert (done.returncode, done.stderr) == (0, "")


def test_who_waits_for_the_store_is_no_loop_that_hangs(tmp_path: Path) -> None:
    """A turn that comes late is waited for; a transaction that then hangs is a stall like any."""
    code = """
        import sys, threading
        from pathlib import Path
        from monitor.store.store import Store
        from monitor.watchdog import Watchdog
        store = Store(f"sqlite:///{sys.argv[1]}/x.db")
        held = threading.Event()
        def hold():
            with store.write():
                held.set()
                threading.Event().wait(5)
        def claim():
            dog.enter("deliver")
            with store.queue():
                print("our turn", flush=True)
                threading.Event().wait(30)
        dog = Watchdog(2.0, Path(sys.argv[1]) / "stalls")
        threading.Thread(target=hold).start()
        held.wait()
        threading.Thread(target=claim).start()
        dog.start()
        """
    done = run(code, str(tmp_path))
    assert (done.returncode, done.stdout) == (70, "our turn\n"), done.stderr


# -- metrics ------------------------------------------------------------------------------------

SHARED = """
    import sys
    from pathlib import Path
    from monitor.metrics import Metrics, forget, share
    share(sys.argv[1], Path(sys.argv[2]))
    metrics = Metrics(lambda: {"ingest-0": 2})
    """


def test_metrics_that_outgrow_their_disk_stay_in_memory_until_it_has_room(tmp_path: Path) -> None:
    """No value is lost or ends the process; who scrapes reads what has found a place."""
    code = """
        import resource, sys, time
        from pathlib import Path
        from monitor import metric_files
        from monitor.metrics import Metrics, share
        share("control", Path(sys.argv[1]))
        metrics = Metrics(dict)
        size = metric_files.FILE_BYTES
        most = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, most))
        for number in range(1000):
            metrics.quarantined.labels(f"rule-{number}").inc(number)
        name = "tocsin_quarantined_total"
        def told(number):
            return metrics.value(name, rule=f"rule-{number}")
        assert not metric_files.homeless()
        assert (told(1), told(999)) == (1, 0), (told(1), told(999))
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
        time.sleep(metric_files.AGAIN_S + 0.1)
        metrics.lag.set(1)
        assert told(999) == 999, told(999)
        assert metrics.render().decode().count(name + "{") == 1000
        """
    done = run(code, str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("metrics: no room") == 1
    again = run(SHARED + "\n    print(metrics.render().decode())\n", "control", str(tmp_path))
    assert 'tocsin_quarantined_total{rule="rule-999"} 999.0' in again.stdout


def test_without_a_place_for_its_metrics_a_process_tells_its_own(tmp_path: Path) -> None:
    """The folder is gone: /metrics still answers, restarts and all."""
    done = run(SHARED + "\n    print(metrics.render().decode())\n", "control", str(tmp_path / "no"))
    assert done.returncode == 0, done.stderr
    assert "tocsin_build_info" in done.stdout
    assert 'tocsin_process_restarts_total{process="ingest-0"} 2.0' in done.stdout


def test_the_metrics_of_all_processes_are_told_by_one(tmp_path: Path) -> None:
    """Counters add up over lives and processes; the gauges of a dead one are gone."""
    count = SHARED + "\n    metrics.records.labels('event').inc(5)\n    metrics.lag.set(7)\n"
    for name in ("ingest-0", "ingest-0", "ingest-1"):
        assert run(count, name, str(tmp_path)).returncode == 0
    show = SHARED + "\n    print(metrics.render().decode())\n"
    told = run(show, "control", str(tmp_path)).stdout
    assert 'tocsin_records_total{fate="event"} 15.0' in told
    assert "tocsin_lag_records 14.0" in told
    assert 'tocsin_process_restarts_total{process="ingest-0"} 2.0' in told
    assert "pid=" not in told
    drop = SHARED + "\n    forget('ingest-1', Path(sys.argv[2]))\n"
    assert run(drop, "control", str(tmp_path)).returncode == 0
    told = run(show, "control", str(tmp_path)).stdout
    assert "tocsin_lag_records 7.0" in told
    assert 'tocsin_records_total{fate="event"} 15.0' in told
