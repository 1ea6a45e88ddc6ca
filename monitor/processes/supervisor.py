"""The process that a daemon's other processes are children of: it starts them and sees to them.

It does nothing else, so that there is little in it that could fail. A child that ends is started
again: at once the first time, then after 1, 2, 4 ... 30 seconds. A child that gives no sign of life
is asked where its threads stand (SIGABRT), killed, and started again. A socket goes to each child:
its errand with the store's lock and the listening sockets goes down, signs of life come up, and its
end tells each side that the other is gone.
"""

from __future__ import annotations

import contextlib
import logging
import os
import selectors
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from monitor.metrics import forget
from monitor.processes.errand import Errand, send
from monitor.processes.handover import Handover
from monitor.processes.roster import Member, write_roster
from monitor.processes.spare import Spare, spawn

logger = logging.getLogger(__name__)

DRAIN_S = 10.0
"""From SIGTERM until a child that has not ended is killed."""
STARTING_S = 90.0
"""A child may need so long for its first sign of life."""
GRACE_S = 5.0
"""Over the stall, until a child that cannot see its own stall is taken for frozen."""
ALONE_S = 5.0
"""The control process has the machine to itself for so long at most, until it works."""
STACKS_S = 2.0
"""From SIGABRT to SIGKILL: for writing down where the threads stand."""
STEADY_S = 60.0
"""A child that lived for so long is started again at once."""
LONGEST_BACKOFF_S = 30.0
TURN_S = 0.25
NEVER = datetime(1970, 1, 1, tzinfo=UTC)
SILENT = 6
"""The status with which a child says that something it needs does not answer."""
REFUSED = frozenset({2, 3, SILENT})
"""Statuses with which a child says that it cannot even start, and has said why."""


def backoff_s(failures: int) -> float:
    """Seconds until a child is started again: 0, then 1, 2, 4 ... 30.

    Args:
        failures: how often it has ended in a row, from 1.
    """
    return 0.0 if failures <= 1 else float(min(2.0 ** min(failures - 2, 10), LONGEST_BACKOFF_S))


def in_words(status: int) -> str:
    """How a process ended, from its return code."""
    if status >= 0:
        return f"ended with status {status}"
    try:
        return f"was killed by {signal.Signals(-status).name}"
    except ValueError:
        return f"was killed by signal {-status}"


@dataclass(slots=True)
class Child:
    """One process, over all its lives."""

    name: str
    errand: Errand
    process: subprocess.Popen[bytes] | None = None
    line: socket.socket | None = None
    """Where its signs of life are read."""
    started: float = 0.0
    """Monotonic."""
    since: datetime = NEVER
    heard: float | None = None
    """When its last sign of life came; None before the first."""
    due: float = 0.0
    """When it is to be started, while it has no process."""
    failures: int = 0
    restarts: int = 0
    ended: str = ""
    killing: float | None = None
    """When SIGKILL follows the SIGABRT it was sent."""


@dataclass(frozen=True, slots=True)
class Staff:
    """Who is wanted."""

    errand: Errand
    """What all of them are told."""
    workers: int
    """Ingest processes at most; 0 where this machine does not read the stream."""
    at_once: int
    """How many of them are started before it is known how many partitions there are."""


@dataclass(slots=True)
class Supervisor:
    """Starts, watches and ends the children."""

    staff: Staff
    hold: tuple[int, ...]
    """Descriptors that each child keeps open: locks."""
    listeners: Mapping[str, int]
    """Listening sockets of the control process, by what is served there."""
    stall_s: float
    patient: bool = False
    """The store is a server's, or did not answer: `SILENT` is no reason to end."""
    storeless: bool = False
    """The store did not answer: the auditor is started at once, to say so."""
    clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    children: dict[str, Child] = field(default_factory=dict)
    spare: Spare | None = None
    """A process that was started beforehand, to become the first control process."""
    _selector: selectors.BaseSelector = field(default_factory=selectors.DefaultSelector)
    _began: float = field(default_factory=time.monotonic)
    _stopping: bool = False
    _reloading: bool = False
    _partitions: int = 0
    _status: int = 0
    _written: list[Member] = field(default_factory=list)
    _unwritten: bool = False
    """The roster could not be written, which was said."""

    def stop(self) -> None:
        """Drain and end; may be called from a signal handler."""
        self._stopping = True

    def reload(self) -> None:
        """Pass on that the configuration is to be read anew; may be called from a handler."""
        self._reloading = True

    def run(self) -> int:
        """Until told to stop; the exit status."""
        turned = time.monotonic()
        try:
            if not self._stopping:
                self._hire()
            while not self._stopping:
                self._listen(TURN_S)
                now = time.monotonic()
                if now - turned > GRACE_S:
                    # We were stopped ourselves: nobody could have been heard.
                    self._forgive(now)
                turned = now
                self._look(now)
                self._pass_on()
        finally:
            self._drain()
        return self._status

    # -- who is there ---------------------------------------------------------------------------

    def _hire(self) -> None:
        staff = self.staff
        wanted = {"control": replace(staff.errand, role="control", name="control")}
        up = self._control_is_up()
        if up or self.storeless:
            wanted["auditor"] = replace(staff.errand, role="auditor", name="auditor")
        if up:
            for number in range(min(staff.workers, self._partitions or staff.at_once)):
                name = f"ingest-{number}"
                wanted[name] = replace(staff.errand, role="ingest", name=name, number=number)
        for name, errand in wanted.items():
            if name not in self.children:
                self.children[name] = Child(name, errand)
                self._start(self.children[name])
        self._write_down()

    def _control_is_up(self) -> bool:
        """Whether the others may start: what was queued before a crash goes out before all else."""
        control = self.children.get("control")
        up = control is not None and control.heard is not None
        return up or time.monotonic() - self._began > ALONE_S

    def _start(self, child: Child) -> None:
        errand = replace(
            child.errand,
            settings=Handover(child.errand.adopted).in_force(child.errand.settings),
            supervisor=os.getpid(),
            listeners=tuple(self.listeners) if child.errand.role == "control" else (),
        )
        sockets = [self.listeners[name] for name in errand.listeners]
        spare, self.spare = self.spare, None
        try:
            if spare is None or child.name != "control":
                self.spare, spare = spare, spawn(child.name)
            child.process, child.line = spare.process, spare.line
            send(spare.line, errand, [*sockets, *self.hold])
        except OSError as problem:
            if child.process is not None:
                child.process.kill()
                child.process.wait()
                self._let_go(child)
            self._wait_for(child, f"could not be started: {problem.strerror or problem}")
            return
        child.heard, child.killing = None, None
        child.started, child.since = time.monotonic(), self.clock()
        self._selector.register(spare.line, selectors.EVENT_READ, child)

    # -- what they say --------------------------------------------------------------------------

    def _listen(self, seconds: float) -> None:
        for key, _ in self._selector.select(seconds):
            child: Child = key.data
            assert child.line is not None
            try:
                said = child.line.recv(65536)
            except BlockingIOError:
                continue
            except ConnectionError:
                said = b""
            if not said:
                # Its end is closed: it has ended, or is about to.
                self._selector.unregister(child.line)
                continue
            child.heard = time.monotonic()
            counts = [int(word) for word in said.split() if word.isdigit()]
            self._partitions = max([self._partitions, *counts])

    def _pass_on(self) -> None:
        """A reload; a control process that was not heard yet would die of the signal."""
        control = self.children["control"]
        if self._reloading and control.process is not None and control.heard is not None:
            self._reloading = False
            control.process.send_signal(signal.SIGHUP)

    def _forgive(self, now: float) -> None:
        for child in self.children.values():
            if child.heard is not None:
                child.heard = now

    def _look(self, now: float) -> None:
        for child in self.children.values():
            if child.process is None:
                if now >= child.due:
                    child.restarts += 1
                    self._start(child)
                continue
            status = child.process.poll()
            if status is not None:
                self._ended(child, status, now)
            else:
                self._look_alive(child, now)
        self._hire()

    def _look_alive(self, child: Child, now: float) -> None:
        assert child.process is not None
        if child.killing is not None:
            if now >= child.killing:
                child.process.kill()
            return
        silent = now - (child.started if child.heard is None else child.heard)
        limit = STARTING_S if child.heard is None else self.stall_s + GRACE_S
        if silent > limit:
            logger.error(
                "%s (pid %d) gave no sign of life for %.0f s: it is killed",
                child.name,
                child.process.pid,
                silent,
            )
            child.process.send_signal(signal.SIGABRT)
            child.killing = now + STACKS_S

    def _ended(self, child: Child, status: int, now: float) -> None:
        assert child.process is not None
        never_worked = child.heard is None and child.restarts == 0
        lived, pid = now - child.started, child.process.pid
        how = in_words(status)
        self._let_go(child)
        if never_worked and status in REFUSED and not (self.patient and status == SILENT):
            self._status = status
            self.stop()
            return
        child.failures = 1 if lived >= STEADY_S else child.failures + 1
        self._wait_for(child, f"{how} after {lived:.0f} s", pid)

    def _wait_for(self, child: Child, how: str, pid: int | None = None) -> None:
        if pid is None:
            child.failures += 1
        wait_s = backoff_s(child.failures)
        child.due, child.ended = time.monotonic() + wait_s, how
        when = f"in {wait_s:.0f} s" if wait_s else "at once"
        logger.error("%s (pid %s) %s: started again %s", child.name, pid or "none", how, when)

    def _let_go(self, child: Child) -> None:
        if child.line is not None:
            with contextlib.suppress(KeyError):
                self._selector.unregister(child.line)
            child.line.close()
        child.process, child.line = None, None
        forget(child.name, self.staff.errand.metrics)

    def _write_down(self) -> None:
        members = [
            Member(
                name=child.name,
                pid=None if child.process is None else child.process.pid,
                since=child.since,
                up=child.process is not None and child.heard is not None,
                restarts=child.restarts,
                ended=child.ended,
            )
            for child in self.children.values()
        ]
        if members == self._written:
            return
        try:
            write_roster(self.staff.errand.roster, members)
        except OSError as problem:
            # It only tells of us, each turn tries again; meanwhile nothing is told, not what was.
            with contextlib.suppress(OSError):
                self.staff.errand.roster.unlink()
            self._written = []
            if not self._unwritten:
                logger.warning("the list of processes is not written: %s", problem.strerror)
            self._unwritten = True
            return
        self._written, self._unwritten = members, False

    # -- the end --------------------------------------------------------------------------------

    def _drain(self) -> None:
        """Ask all to end, wait, and kill who has not."""
        living = [child for child in self.children.values() if child.process is not None]
        for child in living:
            assert child.process is not None
            child.process.terminate()
        deadline = time.monotonic() + DRAIN_S
        for child in living:
            assert child.process is not None
            try:
                status = child.process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                logger.warning(
                    "%s (pid %d) did not end within %.0f s: it is killed",
                    child.name,
                    child.process.pid,
                    DRAIN_S,
                )
                child.process.kill()
                child.process.wait()
            else:
                if status not in {0, -signal.SIGTERM}:
                    logger.warning(
                        "%s (pid %d) %s", child.name, child.process.pid, in_words(status)
                    )
            self._let_go(child)
        if self.spare is not None:
            self.spare.dismiss()
        self._selector.close()
