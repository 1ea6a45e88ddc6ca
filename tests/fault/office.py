"""People who work incidents while the daemon dies, and the promises that they are given.

There are four roads: the desk's socket, the `tocsin` command, Slack (signed HTTP or Socket Mode)
and PagerDuty. Each incident belongs to one of them by its number: nobody else acknowledges it, so
that one road's answer can never stand for another's that was lost.
"""

from __future__ import annotations

import itertools
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Literal

from monitor.desk.port import DeskPort
from monitor.http_client import HttpError
from monitor.views import DeskError
from tests.fault.ground import Ground, Receivers
from tests.integration.answering_stage import ANA, PD_ANA
from tests.servers.pagerduty_people import PagerDutyPost, event
from tests.servers.slack_people import has_button, post, press, sign
from tui.desk_client import Place, connect

Mode = Literal["http", "socket"]
Kind = Literal["ack", "note", "declare", "resolve"]
Road = Literal["desk", "command", "slack http", "slack socket", "pagerduty"]
LANES = ("desk", "command", "slack", "pagerduty")
"""Who acknowledges the incident with this number, modulo their count."""
VERDICT = "true_positive"
COMMAND_S = 60.0
NAME = re.compile(r"INC-(\d+)")
PAUSES_S = {
    "declare": 0.15, "note": 0.3, "ack": 0.3, "resolve": 0.6, "command": 0.1, "slack": 0.1,
    "pagerduty": 0.1,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Promise:
    """Something that somebody was told is done."""

    kind: Kind
    road: Road
    incident: str
    """Its name, `INC-0001`; empty where it is known by its text alone."""
    text: str = ""
    """The note, the title, or the reason of the verdict: each is like no other."""


@dataclass(slots=True)
class Book:
    """The promises so far; written by several threads."""

    promises: list[Promise] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    """Failures of the people themselves: then nothing was tried."""
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _count: itertools.count[int] = field(default_factory=itertools.count)

    def note(self, promise: Promise) -> None:
        """One more."""
        with self._lock:
            self.promises.append(promise)

    def unique(self, word: str) -> str:
        """A text like no other."""
        return f"{word} {next(self._count):05}"


def lane(name: str) -> str:
    """Whose the incident is."""
    return LANES[int(name.removeprefix("INC-")) % len(LANES)]


def desk_of(ground: Ground) -> DeskPort:
    """The daemon's desk, asked anew.

    Raises:
        DeskError: it does not answer.
    """
    socket = ground.folder / "desk"
    if not socket.exists():
        raise DeskError("unavailable", "no socket")
    return connect(Place(store=ground.store, socket=socket), warn=_never, timeout_s=5.0)


def typed(ground: Ground, *words: str) -> bool:
    """Whether `tocsin inc` with these words ended with 0.

    Raises:
        RuntimeError: these are no words of the command's.
        TimeoutExpired: it did not end.
    """
    command = [sys.executable, "-m", "tui.cli", "--socket", str(ground.folder / "desk")]
    command += ["--store", ground.store, "inc", *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=COMMAND_S, check=False)
    if done.returncode == 2:
        raise RuntimeError(f"tocsin inc {' '.join(words)}: {done.stderr.strip()[-300:]}")
    return done.returncode == 0


class Office:
    """The people, and the roads they have."""

    def __init__(self, ground: Ground, paged: Receivers, mode: Mode) -> None:
        self._ground, self._paged = ground, paged
        self._slack: Road = "slack http" if mode == "http" else "slack socket"
        self.book = Book()
        self.hooks = ""
        """Address of the ways in of the daemon's present life."""
        self._tried: set[str] = set()
        """Incidents, messages and keys that nobody asks for again."""
        self._typing: Iterator[Callable[[], None]] = itertools.cycle(
            (self._type_declare, self._type_note, self._type_ack, self._type_resolve)
        )

    # -- at the desk --------------------------------------------------------------------------

    def desk(self) -> DeskPort:
        """The daemon's, asked anew.

        Raises:
            DeskError: it does not answer.
        """
        return desk_of(self._ground)

    def declare(self) -> None:
        """An incident with a title like no other."""
        title = self.book.unique("declared")
        self.desk().declare(title=title, severity="SEV1", feature="chat")
        self.book.note(Promise("declare", "desk", "", title))

    def write(self) -> None:
        """A note on the newest incident."""
        desk, text = self.desk(), self.book.unique("note")
        ref = desk.incidents(limit=1)[0].id
        desk.note(ref, text=text)
        self.book.note(Promise("note", "desk", ref, text))

    def acknowledge(self) -> None:
        """One of the desk's own."""
        desk = self.desk()
        ref = self._unanswered(desk, "desk")
        desk.acknowledge(ref)
        self.book.note(Promise("ack", "desk", ref))

    def judge(self) -> None:
        """One that the desk or Slack acknowledged gets its verdict."""
        desk = self.desk()
        ref, reason = self._answered(desk, "desk", "slack"), self.book.unique("judged")
        desk.resolve(ref, verdict=VERDICT, reason=reason)
        self.book.note(Promise("resolve", "desk", ref, reason))

    def _unanswered(self, desk: DeskPort, whose: str) -> str:
        """The newest that nobody acknowledged and this road never tried.

        Raises:
            LookupError: there is none.
        """
        rows = desk.incidents(state="triage", limit=40)
        return self._first(f"ack {whose}", [row.id for row in rows if lane(row.id) == whose])

    def _answered(self, desk: DeskPort, *whose: str) -> str:
        """One of these that is acknowledged and that nobody tried to resolve.

        Raises:
            LookupError: there is none.
        """
        rows = desk.incidents(state="active", limit=40)
        return self._first("resolve", [row.id for row in rows if lane(row.id) in whose])

    def _first(self, what: str, names: list[str]) -> str:
        name = next((name for name in names if f"{what} {name}" not in self._tried), None)
        if name is None:
            raise LookupError(what)
        self._tried.add(f"{what} {name}")
        return name

    # -- at the command line ------------------------------------------------------------------

    def type(self) -> None:
        """One command, each in turn."""
        next(self._typing)()

    def _type_declare(self) -> None:
        title = self.book.unique("typed title")
        if self._typed("declare", "--sev", "sev1", "--title", title, "--feature", "chat"):
            self.book.note(Promise("declare", "command", "", title))

    def _type_note(self) -> None:
        text = self.book.unique("typed note")
        if self._typed("note", "latest", text):
            self.book.note(Promise("note", "command", "", text))

    def _type_ack(self) -> None:
        ref = self._unanswered(self.desk(), "command")
        if self._typed("ack", ref):
            self.book.note(Promise("ack", "command", ref))

    def _type_resolve(self) -> None:
        ref = self._answered(self.desk(), "command", "pagerduty")
        reason = self.book.unique("typed verdict")
        if self._typed("resolve", ref, "--verdict", VERDICT, "--reason", reason):
            self.book.note(Promise("resolve", "command", ref, reason))

    def _typed(self, *words: str) -> bool:
        return typed(self._ground, *words)

    # -- outside ------------------------------------------------------------------------------

    def click(self) -> None:
        """Somebody acknowledges in Slack, and presses again where nothing answered."""
        for message in self._paged.slack.messages:
            found = NAME.search(str(message.blocks))
            if message.thread_ts or message.ts in self._tried or found is None:
                continue
            if lane(found[0]) == "slack" and has_button(message, "acknowledge"):
                if self._taken(press(message, "acknowledge", ANA)):
                    self._tried.add(message.ts)
                    self.book.note(Promise("ack", self._slack, found[0]))
                return

    def _taken(self, made: dict[str, Any]) -> bool:
        """Whether a click was answered."""
        if self._slack == "slack socket":
            return self._paged.slack.socket_mode().hand_out(made, attempts=2).acked.is_set()
        with suppress(HttpError):
            return post(f"{self.hooks}/slack", sign(made), timeout_s=5.0).status == 200
        return False

    def phone(self) -> None:
        """Somebody acknowledges in PagerDuty, again until it is taken, and writes a note there.

        In this order: which incident a note there is about is known from the events before it.
        """
        for incident in self._paged.pagerduty.incidents:
            found = NAME.search(incident.summary)
            if incident.dedup_key in self._tried or incident.state == "resolved" or found is None:
                continue
            if lane(found[0]) != "pagerduty":
                continue
            name, sender = found[0], PagerDutyPost(f"{self.hooks}/pagerduty")
            answered = event("incident.acknowledged", incident, PD_ANA)
            if 200 not in sender.deliver(answered, attempts=2):
                return
            self._tried.add(incident.dedup_key)
            self.book.note(Promise("ack", "pagerduty", name))
            text = self.book.unique("phoned")
            noted = event("incident.annotated", incident, PD_ANA, content=text)
            if 200 in sender.deliver(noted, attempts=2):
                self.book.note(Promise("note", "pagerduty", name, text))
            return


def _never(_: str) -> None:
    """Nobody need hear it."""


@contextmanager
def working(office: Office) -> Iterator[None]:
    """People at work until the block ends.

    Raises:
        RuntimeError: one of them could not work at all.
    """
    work: dict[str, Callable[[], None]] = {
        "declare": office.declare,
        "note": office.write,
        "ack": office.acknowledge,
        "resolve": office.judge,
        "command": office.type,
        "slack": office.click,
        "pagerduty": office.phone,
    }
    stop = threading.Event()
    threads = [
        threading.Thread(target=_at_work, args=(do, PAUSES_S[name], stop, office.book), name=name)
        for name, do in work.items()
    ]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    if office.book.problems:
        raise RuntimeError(office.book.problems[0])


def _at_work(do: Callable[[], None], pause: float, stop: threading.Event, book: Book) -> None:
    """Again and again; who gets no answer tries something else."""
    while not stop.wait(pause):
        try:
            do()
        except (DeskError, LookupError, OSError, subprocess.TimeoutExpired):
            continue
        except RuntimeError as problem:
            book.problems.append(str(problem))
            return
