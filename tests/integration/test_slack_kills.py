"""SIGKILL around the commit of an acknowledgement: who has a receipt has an acknowledgement.

Three ways to die: before the commit (fault point K10), as soon as the commit can be seen, and at
random. Whoever repeats (Socket Mode, PagerDuty) gets through to the process that comes after;
whoever does not (a click by HTTP) is a person who presses again.
"""

from __future__ import annotations

import os
import random
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from monitor.http_client import HttpError
from monitor.incidents.model import Incident
from tests.integration.answering_stage import ANA, PD_ANA, ROOMS, Stage, process, root, until
from tests.servers.pagerduty_people import PagerDutyPost, event
from tests.servers.pagerduty_server import PagerDutyServer
from tests.servers.slack_people import post, press, sign
from tests.servers.slack_server import SlackServer

DEATHS = {"socket": ("K10", "seen", "random"), "http": ("seen",), "pagerduty": ("K10", "random")}


@pytest.fixture
def slack() -> Iterator[SlackServer]:
    with SlackServer(burst=1000, channels=ROOMS, ack_s=1.0) as running:
        yield running


@pytest.fixture
def pagerduty() -> Iterator[PagerDutyServer]:
    with PagerDutyServer(per_minute=1000) as running:
        yield running


class Road:
    """One way to answer, as often as its sender tries."""

    def __init__(self, name: str, slack: SlackServer, pagerduty: PagerDutyServer) -> None:
        self.name, self._slack, self._pagerduty = name, slack, pagerduty
        self.url = ""
        self._made: dict[str, Any] = {}

    def prepare(self, title: str) -> None:
        """What will be sent, about the incident of this title, once its page is there."""
        # The process may have claimed the page before the watcher did.
        if self.name == "pagerduty":
            until(lambda: title in self._pagerduty.incidents[-1].summary, "the page")
            self._made = event("incident.acknowledged", self._pagerduty.incidents[-1], PD_ANA)
        else:
            until(lambda: title in root(self._slack).text, "the message")
            self._made = press(root(self._slack), "acknowledge", ANA)

    def answer(self, attempts: int) -> bool:
        """Send it; whether there was a receipt."""
        if self.name == "socket":
            handed = self._slack.socket_mode().hand_out(self._made, attempts=attempts)
            return handed.acked.is_set()
        if self.name == "pagerduty":
            statuses = PagerDutyPost(f"{self.url}/pagerduty").deliver(self._made, attempts=attempts)
            return statuses[-1] in {200, 202}
        try:
            return post(f"{self.url}/slack", sign(self._made)).status == 200
        except HttpError:
            return False


@pytest.mark.parametrize("name", DEATHS)
def test_no_receipt_without_an_acknowledgement(
    name: str, slack: SlackServer, pagerduty: PagerDutyServer, tmp_path: Path
) -> None:
    """With a receipt it is acknowledged exactly once; without one nobody was told so."""
    road = Road(name, slack, pagerduty)
    given: dict[str, Any] = {
        "slack_url": slack.base_url,
        "pagerduty_url": pagerduty.base_url,
        "http": name == "http",
    }
    left: Incident | None = None
    with Stage(tmp_path, **given, listen=False) as watcher:
        for death in (*DEATHS[name], ""):
            env = {**os.environ, "TOCSIN_FAULT": "K10:1"} if death == "K10" else dict(os.environ)
            with process(tmp_path, env, **given) as (running, road.url):
                if name == "socket":
                    slack.socket_mode().wait_connected()
                if left is not None:  # the process that comes after gets what comes again
                    assert road.answer(attempts=20)
                    _answered_once(watcher, left)
                if death:
                    left = watcher.page(f"refusals as {death} strikes")
                    road.prepare(left.title)
                    _die(death, road, watcher, left, running)


def _answered_once(watcher: Stage, incident: Incident) -> None:
    assert [entry.actor for entry in watcher.entries(incident, "ACK")] == ["Ana"]
    assert watcher.escalate_when_due(incident) is None


def _die(
    death: str, road: Road, watcher: Stage, incident: Incident, running: subprocess.Popen[str]
) -> None:
    """Answer while the process dies; a receipt must be worth something."""
    with ThreadPoolExecutor(1) as sender:
        job = sender.submit(road.answer, 1)
        if death == "seen":
            until(lambda: watcher.again(incident).acknowledged_at is not None, "the commit")
            running.kill()
        elif death == "random":
            time.sleep(random.uniform(0.0, 0.03))
            running.kill()
        receipt = job.result()
    running.wait(timeout=20)
    if death == "K10":
        assert not receipt
        assert watcher.again(incident).acknowledged_at is None
        assert watcher.entries(incident, "ACK") == []
    elif receipt:
        _answered_once(watcher, incident)
