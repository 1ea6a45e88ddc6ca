"""A new configuration for a daemon that runs: taken whole, between the steps of its loops, or not.

Everything that can go wrong is done before anything changes: read, check, compare with what only a
start can change, read every secret, load the runbooks, build the channels. Then the loops are held
at the end of a step, the revision is written, with who and when, and after its commit the new parts
are put in place by assignments that cannot fail. Whoever asked is told every problem with its
place; the old configuration stays. A kill on the way is settled by the next control process
(`monitor.processes.handover`): what is in force is what the last revision says.

What is under way keeps what it began with: an incident its escalation, a run its runbook, a page
that is being sent its channel. Nothing is sent again.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

import msgspec

from monitor.config.advice import secret_problems
from monitor.config.reloadable import takes
from monitor.config.revisions import changed_keys, in_words, keep
from monitor.config.secret import SecretUnavailableError
from monitor.config.settings import Configured, Settings, resolve
from monitor.config.shelf import Shelf
from monitor.decide import Decide
from monitor.deliver import Deliver
from monitor.desk.tls import CertificateUnusable, make_context
from monitor.faults import fault_point
from monitor.metrics import Metrics
from monitor.notify.channel import Channel
from monitor.notify.settings import ChannelSettings
from monitor.paging import Pager
from monitor.processes.handover import Handover
from monitor.processes.launch import UsageError
from monitor.runs import Runs
from monitor.store.store import Store, StoreUnavailable, Tx
from monitor.stream.signals import Plan
from monitor.views import ConfigProblem, ConfigReloaded, Health, Principal
from runbooks.document import Document
from runbooks.problems import Problem, Problems, Severity, summary, visible

logger = logging.getLogger(__name__)

HOLD_S = 4.0
"""For each loop to come to the end of its step; a watchdog ends one that is silent for 15 s."""

Read = Callable[[], tuple[Settings, Document]]
Build = Callable[[Sequence[ChannelSettings]], dict[str, Channel]]


@dataclass(frozen=True, slots=True)
class _New:
    """A configuration with what was made of it."""

    configured: Configured
    shelf: Shelf
    channels: Mapping[str, Channel]
    """By receiver."""


class Part(Protocol):
    """A loop that uses the configuration."""

    gate: threading.Lock
    """Held during a step."""

    def take(self, configured: Configured, channels: Mapping[str, Channel]) -> None:
        """Use these from the next step on; called with the gate held, and must not fail."""
        ...


class Rooms(Protocol):
    """What runs: `monitor.daemon.Control` and everything of its kind."""

    configured: Configured
    shelf: Shelf
    store: Store
    pager: Pager
    metrics: Metrics
    decide: Decide
    deliver: Deliver
    runs: Runs


class Refused(Exception):
    """The reload cannot be done now; the message says why."""


class Reload:
    """The one way of a running daemon to another configuration.

    Args:
        rooms: what runs; its `configured` and `shelf` are put in place too.
        read: reads the files and puts the flags of the start over them.
        build: channels for receivers.
        clock: tells the time.
        handover: to the processes that are started from now on.
    """

    def __init__(
        self,
        rooms: Rooms,
        *,
        read: Read,
        build: Build,
        clock: Callable[[], datetime],
        handover: Handover | None = None,
    ) -> None:
        self._rooms = rooms
        self._parts: tuple[Part, ...] = (rooms.decide, rooms.deliver, rooms.runs)
        self._read = read
        self._build = build
        self._clock = clock
        self._handover = handover or Handover(None)
        self._one = threading.Lock()
        self._state = Health(name="reload", state="ok", text="as at the start")
        self._well(clock())

    def health(self, _tx: Tx, _now: datetime) -> Health:
        """A line for the overview: what became of the last reload."""
        return self._state

    # -- asking -----------------------------------------------------------------------------------

    def asked_by(self, who: Principal) -> ConfigReloaded:
        """The same at once, for somebody at the desk."""
        return self.reload(who.name, who.via)

    def attend(self, signals: queue.SimpleQueue[str], stopping: threading.Event) -> None:
        """Reload whenever the name of a signal comes, until told to stop."""
        try:
            while not stopping.is_set():
                try:
                    who = signals.get(timeout=0.5)
                except queue.Empty:
                    continue
                self.reload(who, "signal")
        except BaseException:
            # Nobody would hear the next signal: the process ends, and another begins in its place.
            logger.exception("the reload thread died")
            stopping.set()
            raise

    def reload(self, who: str, via: str) -> ConfigReloaded:
        """Take the configuration as it is on disk now, whole or not at all; what came of it."""
        with self._one:
            try:
                new, keys = self._prepare()
            except Problems as found:
                return self._failed(found.problems, who)
            try:
                number = self._swap(new, keys, who, via)
            except (Refused, StoreUnavailable) as problem:
                return self._failed([_whole(str(problem))], who)
        text = f"configuration r{number} is in force: {in_words(keys)} changed"
        if not keys:
            text = "reloaded; nothing changed but what files of runbooks and certificates may hold"
        logger.info("%s (asked for by %s)", text, who)
        return ConfigReloaded(text=text, taken=True, number=number, changed=keys, problems=[])

    # -- before -----------------------------------------------------------------------------------

    def _prepare(self) -> tuple[_New, list[str]]:
        """The new parts, and the keys that differ.

        Raises:
            Problems: everything that speaks against it.
        """
        old = self._rooms.configured
        try:
            settings, document = self._read()
            configured = resolve(settings)
            keys = changed_keys(old.settings, settings)
            problems = [
                *_for_a_start(keys, old, configured, document),
                *_errors(secret_problems(settings, document, must=True)),
                *_certificate(settings, document),
            ]
            if problems:
                raise Problems(problems)
            shelf = Shelf(settings.runbooks.folders)
        except UsageError as error:
            raise Problems([_whole(str(error))]) from None
        except OSError as error:
            name = error.filename or "the configuration"
            raise Problems([_whole(f"cannot read {name}: {error.strerror or error}")]) from None
        return _New(configured, shelf, self._channels(configured, document)), keys

    def _channels(self, configured: Configured, document: Document) -> dict[str, Channel]:
        """One for each receiver; an unchanged receiver keeps its own, with what it has learnt."""
        before = {each.name: each for each in self._rooms.configured.receivers}
        running = self._rooms.deliver.channels
        kept: dict[str, Channel] = {}
        new: list[ChannelSettings] = []
        for receiver in configured.receivers:
            channel = running.get(receiver.name)
            same = channel is not None and before.get(receiver.name) == receiver
            if channel is not None and same and getattr(receiver, "ca_file", None) is None:
                kept[receiver.name] = channel
            else:
                new.append(receiver)
        try:
            made = self._build(new)
        except (UsageError, OSError, ValueError, SecretUnavailableError) as error:
            way = ("paging", "receivers")
            raise Problems([document.problem(way, "receiver", str(error))]) from None
        return {each.name: kept.get(each.name) or made[each.name] for each in configured.receivers}

    def _discard(self, new: _New) -> None:
        old = set(map(id, self._rooms.deliver.channels.values()))
        for channel in new.channels.values():
            if id(channel) not in old:
                channel.close()

    # -- the swap ---------------------------------------------------------------------------------

    def _swap(self, new: _New, keys: list[str], who: str, via: str) -> int:
        """Put the new parts in place; the number of the revision.

        Raises:
            Refused: a loop did not come to the end of its step.
            StoreUnavailable: the revision could not be written; nothing was put in place.
        """
        now = self._clock()
        with ExitStack() as undo:
            undo.callback(self._discard, new)
            with _held(self._parts):
                number = self._write_down(new.configured.settings, keys, who, via, now)
                undo.pop_all()
                fault_point("K14")
                left = self._hand_on(number)
                self._rooms.pager.policy = new.configured.policy
                for part in self._parts:
                    part.take(new.configured, new.channels)
                self._rooms.configured = new.configured
                self._rooms.shelf = new.shelf
        self._well(now)
        text = f"r{number} since {now:%Y-%m-%d %H:%M} UTC{left}"
        self._state = Health(name="reload", state="warn" if left else "ok", text=text)
        return number

    def _write_down(
        self, settings: Settings, keys: list[str], who: str, via: str, now: datetime
    ) -> int:
        """Commit the revision, with its settings staged; else all is as before."""
        with ExitStack() as undo:
            undo.callback(self._handover.drop)
            try:
                with self._rooms.store.write() as tx:
                    if keys:
                        number = keep(tx, settings, keys, who=who, via=via, now=now).id
                    else:
                        last = tx.revisions.latest()
                        number = last.id if last is not None else 0
                    self._handover.stage(settings, number)
            except OSError as problem:
                raise Refused(f"it cannot be handed on: {problem.strerror or problem}") from None
            undo.pop_all()
        return number

    def _hand_on(self, number: int) -> str:
        """Let processes that start from now on have it; what is wrong with that."""
        try:
            self._handover.adopt()
        except OSError as problem:
            why = problem.strerror or problem
            logger.error("r%d is not handed on to processes that start now: %s", number, why)  # noqa: TRY400 - the words say it
            return f", but not for processes that start now ({why}): restart the daemon"
        return ""

    # -- telling ----------------------------------------------------------------------------------

    def _well(self, now: datetime) -> None:
        self._rooms.metrics.config_reload_success.set(1)
        self._rooms.metrics.config_reload_timestamp.set(now.timestamp())

    def _failed(self, problems: Sequence[Problem], who: str) -> ConfigReloaded:
        self._rooms.metrics.config_reload_success.set(0)
        for problem in problems:
            logger.error("configuration: %s", str(problem).replace("\n", " "))
        text = f"not reloaded, the old configuration stays: {summary(problems)}"
        said = f"the files were refused at {self._clock():%Y-%m-%d %H:%M} UTC; tocsin config check"
        self._state = Health(name="reload", state="warn", text=said)
        logger.error("%s (asked for by %s)", text, visible(who))
        return ConfigReloaded(
            text=text, taken=False, number=0, changed=[], problems=[_shown(p) for p in problems]
        )


@contextmanager
def _held(parts: Sequence[Part]) -> Iterator[None]:
    """All loops between two steps."""
    with ExitStack() as gates:
        for part in parts:
            if not part.gate.acquire(timeout=HOLD_S):
                name = type(part).__name__.lower()
                raise Refused(f"the {name} loop is busy for over {HOLD_S:.0f} s; try again")
            gates.callback(part.gate.release)
        yield


def _for_a_start(
    keys: Sequence[str], old: Configured, new: Configured, document: Document
) -> list[Problem]:
    """What only a start can change, each with its place."""
    hint = "restart the daemon, or put it back; nothing of this reload was taken"
    found = [
        document.problem(tuple(key.split(".")), "restart", f"{key}: a start takes it", hint)
        for key in keys
        if not takes(key)
    ]
    if not found and _counted(old.plan) != _counted(new.plan):
        text = "the signals are others than at the start: a start takes them"
        found.append(document.problem(("signals_file",), "restart", text, hint))
    return found


def _certificate(settings: Settings, document: Document) -> list[Problem]:
    """What keeps the files of the TLS desk from being used."""
    if settings.desk.tls is None:
        return []
    try:
        make_context(settings.desk.tls)
    except CertificateUnusable as problem:
        return [document.problem(("desk", "tls", "certificate"), "certificate", str(problem))]
    return []


def _counted(plan: Plan) -> Plan:
    """The plan without tiers, which decide nothing about what is counted."""
    signals = tuple(msgspec.structs.replace(signal, tier="shadow") for signal in plan.signals)
    return msgspec.structs.replace(plan, signals=signals)


def _errors(problems: Iterable[Problem]) -> list[Problem]:
    return [problem for problem in problems if problem.severity is Severity.ERROR]


def _whole(text: str) -> Problem:
    return Problem("configuration", 0, 0, "reload", text)


def _shown(problem: Problem) -> ConfigProblem:
    return ConfigProblem(
        file=problem.file,
        line=problem.line,
        col=problem.col,
        severity=problem.severity.value,
        code=problem.code,
        text=problem.text,
        hint=problem.hint,
    )
