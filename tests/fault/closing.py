"""People who resolve incidents while the daemon dies, so that what rings late could ring anew.

A trigger that comes after the resolve of its key opens a second incident in PagerDuty. So the
people go first for incidents whose trigger PagerDuty took and did not answer: their page is still
in the outbox, and is sent again. At the desk they take every third incident besides; who types the
command takes one at a time.
"""

from __future__ import annotations

import subprocess
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

from monitor.views import DeskError, IncidentRow
from tests.fault.ground import Ground, Receivers
from tests.fault.office import VERDICT, desk_of, typed
from tests.fault.oracle import TRIGGERED, of
from tests.servers.faults import reset_after_store

By = Literal["desk", "command"]
EVERY = 3
"""The desk's people take one of so many: the timers of the others have to ring."""
UNANSWERED = 5
"""Pages that PagerDuty takes without an answer, at the beginning of each life."""
LOOKED_AT = 200
"""Incidents on the screen."""
PAUSES_S: dict[By, float] = {"desk": 0.2, "command": 3.0}
AT_ONCE: dict[By, int] = {"desk": 5, "command": 1}


class Closers:
    """Two people; what they were told, by the incident's own id."""

    def __init__(self, ground: Ground, paged: Receivers) -> None:
        self._ground, self._paged = ground, paged
        self._lock = threading.Lock()
        self.problems: list[str] = []
        """Of the people themselves: then nothing was tried."""
        self.tried: set[str] = set()
        """Incidents that somebody tried to resolve: it may have come to pass, unconfirmed."""
        self.resolved: dict[str, float] = {}
        """When somebody was told that an incident is resolved: monotonic seconds."""
        self.by: Counter[By] = Counter()

    def no_answer(self) -> None:
        """PagerDuty takes the next pages and says nothing: they will come again."""
        self._paged.pagerduty.fail_next(reset_after_store, times=UNANSWERED)

    def close(self, by: By) -> None:
        """Resolve the most urgent of them.

        Raises:
            DeskError: the desk does not answer, or refuses.
            RuntimeError: the command was not understood.
        """
        for row in self._chosen(by):
            if not self._take(row.uuid):
                continue
            reason = f"closed by {by}"
            if by == "desk":
                desk_of(self._ground).resolve(row.id, verdict=VERDICT, reason=reason)
            elif not typed(
                self._ground, "resolve", row.id, "--verdict", VERDICT, "--reason", reason
            ):
                continue
            with self._lock:
                self.resolved[row.uuid] = time.monotonic()
                self.by[by] += 1

    def _chosen(self, by: By) -> list[IncidentRow]:
        """Never-events that nobody has tried yet; those without an answer first."""
        late = self._unanswered()
        rows = desk_of(self._ground).incidents(state="triage", limit=LOOKED_AT)
        mine = [
            row
            for row in rows
            if row.signal is not None and row.uuid not in self.tried
            if row.uuid in late or int(row.id.removeprefix("INC-")) % EVERY == 0
        ]
        return sorted(mine, key=lambda row: row.uuid not in late)[: AT_ONCE[by]]

    def _take(self, uuid: str) -> bool:
        """Whether nobody has tried it, who does now."""
        with self._lock:
            fresh = uuid not in self.tried
            self.tried.add(uuid)
        return fresh

    def _unanswered(self) -> set[str]:
        """Incidents whose trigger PagerDuty took without a word."""
        return {
            of(row["key"])
            for row in self._paged.pagerduty.journal.rows
            if row["fault"] and row["outcome"].startswith(TRIGGERED)
        }


@contextmanager
def closing(closers: Closers) -> Iterator[None]:
    """Both at work until the block ends.

    Raises:
        RuntimeError: one of them could not work at all.
    """
    stop = threading.Event()
    roads: tuple[By, ...] = ("desk", "command")
    threads = [
        threading.Thread(target=_at_work, args=(closers, road, stop), name=f"closer-{road}")
        for road in roads
    ]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    if closers.problems:
        raise RuntimeError(closers.problems[0])


def _at_work(closers: Closers, by: By, stop: threading.Event) -> None:
    """Again and again; who gets no answer looks anew."""
    while not stop.wait(PAUSES_S[by]):
        try:
            closers.close(by)
        except (DeskError, OSError, subprocess.TimeoutExpired):
            continue
        except RuntimeError as problem:
            closers.problems.append(str(problem))
            return
