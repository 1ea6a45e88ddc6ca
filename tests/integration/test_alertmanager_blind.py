"""Who speaks to the Alertmanagers while the database does not answer, and who falls silent."""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from monitor.alertmanager.sync import AlertSync
from monitor.config.settings import Settings
from monitor.metrics import Metrics
from monitor.notify.alertmanager_settings import AlertmanagerSettings
from monitor.notify.loopback.server import Answer, LoopbackServer, Request
from monitor.processes.neighbours import Voice, in_step, voice
from monitor.processes.posts import LEASE, Post
from monitor.store.lease_rows import Fenced, Lease
from monitor.store.store import Store, StoreUnavailable
from tests.making import T0, alert, incident, minutes

MINE = Lease("decide", "a", 3, T0, T0)


class Peers:
    """An Alertmanager that notes until when each alert lives, as one machine tells it."""

    def __init__(self) -> None:
        self.ends: dict[str, datetime] = {}
        self.told = 0
        self._lock = threading.Lock()

    def answer(self, request: Request) -> Answer:
        if request.method == "POST":
            with self._lock:
                self.told += 1
                for one in json.loads(request.body):
                    name = one["labels"].get("feature", one["labels"]["alertname"])
                    self.ends[name] = datetime.fromisoformat(one["endsAt"])
        return Answer(200, b"OK")


@dataclass
class Machine:
    """One control process: its job, and the loop that speaks to the peers."""

    name: str
    path: Path
    store: Store
    peers: Peers
    post: Post
    speak: Callable[[datetime], bool]

    def turn(self, now: datetime) -> bool:
        """As its loops do; whether the store answered."""
        answered = True
        for step in (self.post.look, self.speak):
            try:
                step(now)
            except StoreUnavailable:
                answered = False
        return answered

    def cut(self) -> None:
        """This machine alone loses the database."""
        self.store.engine.dispose()
        self.path.unlink()
        self.path.write_bytes(b"this is no database, and long enough to look like one" * 9)

    def mend(self) -> None:
        """It has it again."""
        self.store.engine.dispose()
        self.path.unlink()
        self.path.symlink_to(self.path.with_name("x.db"))


@pytest.fixture
def machines(tmp_path: Path) -> Iterator[tuple[Machine, Machine]]:
    """Two on one database, each by a road of its own; something fires."""
    with ExitStack() as stack:
        made = stack.enter_context(closing(Store(f"sqlite:///{tmp_path / 'x.db'}")))
        with made.write() as tx:
            tx.incidents.save(incident())
            tx.incidents.save_alert(alert(incident=incident().uuid))

        def machine(name: str) -> Machine:
            path = tmp_path / f"{name}.db"
            path.symlink_to(tmp_path / "x.db")
            store = stack.enter_context(closing(Store(f"sqlite:///{path}")))
            server = stack.enter_context(LoopbackServer(peers := Peers()))
            settings = Settings(alertmanager=AlertmanagerSettings(urls=(server.url,)))
            sync = AlertSync(store, lambda: settings, Metrics())
            stack.callback(sync.close)
            post = Post(store, "decide", name)
            return Machine(name, path, store, peers, post, in_step(post, store, sync))

        yield machine("a"), machine("b")


def turns(first: datetime, length: timedelta, *machines: Machine) -> datetime:
    """All of them turn every three seconds for so long; when it ended."""
    now = first
    while now < first + length:
        for machine in machines:
            machine.turn(now)
        now += timedelta(seconds=3)
    return now


def test_what_fired_outlives_an_outage_of_the_database(
    machines: tuple[Machine, Machine],
) -> None:
    """Ten minutes without it, far beyond both leases: nothing ends at the peers."""
    one, _ = machines
    now = turns(T0, minutes(1), one)
    assert one.post.held
    one.cut()
    for _ in range(10):
        now = turns(now, minutes(1), one)
        assert one.peers.ends["chat"] > now + minutes(2)
    assert not one.post.held
    one.mend()
    now = turns(now, minutes(1), one)
    assert one.post.held
    assert one.peers.ends["chat"] > now + minutes(2)


def test_both_speak_when_one_followed_and_both_are_cut_off(
    machines: tuple[Machine, Machine],
) -> None:
    """Neither knows of the other any more; who hears of a new owner is silent from then on."""
    one, other = machines
    now = turns(T0, minutes(1), one, other)
    one.cut()
    now = turns(now, minutes(1), one, other)
    assert (one.post.held, other.post.held) == (False, True)
    other.cut()
    now = turns(now, minutes(5), one, other)
    for machine in machines:
        assert machine.peers.ends["chat"] > now + minutes(2)
    other.mend()
    now = turns(now, minutes(1), other)
    assert other.post.held
    one.mend()
    told = one.peers.told
    now = turns(now, minutes(3), one, other)
    assert one.peers.told == told
    one.cut()
    now = turns(now, minutes(3), one, other)
    assert one.peers.told == told, "it knows who the owner is, and is silent though it is blind"
    assert other.peers.ends["chat"] > now + minutes(2)


def test_a_standby_that_never_was_the_owner_says_nothing(
    machines: tuple[Machine, Machine],
) -> None:
    """It knows whose the job is, and has nothing in memory."""
    one, other = machines
    now = turns(T0, minutes(1), one, other)
    told = other.peers.told
    other.cut()
    turns(now, minutes(3), other)
    assert other.peers.told == told


def test_who_was_fenced_or_gave_the_job_back_is_silent(
    machines: tuple[Machine, Machine],
) -> None:
    """Both know of another owner, or want one: a database that goes away then changes nothing."""
    for give_up in (Post.let_go, lambda post: post.lose(Fenced("it is b's"))):
        one, _ = machines
        now = turns(T0, minutes(1), one)
        give_up(one.post)
        one.cut()
        told = one.peers.told
        turns(now, minutes(3), one)
        assert one.peers.told == told
        one.mend()


def test_a_store_that_only_reads_is_read(machines: tuple[Machine, Machine], tmp_path: Path) -> None:
    """The lease cannot be renewed and nobody can follow: what is new and what has ended is told."""
    one, _ = machines
    now = turns(T0, minutes(1), one)
    with one.store.write() as tx:
        (firing,) = tx.incidents.firing().values()
        tx.incidents.save_alert(replace(firing, cleared_at=now))
        tx.touch()
    with closing(sqlite3.connect(tmp_path / "x.db", isolation_level=None)) as full:
        full.execute("BEGIN IMMEDIATE")
        with suppress(StoreUnavailable):
            one.post.look(now + 2 * LEASE)
        assert one.post.lapsed is not None
        assert one.speak(now + 2 * LEASE)
    assert one.peers.ends["chat"] <= now


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"held": True}, Voice.OWNER),
        ({"held": True, "answers": False}, Voice.OWNER),
        ({}, Voice.SILENT),
        ({"answers": False}, Voice.SILENT),
        ({"last": MINE, "answers": False}, Voice.BLIND),
        ({"last": MINE, "found": replace(MINE, until=T0 - minutes(1))}, Voice.STILL),
        ({"last": MINE, "found": replace(MINE, holder="b", epoch=4)}, Voice.SILENT),
        ({"last": MINE, "found": replace(MINE, epoch=5)}, Voice.SILENT),
        ({"last": MINE}, Voice.SILENT),
    ],
)
def test_who_may_speak(given: dict[str, Any], says: Voice) -> None:
    """Knowing of another owner silences; not knowing does not."""
    facts = {"held": False, "last": None, "found": None, "answers": True, **given}
    assert voice(**facts) is says
