"""One Socket Mode connection and the thread that reads it; `slack_socket` keeps them coming."""

from __future__ import annotations

import logging
import threading
import time
from typing import Protocol

import msgspec

from monitor.inbound.frames import Opcode
from monitor.inbound.websocket import WebSocket, WebSocketClosed
from monitor.text import vis
from monitor.watchdog import Watch, tick

logger = logging.getLogger(__name__)

PING_S = 5.0
SILENCE_S = 20.0
"""A connection on which nothing came for so long, not even an answered ping, is left."""
_LOOK_S = 0.2

_PLANNED = frozenset({"warning", "refresh_requested"})
"""Reasons of a `disconnect` that say: make the next connection, this one ends soon."""


class Info(msgspec.Struct, frozen=True):
    """What `hello` says of the app."""

    app_id: str = ""


class Envelope(msgspec.Struct, frozen=True):
    """What we read of a message of Slack's."""

    type: str = ""
    envelope_id: str = ""
    payload: msgspec.Raw = msgspec.Raw(b"")
    reason: str = ""
    connection_info: Info = Info()


class Keeper(Protocol):
    """Whom a link tells; called from its thread."""

    def heard(self) -> None:
        """A sign of life."""
        ...

    def renew(self, why: str) -> None:
        """It will end soon, as planned."""
        ...

    def ended(self, link: SlackLink) -> None:
        """It is over."""
        ...

    def work(self, link: SlackLink, envelope: Envelope) -> None:
        """Something that wants to be acknowledged."""
        ...


class SlackLink:
    """One connection, from its handshake to its end.

    Args:
        keeper: is told what happens.
        socket: open.
        app: id of the app whose connection it must be.
        watch: ends a process in which it hangs; when it dies, its keeper makes another.
    """

    def __init__(self, keeper: Keeper, socket: WebSocket, *, app: str, watch: Watch) -> None:
        self._keeper = keeper
        self._socket = socket
        self._app = app
        self._watch = watch
        self._born = time.monotonic()
        self._until: float | None = None
        self.renewing = False
        """The next one was asked for already."""
        self.hello = threading.Event()
        """Set when it has said hello, or is over."""
        self.greeted = False
        """It has said hello."""
        self.ready = False
        """It has, and lives."""
        self.why = ""
        self.thread = threading.Thread(target=self._run, name="slack-link", daemon=True)

    @property
    def left(self) -> bool:
        """Its end is wanted."""
        return self._until is not None

    def age(self) -> float:
        """Seconds since it was made."""
        return time.monotonic() - self._born

    def leave(self, grace_s: float) -> None:
        """End it, after it has had so long to receive and acknowledge what is under way."""
        if self._until is None:
            self._until = time.monotonic() + grace_s

    def send(self, text: str) -> None:
        """Write a message; lost if the connection is over, and then Slack repeats."""
        self._socket.send(text)

    def _run(self) -> None:
        self._watch.enter("slack-link")
        try:
            self._read()
            self._socket.receive(0.0)  # writes what waits
        except WebSocketClosed as problem:
            self.why = self.why or str(problem)
        finally:
            self.ready = False
            self._keeper.ended(self)
            self._socket.close()
            self.hello.set()
            self._watch.leave()

    def _read(self) -> None:
        heard = asked = time.monotonic()
        while self._until is None or time.monotonic() < self._until:
            tick()
            one = self._socket.receive(_LOOK_S)
            now = time.monotonic()
            if one is not None:
                heard = now
                self._keeper.heard()
                if one.opcode is Opcode.TEXT and not self._goes_on(one.payload):
                    return
            elif now - heard > SILENCE_S:
                self.why = f"nothing was heard for {SILENCE_S:.0f} s"
                return
            if now - asked > PING_S:
                asked = now
                self._socket.ping()

    def _goes_on(self, raw: bytes) -> bool:
        """Take a message; False when this connection is of no use any more."""
        try:
            envelope = msgspec.json.decode(raw, type=Envelope)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            logger.warning("slack: a message that is no envelope was ignored")
            return True
        match envelope.type:
            case "hello":
                return self._greeted(envelope.connection_info.app_id)
            case "disconnect" if envelope.reason in _PLANNED:
                if not (self.left or self.renewing):  # the warning comes first, then the request
                    self.renewing = True
                    self._keeper.renew(f"Slack asks for a new one ({envelope.reason})")
                return True
            case "disconnect":
                self.why = f"Slack ended it ({vis(envelope.reason, limit=60)})"
                return False
            case _:
                self._keeper.work(self, envelope)
                return True

    def _greeted(self, app: str) -> bool:
        if app not in {"", self._app}:
            self.why = f"the app token is of app {vis(app, limit=40)}, not {self._app}"
            return False
        self.greeted = self.ready = True
        self.hello.set()
        return True
