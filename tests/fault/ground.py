"""What a part of the harness stands on: Kafka, a store, strict receivers, the daemon."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any

from monitor.store.roles import Roles, apply_roles
from monitor.store.store import Store
from tests.integration.process_stage import Tree
from tests.servers.pagerduty_server import ROUTING_KEY, PagerDutyServer
from tests.servers.postgres_server import DAEMON, READER
from tests.servers.slack_server import CHANNEL, TOKEN, SlackServer
from tests.servers.webhook_server import SECRET, WebhookServer

DEATH = re.compile(r"\(pid (\d+)\) was killed by SIGKILL after")
UNORDERED = re.compile(
    r"\(pid \d+\) (?:ended with status \d+ after|gave no sign of life|did not end within)"
)
SILENT = re.compile(r"\(pid (\d+)\) gave no sign of life")
PATIENCE_S = 120.0
STUCK_S = 90.0
"""What gets on at all gets on within this time, on a busy machine too."""
LOOK_S = 0.25
"""Between two looks at what costs: the machine is the daemon's."""


@dataclass(frozen=True, slots=True)
class Rates:
    """What the strict receivers take."""

    slack_messages_per_s: float
    slack_burst: int
    """Messages that Slack takes at once."""
    pagerduty_events_per_min: int


NO_LIMIT = Rates(1_000, 1_000, 1_000_000)
PROVIDERS = Rates(1, 3, 120)
"""Their own, as they document them."""


class Stuck(Exception):
    """What had to happen did not happen in time."""


def wait_until(met: Callable[[], object], what: str, seconds: float = PATIENCE_S) -> float:
    """Until `met` is true; how many seconds it took.

    Raises:
        Stuck: it did not become true.
    """
    started = time.monotonic()
    while not met():
        if time.monotonic() - started > seconds:
            raise Stuck(f"not within {seconds:.0f} s: {what}")
        time.sleep(0.02)
    return time.monotonic() - started


def wait_while_moving(
    met: Callable[[], object], moved: Callable[[], object], what: str, seconds: float = STUCK_S
) -> None:
    """Until `met` is true, for as long as `moved` goes on to return something else.

    Raises:
        Stuck: it is not true, and for `seconds` nothing moved.
    """
    last, since = moved(), time.monotonic()
    while not met():
        now = time.monotonic()
        if (latest := moved()) != last:
            last, since = latest, now
        if now - since > seconds:
            raise Stuck(f"nothing moved for {seconds:.0f} s, at {last}: {what}")
        time.sleep(LOOK_S)


@dataclass(frozen=True, slots=True)
class Ground:
    """A folder, a topic and a store that nobody else uses."""

    folder: Path
    bootstrap: str
    topic: str
    store: str
    """As the daemon sees it: on PostgreSQL with the least rights."""
    owner: str = ""
    """The same as its owner sees it, who makes the schema; empty where that is the daemon."""

    def make_schema(self) -> None:
        """As the owner, if there is one: the schema, and the rights of the daemon's role."""
        if not self.owner:
            return
        store = Store(self.owner)
        try:
            apply_roles(store.engine, Roles(DAEMON, READER))
        finally:
            store.close()


@dataclass(frozen=True, slots=True)
class Receivers:
    """Who is paged: two at once, the third by an escalation. Their journals are fsynced."""

    slack: SlackServer
    pagerduty: PagerDutyServer
    night: WebhookServer

    def settings(self, folder: Path) -> list[dict[str, Any]]:
        """As the configuration names them."""
        for name, value in (("bot", TOKEN), ("routing", ROUTING_KEY), ("hook-out", SECRET)):
            (folder / name).write_text(value)
        return [
            {
                "type": "slack",
                "name": "slack",
                "token": {"file": str(folder / "bot")},
                "channel": CHANNEL,
                "base_url": self.slack.base_url,
            },
            {
                "type": "pagerduty",
                "name": "pagerduty",
                "routing_key": {"file": str(folder / "routing")},
                "base_url": self.pagerduty.base_url,
            },
            {
                "type": "webhook",
                "name": "night",
                "secret": {"file": str(folder / "hook-out")},
                "url": self.night.hook,
            },
        ]


@contextmanager
def receivers(folder: Path, rates: Rates = NO_LIMIT) -> Iterator[Receivers]:
    """Strict servers, but for their rates where these are no limit, as the last line says."""
    with ExitStack() as stack:
        yield Receivers(
            stack.enter_context(
                SlackServer(
                    log=folder / "slack.jsonl",
                    per_second=rates.slack_messages_per_s,
                    burst=rates.slack_burst,
                )
            ),
            stack.enter_context(
                PagerDutyServer(
                    log=folder / "pagerduty.jsonl", per_minute=rates.pagerduty_events_per_min
                )
            ),
            stack.enter_context(WebhookServer(log=folder / "night.jsonl")),
        )


def configuration(ground: Ground, paged: Receivers, **more: Any) -> dict[str, Any]:
    """A loud daemon that pages Slack and PagerDuty, and the night two seconds later."""
    folder = ground.folder
    (folder / "digest").write_text("k" * 32)
    (folder / "digest").chmod(0o600)
    made: dict[str, Any] = {
        "version": 1,
        "store": ground.store,
        "profile": "loud",
        "source": {
            "type": "kafka",
            "bootstrap": [ground.bootstrap],
            "topic": ground.topic,
            "start": "earliest",
        },
        "http": "127.0.0.1:0",
        "digest_key": {"file": str(folder / "digest")},
        "desk": {"socket": str(folder / "desk")},
        "watch": {"reserve": 0, "disk_free": 0},
        "paging": {
            "receivers": paged.settings(folder),
            "route": {"receivers": ["slack", "pagerduty"]},
            "escalation": [{"after": "2s", "receivers": ["night"]}],
        },
    }
    return {**made, **more}


@contextmanager
def daemon(folder: Path, settings: dict[str, Any], flags: tuple[str, ...] = ()) -> Iterator[Tree]:
    """`tocsin run` with these settings, not started; killed at the end."""
    tree = Tree(folder, settings, flags)
    try:
        yield tree
    finally:
        tree.close()


def deaths(tree: Tree) -> int:
    """How many children have died by SIGKILL, less those that their supervisor killed itself."""
    said = tree.said()
    silent = set(SILENT.findall(said))
    return sum(pid not in silent for pid in DEATH.findall(said))


def unordered(tree: Tree) -> int:
    """How many children have ended although nobody killed them, hung, or would not end."""
    return len(UNORDERED.findall(tree.said()))


def fell(tree: Tree, point: str) -> int:
    """How many processes have died at a named point, by their own last words."""
    return tree.said().count(f"fault point {point}: pid ")


def too_fast(paged: Receivers) -> int:
    """How many requests Slack and PagerDuty refused because too many came at once."""
    rows = (*paged.slack.journal.rows, *paged.pagerduty.journal.rows)
    return sum(row["status"] == HTTPStatus.TOO_MANY_REQUESTS for row in rows)


def keep(folder: Path, tree: Tree) -> str:
    """The end of the daemon's log, for who has to find out what went wrong."""
    (folder / "said").write_text(tree.said())
    return tree.said()[-3000:]
