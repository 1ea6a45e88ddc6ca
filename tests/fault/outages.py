"""Neighbours that die: the broker, the database, the disk. Nothing is lost, and soon all goes on.

Never-events come in before, during and after each outage. `resumed_s` is from the moment the
neighbour answers again to the first page of an event that came after it. While the database is down
a page that says so must go out without it.
"""

from __future__ import annotations

import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from tests.fault.events import Feed, feed
from tests.fault.ground import (
    Ground,
    Receivers,
    Stuck,
    configuration,
    daemon,
    receivers,
    wait_until,
)
from tests.fault.oracle import Tally, seen, settle, tally
from tests.integration.process_stage import Tree
from tests.servers.kafka_server import KafkaServer
from tests.servers.postgres_server import PostgresServer

DISK_MIB = 48
RESERVE_MIB = 4
SERVER_MIB = 192
SMALL_LOG = {"min_wal_size": "32MB", "max_wal_size": "48MB"}
"""PostgreSQL's settings where its disk has `SERVER_MIB`."""
STORAGE_DOWN, DISK_FULL = "Tocsin: storage down", "Tocsin: disk full"
"""How the pages begin that tell of it."""


class NotRun(Exception):
    """This machine cannot have it; the message says why."""


@dataclass(frozen=True, slots=True)
class Outage:
    """What a kind of outage came to."""

    times: int
    resumed_s: tuple[float, ...]
    tally: Tally
    page_s: float | None = None
    """From the beginning of the outage to the page that tells of it; None where none is owed."""


@dataclass(frozen=True, slots=True)
class Scene:
    """A daemon at work."""

    ground: Ground
    paged: Receivers
    tree: Tree
    feed: Feed

    def settle(self, count: int, what: str) -> float:
        """Publish, and wait for the first page of it, then for all; seconds to the first."""
        first, started = self.feed.sent, time.monotonic()
        self.feed.send(count)
        wanted = self.feed.owed(first)
        wait_until(lambda: wanted & seen(self.paged), f"a page after {what}")
        took = time.monotonic() - started
        wait_until(lambda: wanted <= seen(self.paged), f"all pages after {what}")
        return took

    def close(self) -> Tally:
        """Let the timers run, end it in order and count."""
        wanted = self.feed.owed()
        with suppress(Stuck):
            settle(self.paged, self.ground.store, wanted)
        self.tree.end()
        return tally(self.paged, self.ground.folder, self.ground.store, wanted)


@contextmanager
def scene(ground: Ground, **more: object) -> Iterator[Scene]:
    """A daemon that has paged once."""
    with ExitStack() as stack:
        paged = stack.enter_context(receivers(ground.folder))
        made = configuration(ground, paged, **more)
        tree = stack.enter_context(daemon(ground.folder / "daemon", made))
        publishing = stack.enter_context(feed(ground.bootstrap, ground.topic))
        tree.start()
        on = Scene(ground, paged, tree, publishing)
        on.settle(5, "the start")
        yield on


def broker_killed(ground: Ground, server: KafkaServer, *, times: int) -> Outage:
    """SIGKILL the broker again and again, with events just written."""
    resumed = []
    with scene(ground) as on:
        for _ in range(times):
            on.feed.send(5)
            server.kill()
            server.start()
            resumed.append(on.settle(5, "the broker's return"))
        return Outage(times, tuple(resumed), on.close())


def database_stopped(ground: Ground, server: PostgresServer, *, times: int) -> Outage:
    """Stop the database at once, as a crash, again and again; it starts on its log."""
    resumed = []
    with scene(ground) as on:
        for _ in range(times):
            on.feed.send(5)
            server.immediate()
            server.start()
            resumed.append(on.settle(5, "the database's return"))
        return Outage(times, tuple(resumed), on.close())


def database_down(ground: Ground, server: PostgresServer, *, seconds: float) -> Outage:
    """The database stays away, events come in, and a page must say so."""
    with scene(ground) as on:
        server.immediate()
        started, known = time.monotonic(), _told(on, STORAGE_DOWN)
        try:
            on.feed.send(20)
            page_s = _page_of(on, STORAGE_DOWN, started, known)
            time.sleep(max(0.0, started + seconds - time.monotonic()))
        finally:
            server.start()
        resumed = on.settle(5, "the database's return")
        return Outage(1, (resumed,), on.close(), page_s)


def disk_full(ground: Ground, *, seconds: float) -> Outage:
    """The SQLite store's disk is full for a while, and a page must say so.

    Raises:
        NotRun: no small file system can be mounted here.
    """
    with small_disk(DISK_MIB) as disk:
        small = Ground(
            ground.folder, ground.bootstrap, ground.topic, f"sqlite:///{disk / 'tocsin.db'}"
        )
        with scene(small, watch={"reserve": RESERVE_MIB, "disk_free": 0}) as on:
            time.sleep(5.0)  # the reserve is laid down by the auditor's first looks
            known = _told(on, DISK_FULL)
            culprit = _fill(disk)
            started = time.monotonic()
            on.feed.send(20)
            page_s = _page_of(on, DISK_FULL, started, known)
            time.sleep(max(0.0, started + seconds - time.monotonic()))
            culprit.unlink()
            resumed = on.settle(5, "there is room again")
            return Outage(1, (resumed,), on.close(), page_s)


def server_disk_full(
    ground: Ground, server: PostgresServer, disk: Path, *, seconds: float
) -> Outage:
    """The disk of the database's server is full for a while: rows find no room (53100), or the
    server ends because its log finds none. A page must say so; whoever makes room starts it again.
    """
    with scene(ground) as on:
        started, known = time.monotonic(), _told(on, STORAGE_DOWN)
        culprit = _fill(disk)
        try:
            on.feed.send(20)
            page_s = _page_of(on, STORAGE_DOWN, started, known)
            time.sleep(max(0.0, started + seconds - time.monotonic()))
        finally:
            culprit.unlink()
        if server.ended:
            server.immediate()
            server.start()
        resumed = on.settle(5, "there is room again")
        return Outage(1, (resumed,), on.close(), page_s)


def _told(on: Scene, what: str) -> set[str]:
    """Dedup keys of the PagerDuty incidents whose title says `what`."""
    return {i.dedup_key for i in on.paged.pagerduty.incidents if what in i.summary}


def _page_of(on: Scene, what: str, started: float, known: set[str]) -> float:
    """Seconds from `started` until a page came whose title says `what`.

    Raises:
        Stuck: none came.
    """

    def come() -> list[float]:
        fresh = _told(on, what) - known
        return [
            row["at"] - started
            for row in on.paged.pagerduty.journal.rows
            if row["outcome"] == "accepted: opened" and row["key"] in fresh
        ]

    wait_until(come, f"a page that says: {what}", 60.0)
    return come()[0]


@contextmanager
def small_disk(mib: int) -> Iterator[Path]:
    """A file system of that size that everybody may write to.

    Raises:
        NotRun: none can be mounted here.
    """
    disk = Path(tempfile.mkdtemp(prefix="tocsin-disk-"))
    command = ["mount", "-t", "tmpfs", "-o", f"size={mib}m", "tocsin-fault", str(disk)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError as problem:
        raise NotRun(f"no mount: {problem}") from problem
    if done.returncode:
        raise NotRun(
            f"needs root with CAP_SYS_ADMIN for a small file system: {done.stderr.strip()}"
        )
    try:
        yield disk
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)
        disk.rmdir()


def _fill(disk: Path) -> Path:
    """Write until nothing more goes in."""
    path = disk / "somebody-elses.log"
    with path.open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(b"x" * 65536)
    return path
