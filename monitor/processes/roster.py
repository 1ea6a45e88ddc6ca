"""Which processes a daemon has: written down by its supervisor, read by its control process."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import msgspec

_PREFIX = "tocsin-run-"
_ALIVE = "alive"


class Member(msgspec.Struct, frozen=True, kw_only=True):
    """One process of the daemon."""

    name: str
    """`control`, `ingest-0`, `ingest-1` ..."""
    pid: int | None
    """None while it waits to be started again."""
    since: datetime
    """When this one was started."""
    up: bool = False
    """It has given a sign of life."""
    restarts: int = 0
    ended: str = ""
    """How the last one before it ended, in words; empty for none."""


@dataclass(frozen=True, slots=True)
class Folder:
    """The daemon's private folder; `descriptor` holds its lock, for whoever inherits it."""

    path: Path
    descriptor: int

    @property
    def metrics(self) -> Path:
        """Where the processes keep their metrics."""
        return self.path / "metrics"

    @property
    def roster(self) -> Path:
        """The list of processes."""
        return self.path / "roster.json"


@contextmanager
def private_folder() -> Iterator[Folder]:
    """A temporary folder for one daemon; those of daemons that were killed are swept away."""
    _sweep(Path(tempfile.gettempdir()))
    path = Path(tempfile.mkdtemp(prefix=_PREFIX))
    descriptor = os.open(path / _ALIVE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        (path / "metrics").mkdir()
        yield Folder(path, descriptor)
    finally:
        shutil.rmtree(path, ignore_errors=True)
        os.close(descriptor)


def _sweep(root: Path) -> None:
    for alive in root.glob(f"{_PREFIX}*/{_ALIVE}"):
        with contextlib.suppress(OSError):
            if alive.parent.stat().st_uid != os.getuid() or alive.parent.is_symlink():
                continue
            descriptor = os.open(alive, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(alive.parent, ignore_errors=True)
            finally:
                os.close(descriptor)


def write_roster(path: Path, members: list[Member]) -> None:
    """Replace the list, whole."""
    fresh = path.with_name(path.name + ".new")
    fresh.write_bytes(msgspec.json.encode(members))
    fresh.replace(path)


def read_roster(path: Path) -> list[Member]:
    """The list; empty while there is none."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=list[Member])
    except FileNotFoundError:
        return []
