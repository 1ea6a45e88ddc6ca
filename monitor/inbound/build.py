"""From settings to the ways in: the one place that knows them, starts them and ends them."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol, Self

from monitor.config.settings import Configured
from monitor.config.shelf import Shelf
from monitor.desk.desk import Desk
from monitor.inbound.answers import Answers
from monitor.inbound.hooks import Hook
from monitor.inbound.pagerduty_hooks import PagerDutyHooks
from monitor.inbound.people import People
from monitor.inbound.slack_actions import SlackActions
from monitor.inbound.slack_socket import SlackSocket
from monitor.metrics import Metrics
from monitor.notify.settings import SlackSettings
from monitor.notify.slack_buttons import Buttons
from monitor.notify.slack_voice import SlackVoice
from monitor.processes.launch import UsageError, digest_key
from monitor.store.joined import Transactions
from monitor.store.store import Store, Tx
from monitor.views import Health, Principal
from monitor.watchdog import Watch


@dataclass(frozen=True, slots=True)
class WaysIn:
    """Everything that answers from outside come through; start once, close once."""

    hooks: dict[str, Hook]
    """For `monitor.inbound.hooks.hooks_app`, by the last part of their path."""
    answers: Answers | None
    voice: SlackVoice | None
    socket: SlackSocket | None

    def start(self) -> Self:
        """Begin to listen where we do the connecting; the hooks are served by the HTTP server."""
        if self.socket is not None:
            self.socket.start()
        return self

    def close(self) -> None:
        """Finish what is under way and let go."""
        for part in (self.socket, self.answers, self.voice):
            if part is not None:
                part.close()


Part = Callable[[Tx, datetime], Health]
"""A line of the overview."""


class Rooms(Protocol):
    """What runs: `monitor.daemon.Control` and everything of its kind."""

    configured: Configured
    """As it is now: a reload may change it."""
    shelf: Shelf
    store: Store
    metrics: Metrics
    parts: list[Part]


def open_ways_in(
    rooms: Rooms, clock: Callable[[], datetime], stack: ExitStack, watch: Watch | None = None
) -> dict[str, Hook]:
    """Start the ways in, tell the overview of them, and close them with `stack`; their hooks.

    Raises:
        UsageError: the configured `ca_file` cannot be read, or a server store has no key.
    """
    settings = rooms.configured.settings
    if settings.inbound.slack is None and settings.inbound.pagerduty is None:
        return {}
    try:
        ways = build_ways_in(rooms, clock, key=digest_key(settings), watch=watch)
    except OSError as problem:
        said = problem.strerror or problem
        raise UsageError(f"the ca_file of inbound.slack cannot be used: {said}") from None
    stack.callback(ways.close)
    if ways.socket is not None:
        connection = ways.socket
        rooms.parts.append(lambda _tx, _now: connection.health())
    return ways.start().hooks


def build_ways_in(
    rooms: Rooms, clock: Callable[[], datetime], *, key: bytes, watch: Watch | None = None
) -> WaysIn:
    """The ways in that the configuration asks for; starts nothing.

    People and receivers are looked up when somebody answers, so that a reload reaches them.

    Args:
        rooms: what runs.
        clock: the real time.
        key: the installation's secret (`launch.digest_key`), the same on every machine.
        watch: ends a process whose loops hang or die.

    Raises:
        OSError: the configured `ca_file` cannot be read.
    """
    inbound = rooms.configured.settings.inbound
    if inbound.slack is None and inbound.pagerduty is None:
        return WaysIn({}, None, None, None)
    team = "" if inbound.slack is None else inbound.slack.team

    def people() -> People:
        return People(rooms.configured.settings.inbound.people, team=team)

    def receivers() -> list[SlackSettings]:
        return [one for one in rooms.configured.receivers if isinstance(one, SlackSettings)]

    def desk_for(transactions: Transactions, who: Principal) -> Desk:
        return Desk(transactions, rooms.configured, rooms.shelf, who, clock)

    answers = Answers(rooms.store, desk_for, rooms.metrics, clock)
    hooks: dict[str, Hook] = {}
    voice, socket = None, None
    if inbound.slack is not None:
        voice = SlackVoice(receivers)
        actions = SlackActions(inbound.slack, people, Buttons(key), answers, voice)
        if inbound.slack.app_token is not None:
            socket = SlackSocket(inbound.slack, actions.take, rooms.metrics, watch)
        else:
            hooks["slack"] = actions.hook
    if inbound.pagerduty is not None:
        hooks["pagerduty"] = PagerDutyHooks(inbound.pagerduty.secrets, people, answers).hook
    return WaysIn(hooks, answers, voice, socket)
