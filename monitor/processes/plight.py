"""Since when the store refuses the work of a loop: told by the process, read by the auditor.

What the auditor writes is small, and goes through where larger rows find no room, or no right.
Whether the store works is what those say that work on it. They say it in a file of the daemon's
private folder: not on the store's server, and nobody needs the store to read it.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from pathlib import Path

import msgspec

logger = logging.getLogger(__name__)


class Plight(msgspec.Struct, frozen=True, kw_only=True):
    """A loop whose work the store has refused, again and again."""

    process: str
    loop: str
    since_s: float
    """The first time, on the monotonic clock of the machine, seconds."""
    problem: str
    """What the store said last."""


class Plights:
    """Those of one process; its loops tell of themselves from threads of their own."""

    def __init__(self, path: Path) -> None:
        """Begin anew: what a process of this name said before it ended is over."""
        self._path = path
        self._lock = threading.Lock()
        self._known: dict[str, Plight] = {}
        self._keep()

    def suffer(self, loop: str, problem: str, steady_s: float) -> None:
        """The store has refused it, now."""
        with self._lock:
            known = self._known.get(loop)
            since_s = steady_s if known is None else known.since_s
            self._known[loop] = Plight(
                process=self._path.name, loop=loop, since_s=since_s, problem=problem
            )
            if self._known[loop] != known:
                self._keep()

    def recover(self, loop: str) -> None:
        """A step of it came to its end."""
        if loop in self._known:
            with self._lock:
                del self._known[loop]
                self._keep()

    def _keep(self) -> None:
        fresh = self._path.with_name(f".{self._path.name}")
        try:
            fresh.write_bytes(msgspec.json.encode(list(self._known.values())))
            fresh.replace(self._path)
        except OSError as problem:
            logger.warning("the auditor does not hear what becomes of our work: %s", problem)


def longest(folder: Path) -> Plight | None:
    """Of all loops of the daemon, the plight that has lasted longest."""
    return min(_read(folder), key=lambda one: one.since_s, default=None)


def _read(folder: Path) -> Iterator[Plight]:
    for path in sorted(folder.glob("[!.]*")):
        try:
            yield from msgspec.json.decode(path.read_bytes(), type=list[Plight])
        except (OSError, msgspec.MsgspecError) as problem:
            logger.warning("%s cannot be read: %s", path, problem)
