"""The auditor is killed: what it owed is sent by the next one, under the same keys."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest

from monitor.config.settings import load, resolve
from monitor.store.store import Store
from monitor.watch.episodes import fold
from monitor.watch.process import build
from monitor.watch.spool import parse
from monitor.watch.state import load as load_state
from monitor.watch.state import places
from tests.integration.test_watch_storage import told
from tests.integration.watch_stage import secrets, wait_for
from tests.servers import faults
from tests.servers.pagerduty_server import PagerDutyServer
from tests.servers.slack_server import CHANNEL, SlackServer


def configuration(folder: Path, slack: SlackServer, pagerduty: PagerDutyServer) -> Path:
    """A configuration file with both receivers and a short patience."""
    path = folder / "tocsin.yaml"
    receivers = [
        {
            "type": "slack",
            "name": "slack",
            "token": {"env": "TOCSIN_TEST_SLACK"},
            "channel": CHANNEL,
            "base_url": slack.base_url,
            "timeout_s": 30,
        },
        {
            "type": "pagerduty",
            "name": "pagerduty",
            "routing_key": {"env": "TOCSIN_TEST_PAGERDUTY"},
            "base_url": pagerduty.base_url,
            "timeout_s": 30,
        },
    ]
    path.write_text(
        json.dumps(
            {
                "version": 1,
                "store": f"sqlite:///{folder / 'tocsin.db'}",
                "paging": {
                    "receivers": receivers,
                    "route": {"receivers": ["slack", "pagerduty"]},
                },
                "watch": {"storage_down": "5s", "every": "5s", "reserve": 0, "disk_free": 0},
            }
        )
    )
    return path


@contextmanager
def process(config: Path) -> Iterator[subprocess.Popen[str]]:
    """An auditor that is surely gone afterwards."""
    command = [sys.executable, "-m", "tests.integration.watch_auditor", str(config)]
    running = subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env={**os.environ, **secrets()}
    )
    try:
        assert running.stdout is not None
        assert running.stdout.readline() == "ready\n"
        yield running
    finally:
        running.kill()
        running.communicate(timeout=20)


def test_killed_between_spool_and_send_the_page_is_sent_by_the_next_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PagerDuty had it not, Slack had it without an answer: both have it once in the end."""
    for name, value in secrets().items():
        monkeypatch.setenv(name, value)
    with SlackServer(burst=1000) as slack, PagerDutyServer() as pagerduty:
        config = configuration(tmp_path, slack, pagerduty)
        Store(f"sqlite:///{tmp_path / 'tocsin.db'}").close()
        slack.fail_next(faults.hang_after_store, times=5, path="chat.postMessage")
        pagerduty.fail_next(faults.hang, times=5)
        where = places(f"sqlite:///{tmp_path / 'tocsin.db'}", None, {})
        with process(config) as auditor:
            wait_for(lambda: load_state(where.state) is not None)
            other = sqlite3.connect(tmp_path / "tocsin.db", isolation_level=None)
            other.execute("BEGIN IMMEDIATE")
            wait_for(lambda: bool(slack.messages) and bool(pagerduty.journal.rows), 60)
            os.kill(auditor.pid, signal.SIGKILL)
            auditor.wait(20)
        (episode,) = fold(parse(where.spool.read_bytes()).records).values()
        assert len(episode.owed()) == 2
        slack.recover()
        pagerduty.recover()
        configured = resolve(load(config)[0])
        now = datetime.now(UTC)
        again, _, held = build(configured, now, {})
        with held:
            again.step(now, 1000.0)
            again._road.settle(30)
            again.step(now, 1003.0)
            assert [one.dedup_key for one in pagerduty.incidents] == [episode.id]
            assert len(slack.messages) == 1
            other.execute("ROLLBACK")
            other.close()
            for number in range(3):
                again.step(now, 1010.0 + 10 * number)
                again._road.settle(30)
            again.step(now, 1060.0)
            assert again._road.episodes == {}
        assert [one.state for one in pagerduty.incidents] == ["resolved"]
        assert not [e for e in pagerduty.events if e.effect == "opened again after resolve"]
        assert "storage down" in told(configured.settings.store)[0]
