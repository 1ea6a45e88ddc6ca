"""A real Prometheus for the tests, on a free loopback port; and its promtool."""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import subprocess
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.servers.lifetime import Lifetime
from tests.servers.missing import missing

PACKAGES = {
    "prometheus": "prometheus",
    "promtool": "prometheus",
    "amtool": "prometheus-alertmanager",
}
LISTENING = re.compile(r'msg="Listening on" address=127\.0\.0\.1:([1-9]\d*)')
# When our end of its pipe closes, the test run is dead: end the server and remove its folder.
WATCHER = 'cat >/dev/null; kill -KILL "$0" 2>/dev/null; rm -rf "$1"'


class PrometheusUnavailable(Exception):
    """Prometheus, or its tool, is not installed; the message says how to get it."""


def program(name: str) -> str:
    """The path of `prometheus`, `promtool` or `amtool`.

    Raises:
        PrometheusUnavailable: it is not installed.
    """
    found = shutil.which(name)
    if found is None:
        package = PACKAGES[name]
        raise PrometheusUnavailable(f"no {name}; on Debian, as root: apt-get install {package}")
    return found


def program_or_skip(name: str) -> str:
    """The path of a program; without it the test is skipped, under CI it fails."""
    try:
        return program(name)
    except PrometheusUnavailable as problem:
        missing(f"needs Prometheus: {problem}")


def promtool(*arguments: str, text: str | None = None, folder: Path | None = None) -> str:
    """Run promtool; what it said. A test that it is not content with fails."""
    done = subprocess.run(
        [program_or_skip("promtool"), *arguments],
        input=text,
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    return said


class PrometheusServer(Lifetime):
    """One server; `url` is its address."""

    def __init__(self, configuration: str) -> None:
        """`configuration`: its `prometheus.yml`."""
        self._binary = program("prometheus")
        self._folder = Path(tempfile.mkdtemp(prefix="tocsin-prometheus-"))
        (self._folder / "prometheus.yml").write_text(configuration)
        self._server: subprocess.Popen[bytes] | None = None
        self._watcher: subprocess.Popen[bytes] | None = None
        self.url = ""

    def start(self, timeout_s: float = 60.0) -> None:
        """Start it and wait until it is ready.

        Raises:
            RuntimeError: it did not come up; the message ends with its log.
        """
        with self._log.open("ab") as log:
            self._server = subprocess.Popen(
                [
                    self._binary,
                    f"--config.file={self._folder / 'prometheus.yml'}",
                    f"--storage.tsdb.path={self._folder / 'data'}",
                    "--web.listen-address=127.0.0.1:0",
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._watcher = subprocess.Popen(
            ["sh", "-c", WATCHER, str(self._server.pid), str(self._folder)],
            stdin=subprocess.PIPE,
            start_new_session=True,
        )
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline and self._server.poll() is None:
            if self._ready():
                return
            time.sleep(0.05)
        tail = self._log.read_text(errors="replace")[-3000:]
        self.close()
        raise RuntimeError(f"Prometheus did not come up:\n{tail}")

    def query(self, expression: str) -> list[dict[str, Any]]:
        """An instant query: rows with `metric` and `value`."""
        return list(self._get("query", {"query": expression})["result"])

    def targets(self) -> list[dict[str, Any]]:
        """What it scrapes, with `health` and `lastError`."""
        return list(self._get("targets", {})["activeTargets"])

    def rules(self) -> list[dict[str, Any]]:
        """All rules, with `name`, `health`, `lastError` and `state`."""
        return [rule for group in self._get("rules", {})["groups"] for rule in group["rules"]]

    def close(self) -> None:
        """End it and remove its folder."""
        for process in (self._watcher, self._server):
            if process is not None:
                process.kill()
                process.communicate()
        self._watcher = self._server = None
        shutil.rmtree(self._folder, ignore_errors=True)

    @property
    def _log(self) -> Path:
        return self._folder / "prometheus.log"

    def _ready(self) -> bool:
        found = LISTENING.search(self._log.read_text(errors="replace"))
        if found is None:
            return False
        self.url = f"http://127.0.0.1:{found[1]}"
        with contextlib.suppress(OSError), urllib.request.urlopen(f"{self.url}/-/ready", timeout=5):
            return True
        return False

    def _get(self, what: str, query: dict[str, str]) -> dict[str, Any]:
        where = f"{self.url}/api/v1/{what}?{urllib.parse.urlencode(query)}"
        try:
            with urllib.request.urlopen(where, timeout=20) as answer:
                body = json.load(answer)
        except urllib.error.HTTPError as problem:
            raise AssertionError(problem.read().decode(errors="replace")) from None
        data: dict[str, Any] = body["data"]
        return data


@contextlib.contextmanager
def prometheus_or_skip(configuration: str) -> Iterator[PrometheusServer]:
    """A running server; without Prometheus the test is skipped, under CI it fails."""
    program_or_skip("prometheus")
    with PrometheusServer(configuration) as server:
        yield server
