"""Whether a daemon serves is not whether all is well."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from monitor.clock import WallClock
from monitor.config.settings import Settings, resolve
from monitor.daemon import Control, build_control
from monitor.metrics import Metrics
from monitor.processes.control import well
from monitor.processes.loops import Loops, Step
from monitor.processes.posts import Post
from monitor.processes.readiness import Readiness
from monitor.processes.roster import NOWHERE, Member, write_roster
from monitor.processes.settings import ROLES, Role
from monitor.store.store import Store, StoreUnavailable
from monitor.views import Health, Principal
from monitor.watchdog import Watchdog

T0 = datetime(2026, 11, 23, 12, tzinfo=UTC)
ADA = Principal(name="ada", role="admin", via="socket")
JUDGES: tuple[Role, ...] = ("decide", "deliver", "runs")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """An empty one."""
    opened = Store(f"sqlite:///{tmp_path / 'x.db'}")
    yield opened
    opened.close()


class Daemon:
    """What its control process knows, on the store of all."""

    def __init__(self, store: Store, folder: Path, name: str, roles: tuple[Role, ...]) -> None:
        folder = folder / name
        folder.mkdir()
        self.roster = folder / "roster.json"
        self.stopping = threading.Event()
        self.loops = Loops(Metrics(), Watchdog(60.0, folder / "stacks"), self.stopping)
        self.posts = [Post(store, job, name) for job in ("decide", "runs") if job in roles]
        self.readiness = Readiness(
            roles=roles, posts=self.posts, loops=self.loops, roster=self.roster
        )

    def have(self, **up: bool | str) -> None:
        """Children: up, starting, or how the last one ended."""
        write_roster(
            self.roster,
            [
                Member(
                    name=name.replace("_", "-"),
                    pid=1,
                    since=T0,
                    up=found is True,
                    ended=found if isinstance(found, str) else "",
                )
                for name, found in up.items()
            ],
        )

    def said(self) -> str:
        """Its one line, after whether it agrees with the answer."""
        good, (line,) = self.readiness.answer()
        assert good == line.startswith("ready: ")
        return line


def turning(daemon: Daemon) -> dict[str, Step]:
    """A loop that finds nothing to do, until told to stop."""
    return {"deliver": lambda _now: False}


def test_a_daemon_serves_when_loops_leases_and_children_are_there(
    store: Store, tmp_path: Path
) -> None:
    """From the first moment to the drain, each thing that is lacking is named, and nothing else."""
    one = Daemon(store, tmp_path, "one", ROLES)
    one.have(control=True)
    try:
        assert one.said() == (
            "not ready: it starts, or leaves, it does not know yet whose decide is, "
            "it does not know yet whose runs is, auditor is not started yet, "
            "ingest-0 is not started yet"
        )
        one.loops.start(turning(one))
        for post in one.posts:
            post.look(T0)
        one.have(control=True, auditor=True, ingest_0=False)
        assert one.said() == "not ready: ingest-0 is starting"
        one.have(control=False, auditor=True, ingest_0=True, ingest_1="was killed by SIGKILL")
        assert one.said() == "not ready: ingest-1 is down (was killed by SIGKILL)"
        one.have(control=False, auditor=True, ingest_0=True, ingest_1=True)
        assert one.said() == "ready: owner"
    finally:
        one.stopping.set()
        one.loops.join()
    assert one.said() == "not ready: it starts, or leaves"


def test_each_role_waits_for_its_own_only(store: Store, tmp_path: Path) -> None:
    """A standby is ready; who only reads or sends knows no lease, who does not read no reader."""
    owner = Daemon(store, tmp_path, "owner", JUDGES)
    standby = Daemon(store, tmp_path, "standby", JUDGES)
    reader = Daemon(store, tmp_path, "reader", ("ingest",))
    sender = Daemon(store, tmp_path, "sender", ("deliver",))
    for post in (*owner.posts, *standby.posts):
        post.look(T0)
    for daemon in (owner, standby, reader, sender):
        daemon.loops.start({})
        daemon.have(control=True, auditor=True)
    assert owner.said() == "ready: owner"
    assert standby.said() == "ready: standby"
    assert reader.said() == "not ready: ingest-0 is not started yet"
    reader.have(control=True, auditor=True, ingest_0=True)
    assert reader.said() == "ready: ingest here, decide and runs elsewhere"
    assert sender.said() == "ready: deliver here, decide and runs elsewhere"


def test_a_store_that_is_gone_takes_nobody_out_of_service(tmp_path: Path) -> None:
    """Who has once known whose the jobs are serves on, also when it has lost them since."""
    path = tmp_path / "x.db"
    store = Store(f"sqlite:///{path}")
    one = Daemon(store, tmp_path, "one", JUDGES)
    for post in one.posts:
        post.look(T0)
    one.loops.start({})
    one.have(auditor=True)
    store.close()
    path.write_bytes(b"no database" * 1000)
    assert one.said() == "ready: owner"
    for post in one.posts:
        post.look(T0 + timedelta(seconds=1))  # too early to ask the store
        with pytest.raises(StoreUnavailable):
            post.look(T0 + timedelta(hours=1))
    assert one.said() == "ready: standby"


def test_a_daemon_without_room_for_the_list_of_its_processes_is_ready(store: Store) -> None:
    """Nobody waits for a list that cannot be written."""
    loops = Loops(Metrics(), Watchdog(60.0, NOWHERE), threading.Event())
    loops.start({})
    roster = NOWHERE / "roster.json"
    lonely = Readiness(roles=("ingest",), posts=[], loops=loops, roster=roster)
    assert lonely.answer()[0]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_loop_that_died_is_not_ready(tmp_path: Path, store: Store) -> None:
    """Until the process has ended of it."""
    one = Daemon(store, tmp_path, "one", ("deliver",))
    one.have(auditor=True)

    def dies(_now: datetime) -> bool:
        raise SystemExit

    one.loops.start({"deliver": dies})
    one.loops.join()
    assert one.said() == "not ready: it starts, or leaves"


# -- is it well? --------------------------------------------------------------------------------


@pytest.fixture
def control(store: Store, tmp_path: Path) -> Iterator[Control]:
    """A daemon's rooms."""
    settings = Settings(store=f"sqlite:///{tmp_path / 'x.db'}")
    made = build_control(resolve(settings), store=store, clock=WallClock(), metrics=Metrics())
    yield made
    made.close()


def refuse_all(control: Control) -> None:
    """Every receiver refuses for good what waits."""
    with control.store.write() as tx:
        for page in tx.outbox.claim("me", datetime.now(UTC) + timedelta(seconds=5)):
            assert tx.outbox.dead(page, "me", "channel_not_found")


def pager(control: Control) -> tuple[str, str]:
    """State and text."""
    found = control.desk(ADA).overview().pager
    return found.state, found.text


def test_a_refused_page_is_bad_until_its_incident_is_over(control: Control) -> None:
    """Then the next one is seen: the line is not red for ever."""
    desk = control.desk(ADA)
    for title in ("the first", "the second"):
        assert pager(control)[0] != "bad"
        incident = str(desk.declare(title=title, severity="SEV1").incident)
        refuse_all(control)
        assert pager(control) == ("bad", "1 pages of open incidents were refused for good")
        assert well(control)[0] is False
        desk.acknowledge(incident)
        assert pager(control)[0] == "bad"
        desk.resolve(incident, verdict="false_positive", reason="a try")
        refuse_all(control)
    assert well(control)[0] is True
    with control.store.read() as tx:
        assert tx.outbox.counts()["dead"] >= 2, "the metric tells of all time"


def test_what_is_not_well_is_told_beside_whether_it_serves(control: Control) -> None:
    """A finding of the auditor, or a store that does not answer: not well; serving as before."""

    def ready() -> tuple[bool, list[str]]:
        return True, ["ready: owner"]

    finding = Health(name="auditor", state="bad", text="nobody acknowledges INC-0001")
    control.parts.append(lambda _tx, _now: finding)
    good, lines = well(control, ready)
    assert (good, lines[0]) == (False, "ready: owner")
    assert "auditor: bad: nobody acknowledges INC-0001" in lines
    control.parts.clear()
    assert well(control, ready)[0] is True
    assert well(control, lambda: (False, ["not ready: it starts"]))[0] is False
