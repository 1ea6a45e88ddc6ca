"""The daemon itself, all its processes: SIGHUP, `tocsin config reload`, and death in the swap."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest

from monitor.views import ConfigRevision, DeskError
from tui.desk_client import SocketDesk

PATIENCE_S = 90.0
ROOT = Path(__file__).parents[2]
TEXT = """version: 1
store: sqlite:///{folder}/x.db
source: {{type: kafka, bootstrap: ["127.0.0.1:1"], topic: nobody}}
paging:
  receivers: [{{type: log, name: day}}, {{type: log, name: night}}]
  route: {{receivers: [{route}]}}
"""
"""No broker answers there: reading waits, everything else works."""


def until(true: Callable[[], bool], what: str) -> None:
    """Wait for something that the daemon does."""
    deadline = time.monotonic() + PATIENCE_S
    while not true():
        assert time.monotonic() < deadline, f"never: {what}"
        time.sleep(0.1)


class Running:
    """A daemon with a configuration file."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.file = folder / "tocsin.yaml"
        self.route("day")
        environment = {**os.environ, "TOCSIN_FAULT": "K14:2", "PYTHONPATH": str(ROOT)}
        self.log = (folder / "log").open("wb")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tui.cli", "run", "-c", str(self.file)],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=self.log,
            stderr=subprocess.STDOUT,
        )
        self.desk = SocketDesk(folder / "x.db.sock", timeout_s=10)

    def route(self, name: str) -> None:
        self.file.write_text(TEXT.format(folder=self.folder, route=name))

    def history(self) -> list[ConfigRevision]:
        """What was in force, oldest first; nothing while no daemon answers."""
        try:
            return self.desk.config_history()[::-1]
        except DeskError:
            return []

    def routed(self) -> list[str]:
        """The receivers of the route in force; none while no daemon answers."""
        try:
            body = msgspec.json.decode(self.desk.config_revision().body)
        except DeskError:
            return []
        return list(body["paging"]["route"]["receivers"])

    def end(self) -> int:
        self.process.terminate()
        try:
            return self.process.wait(60)
        finally:
            self.process.kill()
            self.process.wait()
            self.log.close()


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Running]:
    """A daemon that dies in its second swap; always ended."""
    running = Running(tmp_path)
    try:
        until(lambda: bool(running.history()), "a daemon that answers")
        yield running
    finally:
        running.end()


def test_a_daemon_takes_what_it_is_told(daemon: Running) -> None:
    """SIGHUP swaps; a kill within a swap leaves the new one, stored once; a bad file the old."""
    daemon.route("night")
    daemon.process.send_signal(signal.SIGHUP)
    until(lambda: len(daemon.history()) == 2, "the revision that SIGHUP asked for")
    assert [row.who for row in daemon.history()] == ["start", "SIGHUP"]
    until(lambda: daemon.routed() == ["night"], "the route after SIGHUP")

    daemon.route("day")
    with pytest.raises(DeskError):
        daemon.desk.reload_config()
    until(lambda: daemon.routed() == ["day"], "the control process after its death in the swap")
    assert [row.note for row in daemon.history()][1:] == ["paging.route.receivers"] * 2

    daemon.route("nobody")
    done = daemon.desk.reload_config()
    assert (done.taken, [problem.code for problem in done.problems]) == (False, ["unknown"])
    assert daemon.routed() == ["day"]
    assert len(daemon.history()) == 3
