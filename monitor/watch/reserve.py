"""Room held back on a disk, let go when the disk is full so that the store can write again.

SQLite can neither insert nor delete on a full disk; with a few MiB it can be worked, and a person
has time. On file systems that copy on write (btrfs, ZFS) a held file does not promise room for
another, and the reserve is worth less.
"""

from __future__ import annotations

import logging
import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

logger = logging.getLogger(__name__)

FIRST_PART = 1024 * 1024
"""A reserve that cannot be had whole is held as far as it goes, in steps of this."""


@dataclass(frozen=True, slots=True)
class Room:
    """A disk, as one folder on it sees it."""

    folder: Path
    free: int
    """Bytes that may be written there."""
    held: int
    """Bytes held back."""


class Reserve:
    """One file of `size` bytes, really allocated."""

    def __init__(self, path: Path, size: int) -> None:
        self.path = path
        self.size = size

    def free(self) -> int:
        """Bytes free beside the reserve.

        Raises:
            OSError: the folder is not there.
        """
        disk = os.statvfs(self.path.parent)
        return disk.f_bavail * disk.f_frsize

    def held(self) -> int:
        """Bytes that are allocated now."""
        try:
            return self.path.stat().st_blocks * 512
        except OSError:
            return 0

    def room(self) -> Room:
        """All of it.

        Raises:
            OSError: the folder is not there.
        """
        return Room(self.path.parent, self.free(), self.held())

    @property
    def exhausted(self) -> bool:
        """Less is free than the reserve has."""
        try:
            return self.free() < max(self.size, FIRST_PART)
        except OSError:
            return False

    @property
    def roomy(self) -> bool:
        """The reserve could be made again, and as much would be free still."""
        try:
            return self.free() > 2 * max(self.size, FIRST_PART) + self.size - self.held()
        except OSError:
            return False

    def hold(self) -> bool:
        """Make it, or make it whole; False where there is no room for it."""
        if not self.size or self.held() >= self.size:
            return True
        flags = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC
        try:
            file = os.open(self.path, flags, 0o600)
        except OSError as problem:
            logger.warning("no reserve at %s: %s", self.path, problem.strerror)
            return False
        try:
            os.posix_fallocate(file, 0, self.size)
            os.fsync(file)
        except OSError as problem:
            logger.warning("no reserve at %s: %s", self.path, problem.strerror)
            with suppress(OSError):
                self.path.unlink()
            return False
        finally:
            os.close(file)
        return True

    def release(self) -> int:
        """Let it go; the bytes that this gave back."""
        held = self.held()
        if not held:
            return 0
        try:
            self.path.unlink()
        except OSError as problem:
            logger.warning("the reserve %s stays: %s", self.path, problem.strerror)
            return 0
        logger.warning("the disk is full: the reserve of %d bytes is let go", held)
        return held
