"""A real Alertmanager for the tests, on free loopback ports, alone or in a cluster."""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tests.servers.lifetime import Lifetime
from tests.servers.missing import missing

LISTENING = re.compile(r'msg="Listening on" address=127\.0\.0\.1:([1-9]\d*)')
# When our end of its pipe closes, the test run is dead: end the server and remove its folder.
WATCHER = 'cat >/dev/null; kill -KILL "$0" 2>/dev/null; rm -rf "$1"'
NOBODY = "{route: {receiver: nobody}, receivers: [{name: nobody}]}"
"""A configuration that notifies nobody."""


class AlertmanagerUnavailable(Exception):
    """Alertmanager is not installed; the message says how to get it."""


def program() -> str:
    """The path of Alertmanager.

    Raises:
        AlertmanagerUnavailable: it is not installed.
    """
    found = shutil.which("prometheus-alertmanager") or shutil.which("alertmanager")
    if found is None:
        raise AlertmanagerUnavailable(
            "not installed; on Debian, as root: apt-get install prometheus-alertmanager"
        )
    return found


def to_hook(url: str, *, token: str = "", matchers: str = "") -> str:
    """A configuration that sends everything, or what `matchers` take, to a web hook at once."""
    receiver: dict[str, Any] = {"url": url, "send_resolved": True}
    if token:
        receiver["http_config"] = {"authorization": {"type": "Bearer", "credentials": token}}
    quick = {"group_wait": "0s", "group_interval": "1s", "repeat_interval": "1h"}
    route: dict[str, Any] = {"receiver": "hook", "group_by": ["alertname"], **quick}
    if matchers:
        route = {**route, "receiver": "nobody", "routes": [{"receiver": "hook"}]}
        route["routes"][0]["matchers"] = [matchers]
    receivers = [{"name": "hook", "webhook_configs": [receiver]}, {"name": "nobody"}]
    return json.dumps({"route": route, "receivers": receivers})


class AlertmanagerServer(Lifetime):
    """One Alertmanager; `url` is its address, the same after a restart."""

    def __init__(
        self, configuration: str = NOBODY, *, peers: tuple[str, ...] | None = None
    ) -> None:
        """Args: `peers`: cluster addresses to join; None for no cluster at all."""
        self._binary = program()
        self._folder = Path(tempfile.mkdtemp(prefix="tocsin-alertmanager-"))
        (self._folder / "alertmanager.yml").write_text(configuration)
        self._peers = peers
        self._server: subprocess.Popen[bytes] | None = None
        self._watcher: subprocess.Popen[bytes] | None = None
        self._port = 0
        self.url = ""

    def start(self, timeout_s: float = 60.0) -> None:
        """Start it and wait until it is ready.

        Raises:
            RuntimeError: it did not come up; the message ends with its log.
        """
        deadline = time.monotonic() + timeout_s
        tail = ""
        while time.monotonic() < deadline:
            self._spawn()
            assert self._server is not None
            while time.monotonic() < deadline and self._server.poll() is None:
                if self._ready():
                    return
                time.sleep(0.05)
            tail = self._log.read_text(errors="replace")[-3000:]
            self.kill()
            if "address already in use" not in tail:
                break
            time.sleep(0.5)  # somebody's connection has our port for a moment
        self.close()
        raise RuntimeError(f"Alertmanager did not come up:\n{tail}")

    def _spawn(self) -> None:
        self._log.write_bytes(b"")
        cluster = ["--cluster.listen-address="]
        if self._peers is not None:
            cluster = ["--cluster.listen-address=127.0.0.1:0", "--cluster.settle-timeout=1s"]
            cluster += [f"--cluster.peer={peer}" for peer in self._peers]
        command = [
            self._binary,
            f"--config.file={self._folder / 'alertmanager.yml'}",
            f"--storage.path={self._folder / 'data'}",
            f"--web.listen-address=127.0.0.1:{self._port}",
            *cluster,
        ]
        with self._log.open("ab") as log:
            self._server = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        self._watcher = subprocess.Popen(
            ["sh", "-c", WATCHER, str(self._server.pid), str(self._folder)],
            stdin=subprocess.PIPE,
            start_new_session=True,
        )

    def kill(self, *, forget: bool = False) -> None:
        """End it at once (`kill -9`); with `forget` its data is gone too."""
        assert self._server is not None
        self._server.kill()
        self._server.communicate()
        self._server = None
        self._unwatch()
        if forget:
            shutil.rmtree(self._folder / "data", ignore_errors=True)

    def alerts(self) -> list[dict[str, Any]]:
        """What fires, as its API lists it."""
        with urllib.request.urlopen(f"{self.url}/api/v2/alerts", timeout=20) as answer:
            return list(json.load(answer))

    def post(self, *alerts: dict[str, Any]) -> None:
        """Send alerts as Prometheus does."""
        request = urllib.request.Request(
            f"{self.url}/api/v2/alerts",
            json.dumps(alerts).encode(),
            {"content-type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=20):
            pass

    def cluster_address(self) -> str:
        """Where other peers join it."""
        with urllib.request.urlopen(f"{self.url}/api/v2/status", timeout=20) as answer:
            status = json.load(answer)["cluster"]
        own = next(peer for peer in status["peers"] if peer["name"] == status["name"])
        return str(own["address"])

    def close(self) -> None:
        """End it and remove its folder."""
        if self._server is not None:
            self.kill()
        self._unwatch()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _unwatch(self) -> None:
        if self._watcher is not None:
            self._watcher.kill()
            self._watcher.communicate()
            self._watcher = None

    @property
    def _log(self) -> Path:
        return self._folder / "alertmanager.log"

    def _ready(self) -> bool:
        found = LISTENING.search(self._log.read_text(errors="replace"))
        if found is None:
            return False
        self._port = int(found[1])
        self.url = f"http://127.0.0.1:{self._port}"
        with contextlib.suppress(OSError), urllib.request.urlopen(f"{self.url}/-/ready", timeout=5):
            return True
        return False


def alertmanager_or_skip(
    configuration: str = NOBODY, *, peers: tuple[str, ...] | None = None
) -> AlertmanagerServer:
    """A server that is not started; without Alertmanager the test is skipped, under CI it fails."""
    try:
        return AlertmanagerServer(configuration, peers=peers)
    except AlertmanagerUnavailable as problem:
        missing(f"needs Alertmanager: {problem}")


def until(condition: Callable[[], Any], timeout_s: float = 40.0) -> Any:
    """Wait until `condition` gives something true, and return that."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if found := condition():
            return found
        time.sleep(0.1)
    return condition()


@contextlib.contextmanager
def pair() -> Iterator[tuple[AlertmanagerServer, AlertmanagerServer]]:
    """Two peers of one cluster."""
    with (
        alertmanager_or_skip(peers=()) as first,
        alertmanager_or_skip(peers=(first.cluster_address(),)) as second,
    ):
        yield first, second
