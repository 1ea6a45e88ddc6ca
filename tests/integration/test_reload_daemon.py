"""The daemon itself, all its processes: SIGHUP, `tocsin config reload`, and death in the swap."""

from __future__ import annotations

import getpass
import signal
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from monitor.views import ConfigRevision, DeskError
from tests.integration.process_stage import wait_for
from tests.integration.served_daemon import Served
from tui.desk_client import SocketDesk

TEXT = """version: 1
store: sqlite:///{folder}/x.db
source: {{type: kafka, bootstrap: ["127.0.0.1:1"], topic: nobody}}
paging:
  receivers: [{{type: log, name: day}}, {{type: log, name: night}}]
  route: {{receivers: [{route}]}}
"""
"""No broker answers there: reading waits, everything else works."""


def text(folder: Path, route: str) -> str:
    """The configuration that pages this receiver."""
    return TEXT.format(folder=folder, route=route)


class Running(Served):
    """A daemon with a configuration file."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, text(folder, "day"), TOCSIN_FAULT="K14:2")
        self.desk = SocketDesk(folder / "x.db.sock", timeout_s=10)

    def route(self, name: str) -> None:
        self.file.write_text(text(self.folder, name))

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


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Running]:
    """A daemon that dies in its second swap; always ended."""
    running = Running(tmp_path)
    try:
        wait_for(lambda: bool(running.history()), "a daemon that answers")
        yield running
    finally:
        running.end()


def test_a_daemon_takes_what_it_is_told(daemon: Running) -> None:
    """SIGHUP swaps; a kill right after the commit leaves the new one in force, stored once, under
    the name of who asked for it; a bad file leaves the old."""
    daemon.route("night")
    daemon.process.send_signal(signal.SIGHUP)
    wait_for(lambda: len(daemon.history()) == 2, "the revision that SIGHUP asked for")
    assert [row.who for row in daemon.history()] == ["start", "SIGHUP"]
    wait_for(lambda: daemon.routed() == ["night"], "the route after SIGHUP")

    daemon.route("day")
    with pytest.raises(DeskError):
        daemon.desk.reload_config()
    wait_for(lambda: daemon.routed() == ["day"], "the control process after its death in the swap")
    assert "fault point K14" in daemon.log.read_text()
    assert [row.note for row in daemon.history()][1:] == ["paging.route.receivers"] * 2
    assert [row.who for row in daemon.history()] == ["start", "SIGHUP", getpass.getuser()]
    assert "recovered: a reload died after r3" in daemon.log.read_text()

    daemon.route("nobody")
    done = daemon.desk.reload_config()
    assert (done.taken, [problem.code for problem in done.problems]) == (False, ["unknown"])
    assert daemon.routed() == ["day"]
    assert len(daemon.history()) == 3
