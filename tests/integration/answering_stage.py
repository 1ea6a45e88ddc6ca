"""An installation that people answer from outside: real store, desk, delivery and ways in.

`python -m tests.integration.answering_stage FOLDER` runs one as a process, to be killed: it reads
`stage.json` in the folder, says where its hooks are, and delivers until it ends.
"""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

from monitor.clock import WallClock
from monitor.config.secret import Secret
from monitor.config.settings import Configured, Escalate, Paging, RouteNode, Settings, resolve
from monitor.config.shelf import Shelf
from monitor.deliver import Deliver
from monitor.desk.desk import Desk
from monitor.http.app import Server
from monitor.inbound.build import Part, build_ways_in
from monitor.inbound.hooks import hooks_app
from monitor.inbound.settings import Inbound, PagerDutyAnswers, Person, SlackAnswers
from monitor.incidents.model import Incident
from monitor.incidents.timeline import Entry, broken_at
from monitor.metrics import Metrics
from monitor.notify.loopback.slack import SlackMessage
from monitor.notify.settings import PagerDutySettings, SlackSettings
from monitor.notify.slack_buttons import Buttons
from monitor.paging import Pager
from monitor.processes.launch import open_channels
from monitor.store.store import Store
from monitor.views import Health, Principal
from runbooks.durations import Duration
from tests.servers.pagerduty_people import HOOK_SECRET
from tests.servers.pagerduty_server import ROUTING_KEY
from tests.servers.slack_people import APP, SIGNING_SECRET, TEAM
from tests.servers.slack_server import APP_TOKEN, CHANNEL, TOKEN, SlackServer

ANA, BO, EVE = "U0ANA", "U0BO", "U0EVE"
"""A responder, a reader, and nobody."""
PD_ANA, PD_EVE = "P0ANA1", "P0EVE1"
KEY = b"the key of a test installation"
SECOND, THIRD = "C0SECOND", "C0THIRD"
"""Conversations that an escalation pages."""
ROOMS = {CHANNEL: "", SECOND: "", THIRD: ""}
PATIENCE_S = 30.0


def secrets(folder: Path) -> dict[str, Secret]:
    """Every secret in a file of its own."""
    values = {
        "bot": TOKEN,
        "app": APP_TOKEN,
        "signing": SIGNING_SECRET,
        "routing": ROUTING_KEY,
        "hook": HOOK_SECRET,
    }
    for name, value in values.items():
        (folder / name).write_text(value)
    return {name: Secret(file=str(folder / name)) for name in values}


def configuration(folder: Path, slack_url: str, pagerduty_url: str, *, http: bool) -> Configured:
    """Slack and PagerDuty are paged; Ana may answer, Bo may read; clicks come by `http` or not."""
    secret = secrets(folder)

    def room(name: str, channel: str) -> SlackSettings:
        return SlackSettings(
            name=name, token=secret["bot"], channel=channel, base_url=slack_url, timeout_s=5.0
        )

    receivers = [room("slack", CHANNEL), room("second", SECOND), room("third", THIRD)]
    paged = ["slack"]
    pager = []
    if pagerduty_url:
        pager.append(
            PagerDutySettings(
                name="pagerduty", routing_key=secret["routing"], base_url=pagerduty_url
            )
        )
        paged.append("pagerduty")
    inbound = Inbound(
        people=(
            Person(name="Ana", slack=ANA, pagerduty=PD_ANA),
            Person(name="Bo", slack=BO, role="reader"),
        ),
        slack=SlackAnswers(
            team=TEAM,
            app=APP,
            base_url=slack_url,
            signing_secret=secret["signing"] if http else None,
            app_token=None if http else secret["app"],
        ),
        pagerduty=PagerDutyAnswers(secrets=(secret["hook"],)),
    )
    paging = Paging(
        receivers=(*receivers, *pager),
        route=RouteNode(receivers=tuple(paged)),
        escalation=(
            Escalate(after=Duration(minutes=10), receivers=("second",)),
            Escalate(after=Duration(minutes=20), receivers=("third",)),
        ),
    )
    return resolve(
        Settings(
            store=f"sqlite:///{folder / 'x.db'}", profile="loud", paging=paging, inbound=inbound
        )
    )


class Stage:
    """The installation; a context manager."""

    def __init__(
        self,
        folder: Path,
        slack_url: str,
        pagerduty_url: str = "",
        *,
        http: bool = False,
        listen: bool = True,
    ) -> None:
        """Without `listen` nothing comes in: it only pages and looks."""
        self.configured = configuration(folder, slack_url, pagerduty_url, http=http)
        self.clock = WallClock().now
        self.store = Store(self.configured.settings.store)
        self.metrics = Metrics()
        self.pager = Pager(self.configured.policy)
        channels = open_channels(self.configured.receivers, page=True, buttons=Buttons(KEY))
        self.deliver = Deliver(self.store, channels, self.pager, self.metrics, self.clock)
        self.shelf = Shelf()
        self.parts: list[Part] = []
        self.ways = build_ways_in(self, self.clock, key=KEY)
        listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        self._server = Server(hooks_app(self.ways.hooks, self.clock, self.metrics), listener)
        self._server.start()
        if listen:
            self.ways.start()

    def __enter__(self) -> Stage:
        return self

    def __exit__(self, *_: object) -> None:
        self._server.close()
        self.ways.close()
        self.deliver.close()
        self.store.close()

    def desk(self) -> Desk:
        """A desk for somebody at a terminal."""
        principal = Principal(name="ada", role="admin")
        return Desk(self.store, self.configured, self.shelf, principal, self.clock)

    def page(self, title: str = "refusals x6 in chat") -> Incident:
        """Somebody declares an incident, and its pages arrive."""
        done = self.desk().declare(title=title, severity="SEV1", feature="chat")
        self.send()
        assert done.incident is not None
        return self.incident(done.incident)

    def page_anew(self, incident: Incident) -> Incident:
        """It was over, and fires again: another outage, paged as decide does it."""
        again = replace(self.again(incident), paged_at=None)
        with self.store.write() as tx:
            self.pager.page(tx, again, self.clock(), "fires again")
        self.send()
        return self.again(incident)

    def health(self) -> Health:
        """How the connection to Slack is."""
        assert self.ways.socket is not None
        return self.ways.socket.health()

    def send(self) -> None:
        """Deliver all that is due."""
        while self.deliver.step(self.clock()):
            self.deliver.settle()
        self.deliver.settle()

    def incident(self, name: str) -> Incident:
        """By the name that people say."""
        with self.store.read() as tx:
            found = tx.incidents.by_number(int(name.removeprefix("INC-")))
        assert found is not None
        return found

    def again(self, incident: Incident) -> Incident:
        """As it is now."""
        return self.incident(incident.name)

    def entries(self, incident: Incident, kind: str = "") -> list[Entry]:
        """Its timeline; the chain must hold."""
        with self.store.read() as tx:
            chain = tx.incidents.timeline(incident.uuid)
        assert broken_at(chain) is None
        return [item.entry for item in chain if kind in {"", item.entry.kind}]

    def audited(self) -> list[tuple[str, str, str]]:
        """(who, action, outcome), newest first."""
        with self.store.read() as tx:
            return [(row.who, row.action, row.outcome) for row in tx.audit.newest()]

    def escalate_when_due(self, incident: Incident) -> str | None:
        """What the escalation would do in an hour, as decide does it: only if not answered."""
        current = self.again(incident)
        if current.acknowledged_at is not None or not current.is_open:
            return None
        with self.store.write() as tx:
            return self.pager.climb(tx, current, self.clock() + timedelta(hours=1))


def root(server: SlackServer, channel: str = CHANNEL) -> SlackMessage:
    """The newest message of a channel that is in no thread."""
    return [m for m in server.messages if m.channel == channel and not m.thread_ts][-1]


def until(true: Callable[[], bool], what: str) -> None:
    """Wait for something that must come."""
    deadline = time.monotonic() + PATIENCE_S
    while not true():
        assert time.monotonic() < deadline, f"not within {PATIENCE_S:.0f} s: {what}"
        time.sleep(0.02)


@contextmanager
def process(folder: Path, env: dict[str, str], **stage: Any) -> Iterator[tuple[Any, str]]:
    """An installation as a process: it and the address of its hooks."""
    (folder / "stage.json").write_text(json.dumps(stage))
    command = [sys.executable, "-m", "tests.integration.answering_stage", str(folder)]
    running = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=env)
    try:
        assert running.stdout is not None
        yield running, str(json.loads(running.stdout.readline())["url"])
    finally:
        running.kill()
        running.communicate(timeout=20)


def main(folder: Path) -> None:
    """Deliver until killed."""
    given = json.loads((folder / "stage.json").read_text())
    with Stage(folder, **given) as stage, closing(sys.stdout):
        print(json.dumps({"url": stage.url}), flush=True)
        while True:
            stage.deliver.step(stage.clock())
            time.sleep(0.05)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
