"""Who was told that it is done finds it done, whatever dies around it.

People work incidents (`tests.fault.office`) while the daemon is killed: its control process at K10,
where an answer from outside is received and not yet committed, or at any moment, then all of it.
Each answer that says "done" (exit 0, 200, an acknowledged envelope) is a promise. At the end each
must be in the store as this road and this person gave it: an acknowledgement by its timeline entry
and, from outside, its audit line; a verdict by its reason; a note and a title by their text. No
page that comes late opens an incident in PagerDuty that somebody has resolved.
"""

from __future__ import annotations

import os
import random
import re
import signal
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from monitor.incidents.model import Incident, Origin
from monitor.incidents.timeline import Entry, broken_at
from monitor.store.store import Store
from tests.fault.ground import (
    Ground,
    Receivers,
    Stuck,
    configuration,
    daemon,
    deaths,
    fell,
    receivers,
    wait_until,
)
from tests.fault.office import VERDICT, Kind, Mode, Office, Promise, Road, working
from tests.fault.oracle import rings_again, rung
from tests.integration.answering_stage import ANA, PD_ANA
from tests.integration.process_stage import Tree
from tests.servers.faults import reset_after_store
from tests.servers.pagerduty_people import HOOK_SECRET
from tests.servers.slack_people import APP, SIGNING_SECRET, TEAM
from tests.servers.slack_server import APP_TOKEN

POINT = "K10"
LIFE_S = 5.0
"""People work for so long at most before the next kill, once they got something done ..."""
DONE, PATIENCE_S = 4, 20.0
"""... so much, and something from outside, or for twice so long: a busy machine is slow."""
UNANSWERED = 5
"""Pages that PagerDuty takes without an answer, at the beginning of each life."""
PASSINGS = (2, 5)
"""It dies at one of these passings of K10: an answer or more is given before."""
VIA: Mapping[Road, str] = {
    "desk": "socket",
    "command": "socket",
    "slack http": "slack",
    "slack socket": "slack",
    "pagerduty": "pagerduty",
}
"""How a timeline names the roads."""
AUDITED = re.compile(r": (INC-\d+) acknowledged")
GIVEN: Sequence[tuple[Kind, Road]] = (
    ("ack", "desk"),
    ("ack", "command"),
    ("ack", "slack http"),
    ("ack", "slack socket"),
    ("ack", "pagerduty"),
    ("note", "desk"),
    ("note", "command"),
    ("note", "pagerduty"),
    ("declare", "desk"),
    ("declare", "command"),
    ("resolve", "desk"),
    ("resolve", "command"),
)
"""What must have been promised, by road."""


@dataclass(frozen=True, slots=True)
class Kept:
    """What became of the promises."""

    kills: int
    at_point: int
    """Of these, at K10."""
    promises: Counter[tuple[Kind, Road]]
    lost: tuple[Promise, ...]
    chains_broken: int
    pagerduty_duplicates: int
    """Dedup keys under which PagerDuty opened more than one incident."""
    decided_twice: int
    """Incidents of which a first page came under more than one id."""


def settings(ground: Ground, paged: Receivers, mode: Mode) -> dict[str, Any]:
    """A daemon that takes answers from Slack and PagerDuty."""
    folder = ground.folder
    for name, value in (("signing", SIGNING_SECRET), ("app", APP_TOKEN), ("hook-in", HOOK_SECRET)):
        (folder / name).write_text(value)
    slack: dict[str, Any] = {"team": TEAM, "app": APP, "base_url": paged.slack.base_url}
    road = ("signing_secret", "signing") if mode == "http" else ("app_token", "app")
    slack[road[0]] = {"file": str(folder / road[1])}
    people = [{"name": "Ana", "slack": ANA, "pagerduty": PD_ANA}]
    hooks = {"secrets": [{"file": str(folder / "hook-in")}]}
    inbound = {"people": people, "slack": slack, "pagerduty": hooks}
    return configuration(ground, paged, inbound=inbound)


def keep_promises(ground: Ground, *, kills: int, mode: Mode, seed: int, at_point: int = 1) -> Kept:
    """Let people work and processes die, then look for every promise.

    Args:
        ground: a topic and an empty store.
        kills: SIGKILLs at least, of the control process or of everything.
        mode: how clicks come from Slack.
        seed: of what is random.
        at_point: of the kills, at K10 at least. This, and that somebody outside was promised
            something, is given up after as many lives as kills.

    Raises:
        RuntimeError: the people could not work.
        Stuck: the daemon did not start in the end.
    """
    rng = random.Random(seed)
    died = lives = 0
    with (
        receivers(ground.folder) as paged,
        daemon(ground.folder / "daemon", settings(ground, paged, mode)) as tree,
    ):
        office = Office(ground, paged, mode)
        while lives < kills and (
            died < kills or fell(tree, POINT) < at_point or not _from_outside(office.book.promises)
        ):
            # These pages come again, some of them while somebody resolves what they are about.
            paged.pagerduty.fail_next(reset_after_store, times=UNANSWERED)
            died += _life(office, tree, rng, at_point=lives % 3 != 2)
            lives += 1
        paged.pagerduty.recover()
        tree.env = {}
        tree.start()
        wait_until(lambda: tree.health("/healthz"), "the last start", 90.0)
        tree.end()
        fallen = fell(tree, POINT)
    promises = office.book.promises
    lost, broken = broken_promises(ground.store, promises)
    came = rung(ground.folder)
    return Kept(
        kills=died,
        at_point=fallen,
        promises=Counter((p.kind, p.road) for p in promises),
        lost=lost,
        chains_broken=broken,
        pagerduty_duplicates=came.pagerduty_duplicates(),
        decided_twice=came.decided_twice(*pages_of_others(ground.store)),
    )


def _life(office: Office, tree: Tree, rng: random.Random, *, at_point: bool) -> int:
    """Start it, kill its control process twice while people work, then everything; kills."""
    before = deaths(tree)
    tree.env = {"TOCSIN_FAULT": f"{POINT}:{rng.randint(*PASSINGS)}"} if at_point else {}
    tree.start()
    if _up(office, tree):
        with working(office):
            for _ in range(2):
                _one_death(office, tree, rng, wait_for_point=at_point)
            _work(office)
            time.sleep(rng.uniform(1.0, LIFE_S))
            os.killpg(tree.pid, signal.SIGKILL)
    tree.kill()
    return deaths(tree) - before + 1


def _work(office: Office) -> None:
    """Until people got something done, also from outside."""
    before = len(office.book.promises)

    def done() -> bool:
        new = office.book.promises[before:]
        return len(new) >= DONE and _from_outside(new)

    with suppress(Stuck):
        wait_until(done, "answers", 2 * PATIENCE_S)


def _from_outside(promises: Sequence[Promise]) -> bool:
    return any(VIA[promise.road] != "socket" for promise in promises)


def _one_death(office: Office, tree: Tree, rng: random.Random, *, wait_for_point: bool) -> None:
    """Of the control process: at K10 where somebody answers in time, else at any moment."""
    before = deaths(tree)

    def died() -> bool:
        return deaths(tree) > before

    if not wait_for_point:
        _work(office)
    with suppress(Stuck):
        wait_until(died, "a death", PATIENCE_S if wait_for_point else rng.uniform(1.0, LIFE_S))
    if not died():
        with suppress(KeyError, ProcessLookupError, Stuck):
            tree.kill_child("control")
            wait_until(died, "its death", 30.0)


def _up(office: Office, tree: Tree) -> bool:
    """Whether it serves health and its hooks again."""
    try:
        wait_until(lambda: "tocsin" in tree.health("/metrics"), "health", 60.0)
    except Stuck:
        return False
    found = tree.said().rpartition("health at ")[2].partition('"')[0].strip()
    office.hooks = f"http://{found}/hooks"
    return True


# -- what is there ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Stored:
    """What the store has of it."""

    incidents: Mapping[str, Incident]
    """By name."""
    entries: Mapping[str, Sequence[Entry]]
    """The timeline, by name."""
    audited: frozenset[tuple[str, str]]
    """(source, name) of each acknowledgement from outside that was done."""

    def keeps(self, promise: Promise) -> bool:
        """Whether it is there, as its road gave it."""
        match promise.kind:
            case "declare":
                named = [i.name for i in self.incidents.values() if i.title == promise.text]
                return any(self._has(name, "DECLARED") for name in named)
            case "note":
                names = [promise.incident] if promise.incident else list(self.incidents)
                return any(self._has(name, "NOTE", promise.text) for name in names)
            case "ack":
                return self._acknowledged(promise)
            case "resolve":
                incident = self.incidents.get(promise.incident)
                told = self._has(promise.incident, "RESOLVED", promise.text)
                return incident is not None and incident.verdict == VERDICT and told

    def _has(self, name: str, kind: str, text: str = "") -> bool:
        return any(e.kind == kind and text in e.text for e in self.entries.get(name, ()))

    def _acknowledged(self, promise: Promise) -> bool:
        incident, via = self.incidents.get(promise.incident), VIA[promise.road]
        if incident is None or incident.acknowledged_at is None:
            return False
        entries = [e for e in self.entries[promise.incident] if e.kind == "ACK"]
        ours = [e for e in entries if e.data.get("via") == via]
        outside = via != "socket"
        return bool(ours) and (not outside or (via, promise.incident) in self.audited)


def pages_of_others(store: str) -> tuple[set[str], Counter[str]]:
    """Ids of the incidents but those of Tocsin itself, and how often each rang rightly anew."""
    opened = Store(store)
    try:
        with opened.read() as tx:
            found = tx.incidents.search(limit=1_000_000)
            ids = {one.uuid for one in found if one.origin is not Origin.TOCSIN}
            again = {
                uuid: sum(rings_again(linked.entry) for linked in tx.incidents.timeline(uuid))
                for uuid in ids
            }
    finally:
        opened.close()
    return ids, Counter(again)


def broken_promises(store: str, promises: Sequence[Promise]) -> tuple[tuple[Promise, ...], int]:
    """Those that are not in the store, and how many timelines are not whole."""
    opened = Store(store)
    try:
        with opened.read() as tx:
            incidents = {i.name: i for i in tx.incidents.search(limit=1_000_000)}
            chains = {name: tx.incidents.timeline(i.uuid) for name, i in incidents.items()}
            lines = tx.audit.newest(limit=1_000_000)
    finally:
        opened.close()
    audited = {
        (line.via, found[1])
        for line in lines
        if line.action == "acknowledge" and line.outcome == "done"
        if (found := AUDITED.search(line.detail))
    }
    entries = {name: [item.entry for item in chain] for name, chain in chains.items()}
    stored = Stored(incidents, entries, frozenset(audited))
    broken = sum(broken_at(chain) is not None for chain in chains.values())
    return tuple(p for p in promises if not stored.keeps(p)), broken
