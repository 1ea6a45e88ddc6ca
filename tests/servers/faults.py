"""Ways in which a provider fails, and a server that fails on demand.

A fault first decides whether the provider stores the request (`store`) or not (`drop`), which is
written to the journal at once, and then what the client sees.
"""

from __future__ import annotations

import json
import os
import random
import socket
import struct
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from monitor.notify.loopback.server import Answer, LoopbackServer, Receiver, Request, Wire
from tests.servers.journal import Journal


@dataclass(frozen=True, slots=True)
class Failing:
    """What a fault works with."""

    request: Request
    wire: Wire
    store: Callable[[], Answer]
    """Let the receiver take the request; its answer."""
    drop: Callable[[], None]
    """Note that the request is not stored."""
    stopped: threading.Event
    """Set when the server stops: whatever hangs must end."""


Fault = Callable[[Failing], None]


def status(code: int, body: bytes = b"", headers: Mapping[str, str] | None = None) -> Fault:
    """An answer instead of the receiver's; nothing is stored."""

    def fail(case: Failing) -> None:
        case.drop()
        case.wire.send(Answer(code, body, headers or {}))

    return fail


def slack_error(code: str, *, http: int = 200, headers: Mapping[str, str] | None = None) -> Fault:
    """Slack's `ok: false`; nothing is stored."""
    return status(http, json.dumps({"ok": False, "error": code}).encode(), headers)


def html_page(code: int = 200) -> Fault:
    """A proxy's or captive portal's page; nothing is stored."""
    return status(code, b"<html><body>Sign in</body></html>", {"Content-Type": "text/html"})


def redirect(location: str) -> Fault:
    """302 to somewhere else."""
    return status(302, headers={"Location": location})


def hang(case: Failing) -> None:
    """No answer, nothing stored."""
    case.drop()
    case.stopped.wait(60)


def hang_after_store(case: Failing) -> None:
    """Stored, no answer."""
    case.store()
    case.stopped.wait(60)


def reset(case: Failing) -> None:
    """The connection breaks, nothing stored."""
    case.drop()
    _break(case.wire.socket)


def reset_after_store(case: Failing) -> None:
    """Stored, then the connection breaks: the unknown outcome."""
    case.store()
    _break(case.wire.socket)


def slow_headers(case: Failing) -> None:
    """Stored, then the answer's head drips, a byte each 50 ms, for ever."""
    case.store()
    case.wire.socket.sendall(b"HTTP/1.1 200 OK\r\nX-Slow: ")
    while not case.stopped.wait(0.05):
        case.wire.socket.sendall(b"x")


def slow_body(case: Failing) -> None:
    """Stored, then a head at once, and a body that drips for ever."""
    answer = case.store()
    case.wire.head(answer.status, {**answer.headers, "Content-Length": "1000000"})
    while not case.stopped.wait(0.05):
        case.wire.socket.sendall(b"x")


def huge_body(code: int = 200) -> Fault:
    """A head at once, and a body without end, as fast as the client reads."""

    def fail(case: Failing) -> None:
        case.store()
        case.wire.head(code, {"Content-Length": str(10 * 1024**3)})
        while not case.stopped.is_set():
            case.wire.socket.sendall(b"x" * 65536)

    return fail


def late(seconds: float) -> Fault:
    """The receiver's own answer, late."""

    def fail(case: Failing) -> None:
        case.stopped.wait(seconds)
        case.wire.send(case.store())

    return fail


def _break(sock: socket.socket) -> None:
    # linger 0 makes the close send RST, as a crashed server or a firewall does; detached, because
    # the handler's files would keep the socket open
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    os.close(sock.detach())


@dataclass(slots=True)
class _Planned:
    fault: Fault
    times: int
    path: str


class FaultyServer(LoopbackServer):
    """A loopback server that keeps a journal and fails when told to.

    Args:
        receiver: rules and state.
        port: 0 for a free one.
        log: file of the journal.
        unstable: share of requests that fail at random, `seed`ed.
    """

    def __init__(
        self,
        receiver: Receiver,
        *,
        port: int = 0,
        log: Path | None = None,
        unstable: float = 0.0,
        seed: int = 0,
    ) -> None:
        super().__init__(receiver, port=port)
        self.journal = Journal(log)
        self._plan: list[_Planned] = []
        self._plan_lock = threading.Lock()
        self._stopped = threading.Event()
        self._unstable, self._random = unstable, random.Random(seed)

    def fail_next(self, fault: Fault, *, times: int = 1, path: str = "") -> None:
        """Fail the next `times` requests whose path ends with `path`; plans are kept in order."""
        with self._plan_lock:
            self._plan.append(_Planned(fault, times, path))

    def recover(self) -> None:
        """Forget all planned failures."""
        with self._plan_lock:
            self._plan.clear()

    def stop(self) -> None:
        self._stopped.set()
        super().stop()
        self.journal.close()

    def exchange(self, request: Request, wire: Wire) -> None:
        fault = self._next_fault(request.path.partition("?")[0])
        name = getattr(fault, "__qualname__", "").partition(".")[0]

        def store() -> Answer:
            answer = self._receiver.answer(request)
            self.journal.write(request, answer, fault=name)
            return answer

        def drop() -> None:
            self.journal.write(request, Answer(0, outcome="not stored"), fault=name)

        if fault is None:
            wire.send(store())
        else:
            fault(Failing(request, wire, store, drop, self._stopped))

    def _next_fault(self, path: str) -> Fault | None:
        with self._plan_lock:
            for planned in self._plan:
                if planned.times > 0 and path.endswith(planned.path):
                    planned.times -= 1
                    return planned.fault
            if self._random.random() < self._unstable:
                return self._random.choice(
                    [
                        status(500),
                        status(429, headers={"Retry-After": "1"}),
                        reset,
                        reset_after_store,
                    ]
                )
        return None


def serve_until_killed(server: FaultyServer) -> None:
    """Run as a program: say the address in one line, then serve until the process ends."""
    with server:
        print(json.dumps({"url": server.url}), flush=True)
        while True:
            time.sleep(3600)
