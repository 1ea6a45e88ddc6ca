"""The daemon as a person starts it, answered from Slack and from PagerDuty, and its health."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from monitor.http_client import HttpClient, HttpError
from tests.integration.answering_stage import ANA, PD_ANA, root
from tests.servers.pagerduty_people import HOOK_SECRET, PagerDutyPost, event
from tests.servers.pagerduty_server import ROUTING_KEY, PagerDutyServer
from tests.servers.slack_people import APP, TEAM, has_button, press
from tests.servers.slack_server import APP_TOKEN, CHANNEL, TOKEN, SlackServer

PATIENCE_S = 90.0
ENV = {
    "TOCSIN_BOT": TOKEN,
    "TOCSIN_APP": APP_TOKEN,
    "TOCSIN_PD": ROUTING_KEY,
    "TOCSIN_HOOK": HOOK_SECRET,
}


def _until(true: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not true():
        assert time.monotonic() < deadline, f"not within {PATIENCE_S:.0f} s: {what}"
        time.sleep(0.1)


def _tocsin(folder: Path, *words: str) -> subprocess.Popen[bytes]:
    with (folder / "log").open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "tui.cli", *words],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE if words[0] != "run" else log,
            stderr=log,
            env={**os.environ, **ENV},
            start_new_session=True,
        )


def _asked(folder: Path, *words: str) -> Any:
    """What the command answers as JSON; None where it has no answer."""
    command = _tocsin(folder, *words, "--store", f"sqlite:///{folder / 'x.db'}", "--json")
    out, _ = command.communicate(timeout=PATIENCE_S)
    return json.loads(out)["data"] if command.returncode == 0 else None


def _body(address: str, path: str) -> str:
    try:
        with HttpClient() as client:
            return client.request("GET", f"http://{address}/{path}").body.decode()
    except HttpError:
        return ""


def _configured(folder: Path, slack: SlackServer, pagerduty: PagerDutyServer) -> str:
    """Writes the configuration; the address in it, free a moment ago."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{one.getsockname()[1]}"
    receivers = [
        {
            "type": "slack",
            "name": "slack",
            "token": {"env": "TOCSIN_BOT"},
            "channel": CHANNEL,
            "base_url": slack.base_url,
        },
        {
            "type": "pagerduty",
            "name": "pagerduty",
            "routing_key": {"env": "TOCSIN_PD"},
            "base_url": pagerduty.base_url,
        },
    ]
    inbound = {
        "people": [{"name": "Ana", "slack": ANA, "pagerduty": PD_ANA}],
        "slack": {
            "team": TEAM,
            "app": APP,
            "app_token": {"env": "TOCSIN_APP"},
            "base_url": slack.base_url,
        },
        "pagerduty": {"secrets": [{"env": "TOCSIN_HOOK"}]},
    }
    settings = {
        "store": f"sqlite:///{folder / 'x.db'}",
        "source": {"type": "kafka", "bootstrap": ["127.0.0.1:9"], "topic": "t"},
        "http": address,
        "paging": {"receivers": receivers, "route": {"receivers": ["slack", "pagerduty"]}},
        "inbound": inbound,
    }
    (folder / "tocsin.yaml").write_text(json.dumps(settings))
    return address


@contextmanager
def _daemon(folder: Path, slack: SlackServer, pagerduty: PagerDutyServer) -> Iterator[str]:
    """A daemon without a stream; the address of its hooks."""
    for _ in range(5):  # somebody may take the address before the daemon does
        address = _configured(folder, slack, pagerduty)
        daemon = _tocsin(folder, "run", "-c", str(folder / "tocsin.yaml"))
        with ExitStack() as stack:
            stack.callback(_ended, daemon)
            if _came_up(daemon, address):
                yield address
                return
    raise AssertionError((folder / "log").read_text(errors="replace")[-3000:])


def _came_up(daemon: subprocess.Popen[bytes], address: str) -> bool:
    """Whether it answers; False when it ended instead."""
    _until(lambda: daemon.poll() is not None or _body(address, "healthz"), "a start")
    return daemon.poll() is None


def _ended(daemon: subprocess.Popen[bytes]) -> None:
    daemon.send_signal(signal.SIGTERM)
    with suppress(subprocess.TimeoutExpired):
        daemon.wait(30)
    with suppress(ProcessLookupError):
        os.killpg(daemon.pid, signal.SIGKILL)
    daemon.wait(30)


def test_the_daemon_is_answered_from_both_sides(tmp_path: Path) -> None:
    """A click and a key on a phone acknowledge; health and metrics show the connection."""
    with (
        SlackServer(burst=1000) as slack,
        PagerDutyServer(per_minute=1000) as pagerduty,
        _daemon(tmp_path, slack, pagerduty) as address,
    ):
        sockets = slack.socket_mode()
        sockets.wait_connected(timeout_s=PATIENCE_S)
        _until(lambda: "slack buttons: ok: connected" in _body(address, "statusz"), "health")
        declare = ("inc", "declare", "--title", "odd answers", "--sev", "sev1")
        assert _asked(tmp_path, *declare)
        _until(lambda: slack.messages and pagerduty.incidents, "the first pages")
        assert sockets.hand_out(press(root(slack), "acknowledge", ANA)).acked.is_set()
        assert _asked(tmp_path, *declare)
        _until(lambda: len(pagerduty.incidents) == 2, "the second page")
        hooks = PagerDutyPost(f"http://{address}/hooks/pagerduty")
        assert hooks.deliver(event("incident.acknowledged", pagerduty.incidents[1], PD_ANA)) == [
            200
        ]
        rows = _asked(tmp_path, "inc", "list")
        assert len(rows) == 2
        assert all(row["acknowledged_at"] for row in rows)
        _until(lambda: not has_button(root(slack), "acknowledge"), "an edit")
        metrics = _body(address, "metrics")
        assert "tocsin_slack_socket_up 1.0" in metrics
        for source in ("slack", "pagerduty"):
            assert f'tocsin_answers_total{{outcome="done",source="{source}"}} 1.0' in metrics
