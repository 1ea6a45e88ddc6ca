"""How soon somebody decides again: another machine's daemon on PostgreSQL, or the next start.

Two daemons share a PostgreSQL store. The owner is killed, or frozen whole (SIGSTOP) and woken up
later; a never-event that is published at that moment tells when the other one pages. A third daemon
reads; where the machine that dies reads too, see `tests.fault.twins`. A restart is of a daemon that
dies with claimed pages in its outbox; what counts is from its next start to the first page.
Whoever begins to decide has days of points to rebuild the detectors from (`tests.fault.history`),
beside the pages; when the detectors decide again is told too.
"""

from __future__ import annotations

import os
import signal
import time
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from datetime import timedelta

from tests.fault.events import Feed, feed
from tests.fault.ground import (
    Ground,
    Receivers,
    Stuck,
    configuration,
    daemon,
    deaths,
    receivers,
    unordered,
    wait_until,
)
from tests.fault.history import DAYS, remember
from tests.fault.oracle import Tally, paged_at, seen, settle, tally
from tests.integration.process_stage import Tree, rows

EACH = 3
"""Never-events a second apart that tell when somebody pages."""
FILLING, LATER = 40, timedelta(minutes=10)
"""So many events fill every partition; so much later they complete buckets."""
POSITION = "SELECT bucket FROM position"
JUDGES = ("--roles", "decide,deliver,runs")


@dataclass(frozen=True, slots=True)
class TakenOver:
    """What the take-overs came to."""

    killed_s: tuple[float, ...]
    """From SIGKILL of the whole owner until the other has paged what came then."""
    frozen_s: tuple[float, ...]
    """The same from SIGSTOP."""
    zombie_writes: int
    """Incidents, pages or timelines that are wrong after the frozen ones woke up."""
    tally: Tally
    unordered: int
    """Children that ended by themselves, hung, or had to be killed at the end."""


@dataclass(frozen=True, slots=True)
class Restarted:
    """What the restarts came to."""

    first_page_s: tuple[float, ...]
    """From each start to the first page that anybody accepted."""
    decided_s: float
    """From the last start until the detectors had judged another bucket."""


def take_over(ground: Ground, *, rounds: int, days: int = DAYS) -> TakenOver:
    """Kill the owner, then freeze the next one, `rounds` times.

    No bucket is complete before the last of it: none would take over from a fresh snapshot.

    Args:
        ground: a topic and an empty PostgreSQL store.
        rounds: of one kill and one freeze, ten at most.
        days: of history.

    Raises:
        Stuck: nobody took over.
    """
    killed, frozen = [], []
    with receivers(ground.folder) as paged, ExitStack() as stack:
        remember(ground, configuration(ground, paged), days=days)
        pair = _pair(ground, paged, stack)
        publishing = stack.enter_context(feed(ground.bootstrap, ground.topic))
        reader, owner, other = pair
        reader.start()
        owner.start()
        _paged(publishing, paged, EACH)
        other.start()
        _standing_by(other)
        for _ in range(rounds):
            os.killpg(owner.pid, signal.SIGKILL)
            killed.append(_paged(publishing, paged, EACH))
            owner.kill()
            owner.start()
            _standing_by(owner)
            os.killpg(other.pid, signal.SIGSTOP)
            frozen.append(_paged(publishing, paged, EACH))
            os.killpg(other.pid, signal.SIGCONT)
            _standing_by(other)
        _paged(publishing, paged, EACH)
        wanted = publishing.owed()
        with suppress(Stuck):
            settle(paged, ground.store, wanted)
        for tree in pair:
            tree.end()
        counted = tally(paged, ground.folder, ground.store, wanted)
    return TakenOver(
        tuple(killed),
        tuple(frozen),
        counted.written_twice(),
        counted,
        sum(unordered(tree) for tree in pair),
    )


def _pair(ground: Ground, paged: Receivers, stack: ExitStack) -> tuple[Tree, Tree, Tree]:
    """One that reads, and two that decide; each with a desk of its own."""

    def one(name: str, flags: tuple[str, ...]) -> Tree:
        desk = {"socket": str(ground.folder / f"desk-{name}")}
        return stack.enter_context(
            daemon(ground.folder / name, configuration(ground, paged, desk=desk), flags)
        )

    return one("reader", ("--roles", "ingest")), one("first", JUDGES), one("second", JUDGES)


def _standing_by(tree: Tree) -> None:
    wait_until(lambda: "ready: standby" in tree.health("/readyz"), "a standby", 90.0)


def _paged(publishing: Feed, paged: Receivers, count: int) -> float:
    """Publish, and how many seconds later the first of it is paged."""
    first, started = publishing.sent, time.monotonic()
    publishing.send(count)
    wanted = publishing.owed(first)
    wait_until(lambda: wanted & seen(paged), "a page", 90.0)
    took = time.monotonic() - started
    wait_until(lambda: wanted <= seen(paged), "all pages", 90.0)
    return took


def restarts(ground: Ground, *, count: int, days: int = DAYS) -> Restarted:
    """Kill a daemon with claimed pages and start it anew, `count` times.

    Args:
        ground: a topic and an empty store.
        count: of restarts.
        days: of history.

    Raises:
        Stuck: it did not page or decide.
    """
    took = []
    with (
        receivers(ground.folder) as paged,
        daemon(ground.folder / "daemon", configuration(ground, paged)) as tree,
        feed(ground.bootstrap, ground.topic) as publishing,
    ):
        remember(ground, tree.settings, days=days)
        for _ in range(count):
            known = deaths(tree)
            tree.env = {"TOCSIN_FAULT": "K5:1"}
            tree.start()
            publishing.send(EACH)
            wait_until(lambda known=known: deaths(tree) > known, "its death", 60.0)  # type: ignore[misc]  # mypy cannot infer a lambda with a default
            tree.kill()
            tree.env = {}
            started = time.monotonic()
            tree.start()
            took.append(_first_page(paged, started))
            wait_until(lambda: publishing.owed() <= seen(paged), "all pages", 60.0)
            tree.kill()
        decided = _decided(ground, tree, publishing)
    return Restarted(tuple(took), decided)


def _first_page(paged: Receivers, started: float) -> float:
    """Seconds from `started` to the first page that anybody accepted: whose it is matters not."""
    wait_until(lambda: any(at >= started for at in paged_at(paged)), "a page", 60.0)
    return min(at for at in paged_at(paged) if at >= started) - started


def _decided(ground: Ground, tree: Tree, publishing: Feed) -> float:
    """Start it with complete buckets on the log; seconds until they are decided."""
    publishing.send(FILLING, later=LATER)
    known = rows(ground.store, POSITION)
    started = time.monotonic()
    tree.start()
    wait_until(lambda: rows(ground.store, POSITION) != known, "a decided bucket", 90.0)
    return time.monotonic() - started
