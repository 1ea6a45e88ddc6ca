"""How a child is told to leave: by a signal to any of its threads, or by its supervisor's end."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

LATE_S = 20.0
CHILD = """
import signal, socket, sys, threading
from pathlib import Path
from queue import SimpleQueue
from monitor.config.options import RunOptions
from monitor.config.settings import Settings
from monitor.processes.errand import Errand
from monitor.processes.lifeline import Life, tie
from monitor.processes.place import Place

descriptor, supervisor, receiver, name = sys.argv[1:]
none = Path("none")
errand = Errand(
    role="control", settings=Settings(), options=RunOptions(), place=Place("h/1", True, None),
    stacks=none, roster=none, metrics=none, plights=none, adopted=none, desk=none, name="tried",
    supervisor=int(supervisor),
)
line = socket.socket(fileno=int(descriptor))
life = Life(errand, {}, line, threading.Event(), SimpleQueue())
tie(life)
worker = threading.Thread(target=threading.Event().wait, daemon=True)
worker.start()
threads = {"main": threading.main_thread(), "worker": worker}
signal.pthread_kill(threads[receiver].ident, getattr(signal, name))
print("reload for", life.reloads.get() if name == "SIGHUP" else "nobody", flush=True)
life.stopping.wait()
print("leaves")
"""


@contextmanager
def child(supervisor: int, receiver: str, name: str) -> Iterator[tuple[str, socket.socket]]:
    """One that sends itself a signal and waits to be told to leave: what it said, and its line."""
    ours, its = socket.socketpair()
    words = [str(its.fileno()), str(supervisor), receiver, name]
    with ours, its:
        process = subprocess.Popen(
            [sys.executable, "-c", CHILD, *words],
            env={**os.environ, "PYTHONPATH": ":".join(sys.path)},
            pass_fds=[its.fileno()],
            stdout=subprocess.PIPE,
            text=True,
        )
        its.close()
        try:
            assert process.stdout is not None
            yield process.stdout.readline(), ours
            assert process.wait(LATE_S) == 0
            assert process.stdout.read() == "leaves\n"
        finally:
            process.kill()
            process.communicate()


@pytest.mark.parametrize("receiver", ["main", "worker"])
@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT"])
def test_a_signal_to_any_thread_ends_a_wait_without_end(receiver: str, name: str) -> None:
    """The main thread need not run a handler for it: it waits on the very event that is set."""
    with child(os.getpid(), receiver, name) as (said, _line):
        assert said == "reload for nobody\n"


def test_a_reload_waits_for_who_carries_it_out(capfd: pytest.CaptureFixture[str]) -> None:
    """A SIGHUP ends nobody and is kept; the supervisor's end does end it."""
    with child(os.getpid(), "worker", "SIGHUP") as (said, line):
        assert said == "reload for SIGHUP\n"
        line.close()
    assert "the supervisor is gone" in capfd.readouterr().err


def test_a_supervisor_that_was_gone_before_is_noticed() -> None:
    """Who has another parent than it was told leaves at once."""
    with child(1, "worker", "SIGHUP") as (said, _line):
        assert said == "reload for SIGHUP\n"
