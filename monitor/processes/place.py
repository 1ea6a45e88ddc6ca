"""The name under which a daemon claims jobs and pages, so that its next start knows its own again.

On a server's store several daemons work, and a lease of a dead one runs on until it is out. A
daemon that was started again on the same machine need not wait for that: it holds a lock that its
predecessor, with all of its processes, must have let go of.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from monitor.config.options import state_dir

SLOTS = 16
"""Daemons of one machine on one store that are known again at their next start."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a daemon runs."""

    name: str
    """`HOST/ID`; the id is kept with the lock."""
    alone: bool
    """Nobody else works on this store: its lock is ours (SQLite)."""
    descriptor: int | None
    """Of the lock that no other daemon of this place can hold; None where there is none."""

    @property
    def key(self) -> str:
        """What tells the files of this daemon from those of others; empty where it is alone."""
        return "" if self.alone else self.name.rpartition("/")[2]

    def holder(self) -> str:
        """A name for one process, never used again."""
        return f"{self.name}/{os.getpid()}-{secrets.token_hex(3)}"

    def dead(self, holder: str) -> bool:
        """Whether the process of that name, which is not us, is known to be gone."""
        return self.alone or (self.descriptor is not None and holder.startswith(self.name + "/"))


@contextmanager
def place_of(store: str, lock: int | None, env: Mapping[str, str]) -> Iterator[Place]:
    """The place of this daemon.

    Args:
        store: the store's URL.
        lock: the descriptor of a SQLite store's lock; None for a server's store.
        env: tells the folder for what is kept.
    """
    host = socket.gethostname()
    if lock is not None:
        yield Place(f"{host}/{secrets.token_hex(4)}", alone=True, descriptor=lock)
        return
    found = _locked(store, env)
    if found is None:
        yield Place(f"{host}/{secrets.token_hex(4)}", alone=False, descriptor=None)
        return
    name, descriptor = found
    try:
        yield Place(f"{host}/{name}", alone=False, descriptor=descriptor)
    finally:
        os.close(descriptor)


def _locked(store: str, env: Mapping[str, str]) -> tuple[str, int] | None:
    """The id in the first lock file of this machine and store that nobody holds."""
    file = state_dir(env) / "places" / sha256(store.encode()).hexdigest()[:16]
    slots = [file, *(file.with_name(f"{file.name}.{number}") for number in range(2, SLOTS + 1))]
    return next((found for slot in slots if (found := _lock(slot)) is not None), None)


def _lock(file: Path) -> tuple[str, int] | None:
    with contextlib.suppress(OSError):
        file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            name = os.pread(descriptor, 8, 0).decode("ascii", "replace")
            if len(name) != 8 or not name.isalnum():
                name = secrets.token_hex(4)
                os.pwrite(descriptor, name.encode(), 0)
        except OSError:
            os.close(descriptor)
            return None
        return name, descriptor
    return None
