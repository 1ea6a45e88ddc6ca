"""What ties a child to its supervisor: its errand, signs of life, and the end of both."""

from __future__ import annotations

import contextlib
import ctypes
import logging
import os
import selectors
import signal
import socket
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from queue import SimpleQueue

from monitor.logs import count_dropped
from monitor.metrics import Metrics, Restarts
from monitor.processes.errand import Errand
from monitor.processes.plight import Plights
from monitor.watchdog import Watchdog

logger = logging.getLogger(__name__)

ORPHAN_S = 5.0
"""A child whose supervisor is gone has so long to leave in order."""
_PIPE_BYTES = 4096
_LEAVE = frozenset({signal.SIGTERM, signal.SIGINT})
_PR_SET_PDEATHSIG, _PR_SET_NAME = 1, 15


@dataclass(frozen=True, slots=True)
class Life:
    """One child's, from its errand to its end."""

    errand: Errand
    listeners: Mapping[str, socket.socket]
    """By what is served there."""
    line: socket.socket
    """To the supervisor."""
    stopping: threading.Event
    """Is set when it is time to leave."""
    reloads: SimpleQueue[str]
    """`SIGHUP`, each time that another configuration is to be read."""

    def watchdog(self, say: Callable[[], str] = str) -> Watchdog:
        """Not started; its signs of life go to the supervisor, with what `say` adds."""
        stall_s = self.errand.settings.processes.stall.total_seconds()
        return Watchdog(stall_s, self.errand.stacks, beats(self.line, say))

    def plights(self) -> Plights:
        """What the store refuses this process, for the auditor to read."""
        return Plights(self.errand.plights / self.errand.name)

    def metrics(self, restarts: Restarts | None = None) -> Metrics:
        """Of this process, lines of its log that are dropped among them."""
        metrics = Metrics(restarts)
        count_dropped(metrics.log_dropped.inc)
        return metrics


def tie(life: Life) -> None:
    """Leave when told to, and when the supervisor is gone, however it went; hear of reloads.

    The kernel may give a signal to any thread, and only the main thread runs handlers, when it
    gets to, on top of whatever it does: instead a thread of its own reads which have come.
    """
    come, waking = os.pipe()
    os.set_blocking(waking, False)
    signal.set_wakeup_fd(waking, warn_on_full_buffer=False)
    for number in (*_LEAVE, signal.SIGHUP):
        signal.signal(number, lambda *_: None)  # one without a handler is not written to the pipe
    hearing = partial(_hear, life, come)
    threading.Thread(target=hearing, name="lifeline", daemon=True).start()
    # The kernel's own word too: it comes although no thread of ours gets to run.
    with contextlib.suppress(OSError, AttributeError):
        prctl = ctypes.CDLL(None).prctl
        prctl(_PR_SET_PDEATHSIG, int(signal.SIGTERM), 0, 0, 0)
        prctl(_PR_SET_NAME, f"tocsin-{life.errand.name}"[:15].encode(), 0, 0, 0)
    if os.getppid() != life.errand.supervisor:
        life.stopping.set()


def _hear(life: Life, come: int) -> None:
    """Of signals, until the supervisor is gone."""
    with selectors.DefaultSelector() as selector:
        for source in (come, life.line):
            selector.register(source, selectors.EVENT_READ)
        while life.line not in (ready := [key.fileobj for key, _ in selector.select()]):
            numbers = os.read(come, _PIPE_BYTES) if ready else b""
            if _LEAVE.intersection(numbers):
                life.stopping.set()
            if signal.SIGHUP in numbers:
                life.reloads.put("SIGHUP")
    logger.warning("the supervisor is gone: leaving")
    life.stopping.set()
    threading.Event().wait(ORPHAN_S)
    os._exit(1)


def beats(line: socket.socket, say: Callable[[], str]) -> Callable[[], None]:
    """Writes a sign of life to the supervisor, with what `say` adds."""

    def beat() -> None:
        # A supervisor that is stopped reads nothing, and one that is gone is the lifeline's matter.
        with contextlib.suppress(BlockingIOError, ConnectionError):
            line.send(f"beat {say()}\n".encode(), socket.MSG_DONTWAIT)

    return beat
