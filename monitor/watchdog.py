"""Notices a loop that no longer turns, says where every thread stands, and ends the process.

A thread that is stuck cannot be ended from outside; a process can, and nothing that must survive
lives in it. A loop says `tick` wherever it gets on; a wait that may last is announced with `allow`.
Both find the loop by the thread they are called on, and do nothing on any other thread, so that a
source or the store may call them without knowing who runs it.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from traceback import walk_stack
from typing import Protocol

from monitor.logs import flush_logs

logger = logging.getLogger(__name__)

STALLED = 70
"""The exit status of a process that ended itself (EX_SOFTWARE of sysexits.h)."""
LOOK_S = 1.0
LARGEST = 256 * 1024
"""Bytes from which on the file of stacks is put aside; one older one is kept."""
DEEPEST = 40
"""Frames that are told of one thread, the newest."""
WORDS_S = 3.0
"""The last words of a process have so long, for the disk and for who reads the log."""


class Beat:
    """The sign of life of one loop."""

    def __init__(self, name: str, stall_s: float) -> None:
        self.name = name
        self._stall_s = stall_s
        self.due = time.monotonic() + stall_s
        """Monotonic seconds until which it must have ticked."""

    def tick(self, allow_s: float = 0.0) -> None:
        """It gets on; the next sign may take `allow_s` longer than usual."""
        self.due = time.monotonic() + self._stall_s + allow_s


class _Here(threading.local):
    beat: Beat | None = None


_here = _Here()


def tick() -> None:
    """The loop on this thread gets on."""
    if _here.beat is not None:
        _here.beat.tick()


def allow(seconds: float) -> None:
    """The loop on this thread is about to wait, for so long at most; then it ticks again."""
    if _here.beat is not None:
        _here.beat.tick(seconds)


@contextmanager
def waiting(seconds: float) -> Iterator[None]:
    """The block may last so long; after it the loop on this thread has at least what it had."""
    beat = _here.beat
    if beat is None:
        yield
        return
    before = beat.due
    beat.tick(seconds)
    try:
        yield
    finally:
        beat.tick()
        beat.due = max(beat.due, before)


class Watch(Protocol):
    """Where a loop says that it runs."""

    def enter(self, name: str) -> None:
        """The loop `name` runs on this thread from now on."""
        ...

    def leave(self) -> None:
        """The loop of this thread has ended in order."""
        ...


class Unwatched:
    """Of a process that nobody starts again: a demo, a recording, a test."""

    def enter(self, name: str) -> None:
        """Nobody looks."""

    def leave(self) -> None:
        """Nobody has looked."""


class Watchdog:
    """Watches the loops of one process from a thread of its own."""

    def __init__(
        self, stall_s: float, stacks: Path, beat: Callable[[], None] = lambda: None
    ) -> None:
        """Args: `stacks` gets where the threads stood; `beat` is called at every quiet look."""
        self._stall_s = stall_s
        self._stacks = stacks
        self._beat = beat
        self._beats: list[Beat] = []
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def close(self) -> None:
        """Look no more."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()

    def enter(self, name: str) -> None:
        """The loop `name` runs on this thread from now on."""
        beat = Beat(name, self._stall_s)
        _here.beat = beat
        self._beats.append(beat)

    def leave(self) -> None:
        """The loop of this thread has ended in order."""
        if _here.beat is not None:
            self._beats.remove(_here.beat)
            _here.beat = None

    def _watch(self) -> None:
        looked = time.monotonic()
        self._beat()
        while not self._stopping.wait(min(LOOK_S, self._stall_s / 3)):
            now = time.monotonic()
            if now - looked > self._stall_s / 2:
                # We were not there ourselves (SIGSTOP, a machine asleep): the loops neither.
                for beat in list(self._beats):
                    beat.tick()
            looked = now
            stalled = [beat.name for beat in list(self._beats) if beat.due < now]
            if stalled:
                self._end(stalled)
            self._beat()

    def _end(self, stalled: list[str]) -> None:
        # A disk that hangs or a collector that reads nothing may keep the words, never the end.
        words = partial(self._last_words, ", ".join(stalled))
        saying = threading.Thread(target=words, name="last words", daemon=True)
        saying.start()
        saying.join(WORDS_S)
        os._exit(STALLED)

    def _last_words(self, names: str) -> None:
        stacks = where_threads_stand()
        write_stacks(self._stacks, f"stall of {names}", stacks)
        logger.critical(
            "no sign of life of %s for %.0f s: ending this process; where its threads stand is in "
            "%s",
            names,
            self._stall_s,
            self._stacks,
        )
        for one in stacks:
            logger.critical("%s", one)
        flush_logs()


def where_threads_stand() -> list[str]:
    """A text for each thread of this process: its name, and its frames, the newest last.

    No source file is read for it, and nothing waits for who reads it, which `faulthandler` does
    with the interpreter's lock in its hand.
    """
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    found = []
    for ident, frame in sys._current_frames().items():  # noqa: SLF001 - its documented name
        frames = list(walk_stack(frame))[:DEEPEST]
        lines = [
            f'  File "{at.f_code.co_filename}", line {line} in {at.f_code.co_name}'
            for at, line in reversed(frames)
        ]
        found.append("\n".join([f"thread {names.get(ident, ident)}:", *lines]))
    return found


def write_stacks(path: Path, why: str, stacks: Sequence[str]) -> None:
    """Append where the threads of this process stand; the file is bounded."""
    try:
        if path.exists() and path.stat().st_size > LARGEST:
            path.replace(path.with_name(path.name + ".1"))
        at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        with path.open("a") as file:
            file.write("\n".join([f"\n{at} pid {os.getpid()}: {why}", *stacks, ""]))
    except OSError as problem:
        logger.warning("where the threads stand was not written to %s: %s", path, problem)
