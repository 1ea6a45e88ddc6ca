"""The daemon as a person starts it, beside a real Alertmanager: both ways, and its health."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from tests.servers.alertmanager_server import (
    AlertmanagerServer,
    alertmanager_or_skip,
    to_hook,
    until,
)

TOKEN = "hook-token-1234567890"
PATIENCE_S = 90.0


def free_port() -> int:
    """A port that is free now; whoever loses the race for it takes the next."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def tocsin(folder: Path, *words: str) -> subprocess.Popen[bytes]:
    """The command, with its log in the folder."""
    with (folder / "log").open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "tui.cli", *words],
            stdin=subprocess.DEVNULL,
            stdout=log if words[0] == "run" else subprocess.PIPE,
            stderr=log,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
            start_new_session=True,
        )


def asked(folder: Path, *words: str) -> Any:
    """What the command answers as JSON; None where it has no answer."""
    command = tocsin(folder, *words, "--store", f"sqlite:///{folder / 'x.db'}", "--json")
    out, _ = command.communicate(timeout=PATIENCE_S)
    return json.loads(out).get("data")


@contextmanager
def installed(folder: Path) -> Iterator[tuple[AlertmanagerServer, str]]:
    """Alertmanager and a daemon without a stream, each knowing the other; the daemon's address."""
    for _ in range(5):
        address = f"127.0.0.1:{free_port()}"
        hook = to_hook(f"http://{address}/hooks/alertmanager", token=TOKEN)
        with alertmanager_or_skip(hook) as server:
            daemon = started(folder, server.url, address)
            try:
                if came_up(daemon, address):
                    yield server, address
                    return
            finally:
                ended(daemon)
    raise AssertionError((folder / "log").read_text(errors="replace")[-3000:])


def started(folder: Path, peer: str, address: str) -> subprocess.Popen[bytes]:
    """The daemon."""
    (folder / "token").write_text(TOKEN)
    config = folder / "tocsin.yaml"
    receive = {"token": {"file": str(folder / "token")}}
    settings = {
        "store": f"sqlite:///{folder / 'x.db'}",
        "source": {"type": "kafka", "bootstrap": ["127.0.0.1:9"], "topic": "t"},
        "http": address,
        "alertmanager": {"urls": [peer], "every": "2s", "receive": receive},
    }
    config.write_text(json.dumps(settings))
    return tocsin(folder, "run", "-c", str(config))


def came_up(daemon: subprocess.Popen[bytes], address: str) -> bool:
    """Whether it answers; False when it ended instead."""
    until(lambda: daemon.poll() is not None or body(address, "healthz"), PATIENCE_S)
    return daemon.poll() is None


def ended(daemon: subprocess.Popen[bytes]) -> None:
    """Stop it as an operator does; what does not go is killed with all its processes."""
    daemon.send_signal(signal.SIGTERM)
    with suppress(subprocess.TimeoutExpired):
        daemon.wait(30)
    with suppress(ProcessLookupError):
        os.killpg(daemon.pid, signal.SIGKILL)
    daemon.wait(30)


def body(address: str, path: str) -> str:
    """What it answers there; empty while it does not."""
    try:
        with urllib.request.urlopen(f"http://{address}/{path}", timeout=5) as answer:
            return str(answer.read().decode())
    except urllib.error.HTTPError as problem:
        return problem.read().decode()
    except OSError:
        return ""


def test_both_ways_through_a_daemon(tmp_path: Path) -> None:
    """Declared here stands there, also after its kill; fired there opens here; health says so."""
    with installed(tmp_path) as (server, address):
        assert until(lambda: "alertmanager: ok: 1 peers" in body(address, "statusz"))
        assert asked(tmp_path, "inc", "declare", "--title", "odd answers", "--sev", "sev2")
        (one,) = until(server.alerts)
        assert one["annotations"]["summary"] == "odd answers"
        server.kill(forget=True)
        assert until(lambda: "alertmanager: bad" in body(address, "statusz"))
        assert f'tocsin_alertmanager_peer_up{{peer="{server.url}"}} 0.0' in body(address, "metrics")
        server.start()
        assert until(server.alerts)
        now = datetime.now(UTC)
        server.post(
            {
                "labels": {"alertname": "HighErrors", "severity": "critical"},
                "annotations": {"summary": "errors are high"},
                "startsAt": now.isoformat(),
                "endsAt": (now + timedelta(minutes=5)).isoformat(),
            }
        )
        titles = until(lambda: two_of(asked(tmp_path, "inc", "list")))
        assert titles == {"odd answers", "errors are high"}


def two_of(rows: list[dict[str, Any]] | None) -> set[str] | None:
    """The titles, when there are two."""
    return {row["title"] for row in rows} if rows is not None and len(rows) == 2 else None
