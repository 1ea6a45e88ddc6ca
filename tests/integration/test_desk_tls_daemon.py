"""A real daemon with `desk.tls`, all its processes: a token opens it, and it survives a death."""

from __future__ import annotations

import json
import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme

from monitor.desk.token_form import PATTERN
from monitor.views import DeskError
from tests.integration.process_stage import wait_for
from tests.integration.served_daemon import Served
from tests.servers.desk_stage import write_certificate
from tui.desks import Login
from tui.remote_desk import RemoteDesk


class Running(Served):
    """A daemon on SQLite; no broker answers it, so it only serves its desk."""

    def __init__(self, folder: Path) -> None:
        authority = trustme.CA()
        self.ca_file = folder / "ca.pem"
        authority.cert_pem.write_to_path(str(self.ca_file))
        certificate, key = write_certificate(authority.issue_cert("localhost"), folder)
        self.settings: dict[str, Any] = {
            "version": 1,
            "store": f"sqlite:///{folder}/x.db",
            "source": {"type": "kafka", "bootstrap": ["127.0.0.1:1"], "topic": "nobody"},
            "desk": {
                "tls": {
                    "listen": "127.0.0.1:0",
                    "certificate": str(certificate),
                    "key": str(key),
                    "hosts": ["localhost"],
                }
            },
        }
        super().__init__(folder, json.dumps(self.settings))

    def configure(self) -> None:
        self.file.write_text(json.dumps(self.settings))

    def ports(self) -> list[int]:
        """What the log says the desk is open on, once for each life of the control process."""
        found = re.findall(r"other machines on port (\d+)", self.log.read_text())
        return [int(port) for port in found]


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Running]:
    running = Running(tmp_path)
    try:
        wait_for(running.ports, "a daemon that is open to other machines")
        yield running
    finally:
        running.end()


def answers(desk: RemoteDesk) -> str:
    """The name the desk takes us for; empty while it does not answer."""
    try:
        return desk.whoami().name
    except DeskError:
        return ""


def children(pid: int) -> list[int]:
    """The processes that a process started."""
    listed = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return [int(word) for word in listed.split()]


def test_a_token_opens_a_daemon_from_another_machine(daemon: Running) -> None:
    """Made on the socket, used over TLS, on the same port after a death, with new names."""
    made = daemon.tocsin("token", "create", "ada")
    assert (made.returncode, bool(re.fullmatch(PATTERN, made.stdout.strip()))) == (0, True)
    url = f"https://localhost:{daemon.ports()[0]}"
    login = Login(name="x", url=url, token=made.stdout.strip(), ca_file=str(daemon.ca_file))
    desk = RemoteDesk(login)
    try:
        assert desk.whoami().name == "ada"
        declared = desk.declare(title="seen from afar", severity="SEV3")
        assert declared.daemon
        entry = desk.timeline(declared.incident or "")[0]
        assert (entry.actor, entry.via) == ("ada", "tls")
        assert [p.state for p in desk.overview().parts if p.name == "certificate"] == ["ok"]
        for child in children(daemon.process.pid):
            os.kill(child, signal.SIGKILL)
        wait_for(lambda: len(daemon.ports()) == 2, "the control process after its death")
        assert len(set(daemon.ports())) == 1
        wait_for(lambda: answers(desk) == "ada", "an answer after the death")

        daemon.settings["desk"]["tls"]["hosts"] = ["elsewhere"]
        daemon.configure()
        done = daemon.tocsin("config", "reload")
        assert done.returncode == 0, done.stdout + done.stderr
        with pytest.raises(DeskError, match="another name"):
            desk.whoami()
        audit = json.loads(daemon.tocsin("audit", "list", "--json").stdout)["data"]
        assert [line["outcome"] for line in audit] == ["host", "done"]
    finally:
        desk.hang_up()
    assert made.stdout.strip()[16:] not in daemon.log.read_text()
    assert daemon.end() == 0
