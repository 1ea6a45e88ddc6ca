"""The daemon's socket: who asks is who the kernel says, and every bad request has its answer."""

from __future__ import annotations

import getpass
import json
import os
import socket
import stat
import struct
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from datetime import datetime
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest

from monitor.config.settings import Settings, resolve
from monitor.config.shelf import Shelf
from monitor.desk.desk import Desk
from monitor.http import app as http
from monitor.metrics import Metrics
from monitor.store.store import Store
from monitor.views import Principal
from tests.making import T0, incident


def now() -> datetime:
    """The time of all these tests."""
    return T0


@pytest.fixture
def sock(tmp_path: Path) -> Iterator[Path]:
    """A served desk on an empty store; the role of the caller is in the file `role`."""
    store = Store(f"sqlite:///{tmp_path / 'x.db'}")
    configured = resolve(Settings(store=f"sqlite:///{tmp_path / 'x.db'}"))
    shelf = Shelf()
    role = tmp_path / "role"
    role.write_text("responder")

    def desk_for(name: str, uid: int) -> Desk:
        assert uid == os.getuid()
        given: Any = role.read_text()
        return Desk(store, configured, shelf, Principal(name=name, role=given), now)

    path = tmp_path / "run" / "x.sock"
    server = http.Server(http.desk_app(desk_for), http.listen_unix(path), peers=True)
    server.start()
    with store.write() as tx:
        tx.incidents.save(incident())
    yield path
    server.close()
    store.close()


def test_idle_connections_do_not_keep_a_probe_out() -> None:
    """Who connects and never finishes a request is closed on; then health is answered again."""
    app = http.health_app(Metrics(), lambda: (True, ["ready"]), lambda: (True, ["ok"]))
    server = http.Server(app, http.listen_tcp("127.0.0.1:0"), connections=4)
    server.start()
    try:
        with ExitStack() as stack:
            for _ in range(4):
                address = ("127.0.0.1", server.port)
                idle = stack.enter_context(socket.create_connection(address, timeout=20))
                idle.sendall(b"GET /healthz HTTP/1.1\r\nX: ")
            deadline = time.monotonic() + 60
            while probe(server.port) != 200:
                assert time.monotonic() < deadline, "they are never closed"
                time.sleep(0.5)
    finally:
        server.close()


def probe(port: int) -> int:
    """The status of /healthz."""
    with closing(HTTPConnection("127.0.0.1", port, timeout=20)) as client:
        client.request("GET", "/healthz")
        return client.getresponse().status


def raw(path: Path, request: bytes) -> tuple[int, dict[str, str], bytes]:
    """Send bytes, read everything that comes back."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.settimeout(10)
        client.connect(str(path))
        client.sendall(request)
        answer = b""
        while data := client.recv(65536):
            answer += data
    head, _, body = answer.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    headers = {name.lower(): value for name, _, value in (x.partition(": ") for x in lines)}
    return int(first.split()[1]), headers, body


def post(path: Path, method: str, body: bytes = b"{}") -> tuple[int, dict[str, Any]]:
    """A call, as any client would make it."""
    head = (
        f"POST /desk/v1/{method} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    status, headers, answer = raw(path, head.encode() + body)
    assert headers["content-type"] == "application/json"
    assert "server" not in headers
    return status, json.loads(answer)


def code(answer: tuple[int, dict[str, Any]]) -> tuple[int, str]:
    """Status and code of an error."""
    status, body = answer
    assert body["schema"] == "tocsin.error/1"
    assert body["error"]["message"]
    return status, body["error"]["code"]


def test_the_caller_is_who_the_kernel_says(sock: Path) -> None:
    """The name is the local user's; nothing in the request can change it."""
    status, body = post(sock, "whoami")
    assert status == 200
    assert body["schema"] == "tocsin.whoami/1"
    assert body["data"]["name"] == getpass.getuser()
    forged = (
        b"POST /desk/v1/whoami HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 2\r\n"
        b"X-Forwarded-For: uid:7\r\nX-Forwarded-User: eve\r\n\r\n{}"
    )
    assert json.loads(raw(sock, forged)[2])["data"]["name"] == getpass.getuser()


def test_the_socket_is_for_owner_and_group(sock: Path) -> None:
    """Others cannot even connect; the process's mask is as it was."""
    assert stat.S_IMODE(sock.stat().st_mode) == 0o660
    before = os.umask(0)
    os.umask(before)
    assert before != 0o117


def test_a_question_and_a_command(sock: Path) -> None:
    """Arguments are read by their types; times and lists come back as JSON."""
    status, body = post(sock, "incidents", b'{"state": "open", "since": "2026-11-01T00:00:00Z"}')
    assert status == 200
    assert [row["id"] for row in body["data"]] == ["INC-0007"]
    assert body["data"][0]["detected_at"] == "2026-11-16T09:00:00Z"
    status, body = post(sock, "acknowledge", b'{"ref": "latest"}')
    assert (status, body["data"]["incident"]) == (200, "INC-0007")
    assert post(sock, "whoami", b"")[0] == 200


def test_errors_have_their_codes(sock: Path, tmp_path: Path) -> None:
    """Not found, refused, forbidden and invalid are told apart, in status and in words."""
    assert code(post(sock, "incident", b'{"ref": "INC-9"}')) == (404, "not_found")
    assert code(post(sock, "nonsense")) == (404, "not_found")
    assert code(post(sock, "__init__")) == (404, "not_found")
    assert code(post(sock, "_find")) == (404, "not_found")
    bare = b'{"ref": "latest", "verdict": "attack"}'
    assert code(post(sock, "resolve", bare)) == (409, "refused")
    assert code(post(sock, "review", b'{"ref": "latest", "form": "pdf"}')) == (400, "invalid")
    (tmp_path / "role").write_text("reader")
    assert code(post(sock, "acknowledge", b'{"ref": "latest"}')) == (403, "forbidden")
    assert post(sock, "incident", b'{"ref": "latest"}')[0] == 200


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"[]",
        b"null",
        b'"x"',
        b"\xff\xfe",
        b'{"ref": 7}',
        b'{"ref": "latest", "colour": "red"}',
        b"{}",
        b'{"ref": null}',
        b'{"ref": "latest", "self": 1}',
        b"[" * 60_000,
    ],
)
def test_bad_arguments_are_invalid(sock: Path, body: bytes) -> None:
    """No JSON object, a wrong type, an unknown or a missing argument: 400, and the next works."""
    assert code(post(sock, "incident", body)) == (400, "invalid")
    assert post(sock, "whoami")[0] == 200


def test_an_unknown_argument_is_shown_visibly(sock: Path) -> None:
    """What a client sent comes back without its control characters."""
    status, body = post(sock, "incident", b'{"ref": "latest", "\\u001b[2J\\u202e": 1}')
    assert status == 400
    assert "\x1b" not in body["error"]["message"]
    assert "\\x1b" in body["error"]["message"]


def test_too_much_is_refused(sock: Path) -> None:
    """A body over the limit is not kept, declared or in pieces."""
    big = json.dumps({"ref": "x" * http.MAX_BODY}).encode()
    assert code(post(sock, "incident", big)) == (400, "invalid")
    head = (
        b"POST /desk/v1/note HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
        b"Transfer-Encoding: chunked\r\n\r\n"
    )
    chunk = b"8000\r\n" + b"x" * 0x8000 + b"\r\n"
    status, _, _ = raw(sock, head + chunk * 3 + b"0\r\n\r\n")
    assert status == 400


def test_only_post_is_a_call(sock: Path) -> None:
    """Another verb or path has no answer of the desk."""
    get = b"GET /desk/v1/whoami HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    assert raw(sock, get)[0] == 405
    other = (
        b"POST /etc/passwd HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
    )
    assert raw(sock, other)[0] == 404
    assert raw(sock, b"rubbish\r\n\r\n")[0] == 400


def test_a_client_that_hangs_up_hurts_nobody(sock: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A connection reset in the middle of a request leaves the next one alone, and the log too."""
    for _ in range(3):
        client = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        client.connect(str(sock))
        client.sendall(b"POST /desk/v1/whoami HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n{")
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.close()
    assert post(sock, "whoami")[0] == 200
    time.sleep(0.2)
    assert not [record for record in caplog.records if record.exc_info]


PATHS = ("/healthz", "/readyz", "/statusz")


def test_health_and_metrics() -> None:
    """Alive is always; ready is not the same as well; the metrics are those of this daemon."""
    metrics = Metrics()
    metrics.incidents_open.labels("SEV1").set(2)
    state = {"ready": True, "well": True}
    app = http.health_app(
        metrics,
        lambda: (state["ready"], ["ready: owner"]),
        lambda: (state["well"], ["ready: owner", "stream: ok: 1"]),
    )
    listener = http.listen_tcp("127.0.0.1:0")
    host, port = listener.getsockname()
    server = http.Server(app, listener)
    server.start()
    try:
        assert get(host, port, "/healthz") == (200, "ok\n")
        assert get(host, port, "/readyz") == (200, "ready: owner\n")
        assert get(host, port, "/statusz") == (200, "ready: owner\nstream: ok: 1\n")
        state["well"] = False
        assert [get(host, port, path)[0] for path in PATHS] == [200, 200, 503]
        state["ready"] = False
        assert [get(host, port, path)[0] for path in PATHS] == [200, 503, 503]
        status, text = get(host, port, "/metrics")
        assert status == 200
        assert 'tocsin_incidents_open{severity="SEV1"} 2.0' in text
        assert get(host, port, "/desk/v1/whoami")[0] == 404
    finally:
        server.close()


def get(host: str, port: int, path: str) -> tuple[int, str]:
    """A GET over TCP."""
    with socket.create_connection((host, port), timeout=10) as client:
        client.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        answer = b""
        while data := client.recv(65536):
            answer += data
    head, _, body = answer.decode().partition("\r\n\r\n")
    return int(head.split()[1]), body


@pytest.mark.parametrize("address", ["localhost", "x:y", ":8000", "127.0.0.1:99999"])
def test_a_bad_address_is_refused(address: str) -> None:
    """HOST:PORT or an error that says so."""
    with pytest.raises(ValueError, match="HOST:PORT"):
        http.listen_tcp(address)
