"""The client's side of one WebSocket: connect, read, write; one thread does the I/O.

`receive` is called by one thread, which reads and writes the connection; `send` may be called by
any, it queues and wakes that thread (a TLS connection must not be read and written at once). No
message of an error holds the address: its query is a ticket.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import os
import re
import select
import socket
import ssl
import threading
import time
from collections import deque
from urllib.parse import SplitResult, urlsplit

from monitor.inbound.frames import FrameError, Frames, Opcode, Received, frame

_GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455 section 1.3
_HEAD = 16 * 1024
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
_IO_S = 5.0
"""For one step: an address that is dialled, or all that waits to be written."""
_WITHIN_S = 15.0
"""For a whole attempt, from the first dial on: a server that drips a byte a second keeps each step
alive for hours, and what waits for the connection is watched. Below `slack_socket.ATTEMPT_S`."""


class WebSocketClosed(Exception):
    """The connection could not be made, or is over; the message is safe to show."""


class WebSocket:
    """An open connection."""

    def __init__(self, sock: socket.socket, early: bytes = b"", *, write_s: float = _IO_S) -> None:
        """Take over `sock` after the handshake.

        Args:
            sock: connected.
            early: came behind the handshake's answer.
            write_s: for all that waits to be written.
        """
        self._sock = sock
        self._write_s = write_s
        self._frames = Frames()
        self._ready: deque[Received] = deque()
        self._out: deque[bytes] = deque()
        self._lock = threading.Lock()
        self._wake_read, self._wake_write = socket.socketpair()
        self._wake_read.setblocking(False)
        self._take(early)

    def send(self, text: str) -> None:
        """Queue a message; the thread that receives writes it."""
        self._put(frame(Opcode.TEXT, text.encode()))

    def ping(self) -> None:
        """Ask for a sign of life."""
        self._put(frame(Opcode.PING, b"tocsin"))

    def receive(self, timeout_s: float) -> Received | None:
        """The next text message or pong or ping (which is answered); None if none came in time.

        What waits is written first, which may take `write_s` longer; a message that drips does not.

        Raises:
            WebSocketClosed: the connection is over.
        """
        deadline = time.monotonic() + timeout_s
        try:
            while not self._ready:
                self._flush()
                left = deadline - time.monotonic()
                if left <= 0:
                    return None
                self._wait(left)
            return self._handled(self._ready.popleft())
        except FrameError as problem:
            raise WebSocketClosed(f"not the WebSocket protocol: {problem}") from None
        except (OSError, ValueError) as problem:
            raise WebSocketClosed(f"it broke: {type(problem).__name__}") from None

    def close(self) -> None:
        """Say goodbye if that can be done at once, and let go. Only when nobody receives."""
        with contextlib.suppress(OSError, ValueError):
            self._sock.settimeout(0.5)
            self._sock.sendall(frame(Opcode.CLOSE, (1000).to_bytes(2, "big")))
        for sock in (self._sock, self._wake_read, self._wake_write):
            with contextlib.suppress(OSError):
                sock.close()

    def _put(self, data: bytes) -> None:
        with self._lock:
            self._out.append(data)
        with contextlib.suppress(OSError):  # closed, or the pipe is full: it wakes all the same
            self._wake_write.send(b"x")

    def _flush(self) -> None:
        deadline = time.monotonic() + self._write_s
        while True:
            with self._lock:
                if not self._out:
                    return
                data = self._out.popleft()
            _within(self._sock, deadline)
            self._sock.sendall(data)

    def _wait(self, left_s: float) -> None:
        """Read what is there; return at once when something waits to be written."""
        pending = isinstance(self._sock, ssl.SSLSocket) and self._sock.pending() > 0
        socks = [self._sock, self._wake_read]
        ready = [self._sock] if pending else select.select(socks, [], [], left_s)[0]
        if self._wake_read in ready:
            with contextlib.suppress(BlockingIOError):
                self._wake_read.recv(4096)
        if self._sock in ready:
            with contextlib.suppress(TimeoutError, ssl.SSLWantReadError):
                self._sock.settimeout(left_s)  # of TLS the rest of a record may be yet to come
                data = self._sock.recv(65536)
                if not data:
                    raise WebSocketClosed("the other side ended it")
                self._take(data)

    def _take(self, data: bytes) -> None:
        self._ready.extend(self._frames.feed(data))

    def _handled(self, one: Received) -> Received:
        if one.opcode is Opcode.PING:
            self._put(frame(Opcode.PONG, one.payload))
            self._flush()
        if one.opcode is Opcode.CLOSE:
            code = int.from_bytes(one.payload[:2], "big") if len(one.payload) >= 2 else 1005
            raise WebSocketClosed(f"the other side closed it ({code})")
        return one


def connect(
    url: str, *, context: ssl.SSLContext, proxy: str = "", within_s: float = _WITHIN_S
) -> WebSocket:
    """Open a WebSocket.

    Args:
        url: `wss://...`; `ws://` only to this machine.
        context: verifies the other side.
        proxy: `http://HOST:PORT` of an egress proxy that takes CONNECT, or nothing.
        within_s: for all of it, but for finding the name's addresses, which cannot be cut short.

    Raises:
        WebSocketClosed: it could not be opened.
    """
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port or (443 if parts.scheme == "wss" else 80)
        through = urlsplit(proxy)
        first = (through.hostname or "", through.port or 80) if proxy else (host, port)
    except ValueError:
        raise WebSocketClosed("not an address") from None
    if not host or not (parts.scheme == "wss" or (parts.scheme == "ws" and host in _LOOPBACK)):
        raise WebSocketClosed("an address that is not wss:// is refused")
    sock: socket.socket | None = None
    try:
        sock, deadline = _dialled(*first, within_s)
        if proxy:
            _tunnel(sock, host, port, deadline)
        if parts.scheme == "wss":
            _within(sock, deadline)  # the ssl module counts a whole handshake by it
            sock = context.wrap_socket(sock, server_hostname=host)
        return WebSocket(sock, _handshake(sock, parts, host, port, deadline))
    except (OSError, ValueError, FrameError) as problem:
        why = type(problem).__name__
    except WebSocketClosed as problem:
        why = str(problem)
    if sock is not None:
        sock.close()
    raise WebSocketClosed(f"cannot connect to {host}: {why}")


def _within(sock: socket.socket, deadline: float) -> None:
    """Let the next operation on `sock` end by `deadline` (`time.monotonic`).

    Raises:
        TimeoutError: it is over.
    """
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    sock.settimeout(left)


def _dialled(host: str, port: int, within_s: float) -> tuple[socket.socket, float]:
    """Connected to the first address that answers, and until when the rest must be done.

    Raises:
        OSError: none did.
    """
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    deadline = time.monotonic() + within_s
    problem = OSError("no address")
    for family, kind, proto, _, address in found:
        sock = socket.socket(family, kind, proto)
        try:
            # An address that does not answer must not cost the next one its time.
            _within(sock, min(deadline, time.monotonic() + _IO_S))
            sock.connect(address)
        except OSError as one:
            sock.close()
            problem = one
        else:
            return sock, deadline
    raise problem


def _tunnel(sock: socket.socket, host: str, port: int, deadline: float) -> None:
    _within(sock, deadline)
    sock.sendall(f"CONNECT {host}:{port} HTTP/1.1\r\nHost: {host}:{port}\r\n\r\n".encode())
    head, early = _head(sock, deadline)
    if _status(head) != 200 or early:
        raise WebSocketClosed(f"the proxy answers {_status(head)}")


def _handshake(
    sock: socket.socket, parts: SplitResult, host: str, port: int, deadline: float
) -> bytes:
    """Ask for a WebSocket; what came behind the answer."""
    key = base64.b64encode(os.urandom(16)).decode()
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    if not path.isascii() or not path.isprintable() or " " in path:
        raise WebSocketClosed("not an address")
    name = f"[{host}]" if ":" in host else host
    _within(sock, deadline)
    sock.sendall(
        f"GET {path} HTTP/1.1\r\nHost: {name}:{port}\r\nUpgrade: websocket\r\n"
        f"Connection: Upgrade\r\nSec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n"
        "User-Agent: tocsin\r\n\r\n".encode()
    )
    head, early = _head(sock, deadline)
    digest = hashlib.sha1((key + _GUID).encode(), usedforsecurity=False).digest()
    accept = re.search(rb"(?im)^sec-websocket-accept:[ \t]*([^\r\n]*?)[ \t]*\r$", head)
    if _status(head) != 101:
        raise WebSocketClosed(f"the server answers {_status(head)}")
    if accept is None or accept[1] != base64.b64encode(digest):
        raise WebSocketClosed("the server does not speak WebSocket")
    return early


def _head(sock: socket.socket, deadline: float) -> tuple[bytes, bytes]:
    """The head of an answer with its line ends, and what came behind it."""
    data = b""
    while b"\r\n\r\n" not in data:
        _within(sock, deadline)
        more = sock.recv(4096)
        if not more or len(data) > _HEAD:
            raise WebSocketClosed("the server ended the handshake")
        data += more
    head, _, early = data.partition(b"\r\n\r\n")
    return head + b"\r\n", early


def _status(head: bytes) -> int:
    found = re.match(rb"HTTP/1\.[01] ([0-9]{3})\b", head)
    return int(found[1]) if found else 0
