"""Signals that come while `tocsin run` still starts: a stop ends it at once, a reload does not."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from tests.integration.process_stage import Tree, wait_for
from tests.integration.test_processes import settings
from tests.servers.missing import missing

SOON_S = 5.0
"""The look at the store takes eight seconds."""
NAMESPACE = ("unshare", "--pid", "--fork", "--kill-child", "--mount-proc")
SILENT = "the store is waited for, and people are told"


class Frozen:
    """A server that takes connections and says nothing, as a frozen database does."""

    def __init__(self) -> None:
        self.taken: list[socket.socket] = []
        self._server = socket.create_server(("127.0.0.1", 0), backlog=16)
        self.port: int = self._server.getsockname()[1]
        self._taking = threading.Thread(target=self._take)
        self._taking.start()

    def _take(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                self.taken.append(self._server.accept()[0])

    def close(self) -> None:
        """Hang up on all."""
        self._server.shutdown(socket.SHUT_RDWR)
        self._taking.join()
        for one in [*self.taken, self._server]:
            one.close()


@pytest.fixture
def frozen() -> Iterator[Frozen]:
    """The database."""
    made = Frozen()
    yield made
    made.close()


@pytest.fixture
def tree(tmp_path: Path, frozen: Frozen) -> Iterator[Tree]:
    """A daemon on it; not started."""
    key = tmp_path / "key"
    key.write_text("k" * 32)
    key.chmod(0o600)
    store = f"postgresql://x@127.0.0.1:{frozen.port}/t"
    given = settings(tmp_path, "127.0.0.1:1", "none", store=store)
    made = Tree(tmp_path / "a", {**given, "digest_key": {"file": str(key)}})
    yield made
    made.close()


def command(tree: Tree) -> list[str]:
    """What starts it, for a test that starts it in another way."""
    tree.folder.mkdir(exist_ok=True)
    config = tree.folder / "tocsin.yaml"
    config.write_text(json.dumps(tree.settings))
    return [sys.executable, "-m", "tui.cli", "run", "-c", str(config)]


def children(pid: int) -> list[int]:
    """Of one process."""
    return [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def caught(pid: int, number: int) -> bool:
    """Whether a process has a handler for a signal."""
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("SigCgt:"):
                return bool(int(line.split()[1], 16) >> (number - 1) & 1)
    return False


def started(words: Sequence[str], log: Path) -> subprocess.Popen[bytes]:
    """A process in a session of its own."""
    with log.open("wb") as out:
        return subprocess.Popen(words, stdout=out, stderr=out, start_new_session=True)


def test_a_stop_as_the_first_process_of_a_container_is_heard_at_once(
    tree: Tree, frozen: Frozen
) -> None:
    """PID 1 gets no signal that it has no handler for; it leaves with the status of a shell."""
    if subprocess.run([*NAMESPACE, "true"], capture_output=True, check=False).returncode != 0:
        missing("may not make a PID namespace: run as root, or allow user namespaces")
    words = command(tree)
    outer = started([*NAMESPACE, *words], tree.log)
    try:
        wait_for(lambda: children(outer.pid), "the daemon's process")
        (daemon,) = children(outer.pid)
        wait_for(lambda: frozen.taken, "it looks at the store")
        before = time.monotonic()
        os.kill(daemon, signal.SIGTERM)
        assert outer.wait(60) == 128 + signal.SIGTERM
        assert time.monotonic() - before < SOON_S
        assert "supervisor" not in tree.said()
    finally:
        outer.kill()
        outer.wait()


def test_a_stop_ends_a_start_as_a_signal_does(tree: Tree) -> None:
    """To who started it, it is a program that SIGTERM has ended; its spare process goes with it."""
    tree.start()
    wait_for(lambda: caught(tree.pid, signal.SIGTERM), "it hears")
    wait_for(tree.children, "its spare process")
    assert tree.end() == -signal.SIGTERM
    wait_for(lambda: not tree.children(), "its spare process has left")
    assert "supervisor" not in tree.said()


def test_a_reload_before_there_is_anybody_to_do_it_is_no_end(tree: Tree, frozen: Frozen) -> None:
    """SIGHUP while the start looks at its store, and while its children load: it goes on."""
    tree.start()
    wait_for(lambda: caught(tree.pid, signal.SIGHUP), "it hears")
    os.kill(tree.pid, signal.SIGHUP)
    wait_for(lambda: frozen.taken, "it looks at the store")
    os.kill(tree.pid, signal.SIGHUP)
    wait_for(lambda: SILENT in tree.said(), "the start finds nobody")
    os.kill(tree.pid, signal.SIGHUP)
    wait_for(lambda: "auditor" in tree.children(), "the children")
    wait_for(lambda: tree.health("/healthz") == "ok\n", "it answers")
    assert "was killed by SIGHUP" not in tree.said()
    assert tree.end() == 0
