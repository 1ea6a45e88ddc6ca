"""How soon somebody decides again: another machine's daemon on PostgreSQL, or the next start.

Two daemons share a PostgreSQL store. The owner is killed, or frozen whole (SIGSTOP) and woken up
later; a never-event that is published at that moment tells when the other one pages. On SQLite the
daemon dies with claimed pages in its outbox; what counts is from its next start to the first page.
"""

from __future__ import annotations

import os
import signal
import time
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from typing import Any

from tests.fault.events import Feed, feed
from tests.fault.ground import (
    Ground,
    Receivers,
    Stuck,
    configuration,
    daemon,
    deaths,
    receivers,
    wait_until,
)
from tests.fault.oracle import Tally, seen, settle, tally
from tests.integration.process_stage import Tree

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


def take_over(ground: Ground, *, rounds: int) -> TakenOver:
    """Kill the owner, then freeze the next one, `rounds` times.

    Args:
        ground: a topic and an empty PostgreSQL store.
        rounds: of one kill and one freeze.

    Raises:
        Stuck: nobody took over.
    """
    killed, frozen = [], []
    with receivers(ground.folder) as paged, ExitStack() as stack:
        pair = _pair(ground, paged, stack)
        publishing = stack.enter_context(feed(ground.bootstrap, ground.topic))
        reader, owner, other = pair
        reader.start()
        owner.start()
        _paged(publishing, paged, 5)
        other.start()
        _standing_by(other)
        for _ in range(rounds):
            os.killpg(owner.pid, signal.SIGKILL)
            killed.append(_paged(publishing, paged, 5))
            owner.kill()
            owner.start()
            _standing_by(owner)
            os.killpg(other.pid, signal.SIGSTOP)
            frozen.append(_paged(publishing, paged, 5))
            os.killpg(other.pid, signal.SIGCONT)
            _standing_by(other)
        _paged(publishing, paged, 5)
        wanted = publishing.owed()
        with suppress(Stuck):
            settle(paged, ground.store, wanted)
        for tree in pair:
            tree.end()
        counted = tally(paged, ground.folder, ground.store, wanted)
    wrong = counted.incidents_twice + counted.pagerduty_duplicates + counted.chains_broken
    return TakenOver(tuple(killed), tuple(frozen), wrong + counted.timers_twice, counted)


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


def restarts(ground: Ground, *, count: int) -> list[float]:
    """Seconds from a start to the first page that the killed daemon had claimed.

    Args:
        ground: a topic and a SQLite store.
        count: of restarts.
    """
    took = []
    with (
        receivers(ground.folder) as paged,
        daemon(ground.folder / "daemon", configuration(ground, paged)) as tree,
        feed(ground.bootstrap, ground.topic) as publishing,
    ):
        for _ in range(count):
            before = deaths(tree)
            tree.env = {"TOCSIN_FAULT": "K5:1"}
            tree.start()
            publishing.send(3)
            wait_until(lambda known=before: deaths(tree) > known, "its death", 60.0)  # type: ignore[misc]  # mypy cannot infer a lambda with a default
            tree.kill()
            known = len(_rows(paged))
            tree.env = {}
            started = time.monotonic()
            tree.start()
            wait_until(lambda n=known: len(_rows(paged)) > n, "a page", 60.0)  # type: ignore[misc]  # mypy cannot infer a lambda with a default
            took.append(min(row["at"] for row in _rows(paged) if row["at"] > started) - started)
            wait_until(lambda: publishing.owed() <= seen(paged), "all pages", 60.0)
            tree.kill()
    return took


def _rows(paged: Receivers) -> list[dict[str, Any]]:
    """What all receivers were asked: the page that was claimed may be anyone's."""
    journals = (paged.slack.journal, paged.pagerduty.journal, paged.night.journal)
    return [row for journal in journals for row in journal.rows]
