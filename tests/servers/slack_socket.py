"""Slack's end of Socket Mode, on real WebSockets of another implementation than the product's.

It hands an envelope to one of the connections, waits for its acknowledgement as long as Slack does,
and gives it out again, to whichever connection comes next, when there is none. Strict in what it
takes: an address is good for one connection, and a message that is no acknowledgement of something
that was sent is an error that the test sees.
"""

from __future__ import annotations

import contextlib
import http
import itertools
import json
import secrets
import socket
import struct
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from websockets.exceptions import ConnectionClosed
from websockets.sync.server import Server, ServerConnection, serve

from monitor.notify.loopback.server import Answer, Request
from tests.servers.journal import Journal

ACK_S = 3.0
MOST = 10
"""Connections that one app may have."""


@dataclass(slots=True)
class Handed:
    """One envelope and what became of it."""

    envelope: str
    attempts: int = 0
    acked: threading.Event = field(default_factory=threading.Event)
    acks: int = 0


class SlackSockets:
    """Connections of one app.

    Args:
        app: its id.
        journal: gets a row for each attempt and each acknowledgement.
        ack_s: how long an acknowledgement is waited for.
    """

    def __init__(self, *, app: str, journal: Journal, ack_s: float = ACK_S) -> None:
        self._app, self._journal, self._ack_s = app, journal, ack_s
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._tickets: set[str] = set()
        self._links: list[ServerConnection] = []
        self._seats = 0
        self._turn = itertools.count()
        self._handed: dict[str, Handed] = {}
        self.problems: list[str] = []
        """What a client did that Slack would not have."""
        self.opened = 0
        """Connections that were greeted so far."""
        self.refusing = ""
        """Reason with which every new connection is sent away; empty: none is."""
        self.twice = False
        """Every envelope is handed out twice at once."""
        self._server: Server = serve(
            self._serve,
            "127.0.0.1",
            0,
            process_request=self._admit,
            compression=None,
            ping_interval=5,
            ping_timeout=None,
            close_timeout=1,
        )
        self._thread = threading.Thread(target=self._server.serve_forever, name="slack-sockets")
        self._thread.start()

    @property
    def connected(self) -> int:
        """Connections that stand."""
        with self._lock:
            return len(self._links)

    def address(self) -> str:
        """A new address, good for one connection."""
        ticket = secrets.token_hex(16)
        with self._lock:
            self._tickets.add(ticket)
        port = self._server.socket.getsockname()[1]
        return f"ws://127.0.0.1:{port}/link/?ticket={ticket}&app_id={self._app}"

    def close(self) -> None:
        """Send everybody away and give the port back."""
        self._server.shutdown()
        self._thread.join()
        for link in self._each():
            link.close()

    # -- what a test does ------------------------------------------------------------------------

    def hand_out(
        self, payload: Mapping[str, Any], *, attempts: int = 3, kind: str = "interactive"
    ) -> Handed:
        """Hand out a payload until somebody acknowledges it, at most `attempts` times; blocks.

        An attempt for which nobody is connected within the time of an acknowledgement counts.
        """
        handed = Handed(secrets.token_hex(8))
        with self._lock:
            self._handed[handed.envelope] = handed
        while not handed.acked.is_set() and handed.attempts < attempts:
            handed.attempts += 1
            envelope = {
                "envelope_id": handed.envelope,
                "type": kind,
                "payload": payload,
                "accepts_response_payload": False,
            }
            if handed.attempts > 1:
                envelope |= {"retry_attempt": handed.attempts - 1, "retry_reason": "timeout"}
            self._send(json.dumps(envelope), handed)
            handed.acked.wait(self._ack_s)
        return handed

    def warn(self, reason: str = "warning") -> list[ServerConnection]:
        """Tell every client that its connection ends soon; the connections that were told."""
        links = self._each()
        for link in links:
            self._tell(link, {"type": "disconnect", "reason": reason, "debug_info": {}})
        return links

    def refresh(self, *, grace_s: float = 1.0) -> None:
        """Ask every client for a new connection, and end the old ones after a while; blocks."""
        links = self.warn("refresh_requested")
        time.sleep(grace_s)
        for link in links:
            link.close()

    def reset(self) -> None:
        """Break every connection without a word."""
        for link in self._each():
            raw: socket.socket = link.socket
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            with contextlib.suppress(OSError):
                raw.shutdown(socket.SHUT_RDWR)

    def wait_connected(self, count: int = 1, *, opened: int = 0, timeout_s: float = 30.0) -> None:
        """Wait until `count` connections stand and `opened` were greeted in all."""
        with self._changed:
            good = self._changed.wait_for(
                lambda: len(self._links) >= count and self.opened >= opened, timeout_s
            )
            assert good, f"{len(self._links)} connections stand, {self.opened} were made"

    # -- inside ----------------------------------------------------------------------------------

    def _admit(self, link: ServerConnection, request: Any) -> Any:
        ticket = request.path.partition("ticket=")[2].partition("&")[0]
        with self._lock:
            known = ticket in self._tickets
            self._tickets.discard(ticket)
        if not known:
            return link.respond(http.HTTPStatus.FORBIDDEN, "unknown or used ticket\n")
        return None

    def _serve(self, link: ServerConnection) -> None:
        with self._lock:
            self._seats += 1
            crowd = self._seats
        try:
            reason = self.refusing or ("too_many_websockets" if crowd > MOST else "")
            if reason:
                self._tell(link, {"type": "disconnect", "reason": reason})
            else:
                self._greet(link, crowd)
        finally:
            with self._lock:
                self._seats -= 1

    def _greet(self, link: ServerConnection, crowd: int) -> None:
        self._tell(
            link,
            {
                "type": "hello",
                "num_connections": crowd,
                "connection_info": {"app_id": self._app},
                "debug_info": {"host": "applink-loopback", "approximate_connection_time": 18060},
            },
        )
        with self._changed:
            self._links.append(link)
            self.opened += 1
            self._changed.notify_all()
        try:
            for text in link:
                self._take(text)
        except ConnectionClosed:
            pass
        finally:
            with self._changed:
                self._links.remove(link)
                self._changed.notify_all()

    def _take(self, text: str | bytes) -> None:
        try:
            handed = self._handed[json.loads(text)["envelope_id"]]
        except (ValueError, KeyError, TypeError):
            self.problems.append(f"not an acknowledgement of anything: {text!r}")
            return
        handed.acks += 1
        self._note(handed, 200, f"acknowledged, attempt {handed.attempts}")
        handed.acked.set()

    def _send(self, text: str, handed: Handed) -> None:
        with self._changed:
            self._changed.wait_for(lambda: bool(self._links), self._ack_s)
            links = list(self._links)
        if not links:
            self._note(handed, 0, "nobody is connected")
            return
        link = links[next(self._turn) % len(links)]
        self._note(handed, 0, f"handed out, attempt {handed.attempts}")
        for _ in range(2 if self.twice else 1):
            with contextlib.suppress(ConnectionClosed):
                link.send(text)

    def _note(self, handed: Handed, status: int, outcome: str) -> None:
        request = Request("SOCKET", "/envelope", {}, handed.envelope.encode())
        self._journal.write(request, Answer(status, key=handed.envelope, outcome=outcome))

    def _tell(self, link: ServerConnection, message: Mapping[str, Any]) -> None:
        with contextlib.suppress(ConnectionClosed):
            link.send(json.dumps(message))

    def _each(self) -> list[ServerConnection]:
        with self._lock:
            return list(self._links)
