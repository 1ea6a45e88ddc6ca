"""Who was told that it is done finds it done, whatever dies around it.

People work incidents while the daemon is killed: at the terminal's desk, with the `tocsin` command,
with clicks in Slack (signed HTTP, or Socket Mode) and in PagerDuty. Each answer that says "done"
(exit 0, 200, an acknowledged envelope) is a promise; at the end each must be in the store.
"""

from __future__ import annotations

import itertools
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from typing import Any, Literal

from monitor.desk.port import DeskPort
from monitor.http_client import HttpError
from monitor.incidents.timeline import broken_at
from monitor.store.store import Store
from monitor.views import DeskError
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
from tests.integration.answering_stage import ANA, PD_ANA
from tests.integration.process_stage import Tree
from tests.servers.pagerduty_people import HOOK_SECRET, PagerDutyPost, event
from tests.servers.slack_people import APP, SIGNING_SECRET, TEAM, has_button, post, press, sign
from tests.servers.slack_server import APP_TOKEN
from tui.desk_client import Place, connect

Mode = Literal["http", "socket"]
Kind = Literal["ack", "note", "declared", "verdict"]
VERDICT = "true_positive"
LIFE_S = 5.0
"""People work for so long at most before the next kill."""


@dataclass(frozen=True, slots=True)
class Promise:
    """Something that somebody was told is done."""

    kind: Kind
    road: str
    incident: str
    """Its name, `INC-0001`; of a declared one its title."""
    text: str = ""
    """Of a note; it is like no other."""


@dataclass(slots=True)
class Book:
    """The promises so far; written by several threads."""

    promises: list[Promise] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _count: itertools.count[int] = field(default_factory=itertools.count)

    def note(self, promise: Promise) -> None:
        """One more."""
        with self._lock:
            self.promises.append(promise)

    def unique(self, word: str) -> str:
        """A text like no other."""
        return f"{word} {next(self._count):05}"


@dataclass(frozen=True, slots=True)
class Kept:
    """What became of the promises."""

    kills: int
    promises: int
    by_road: dict[str, int]
    lost: tuple[Promise, ...]
    chains_broken: int


class Office:
    """The people, and the roads they have."""

    def __init__(self, ground: Ground, tree: Tree, paged: Receivers, mode: Mode) -> None:
        self._ground, self._tree, self._paged, self._mode = ground, tree, paged, mode
        self.book = Book()
        self.hooks = ""
        self._clicked: set[str] = set()
        self._rang: set[str] = set()

    def desk(self) -> DeskPort:
        """The daemon's, asked anew.

        Raises:
            DeskError: it does not answer.
        """
        socket = self._ground.folder / "desk"
        if not socket.exists():
            raise DeskError("unavailable", "no socket")
        return connect(Place(store=self._ground.store, socket=socket), warn=_never, timeout_s=5.0)

    def declare(self) -> None:
        """An incident with a title like no other."""
        title = self.book.unique("declared")
        self.desk().declare(title=title, severity="SEV1", feature="chat")
        self.book.note(Promise("declared", "desk", title))

    def write(self) -> None:
        """A note on the newest incident."""
        desk, text = self.desk(), self.book.unique("note")
        ref = desk.incidents(limit=1)[0].id
        desk.note(ref, text=text)
        self.book.note(Promise("note", "desk", ref, text))

    def judge(self) -> None:
        """The oldest acknowledged incident gets its verdict."""
        desk = self.desk()
        ref = [i.id for i in desk.incidents(state="open") if i.acknowledged_at is not None][-1]
        desk.resolve(ref, verdict=VERDICT, reason="rehearsed")
        self.book.note(Promise("verdict", "desk", ref))

    def type(self) -> None:
        """A note by the command."""
        text = self.book.unique("typed")
        command = [sys.executable, "-m", "tui.cli", "--socket", str(self._ground.folder / "desk")]
        command += ["--store", self._ground.store, "inc", "note", "latest", text]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        if done.returncode == 0:
            self.book.note(Promise("note", "command", "", text))

    def click(self) -> None:
        """Somebody acknowledges in Slack."""
        for message in self._paged.slack.messages:
            fresh = not message.thread_ts and message.ts not in self._clicked
            if fresh and has_button(message, "acknowledge"):
                self._clicked.add(message.ts)
                made = press(message, "acknowledge", ANA)
                name = next(w for w in str(message.blocks).split() if "INC-" in w)
                if self._taken(made):
                    self.book.note(Promise("ack", f"slack {self._mode}", _name(name)))
                return

    def _taken(self, made: dict[str, Any]) -> bool:
        """Whether a click was answered."""
        if self._mode == "socket":
            return self._paged.slack.socket_mode().hand_out(made, attempts=2).acked.is_set()
        with suppress(HttpError):
            return post(f"{self.hooks}/slack", sign(made), timeout_s=5.0).status == 200
        return False

    def phone(self) -> None:
        """Somebody acknowledges in PagerDuty, and writes a note there."""
        for incident in self._paged.pagerduty.incidents:
            if incident.dedup_key in self._rang or incident.state == "resolved":
                continue
            self._rang.add(incident.dedup_key)
            name = _name(incident.summary)
            sender = PagerDutyPost(f"{self.hooks}/pagerduty")
            if 200 in sender.deliver(event("incident.acknowledged", incident, PD_ANA), attempts=2):
                self.book.note(Promise("ack", "pagerduty", name))
            text = self.book.unique("phoned")
            noted = event("incident.annotated", incident, PD_ANA, content=text)
            if 200 in sender.deliver(noted, attempts=2):
                self.book.note(Promise("note", "pagerduty", name, text))
            return


def _never(_: str) -> None:
    """Nobody need hear it."""


def _name(text: str) -> str:
    """The first incident's name in a text."""
    start = text.index("INC-")
    end = start + 4
    while end < len(text) and text[end].isdigit():
        end += 1
    return text[start:end]


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


def keep_promises(ground: Ground, *, kills: int, mode: Mode, seed: int) -> Kept:
    """Let people work and processes die, then look for every promise.

    Args:
        ground: a topic and an empty store.
        kills: SIGKILLs of the control process or of everything.
        mode: how clicks come from Slack.
        seed: of what is random.
    """
    rng = random.Random(seed)
    died = 0
    with (
        receivers(ground.folder) as paged,
        daemon(ground.folder / "daemon", settings(ground, paged, mode)) as tree,
    ):
        office = Office(ground, tree, paged, mode)
        while died < kills:
            died += _life(office, tree, rng)
        tree.env = {}
        tree.start()
        wait_until(lambda: tree.health("/healthz"), "the last start", 90.0)
        tree.end()
    lost, broken = _broken_promises(ground.store, office.book.promises)
    roads = Counter(f"{p.kind} by {p.road}" for p in office.book.promises)
    return Kept(died, len(office.book.promises), dict(sorted(roads.items())), lost, broken)


def _life(office: Office, tree: Tree, rng: random.Random) -> int:
    """Start it, kill its control process twice while people work, then everything; kills."""
    before = deaths(tree)
    at_point = rng.random() < 0.4
    tree.env = {"TOCSIN_FAULT": f"K10:{rng.randint(1, 8)}"} if at_point else {}
    tree.start()
    if _up(office, tree):
        with _working(office):
            for _ in range(2):
                _one_death(tree, rng, wait_for_point=at_point)
            time.sleep(rng.uniform(1.0, LIFE_S))
            os.killpg(tree.pid, signal.SIGKILL)
    tree.kill()
    return deaths(tree) - before + 1


def _one_death(tree: Tree, rng: random.Random, *, wait_for_point: bool) -> None:
    """Of the control process: at K10 where somebody answers in time, else at any moment."""
    before = deaths(tree)

    def died() -> bool:
        return deaths(tree) > before

    with suppress(Stuck):
        wait_until(died, "a death", LIFE_S if wait_for_point else rng.uniform(1.0, LIFE_S))
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


def _working(office: Office) -> ExitStack:
    """People at work until the block ends."""
    stop, stack = threading.Event(), ExitStack()
    work: tuple[tuple[Callable[[], None], float], ...] = (
        (office.declare, 0.2),
        (office.write, 0.1),
        (office.judge, 1.0),
        (office.type, 0.5),
        (office.click, 0.1),
        (office.phone, 0.1),
    )
    threads = [threading.Thread(target=_at_work, args=(do, pause, stop)) for do, pause in work]
    for thread in threads:
        thread.start()
        stack.callback(thread.join)
    stack.callback(stop.set)
    return stack


def _at_work(do: Callable[[], None], pause: float, stop: threading.Event) -> None:
    """Again and again; who gets no answer tries something else."""
    while not stop.wait(pause):
        with suppress(DeskError, IndexError, OSError, subprocess.TimeoutExpired):
            do()


def _broken_promises(store: str, promises: list[Promise]) -> tuple[tuple[Promise, ...], int]:
    """Those that are not in the store, and how many timelines are not whole."""
    opened = Store(store)
    try:
        with opened.read() as tx:
            incidents = {i.name: i for i in tx.incidents.search(limit=1_000_000)}
            chains = [tx.incidents.timeline(i.uuid) for i in incidents.values()]
    finally:
        opened.close()
    broken = sum(broken_at(chain) is not None for chain in chains)
    texts = "\n".join(item.entry.text for chain in chains for item in chain)
    titles = {i.title for i in incidents.values()}

    def kept(promise: Promise) -> bool:
        incident = incidents.get(promise.incident)
        match promise.kind:
            case "declared":
                return promise.incident in titles
            case "note":
                return promise.text in texts
            case "ack":
                return incident is not None and incident.acknowledged_at is not None
            case "verdict":
                return incident is not None and incident.verdict == VERDICT

    return tuple(p for p in promises if not kept(p)), broken
