"""Since when the store refuses the work of a loop: told by the process, read by the auditor.

What the auditor writes is small, and goes through where larger rows find no room, or no right.
Whether the store works is what those say that work on it. They say it in a file of the daemon's
private folder: not on the store's server, and nobody needs the store to read it.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import msgspec

logger = logging.getLogger(__name__)

QUIET_S = 20.0
"""A plight is over when nothing was refused for so long: who is refused may first prepare anew what
it tries, step by step, as decide does with its detectors."""


BUSY_S = 45.0
"""A store to which others write works; but not for a loop whose turn does not come for so long, and
then for the auditor's `storage_down`."""


class Plight(msgspec.Struct, frozen=True, kw_only=True):
    """A loop whose work the store refuses, again and again."""

    process: str
    loop: str
    since_s: float
    """The first time, on the monotonic clock of the machine, seconds."""
    last_s: float
    """The last time: one refusal alone has lasted for nothing."""
    problem: str
    """What the store said last."""
    usual_s: float = 0.0
    """Of what it said last: so long it is no trouble."""

    @property
    def lasted_s(self) -> float:
        """For how long it is trouble."""
        return self.last_s - self.since_s - self.usual_s


class Plights:
    """Those of one process; its loops tell of themselves from threads of their own."""

    def __init__(self, path: Path) -> None:
        """Begin anew: what a process of this name said before it ended is over."""
        self._path = path
        self._lock = threading.Lock()
        self._known: dict[str, Plight] = {}
        self._keep()

    def suffer(self, loop: str, problem: str, steady_s: float, usual_s: float = 0.0) -> None:
        """The store has refused it, now; which is no trouble for `usual_s`."""
        with self._lock:
            known = self._known.get(loop)
            since_s = steady_s if known is None else known.since_s
            self._known[loop] = Plight(
                process=self._path.name,
                loop=loop,
                since_s=since_s,
                last_s=steady_s,
                problem=problem,
                usual_s=usual_s,
            )
            self._keep()

    def recover(self, loop: str, steady_s: float) -> None:
        """A step of it came to its end, now."""
        with self._lock:
            known = self._known.get(loop)
            if known is not None and steady_s - known.last_s >= QUIET_S:
                del self._known[loop]
                self._keep()

    def _keep(self) -> None:
        fresh = self._path.with_name(f".{self._path.name}")
        try:
            fresh.write_bytes(msgspec.json.encode(list(self._known.values())))
            fresh.replace(self._path)
        except OSError as problem:
            logger.warning("the auditor does not hear what becomes of our work: %s", problem)
            if not self._known:
                with suppress(OSError):
                    self._path.unlink()


def longest(folder: Path) -> Plight | None:
    """Of all loops of the daemon, the plight that has lasted longest."""
    return max(_read(folder), key=lambda one: one.lasted_s, default=None)


def _read(folder: Path) -> Iterator[Plight]:
    for path in sorted(folder.glob("[!.]*")):
        try:
            yield from msgspec.json.decode(path.read_bytes(), type=list[Plight])
        except (OSError, msgspec.MsgspecError) as problem:
            logger.warning("%s cannot be read: %s", path, problem)
