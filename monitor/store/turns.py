"""Writers of one process, one after another, in the order in which they came.

SQLite has one writer and lets those who wait poll for it: a loop that writes without a pause
(decide after an outage) would starve the others until they give up, the delivery of pages too.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager


class NotOurTurn(Exception):
    """Others have held it for all of our patience."""


class Turns:
    """A fair lock."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._line: deque[threading.Event] = deque()

    @contextmanager
    def turn(self, patience_s: float) -> Iterator[None]:
        """Hold it; the next in line has it when the block ends.

        Raises:
            NotOurTurn: it was not our turn within `patience_s`.
        """
        ours = threading.Event()
        with self._lock:
            self._line.append(ours)
            self._line[0].set()
        try:
            if not ours.wait(patience_s):
                raise NotOurTurn(f"not our turn to write in {patience_s:g} s")
            yield
        finally:
            with self._lock:
                self._line.remove(ours)
                if self._line:
                    self._line[0].set()
