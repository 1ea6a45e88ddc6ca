"""A runbook with one command, its allow-list, and a process that works it.

python -m tests.integration.run_stage FOLDER
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from monitor.carrier import WORKERS
from monitor.config.settings import Configured, Settings, resolve
from monitor.config.settings import Runbooks as RunbookSettings
from monitor.config.shelf import Shelf
from monitor.desk.desk import Desk
from monitor.processes.posts import Guard, Post, Sole
from monitor.runs import Runs
from monitor.store.lease_rows import Fenced
from monitor.store.store import Store, Tx
from monitor.views import Principal
from runbooks.allow import AllowedCommand, AllowList
from runbooks.model import Effect

BOOK = """
apiVersion: runbook/v1
id: leave-a-mark
version: 1
title: Leave a mark
params:
  file: {type: string, default: "FILE"}
steps:
  - {id: mark, type: command, title: Mark, effect: reversible, argv: [mark, "${params.file}"],
     timeout: 20s}
"""
SCRIPT = '#!/bin/sh\necho once >> "$1"\n'


class Elsewhere:
    """The guard of a process that does not own the job."""

    held = False
    epoch = 0

    def holds(self, _tx: Tx, _epoch: int, _now: datetime) -> bool:
        """Never ours."""
        return False

    def guard(self, _tx: Tx) -> None:
        """Never ours."""
        raise Fenced("somebody else's")


@dataclass
class Bench:
    """One process's runs on a shared store."""

    store: Store
    configured: Configured
    runs: Runs
    mark: Path
    post: Guard
    clock: Callable[[], datetime]

    def desk(self) -> Desk:
        """A responder's desk in this process."""
        ada = Principal(name="ada", role="responder")
        shelf = Shelf(self.configured.settings.runbooks.folders)
        return Desk(self.store, self.configured, shelf, ada, self.clock, perform=self.runs.perform)

    def marks(self) -> int:
        """How often the step was carried out."""
        return len(self.mark.read_text().splitlines()) if self.mark.exists() else 0

    def state(self, ref: str) -> str:
        """Of the step."""
        run = self.desk().incident(ref).run
        assert run is not None
        return run.steps[0].state

    def started(self) -> str:
        """An incident whose run has its step confirmed."""
        desk = self.desk()
        ref = desk.declare(title="it burns", severity="SEV2").incident
        assert ref is not None
        desk.start_run(ref, runbook="leave-a-mark")
        desk.step(ref, number=1, action="run", confirm="y")
        return ref

    def said(self) -> list[str]:
        """Everything on the timelines."""
        with self.store.read() as tx:
            entries = [e for one in tx.incidents.open() for e in tx.incidents.timeline(one.uuid)]
        return [e.entry.text for e in entries]

    def told(self) -> list[str]:
        """What of it says that something was not carried out."""
        return [text for text in self.said() if "not carried out" in text]

    @contextmanager
    def busy(self) -> Iterator[None]:
        """All its workers are at something else meanwhile."""
        free = threading.Event()
        pool = self.runs._carrier._pool
        for _ in range(WORKERS):
            pool.submit(free.wait)
        try:
            yield
        finally:
            free.set()

    def close(self) -> None:
        """As a process that ends."""
        self.runs.close()
        self.store.close()


def now() -> datetime:
    """The wall's."""
    return datetime.now(UTC)


def bench(folder: Path, post: Guard | str, clock: Callable[[], datetime] = now) -> Bench:
    """A process on the store in `folder`, which is made where it is not there.

    Args:
        folder: with store, runbook and script.
        post: whether the runs are its own; a name holds or waits for their lease under it.
        clock: the process's.
    """
    books, script, mark = folder / "books", folder / "mark", folder / "marked"
    if not books.exists():
        books.mkdir()
        (books / "mark.yaml").write_text(BOOK.replace("FILE", str(mark)))
        script.write_text(SCRIPT)
        script.chmod(0o755)
    command = AllowedCommand(path=str(script), args=((),), max_effect=Effect.REVERSIBLE)
    allow = AllowList(commands=(command,))
    url = f"sqlite:///{folder / 'x.db'}"
    runbooks = RunbookSettings(folders=(books,), allow=allow)
    configured = resolve(msgspec.structs.replace(Settings(store=url), runbooks=runbooks))
    store = Store(url)
    guard = Post(store, "runs", post) if isinstance(post, str) else post
    runs = Runs(store, allow, clock, configured.plan, post=guard)
    return Bench(store, configured, runs, mark, guard, clock)


def main() -> None:
    """Declare an incident, start the runbook, run its step and wait until it is recorded."""
    made = bench(Path(sys.argv[1]), Sole())
    desk = made.desk()
    ref = desk.declare(title="it burns", severity="SEV2").incident
    assert ref is not None
    desk.start_run(ref, runbook="leave-a-mark")
    desk.step(ref, number=1, action="run", confirm="y")
    while made.state(ref) == "running":
        time.sleep(0.02)
    made.close()


if __name__ == "__main__":
    main()
