"""The WebSocket client against another implementation: frames as values, and whole connections."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import trustme
from hypothesis import given, settings
from hypothesis import strategies as st
from websockets.exceptions import ConnectionClosed
from websockets.frames import Frame
from websockets.frames import Opcode as Theirs
from websockets.protocol import Protocol, Side, State
from websockets.sync.server import Server, ServerConnection, serve

from monitor.http_client import tls_context
from monitor.inbound.frames import FrameError, Frames, Opcode, frame
from monitor.inbound.websocket import WebSocket, WebSocketClosed, connect

PLENTY_S = 20.0


def _theirs(opcode: Theirs, data: bytes, *, fin: bool = True, mask: bool = False) -> bytes:
    return Frame(opcode, data, fin=fin).serialize(mask=mask)


SIZES = st.sampled_from([0, 1, 125, 126, 127, 65_535, 65_536, 70_000]) | st.integers(0, 300)


@settings(deadline=None)  # a noisy machine
@given(st.lists(SIZES, max_size=5), st.lists(st.integers(1, 2000), min_size=1, max_size=20))
def test_whole_messages_come_out_however_the_bytes_are_cut(
    sizes: list[int], cuts: list[int]
) -> None:
    """What another implementation writes is read back, message by message."""
    payloads = [bytes(range(251)) * (size // 251) + b"z" * (size % 251) for size in sizes]
    data = b"".join(_theirs(Theirs.TEXT, payload) for payload in payloads)
    frames, found = Frames(), []
    at = number = 0
    while at < len(data):
        size = cuts[number % len(cuts)] if number < 200 else 4096
        found += frames.feed(data[at : at + size])
        at, number = at + size, number + 1
    assert [one.payload for one in found] == payloads
    assert all(one.opcode is Opcode.TEXT for one in found)


@settings(deadline=None)  # a noisy machine
@given(st.lists(st.binary(max_size=40), min_size=1, max_size=6), st.binary(max_size=125))
def test_parts_make_one_message_and_control_frames_come_between(
    parts: list[bytes], ping: bytes
) -> None:
    """A message in parts is one; a ping within it is told at once."""
    data, last = b"", len(parts) - 1
    for place, part in enumerate(parts):
        kind = Theirs.CONT if place else Theirs.TEXT
        data += _theirs(Theirs.PING, ping) + _theirs(kind, part, fin=place == last)
    found = Frames().feed(data)
    assert [one.opcode for one in found] == [Opcode.PING] * len(parts) + [Opcode.TEXT]
    assert found[-1].payload == b"".join(parts)


@settings(deadline=None)  # a noisy machine
@given(
    st.sampled_from([Opcode.TEXT, Opcode.BINARY, Opcode.PING, Opcode.PONG]),
    SIZES,
    st.binary(min_size=1, max_size=9),
)
def test_what_we_write_another_implementation_reads(opcode: Opcode, size: int, seed: bytes) -> None:
    """Masked as a client must, with each of the three forms of length."""
    most = 125 if opcode >= Opcode.CLOSE else size
    payload = (seed * (size // len(seed) + 1))[: min(size, most)]
    server = Protocol(Side.SERVER, state=State.OPEN, max_size=None)
    server.receive_data(frame(opcode, payload))
    (got,) = server.events_received()
    assert isinstance(got, Frame)
    assert (int(got.opcode), bytes(got.data)) == (int(opcode), payload)


@pytest.mark.parametrize(
    "data",
    [
        _theirs(Theirs.TEXT, b"x", mask=True),
        b"\xc1\x01x",
        b"\x83\x01x",
        b"\x89\x7e\x00\x7e" + b"x" * 126,
        b"\x09\x01x",
        _theirs(Theirs.CONT, b"x"),
        _theirs(Theirs.TEXT, b"x", fin=False) + _theirs(Theirs.TEXT, b"y"),
        b"\x81\x7f\x7f\xff\xff\xff\xff\xff\xff\xff",
        _theirs(Theirs.TEXT, b"x" * 600, fin=False) + _theirs(Theirs.CONT, b"x" * 600),
    ],
    ids=[
        "masked",
        "reserved",
        "opcode",
        "long-ping",
        "ping-in-parts",
        "nothing-to-continue",
        "message-in-message",
        "endless",
        "too-long-in-parts",
    ],
)
def test_what_no_server_may_send_ends_the_connection(data: bytes) -> None:
    """A frame against the protocol, or a message over the bound, is an error."""
    with pytest.raises(FrameError):
        Frames(limit=1000).feed(data)


@settings(deadline=None)  # a noisy machine
@given(st.binary(max_size=400))
def test_noise_is_messages_or_an_error(noise: bytes) -> None:
    """Nothing else ever leaves the reader."""
    with contextlib.suppress(FrameError):
        Frames().feed(noise)


@contextmanager
def _server(context: ssl.SSLContext | None = None, **options: object) -> Iterator[int]:
    def echo(link: ServerConnection) -> None:
        with contextlib.suppress(ConnectionClosed):
            for text in link:
                link.send(f"echo {text!s}")
                if text == "end":
                    return

    server: Server = serve(echo, "127.0.0.1", 0, ssl=context, **options)  # type: ignore[arg-type] # handed through
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server.socket.getsockname()[1]
    finally:
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.mark.parametrize("secure", [False, True], ids=["plain", "tls"])
def test_a_conversation(secure: bool, authority: trustme.CA, tmp_path: Path) -> None:
    """Messages go both ways from any thread, pings are answered, the end is told."""
    context = None
    ca_file = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(ca_file))
    if secure:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        authority.issue_cert("localhost").configure_cert(context)
    with _server(context) as port:
        url = f"{'wss' if secure else 'ws'}://localhost:{port}/link/?ticket=1"
        client = connect(url, context=tls_context(ca_file))
        try:
            for text in ("a", "\u00e9" * 40_000):
                threading.Thread(target=client.send, args=(text,)).start()
                got = client.receive(PLENTY_S)
                assert got is not None
                assert got.payload.decode() == f"echo {text}"
            client.ping()
            got = client.receive(PLENTY_S)
            assert got is not None
            assert got.opcode is Opcode.PONG
            assert client.receive(0.01) is None
            client.send("end")
            assert client.receive(PLENTY_S) is not None
            with pytest.raises(WebSocketClosed, match="1000"):
                client.receive(PLENTY_S)
        finally:
            client.close()


def test_a_certificate_that_nobody_vouches_for_is_refused(authority: trustme.CA) -> None:
    """No connection is better than one to anybody."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("localhost").configure_cert(context)
    with (
        _server(context) as port,
        pytest.raises(WebSocketClosed, match="cannot connect"),
    ):
        connect(f"wss://localhost:{port}/?ticket=secret", context=tls_context())


@pytest.mark.parametrize(
    "url",
    [
        "ws://example.com/",
        "http://localhost/",
        "wss://",
        "nonsense",
        "wss://[::1",
        "ws://localhost:1/\r\nX: y",
    ],
)
def test_an_address_that_must_not_be_used(url: str) -> None:
    """Plain text leaves this machine never; what is no address is refused."""
    with pytest.raises(WebSocketClosed):
        connect(url, context=tls_context(), within_s=1.0)


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"HTTP/1.1 403 Forbidden\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Accept: wrong\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nX: " + b"y" * 20_000,
        b"\xff" * 10 + b"\r\n\r\n",
    ],
    ids=["nothing", "403", "wrong-key", "endless-head", "noise"],
)
def test_a_handshake_that_fails_says_so_without_the_ticket(answer: bytes) -> None:
    """The address's query is a ticket: no error shows it."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve_once() -> None:
            link, _ = listener.accept()
            with link:
                link.recv(4096)
                link.sendall(answer)

        thread = threading.Thread(target=serve_once)
        thread.start()
        port = listener.getsockname()[1]
        with pytest.raises(WebSocketClosed) as caught:
            connect(f"ws://127.0.0.1:{port}/?ticket=hush", context=tls_context())
        thread.join()
    assert "hush" not in str(caught.value)


def test_a_proxy_is_asked_for_a_tunnel() -> None:
    """CONNECT names host and port; a proxy that refuses is a failed connection."""
    asked = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve_once() -> None:
            link, _ = listener.accept()
            with link:
                asked.append(link.recv(4096))
                link.sendall(b"HTTP/1.1 407 No\r\n\r\n")

        thread = threading.Thread(target=serve_once)
        thread.start()
        proxy = f"http://127.0.0.1:{listener.getsockname()[1]}"
        with pytest.raises(WebSocketClosed, match="the proxy answers 407"):
            connect("wss://wss.example.com/?ticket=1", context=tls_context(), proxy=proxy)
        thread.join()
    assert asked[0].startswith(b"CONNECT wss.example.com:443 HTTP/1.1\r\n")


@contextmanager
def _dripping(answer: bytes, every_s: float = 0.05) -> Iterator[int]:
    """A server that says this, a byte at a time, to whoever connects first."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def drip() -> None:
            link, _ = listener.accept()
            with link, contextlib.suppress(OSError):
                link.recv(4096)
                for byte in answer:
                    link.send(bytes([byte]))
                    time.sleep(every_s)

        thread = threading.Thread(target=drip)
        thread.start()
        yield listener.getsockname()[1]
        thread.join()


@pytest.mark.parametrize(
    ("answer", "url", "tunnel"),
    [
        (b"HTTP/1.1 101 Switching Protocols\r\nX: " + b"y" * 400, "ws://127.0.0.1:{}/", False),
        (b"\x16\x03\x03\x40\x00" + b"\x02" * 400, "wss://127.0.0.1:{}/", False),
        (b"HTTP/1.1 200 OK\r\nX: " + b"y" * 400, "wss://wss.example.com/", True),
    ],
    ids=["head", "tls", "proxy"],
)
def test_a_server_that_drips_is_given_up_in_time(answer: bytes, url: str, tunnel: bool) -> None:
    """Each byte comes soon enough, all of them never: one deadline bounds the whole attempt."""
    with _dripping(answer) as port:
        proxy = f"http://127.0.0.1:{port}" if tunnel else ""
        began = time.monotonic()
        with pytest.raises(WebSocketClosed, match="cannot connect"):
            connect(url.format(port), context=tls_context(), proxy=proxy, within_s=0.5)
        assert time.monotonic() - began < 5.0


def test_a_message_that_drips_holds_nobody_up() -> None:
    """Who reads is back in its time, whether bytes come or not."""
    ours, theirs = socket.socketpair()
    link, end = WebSocket(ours), threading.Event()

    def drip() -> None:
        with contextlib.suppress(OSError):
            for byte in _theirs(Theirs.TEXT, b"x" * 1000):
                theirs.send(bytes([byte]))
                if end.wait(0.02):
                    return

    thread = threading.Thread(target=drip)
    thread.start()
    try:
        began = time.monotonic()
        assert link.receive(0.3) is None
        assert time.monotonic() - began < 5.0
    finally:
        end.set()
        thread.join()
        link.close()
        theirs.close()


def test_who_reads_slowly_is_left_after_one_time_for_all_that_waits() -> None:
    """However many messages wait to be written, a reader who takes a little of each does not hold
    us up for as many times."""
    ours, theirs = socket.socketpair()
    for side in (ours, theirs):
        side.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    link, end = WebSocket(ours, write_s=0.5), threading.Event()

    def sip() -> None:
        while not end.wait(0.02):
            theirs.recv(2048)

    for _ in range(30):
        link.send("x" * 40_000)
    thread = threading.Thread(target=sip)
    thread.start()
    try:
        began = time.monotonic()
        with pytest.raises(WebSocketClosed, match="Timeout"):
            link.receive(0.1)
        assert time.monotonic() - began < 3.0
    finally:
        end.set()
        thread.join()
        link.close()
        theirs.close()
