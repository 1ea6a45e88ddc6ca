"""What sends came to, written by whoever comes first for all that wait.

The sender of each receiver waits until its outcome is on disk before it sends the next page. While
one transaction is under way, or waits for its turn, the others' outcomes gather, and the next
transaction writes all of them: one fsync for several receivers, with no page less sure.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from monitor.notify.channel import Outcome
from monitor.store.outbox import Queued


@dataclass(frozen=True, slots=True)
class Done:
    """One attempt and what it came to."""

    page: Queued
    outcome: Outcome
    seconds: float


@dataclass(slots=True, eq=False)
class _Waiting:
    done: Done
    written: bool = False
    problem: BaseException | None = None


class Outcomes:
    """Safe to use from several threads."""

    def __init__(self, write: Callable[[Sequence[Done]], None]) -> None:
        """Args: `write` writes several in one transaction; what it raises all of them get."""
        self._write = write
        self._lock = threading.Lock()
        self._leading = threading.Lock()
        self._line: list[_Waiting] = []

    def keep(self, done: Done) -> None:
        """Return when it is written; raises what the writing raised."""
        ours = _Waiting(done)
        with self._lock:
            self._line.append(ours)
        with self._leading:
            if not ours.written and ours.problem is None:
                self._write_line()
        if ours.problem is not None:
            raise ours.problem

    def _write_line(self) -> None:
        with self._lock:
            batch, self._line = self._line, []
        try:
            self._write([each.done for each in batch])
        except BaseException as problem:  # noqa: BLE001 - each waiting sender raises it itself
            for each in batch:
                each.problem = problem
        else:
            for each in batch:
                each.written = True
