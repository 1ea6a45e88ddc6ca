"""`tocsin run` as a tree of processes that a test may kill, freeze and start again."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import psycopg
import sqlalchemy as sa

PATIENCE_S = 90.0
MEMBER = b"monitor.processes.member"
_HEALTH = re.compile(r"health at ([0-9.]+:[0-9]+)")


def wait_for(met: Callable[[], object], what: str, seconds: float = PATIENCE_S) -> float:
    """Until `met` is true; how many seconds it took."""
    started = time.monotonic()
    while not met():
        assert time.monotonic() - started < seconds, f"never: {what}"
        time.sleep(0.05)
    return time.monotonic() - started


@dataclass
class Tree:
    """One daemon: its supervisor and the children."""

    folder: Path
    settings: dict[str, Any]
    flags: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = None
    _cleanup: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)
    _runtime: str = ""

    @property
    def log(self) -> Path:
        return self.folder / "log"

    def said(self) -> str:
        """Its log, of all its lives."""
        return self.log.read_text() if self.log.exists() else ""

    def start(self) -> None:
        """In a session of its own, so that all of it can be killed at once."""
        if self.process is not None:
            self.process.wait(60)
        if not self._runtime:
            # A path under pytest's own folders has no room in the address of a socket.
            short = TemporaryDirectory(prefix="tocsin-", dir="/tmp")
            self._runtime = self._cleanup.enter_context(short)
        self.folder.mkdir(exist_ok=True)
        config = self.folder / "tocsin.yaml"
        config.write_text(json.dumps(self.settings))
        with self.log.open("ab") as log, (self.folder / "out").open("ab") as out:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tui.cli", "run", "-c", str(config), *self.flags],
                stdout=out,
                stderr=log,
                start_new_session=True,
                env={
                    **os.environ,
                    "XDG_STATE_HOME": str(self.folder / "state"),
                    "XDG_RUNTIME_DIR": self._runtime,
                    "TMPDIR": str(self.folder),
                    **self.env,
                },
            )

    @property
    def pid(self) -> int:
        """Of the supervisor."""
        assert self.process is not None
        return self.process.pid

    def children(self) -> dict[str, int]:
        """Pids of the living children of this supervisor, or of one that was killed, by name."""
        found = {}
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit():
                continue
            with contextlib.suppress(OSError):
                words = (entry / "cmdline").read_bytes().split(b"\0")
                state, session = _state(int(entry.name))
                if MEMBER in words and session == self.pid and state not in "ZX":
                    name = words[words.index(MEMBER) + 1].decode()
                    found[name] = int(entry.name)
        return found

    def kill_child(self, name: str, number: int = signal.SIGKILL) -> int:
        """Send a signal to a child; its pid."""
        pid = self.children()[name]
        os.kill(pid, number)
        return pid

    def wait_for_another(self, name: str, pid: int) -> None:
        """Until the child of this name is another process."""
        wait_for(lambda: self.children().get(name, pid) != pid, f"another {name}")

    def working(self, *names: str) -> bool:
        """Whether the supervisor lives and has these children."""
        assert self.process is not None
        assert self.process.poll() is None, self.said()[-3000:]
        return set(names) <= self.children().keys()

    def health(self, path: str) -> str:
        """What it serves for health, at its newest address; empty while nobody answers."""
        return self.answer(path)[1]

    def answer(self, path: str) -> tuple[int, str]:
        """The same with the status of HTTP; 0 while nobody answers."""
        found = _HEALTH.findall(self.said())
        if not found:
            return 0, ""
        try:
            with urllib.request.urlopen(f"http://{found[-1]}{path}", timeout=10) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as refused:
            with refused:
                return refused.code, refused.read().decode()
        except OSError:
            return 0, ""

    def kill(self) -> None:
        """SIGKILL to all of it."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        assert self.process is not None
        self.process.wait()
        # A helper of theirs that still dies holds the store's lock as well.
        wait_for(lambda: not _alive(self.pid), "all are dead")

    def end(self) -> int:
        """SIGTERM to the supervisor; its exit status."""
        assert self.process is not None
        self.process.terminate()
        return self.process.wait(60)

    def close(self) -> None:
        """Whatever the test has left."""
        if self.process is not None:
            self.kill()
        self._cleanup.close()


def _alive(session: int) -> list[int]:
    """Pids of all that live in a session."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                state, its = _state(int(entry.name))
                # A process whose first thread is dead keeps its files open for its other threads.
                threads = len(list((entry / "task").iterdir()))
                if its == session and (state not in "ZX" or threads > 1):
                    found.append(int(entry.name))
    return found


def _state(pid: int) -> tuple[str, int]:
    """The state's letter and the session of a process."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return fields[0], int(fields[3])


def rows(url: str, query: str) -> list[tuple[Any, ...]]:
    """What a query finds in a store; nothing while the schema is not there."""
    engine = sa.create_engine(url)
    try:
        with engine.connect() as connection:
            return [tuple(row) for row in connection.execute(sa.text(query))]
    except (sa.exc.OperationalError, sa.exc.ProgrammingError, psycopg.Error):
        return []
    finally:
        engine.dispose()
