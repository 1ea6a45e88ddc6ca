"""A lock file that one daemon holds: a flock, with the pid of who took it written inside.

A process that inherits the descriptor holds the lock too, so that what the lock guards stays taken
until the last process of a daemon is gone.
"""

from __future__ import annotations

import fcntl
import logging
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

logger = logging.getLogger(__name__)

ORPHANS_S = 8.0
"""The children of a daemon that was killed have so long to leave before a start gives up."""
SURE_S = 0.2
"""Who only looks holds the lock for an instant; a daemon holds it for longer than this."""
TURN_S = 0.05


class Held(Exception):
    """Another daemon holds the lock.

    Attributes:
        pid: who took it, `unknown` where that cannot be read.
    """

    def __init__(self, pid: str) -> None:
        super().__init__(f"held by another daemon (pid {pid})")
        self.pid = pid


def holder(lock: Path) -> str | None:
    """The pid (or `unknown`) of who took a lock that is held; None for a free one or none.

    Raises:
        OSError: it may not be looked at.
    """
    try:
        descriptor = os.open(lock, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return _pid_in(descriptor)
    finally:
        os.close(descriptor)
    return None


@contextmanager
def hold(lock: Path, patience_s: float = 0.0) -> Iterator[int]:
    """Hold a lock, which is made; gives its descriptor. The file stays: removing it would race.

    Args:
        lock: the file; not through a link.
        patience_s: what is left of a daemon that was killed has so long to leave.

    Raises:
        Held: another daemon has it.
        OSError: it cannot be made or held.
    """
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
    descriptor = os.open(lock, flags, 0o600)
    try:
        other = outlast(partial(_take, descriptor), patience_s)
        if other is not None:
            raise Held(other)
        # On a full disk it is held all the same, by nobody knows whom.
        with suppress(OSError):
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, str(os.getpid()).encode(), 0)
        yield descriptor
    finally:
        os.close(descriptor)


def outlast(ask: Callable[[], str | None], patience_s: float) -> str | None:
    """Ask who has a thing until nobody does; the pid of who has it still, None for nobody.

    Args:
        ask: the pid of who has it, `unknown` where that cannot be told; None for nobody.
        patience_s: how long is waited for what a daemon has left whose supervisor is gone; nobody
            else is waited for.
    """
    began, said = time.monotonic(), False
    while (pid := ask()) is not None:
        orphans = patience_s > 0 and is_gone(pid)
        if time.monotonic() - began >= (patience_s if orphans else SURE_S):
            return pid
        if orphans and not said:
            said = True
            logger.warning("daemon %s was killed, its processes are leaving", pid)
        time.sleep(TURN_S)
    return None


def _take(descriptor: int) -> str | None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return _pid_in(descriptor)
    return None


def is_gone(pid: str) -> bool:
    """Whether no process of this pid runs any more; False where that is not known."""
    try:
        state = Path(f"/proc/{int(pid)}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return Path("/proc/self/stat").exists()
    except (OSError, ValueError, IndexError):
        return False
    # Nobody has asked yet how it ended.
    return state in {"Z", "X"}


def _pid_in(descriptor: int) -> str:
    return os.pread(descriptor, 32, 0).decode("ascii", "replace").strip() or "unknown"
