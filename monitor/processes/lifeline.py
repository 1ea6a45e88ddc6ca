"""What ties a child to its supervisor: its errand, signs of life, and the end of both."""

from __future__ import annotations

import contextlib
import ctypes
import logging
import os
import signal
import socket
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from monitor.processes.errand import Errand
from monitor.watchdog import Watchdog

logger = logging.getLogger(__name__)

ORPHAN_S = 5.0
"""A child whose supervisor is gone has so long to leave in order."""
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

    def watchdog(self, say: Callable[[], str] = str) -> Watchdog:
        """Not started; its signs of life go to the supervisor, with what `say` adds."""
        stall_s = self.errand.settings.processes.stall.total_seconds()
        return Watchdog(stall_s, self.errand.stacks, beats(self.line, say))


def tie(errand: Errand, line: socket.socket, stopping: threading.Event) -> None:
    """Leave when told to, and when the supervisor is gone, however it went."""

    def stop(_number: int, _frame: object) -> None:
        stopping.set()

    def wait_for_the_end() -> None:
        with contextlib.suppress(ConnectionError):
            line.recv(1)
        logger.warning("the supervisor is gone: leaving")
        stopping.set()
        threading.Event().wait(ORPHAN_S)
        os._exit(1)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    threading.Thread(target=wait_for_the_end, name="lifeline", daemon=True).start()
    # The kernel's own word too: it comes although no thread of ours gets to run.
    with contextlib.suppress(OSError, AttributeError):
        prctl = ctypes.CDLL(None).prctl
        prctl(_PR_SET_PDEATHSIG, int(signal.SIGTERM), 0, 0, 0)
        prctl(_PR_SET_NAME, f"tocsin-{errand.name}"[:15].encode(), 0, 0, 0)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # a reload is asked of the control process
    if os.getppid() != errand.supervisor:
        stopping.set()


def beats(line: socket.socket, say: Callable[[], str]) -> Callable[[], None]:
    """Writes a sign of life to the supervisor, with what `say` adds."""

    def beat() -> None:
        # A supervisor that is stopped reads nothing, and one that is gone is the lifeline's matter.
        with contextlib.suppress(BlockingIOError, ConnectionError):
            line.send(f"beat {say()}\n".encode(), socket.MSG_DONTWAIT)

    return beat
