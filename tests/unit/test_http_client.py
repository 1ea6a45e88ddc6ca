from __future__ import annotations

import logging
import shutil
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from monitor.http_client import HttpClient, NoAnswerError, NotSentError, Response
from monitor.notify.loopback.server import Answer, LoopbackServer, Request, Wire
from tests.servers import faults
from tests.servers.faults import FaultyServer

LIMIT_S = 0.5


class Echo:
    """Answers with what it got."""

    def answer(self, request: Request) -> Answer:
        return Answer(200, request.body, {"X-Agent": request.headers.get("user-agent", "")})


@pytest.fixture
def server() -> Iterator[FaultyServer]:
    with FaultyServer(Echo()) as running:
        yield running


@pytest.fixture
def client() -> Iterator[HttpClient]:
    with HttpClient() as opened:
        yield opened


def test_a_request_brings_status_headers_and_body(server: FaultyServer, client: HttpClient) -> None:
    """What was sent arrives, and what was answered comes back."""
    answer = client.request("POST", server.url, body=b"hello")
    assert (answer.status, answer.body, answer.complete) == (200, b"hello", True)
    assert answer.headers["x-agent"] == "tocsin"


def test_a_refused_connection_has_sent_nothing(client: HttpClient) -> None:
    """Nobody listens: safe to repeat."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with pytest.raises(NotSentError, match="nothing was sent"):
        client.request("POST", f"http://127.0.0.1:{port}/", body=b"x")


def test_a_machine_without_a_thread_left_has_sent_nothing(
    server: FaultyServer, client: HttpClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The request can be repeated, and the client works on when there are threads again."""
    start = threading.Thread.start

    def none_left(thread: threading.Thread) -> None:
        if thread.name == "http":
            raise RuntimeError("can't start new thread")
        start(thread)

    with monkeypatch.context() as scarce:
        scarce.setattr(threading.Thread, "start", none_left)
        with pytest.raises(NotSentError, match="can't start new thread"):
            client.request("POST", server.url)
    assert client.request("POST", server.url).status == 200


def test_a_name_server_that_hangs_is_left_at_the_deadline(
    server: FaultyServer, client: HttpClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The resolver has no timeout of ours; the caller goes on, and nothing is sent later."""
    answered = threading.Event()
    real = socket.getaddrinfo

    def slow(*given: Any, **more: Any) -> Any:
        time.sleep(LIMIT_S * 2)
        answered.set()
        return real(*given, **more)

    monkeypatch.setattr(socket, "getaddrinfo", slow)
    began = time.monotonic()
    with pytest.raises(NotSentError):
        client.request("POST", server.url, body=b"x", timeout_s=LIMIT_S)
    assert time.monotonic() - began < LIMIT_S + 0.3
    assert answered.wait(5)
    time.sleep(0.2)
    assert server.journal.rows == ()


@pytest.mark.parametrize(
    "url", ["", "ftp://127.0.0.1/", "http://", "nonsense", "http://127.0.0.1:99999/", "http://[::1"]
)
def test_an_address_that_is_none_has_sent_nothing(client: HttpClient, url: str) -> None:
    """A bad address is a failure before sending, whatever is wrong with it."""
    with pytest.raises(NotSentError):
        client.request("POST", url)


@pytest.mark.parametrize("value", ["a\r\nX-Evil: 1", "a\nb", "\x00"])
def test_a_header_cannot_be_forged(server: FaultyServer, client: HttpClient, value: str) -> None:
    """A line break in a header value never reaches the wire."""
    with pytest.raises((NotSentError, NoAnswerError)):
        client.request("POST", server.url, headers={"x-a": value})
    assert not [row for row in server.journal.rows if row["status"] == 200]


@pytest.mark.parametrize(
    "fault", [faults.hang, faults.slow_headers, faults.reset], ids=lambda f: f.__name__
)
def test_no_status_after_sending_is_no_answer(
    server: FaultyServer, client: HttpClient, fault: faults.Fault
) -> None:
    """Once bytes were written the outcome is unknown, and known to be so within the deadline."""
    server.fail_next(fault)
    began = time.monotonic()
    with pytest.raises(NoAnswerError):
        client.request("POST", server.url, body=b"x", timeout_s=LIMIT_S)
    assert time.monotonic() - began < LIMIT_S + 0.5


@pytest.mark.parametrize(
    "fault", [faults.slow_body, faults.huge_body(201)], ids=["slow_body", "huge_body"]
)
def test_a_status_without_its_body_is_an_answer(
    server: FaultyServer, client: HttpClient, fault: faults.Fault
) -> None:
    """The status is known as soon as it is there; the body is marked incomplete."""
    server.fail_next(fault)
    began = time.monotonic()
    answer = client.request("POST", server.url, timeout_s=LIMIT_S, limit=10_000)
    assert answer.status in {200, 201}
    assert not answer.complete
    assert len(answer.body) <= 10_000
    assert time.monotonic() - began < LIMIT_S + 0.5


def test_a_body_of_exactly_the_limit_is_complete(server: FaultyServer, client: HttpClient) -> None:
    """The limit is the last length that is read whole."""
    assert client.request("POST", server.url, body=b"x" * 100, limit=100).complete
    over = client.request("POST", server.url, body=b"x" * 101, limit=100)
    assert (len(over.body), over.complete) == (100, False)


def test_a_redirect_is_an_answer(server: FaultyServer, client: HttpClient) -> None:
    """Nothing is followed."""
    server.fail_next(faults.redirect(f"{server.url}/elsewhere"))
    assert client.request("POST", server.url).status == 302
    assert len(server.journal.rows) == 1


def test_the_environment_s_proxy_is_not_used(
    server: FaultyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """HTTP_PROXY and its kin change nothing."""
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    with HttpClient() as client:
        assert client.request("GET", server.url).status == 200


def test_a_configured_proxy_is_used(server: FaultyServer) -> None:
    """The request goes to the proxy with the whole address in its first line."""
    with HttpClient(proxy=server.url) as client:
        assert client.request("GET", "http://service.example/path").status == 200
    assert server.journal.rows[0]["path"] == "http://service.example/path"


def test_what_was_not_written_at_the_deadline_is_never_sent(client: HttpClient) -> None:
    """A connection that opens after the caller has gone is closed without a request."""
    got: list[bytes] = []
    opened = threading.Event()
    # a backlog that is full keeps the next connection waiting until somebody accepts
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listener:
        port = listener.getsockname()[1]
        fillers = [_dial(port) for _ in range(4)]
        with pytest.raises(NotSentError):
            client.request("POST", f"http://127.0.0.1:{port}/", body=b"late", timeout_s=0.3)

        def accept_all() -> None:
            listener.settimeout(2.5)
            try:
                while True:
                    peer, _ = listener.accept()
                    with peer:
                        peer.settimeout(0.3)
                        try:
                            got.append(peer.recv(100))
                        except OSError:
                            got.append(b"")
            except OSError:
                opened.set()

        thread = threading.Thread(target=accept_all)
        thread.start()
        thread.join()
        for filler in fillers:
            filler.close()
    assert opened.is_set()
    assert b"".join(got) == b""


def _dial(port: int) -> socket.socket:
    filler = socket.socket()
    filler.setblocking(False)
    filler.connect_ex(("127.0.0.1", port))
    return filler


def test_messages_hold_neither_path_nor_query_nor_header(
    server: FaultyServer, client: HttpClient, caplog: pytest.LogCaptureFixture
) -> None:
    """Errors and logs name the origin only, since the rest may be secret."""
    caplog.set_level(logging.DEBUG)
    url = f"{server.url}/s3cret-path?token=s3cret-query"
    for fault in (faults.hang, faults.reset):
        server.fail_next(fault)
        with pytest.raises(NoAnswerError) as caught:
            client.request("POST", url, headers={"authorization": "Bearer s3cret"}, timeout_s=0.3)
        assert "s3cret" not in repr(caught.value) + str(caught.value.__context__)
        assert server.url in str(caught.value)
    client.request("POST", url)
    assert "s3cret" not in caplog.text


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "12"}, 12.0),
        ({"retry-after": " 0.5 "}, 0.5),
        ({"retry-after": "99999"}, 300.0),
        ({"retry-after": "-1"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "1e999"}, None),
        ({"retry-after": "9" * 5000}, None),
        ({"retry-after": "Sun, 01 Mar 2020 03:00:40 GMT"}, None),
        (
            {
                "retry-after": "Sun, 01 Mar 2020 03:00:40 GMT",
                "date": "Sun, 01 Mar 2020 03:00:00 GMT",
            },
            40.0,
        ),
        (
            {
                "retry-after": "Sun, 01 Mar 2020 03:00:00 GMT",
                "date": "Sun, 01 Mar 2020 03:00:40 GMT",
            },
            0.0,
        ),
        ({"retry-after": "Sun, 01 Mar 2020 03:00:40 GMT", "date": "yesterday"}, None),
    ],
)
def test_retry_after_in_seconds(headers: dict[str, str], seconds: float | None) -> None:
    """Seconds or a date become seconds, capped; anything else is no wish."""
    assert Response(429, headers).retry_after() == seconds


class TlsServer(LoopbackServer):
    """An echo behind a certificate of its own."""

    def __init__(self, certificate: Path, key: Path) -> None:
        super().__init__(Echo())
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        self.seen = 0
        self._http.socket = context.wrap_socket(
            self._http.socket, server_side=True, do_handshake_on_connect=False
        )

    def exchange(self, request: Request, wire: Wire) -> None:
        self.seen += 1
        super().exchange(request, wire)


@pytest.fixture
def tls(tmp_path: Path) -> Iterator[tuple[TlsServer, Path]]:
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("no openssl: apt-get install openssl")
    certificate, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    command = [openssl, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
    command += ["-nodes", "-days", "2", "-subj", "/CN=localhost", "-keyout", str(key)]
    command += ["-addext", "subjectAltName=DNS:localhost", "-out", str(certificate)]
    subprocess.run(command, check=True, capture_output=True)
    with TlsServer(certificate, key) as server:
        yield server, certificate


def test_an_unknown_certificate_gets_no_request(
    tls: tuple[TlsServer, Path], client: HttpClient
) -> None:
    """A certificate that nobody vouches for fails before anything is sent."""
    server, _ = tls
    with pytest.raises(NotSentError, match="certificate"):
        client.request("POST", server.url.replace("http://127.0.0.1", "https://localhost"))
    assert server.seen == 0


def test_a_company_s_own_authority_can_be_trusted(tls: tuple[TlsServer, Path]) -> None:
    """With `ca_file` the same certificate is good, but only for its own name."""
    server, certificate = tls
    with HttpClient(ca_file=certificate) as client:
        url = server.url.replace("http://127.0.0.1", "https://localhost")
        assert client.request("POST", url, body=b"hello").body == b"hello"
        with pytest.raises(NotSentError, match="certificate"):
            client.request("POST", server.url.replace("http://", "https://"))
    assert server.seen == 1
