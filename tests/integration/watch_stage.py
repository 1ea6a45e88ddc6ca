"""An installation on its own SQLite file, strict receivers, and an auditor that a test steps."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from monitor.config.secret import Secret
from monitor.config.settings import Configured, Paging, RouteNode, Settings, resolve
from monitor.notify.settings import PagerDutySettings, SlackSettings
from monitor.store.store import Store
from monitor.watch.auditor import Auditor
from monitor.watch.process import build
from monitor.watch.settings import Watch
from monitor.watch.state import Places, State
from runbooks.durations import Duration
from tests.servers.pagerduty_server import ROUTING_KEY, PagerDutyServer
from tests.servers.slack_server import CHANNEL, TOKEN, SlackServer

TICK = timedelta(seconds=3)
PATIENCE_S = 30.0


@dataclass(slots=True)
class Stage:
    """What a test works with; the time is the test's own."""

    configured: Configured
    auditor: Auditor
    places: Places
    slack: SlackServer
    pagerduty: PagerDutyServer
    now: datetime
    _held: ExitStack

    def tick(self, count: int = 1) -> State:
        """Let three seconds pass, `count` times, each with all that was started finished."""
        state = None
        for _ in range(count):
            self.now += TICK
            state = self.auditor.step(self.now, self.now.timestamp())
            self.auditor._road.settle(10)
        assert state is not None
        return state

    def until(self, met: Callable[[], bool], ticks: int = 40) -> int:
        """Tick until `met`; how many ticks it took."""
        for number in range(1, ticks + 1):
            self.tick()
            if met():
                return number
        raise AssertionError(f"not within {ticks} ticks: {self.auditor.state(self.now)}")

    def restart(self) -> None:
        """Another auditor takes over, as after a SIGKILL: nothing of the old one is finished."""
        self._held.close()
        self.auditor, self.places, self._held = build(
            self.configured, self.now, {}, patience_s=patience(self.configured.settings.store)
        )

    def close(self) -> None:
        """Let go."""
        self._held.close()


def wait_for(met: Callable[[], bool], seconds: float = PATIENCE_S) -> None:
    """Until `met`, in real time."""
    deadline = time.monotonic() + seconds
    while not met():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.05)


def settings(store: str, slack: SlackServer, pagerduty: PagerDutyServer, **watch: Any) -> Settings:
    """Both receivers for everything, and a watch that keeps no reserve unless it is told to."""
    given: dict[str, Any] = {"reserve": 0, "disk_free": 0, "every": Duration(seconds=5), **watch}
    return Settings(
        store=store,
        paging=Paging(
            receivers=(
                SlackSettings(
                    name="slack",
                    token=Secret(env="TOCSIN_TEST_SLACK"),
                    channel=CHANNEL,
                    base_url=slack.base_url,
                ),
                PagerDutySettings(
                    name="pagerduty",
                    routing_key=Secret(env="TOCSIN_TEST_PAGERDUTY"),
                    base_url=pagerduty.base_url,
                ),
            ),
            route=RouteNode(receivers=("slack", "pagerduty")),
        ),
        watch=Watch(**given),
    )


@contextmanager
def stage(
    store: str,
    env: Mapping[str, str],
    *,
    ready: Callable[[Store], None] | None = None,
    **watch: Any,
) -> Iterator[Stage]:
    """An auditor on `store`, which is made; `ready` fills it before the auditor looks."""
    with SlackServer(burst=1000) as slack, PagerDutyServer() as pagerduty:
        configured = resolve(settings(store, slack, pagerduty, **watch))
        made = Store(store)
        try:
            if ready is not None:
                ready(made)
        finally:
            made.close()
        now = datetime.now(UTC)
        auditor, where, held = build(configured, now, env, patience_s=patience(store))
        on_stage = Stage(configured, auditor, where, slack, pagerduty, now, held)
        try:
            yield on_stage
        finally:
            on_stage.close()


def secrets() -> dict[str, str]:
    """What the settings refer to."""
    return {"TOCSIN_TEST_SLACK": TOKEN, "TOCSIN_TEST_PAGERDUTY": ROUTING_KEY}


def patience(store: str) -> float:
    """For a lock; a server on a busy machine is given more for a statement."""
    return 0.2 if store.startswith("sqlite") else 1.0


def sqlite(folder: Path) -> str:
    """A store's URL."""
    return f"sqlite:///{folder / 'tocsin.db'}"
