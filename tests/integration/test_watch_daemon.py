"""The whole daemon, with a store that is locked: the page, what doctor says, the end, in order."""

from __future__ import annotations

import json
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from monitor.watch.state import load as load_state
from monitor.watch.state import places
from tests.integration.test_watch_killed import configuration
from tests.integration.test_watch_storage import told
from tests.integration.watch_stage import secrets, wait_for
from tests.servers.pagerduty_server import PagerDutyServer
from tests.servers.slack_server import SlackServer


def test_the_daemon_pages_through_a_locked_store_and_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`tocsin run` with its auditor: a page while the store is locked, its end afterwards."""
    for name, value in secrets().items():
        monkeypatch.setenv(name, value)
    store = f"sqlite:///{tmp_path / 'tocsin.db'}"
    with SlackServer(burst=1000) as slack, PagerDutyServer() as pagerduty:
        config = configuration(tmp_path, slack, pagerduty)
        settings = json.loads(config.read_text())
        # No broker is there: what is watched here needs none.
        settings["source"] = {"type": "kafka", "bootstrap": ["127.0.0.1:9"], "topic": "events"}
        settings["processes"] = {"workers": 1, "stall": "60s"}
        config.write_text(json.dumps(settings))
        command = [sys.executable, "-m", "tui.cli"]
        with (tmp_path / "log").open("wb") as log:
            daemon = subprocess.Popen([*command, "run", "-c", str(config)], stderr=log, stdout=log)
        try:
            where = places(store, None, {})
            wait_for(lambda: load_state(where.state) is not None, 60)
            other = sqlite3.connect(tmp_path / "tocsin.db", isolation_level=None, timeout=20)
            other.execute("BEGIN IMMEDIATE")
            began = time.monotonic()
            wait_for(lambda: bool(pagerduty.incidents) and bool(slack.messages), 60)
            took = time.monotonic() - began
            print(f"paged after {took:.1f} s")
            assert took <= 30
            wait_for(lambda: unsent(where.state) == 0)
            doctor = subprocess.run(
                [*command, "doctor", "-c", str(config), "--json"],
                capture_output=True,
                check=False,
                timeout=60,
            )
            assert doctor.returncode == 3
            parts = {part["name"]: part["text"] for part in json.loads(doctor.stdout)["data"]}
            assert "storage down" in parts["storage"]
            assert "pagerduty took the trigger" in parts["emergency"]
            other.execute("ROLLBACK")
            other.close()
            wait_for(lambda: all(one.state == "resolved" for one in pagerduty.incidents), 60)
            wait_for(lambda: episodes(where.state) == 0, 60)
            daemon.send_signal(signal.SIGTERM)
            assert daemon.wait(30) == 0, (tmp_path / "log").read_text()
        finally:
            daemon.kill()
            daemon.wait(20)
        title, kinds, _ = told(store)
    assert "storage down" in title
    assert {"PAGE", "SENT", "NORMAL", "CLOSED"} <= set(kinds)
    assert not where.state.exists()
    assert where.spool.stat().st_size == 0


def unsent(path: Path) -> int:
    """Messages that an auditor who knows of the trouble still owes."""
    known = load_state(path)
    return known.unsent if known is not None and known.episodes else -1


def episodes(path: Path) -> int:
    """Troubles that are not on a timeline yet."""
    known = load_state(path)
    assert known is not None
    return known.episodes
