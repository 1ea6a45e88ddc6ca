"""The client of a desk on another machine, and servers that misbehave."""

from __future__ import annotations

import json
import os
import socket
import ssl
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest
import trustme

from monitor import views
from monitor.desk.remote import PATH
from monitor.views import DeskError
from tests.servers.desk_stage import write_certificate
from tui.desk_client import DeskClient, SocketDesk
from tui.desks import Desks, Login, desk_url
from tui.remote_desk import RemoteDesk

TOKEN = "tocsin_aaaaaaaa_" + "x" * 43
WHO = {"schema": "tocsin.whoami/1", "data": {"name": "ada", "role": "responder", "via": "tls"}}
DONE = {"schema": "tocsin.acknowledge/1", "data": {"text": "done"}}


def answer(status: int, body: object, **headers: str) -> bytes:
    """An answer of a desk, after which the connection ends."""
    text = json.dumps(body).encode()
    lines = {"content-type": "application/json", "content-length": str(len(text)), **headers}
    head = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in lines.items())
    return f"HTTP/1.1 {status} X\r\nconnection: close\r\n{head}\r\n".encode() + text


class Broken:
    """Says to each connection what is next on its list; an empty answer hangs up."""

    def __init__(self, said: Sequence[bytes], folder: Path) -> None:
        authority = trustme.CA()
        self.ca_file = folder / "ca.pem"
        authority.cert_pem.write_to_path(str(self.ca_file))
        certificate, key = write_certificate(authority.issue_cert("localhost"), folder)
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(certificate, key)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.asked: list[bytes] = []
        self._said = list(said)
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        for said in self._said:
            try:
                plain, _ = self._listener.accept()
            except OSError:
                return
            plain.settimeout(20)
            with self._context.wrap_socket(plain, server_side=True) as peer:
                request = b""
                while b"\r\n\r\n" not in request or not request.endswith(b"}"):
                    request += peer.recv(65536)
                self.asked.append(request)
                peer.sendall(said)

    def close(self) -> None:
        if self._listener.fileno() >= 0:
            self._listener.shutdown(socket.SHUT_RDWR)
            self._listener.close()
        self._thread.join(timeout=20)


@contextmanager
def broken(folder: Path, *said: bytes) -> Iterator[tuple[Broken, RemoteDesk]]:
    """A server with its answers, and the real client of it."""
    server = Broken(said, folder)
    url = f"https://localhost:{server.port}"
    desk = RemoteDesk(Login(name="x", url=url, token=TOKEN, ca_file=str(server.ca_file)))
    try:
        yield server, desk
    finally:
        desk.hang_up()
        server.close()


def test_a_question_is_asked_again(tmp_path: Path) -> None:
    """A lost answer and "too many" are tried again, as the desk asks to wait."""
    error = {"error": {"code": "unavailable", "message": "too many requests"}}
    slow = answer(429, error, retry_after="1")
    with broken(tmp_path, b"", slow, answer(200, WHO)) as (server, desk):
        assert desk.whoami().name == "ada"
        assert len(server.asked) == 3


def test_a_question_is_not_asked_for_ever(tmp_path: Path) -> None:
    """After three tries, or where the wait is long, it is an error that says what happened."""
    with broken(tmp_path, b"", b"", b"") as (server, desk):
        with pytest.raises(DeskError, match="no answer from the desk x") as caught:
            desk.whoami()
        assert (caught.value.code, len(server.asked)) == ("unavailable", 3)
    error = {"error": {"code": "unavailable", "message": "too many requests", "hint": "60 s"}}
    with broken(tmp_path, answer(429, error, retry_after="60")) as (server, desk):
        with pytest.raises(DeskError, match="too many requests"):
            desk.whoami()
        assert len(server.asked) == 1


def test_a_command_is_sent_once(tmp_path: Path) -> None:
    """A lost answer is not tried again, and the person is told that nobody knows."""
    with broken(tmp_path, b"", answer(200, DONE)) as (server, desk):
        with pytest.raises(DeskError, match="no answer") as caught:
            desk.acknowledge("7")
        assert "not known" in caught.value.hint
        assert len(server.asked) == 1
        assert desk.acknowledge("7").text == "done"


def test_a_command_that_was_not_sent_says_so(tmp_path: Path) -> None:
    """Where nobody listens nothing was done."""
    with broken(tmp_path) as (server, desk):
        server.close()
        with pytest.raises(DeskError, match="nothing was sent") as caught:
            desk.acknowledge("7")
        assert caught.value.hint == "nothing was done"


@pytest.mark.parametrize(
    "said",
    [
        b"HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: 2\r\n\r\nhi",
        b"HTTP/1.1 302 X\r\nlocation: https://localhost:1/\r\ncontent-length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 99\r\n\r\n{",
        answer(200, {"data": 7}),
        answer(500, {"oops": 1}),
    ],
)
def test_what_is_not_a_desk_is_unavailable(tmp_path: Path, said: bytes) -> None:
    """A proxy's page, a redirect, half an answer and another program's JSON are no answer."""
    with (
        broken(tmp_path, said) as (_, desk),
        pytest.raises(DeskError) as caught,
    ):
        desk.acknowledge("7")
    assert caught.value.code == "unavailable"


def test_the_token_goes_into_one_header_only(tmp_path: Path) -> None:
    """Not into the path, and not into what the login says of itself."""
    with broken(tmp_path, answer(200, WHO)) as (server, desk):
        desk.whoami()
        request = server.asked[0].decode()
    assert request.count(TOKEN) == 1
    assert f"\r\nauthorization: Bearer {TOKEN}\r\n" in request.replace(
        "Authorization", "authorization"
    )
    assert request.startswith(f"POST {PATH}whoami HTTP/1.1\r\n")
    assert TOKEN not in repr(Login(name="x", url="https://x", token=TOKEN))


def test_socket_and_tls_have_the_same_methods() -> None:
    """One class speaks for both, so that they cannot drift apart."""
    for name in vars(DeskClient):
        if not name.startswith("_") and name != "where":
            assert (
                getattr(SocketDesk, name) is getattr(RemoteDesk, name) is getattr(DeskClient, name)
            )


def test_addresses_of_desks() -> None:
    """https with a host and nothing behind it; the same in any case."""
    assert desk_url("https://Desk.Example.com:9465/") == "https://desk.example.com:9465"
    for bad in ("http://desk", "https://", "https://a/b", "https://u:p@a", "desk", "https://a?x=1"):
        with pytest.raises(DeskError):
            desk_url(bad)


def test_the_file_of_logins(tmp_path: Path) -> None:
    """Kept by name, found by name or address, private from the first byte."""
    before = os.umask(0)
    try:
        desks = Desks.of({"XDG_CONFIG_HOME": str(tmp_path / "c")})
        assert desks.all() == ()
        one = Login(name="a", url="https://a:1", token=TOKEN)
        desks.keep(one)
        desks.keep(Login(name="b", url="https://b:1", token=TOKEN))
        desks.keep(msgspec.structs.replace(one, url="https://a:2"))
    finally:
        os.umask(before)
    assert desks.path.stat().st_mode & 0o777 == 0o600
    assert desks.path.parent.stat().st_mode & 0o777 == 0o700
    assert [one.name for one in desks.all()] == ["b", "a"]
    found = desks.find("https://A:2/")
    assert (found is not None, desks.find("https://a:1")) == (True, None)
    desks.forget("a")
    assert desks.find("a") is None
    assert Desks.of({"HOME": "/h"}).path == Path("/h/.config/tocsin/desks.json")


def test_who_is_told_apart() -> None:
    """A view of a principal says by which door, and when its token ends."""
    who = views.Principal(name="a", role="reader", via="tls", token="a2b3c4d5")
    assert msgspec.json.decode(msgspec.json.encode(who), type=views.Principal) == who
