"""A store that does not answer yet: a start looks at it once, the children wait until it is there.

What is wrong for good ends a start with its reason. Everything else is waited for, with the auditor
at work from the first second: it pages without the store, and sends what an auditor before it owed.
"""

from __future__ import annotations

import logging
import socket
import threading
from collections.abc import Callable, Mapping
from contextlib import closing
from datetime import datetime
from functools import partial

from monitor.clock import WallClock
from monitor.config.options import store_file
from monitor.config.settings import Settings
from monitor.http.app import Server, waiting_app
from monitor.metrics import Metrics
from monitor.processes.launch import open_store
from monitor.store.absence import may_come_back
from monitor.store.engine import open_to_look
from monitor.store.postgres import MIGRATION_S
from monitor.store.schema import revision
from monitor.store.store import Store, StoreUnavailable
from monitor.text import vis
from monitor.views import Health
from monitor.watch.patience import NoAnswer, Patience
from monitor.watchdog import Watchdog, allow

logger = logging.getLogger(__name__)

LOOK_S = 8.0
"""Longest wait of a start for a server: one that is frozen takes a connection, and says nothing."""
RETRY_S = 1.0


def first_look(settings: Settings) -> str:
    """Open the store once, which migrates it; why it is to be waited for, empty when it is there.

    Raises:
        StoreError: it cannot be used as it is configured.
        Unreachable: its folder cannot be made.
    """
    try:
        if store_file(settings.store) is None:
            Patience("the store").ask(partial(_answers, settings), LOOK_S)
        open_store(settings).close()
    except NoAnswer as problem:
        return str(problem)
    except StoreUnavailable as problem:
        if not may_come_back(problem):
            raise
        return _one_line(str(problem))
    return ""


def _answers(settings: Settings) -> None:
    secret = settings.store_password
    engine = open_to_look(settings.store, None if secret is None else secret.reveal)
    try:
        revision(engine)
    finally:
        engine.dispose()


def await_store(
    settings: Settings,
    stopping: threading.Event,
    watched: Callable[[], Watchdog],
    say: Callable[[str], None] = lambda _: None,
) -> Store | None:
    """The store, once it answers; None when told to stop before.

    Args:
        settings: name it.
        stopping: tells to stop.
        watched: makes what gives signs of life meanwhile.
        say: is told why we wait, each time.

    Raises:
        StoreError: it cannot be used as it is configured.
        Unreachable: its folder cannot be made.
    """
    try:
        return open_store(settings)
    except StoreUnavailable as problem:
        _patient(settings, problem)
        say(_one_line(str(problem)))
    with closing(watched()) as watchdog:
        watchdog.enter("store")
        allow(MIGRATION_S)
        watchdog.start()
        try:
            return _keep_trying(settings, stopping, say)
        finally:
            watchdog.leave()


def _keep_trying(
    settings: Settings, stopping: threading.Event, say: Callable[[str], None]
) -> Store | None:
    told = ""
    while not stopping.wait(RETRY_S):
        # Opening it migrates it.
        allow(MIGRATION_S)
        try:
            store = open_store(settings)
        except StoreUnavailable as problem:
            _patient(settings, problem)
            text = _one_line(str(problem))
            say(text)
            if text != told:
                logger.warning("waiting for the store: %s", text)
                told = text
        else:
            logger.info("the store is there")
            return store
    return None


def _patient(settings: Settings, problem: StoreUnavailable) -> None:
    """A server's password may be changed under a daemon that runs; a SQLite file has none."""
    if store_file(settings.store) is not None and not may_come_back(problem):
        raise problem


def _one_line(text: str) -> str:
    return vis(" ".join(text.split()), limit=300)


class Doorman:
    """Answers whoever calls the daemon for as long as there is nothing behind the door."""

    def __init__(
        self,
        listeners: Mapping[str, socket.socket],
        metrics: Metrics,
        auditor: Callable[[datetime], Health],
    ) -> None:
        """Args: `listeners` by what is served there; `auditor` tells of it in one line."""
        self._listeners = [listeners[name] for name in ("http", "desk") if name in listeners]
        self._metrics = metrics
        self._auditor = auditor
        self._servers: list[Server] = []
        self._problem = ""
        self._since: datetime | None = None

    def say(self, problem: str) -> None:
        """The store does not answer; the first time begins to serve."""
        self._problem = problem
        if self._since is not None:
            return
        self._since = WallClock().now()
        for listener in self._listeners:
            # A socket of its own on the same queue: the one we were given is served later.
            server = Server(waiting_app(self._metrics, self._lines), listener.dup())
            server.start()
            self._servers.append(server)

    def _lines(self) -> list[str]:
        assert self._since is not None
        auditor = self._auditor(WallClock().now())
        return [
            f"not ready: waiting for the store since {self._since:%Y-%m-%d %H:%M:%S} UTC",
            f"store: bad: {self._problem}",
            f"{auditor.name}: {auditor.state}: {auditor.text}",
        ]

    def close(self) -> None:
        """Leave the door to others."""
        for server in self._servers:
            server.close()
