"""A small HTTP server on the loopback address around a receiver."""

from __future__ import annotations

import contextlib
import socketserver
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Protocol, Self

_MAX_BODY = 4 * 1024 * 1024
_IDLE_S = 10.0


@dataclass(frozen=True, slots=True)
class Request:
    """One request, read whole."""

    method: str
    path: str
    headers: Mapping[str, str] = field(default_factory=dict)
    """Names in lower case."""
    body: bytes = b""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a receiver says, and for the record what it made of the request."""

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    key: str = ""
    """What folds repeats: Slack's metadata id, PagerDuty's dedup_key, the webhook's id."""
    outcome: str = ""
    """`accepted: ...` or `refused: ...`."""


class Receiver(Protocol):
    """Rules and state of one provider; called from several threads."""

    def answer(self, request: Request) -> Answer:
        """Take one request."""
        ...


class Wire:
    """The connection of one request: what is written to it is what the client sees."""

    def __init__(self, handler: BaseHTTPRequestHandler) -> None:
        self._handler = handler
        self.socket = handler.connection

    def send(self, answer: Answer) -> None:
        """Send the whole answer and close."""
        self.head(answer.status, {**answer.headers, "Content-Length": str(len(answer.body))})
        self._handler.wfile.write(answer.body)

    def head(self, status: int, headers: Mapping[str, str]) -> None:
        """Send status and headers."""
        self._handler.send_response(status)
        for name, value in headers.items():
            self._handler.send_header(name, value)
        self._handler.send_header("Connection", "close")
        self._handler.end_headers()


class _Http(ThreadingHTTPServer):
    request_queue_size = 128
    daemon_threads = False  # joined at the end, so that no socket outlives the server

    def __init__(self, owner: LoopbackServer, port: int) -> None:
        self.owner = owner
        super().__init__(("127.0.0.1", port), _Handler)

    def server_bind(self) -> None:
        # the inherited method asks the resolver for this machine's name, which can take seconds
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = "127.0.0.1", int(self.server_address[1])


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = _IDLE_S
    server: _Http

    def do_GET(self) -> None:
        self._take()

    def do_POST(self) -> None:
        self._take()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - inherited name
        """Silent: the journal of a receiver is its state."""

    def _take(self) -> None:
        self.close_connection = True
        length = self.headers.get("Content-Length", "0")
        # a client that goes away, or never sends what it announced, is no error of the server
        with contextlib.suppress(OSError):
            if not length.isdigit() or int(length) > _MAX_BODY:
                Wire(self).send(Answer(413))
                return
            headers = {name.lower(): value for name, value in self.headers.items()}
            body = self.rfile.read(int(length))
            self.server.owner.exchange(Request(self.command, self.path, headers, body), Wire(self))


class LoopbackServer:
    """Serves a receiver on 127.0.0.1 from a thread; a context manager.

    Args:
        receiver: rules and state.
        port: 0 for a free one.
    """

    def __init__(self, receiver: Receiver, *, port: int = 0) -> None:
        self._receiver = receiver
        self._http = _Http(self, port)
        self._thread = threading.Thread(
            target=self._http.serve_forever, kwargs={"poll_interval": 0.05}, name="loopback"
        )
        self._thread.daemon = True

    @property
    def url(self) -> str:
        """Where it listens, without a path."""
        return f"http://127.0.0.1:{self._http.server_port}"

    def start(self) -> Self:
        """Begin to answer."""
        self._thread.start()
        return self

    def stop(self) -> None:
        """Stop answering and give the port back; requests under way are finished first."""
        if self._thread.is_alive():
            self._http.shutdown()
            self._thread.join()
        self._http.server_close()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def exchange(self, request: Request, wire: Wire) -> None:
        """Answer one request; a subclass may do worse than answer."""
        wire.send(self._receiver.answer(request))
