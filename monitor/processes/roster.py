"""Which processes a daemon has: written down by its supervisor, read by its control process."""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import msgspec

logger = logging.getLogger(__name__)

_PREFIX = "tocsin-run-"
_ALIVE = "alive"
ROOM = 4 * 1024 * 1024
"""Bytes that the files of a daemon may need."""
IN_MEMORY = Path("/dev/shm")  # noqa: S108 - a folder of ours, with a random name, is made in it
NOWHERE = Path("/nonexistent/tocsin-run")
""""In" a folder that by Debian's policy is never there, and that only root could make."""


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
    """The daemon's private folder; `descriptor` holds its lock, for whoever inherits it.

    None where there is no folder: nothing can be written at its path, and nothing is there.
    """

    path: Path
    descriptor: int | None

    @property
    def metrics(self) -> Path:
        """Where the processes keep their metrics."""
        return self.path / "metrics"

    @property
    def plights(self) -> Path:
        """Where the processes say what the store refuses them."""
        return self.path / "plights"

    @property
    def roster(self) -> Path:
        """The list of processes."""
        return self.path / "roster.json"


@contextmanager
def private_folder() -> Iterator[Folder]:
    """A temporary folder for one daemon; those of daemons that were killed are swept away.

    Where no disk has room for one the daemon works without: its path is one that nobody can make.
    """
    path, descriptor = NOWHERE, None
    for root in _roots():
        _sweep(root)
        if descriptor is None:
            path, descriptor = _made(root)
    if descriptor is None:
        logger.error(
            "no temporary folder has room, make some and start again: until then /metrics shows "
            "the control process only, and nothing can be reloaded"
        )
    try:
        yield Folder(path, descriptor)
    finally:
        if descriptor is not None:
            shutil.rmtree(path, ignore_errors=True)
            os.close(descriptor)


def _roots() -> list[Path]:
    """Folders that may have room, TMPDIR first; the last is in memory."""
    found = [Path(os.environ["TMPDIR"])] if os.environ.get("TMPDIR") else []
    with contextlib.suppress(FileNotFoundError):  # none has
        found.append(Path(tempfile.gettempdir()))
    return list(dict.fromkeys([*found, IN_MEMORY]))


def _made(root: Path) -> tuple[Path, int | None]:
    """A folder with room for our files, and its lock; no lock where it cannot be had."""
    descriptor = None
    try:
        path = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=root))
    except OSError as problem:
        logger.warning("no temporary folder in %s: %s", root, problem.strerror)
        return NOWHERE, None
    try:
        descriptor = os.open(path / _ALIVE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        os.posix_fallocate(descriptor, 0, ROOM)
        os.ftruncate(descriptor, 0)
        for name in ("metrics", "plights"):
            (path / name).mkdir()
    except OSError as problem:
        logger.warning("no room in %s: %s", root, problem.strerror)
        shutil.rmtree(path, ignore_errors=True)
        if descriptor is not None:
            os.close(descriptor)
        return NOWHERE, None
    return path, descriptor


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
    """The list; empty while there is none, or no room to write it."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=list[Member])
    except FileNotFoundError:
        return []
