"""The desk over TLS under wear: slow and many connections, certificates that change under way."""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest
import trustme

from monitor.desk import certificate
from monitor.desk.settings import Desk, Tls
from monitor.desk.tls import CertificateUnusable, make_context
from monitor.http.patience import Patience
from monitor.processes.launch import UsageError
from monitor.views import DeskError
from tests.servers.desk_stage import DeskStage, desk_stage, write_certificate
from tui.remote_desk import RemoteDesk

HASTY = Patience(handshake_s=3.0, request_s=3.0, answer_s=20.0, per_address=8)


def until(true: Callable[[], bool], what: str) -> None:
    """Wait for a condition, long enough for any machine."""
    deadline = time.monotonic() + 30
    while not true():
        assert time.monotonic() < deadline, f"never: {what}"
        time.sleep(0.05)


def ended(client: socket.socket) -> bool:
    """Whether the other side closes within the time-out of the socket."""
    try:
        while client.recv(4096):
            pass
    except TimeoutError:
        return False
    except OSError:
        return True
    return True


def test_slow_connections_are_closed(tmp_path: Path) -> None:
    """Who does not shake hands, ask, or finish a head or a body in time is closed on."""
    with desk_stage(tmp_path, patience=HASTY) as stage:
        text = stage.token()
        head = b"POST /desk/v1/whoami HTTP/1.1\r\nHost: localhost\r\n"
        body = b"Content-Type: application/json\r\nAuthorization: Bearer " + text.encode()
        with ExitStack() as stack:
            address = ("127.0.0.1", stage.serving.port)
            clients = [stack.enter_context(socket.create_connection(address, timeout=30))]
            for said in (b"", head, head + body + b"\r\nContent-Length: 9\r\n\r\n{"):
                clients.append(stack.enter_context(stage.connect()))
                clients[-1].settimeout(30)
                clients[-1].sendall(said)
            closed = [ended(client) for client in clients]
            assert all(closed)
        until(lambda: stage.serving.porch.connections == 0, "nobody is there")
        assert stage.desk(text).whoami().name == "ada"


def test_a_byte_at_a_time_is_too_slow(tmp_path: Path) -> None:
    """A deadline is for the whole request: to drip keeps nothing open."""
    with desk_stage(tmp_path, patience=HASTY) as stage, stage.connect() as client:
        started = time.monotonic()
        with pytest.raises(OSError, match=r".*"):
            drip(client)
        assert time.monotonic() - started < 30


def drip(client: socket.socket) -> None:
    """A byte at a time, for a minute."""
    for _ in range(1200):
        client.sendall(b"x")
        time.sleep(0.05)


def test_one_address_has_its_share(tmp_path: Path) -> None:
    """One connection too many is closed before its handshake; when one ends there is room again."""
    patience = replace(HASTY, handshake_s=20.0, request_s=20.0)
    with desk_stage(tmp_path, patience=patience) as stage:
        text = stage.token()
        with ExitStack() as stack:
            for _ in range(8):
                stack.enter_context(stage.connect())
            until(lambda: stage.serving.porch.connections == 8, "eight are there")
            with pytest.raises(DeskError, match="no answer"):
                stage.desk(text).whoami()
            with pytest.raises(OSError, match=r".*"):
                stage.connect()
        until(lambda: stage.serving.porch.connections == 0, "they have gone")
        assert stage.desk(text).whoami().name == "ada"
        crowded = stage.metrics.desk_refusals.labels("tls", "connections")
        assert next(iter(crowded.collect())).samples[0].value >= 2


def test_many_addresses_have_a_share_together(tmp_path: Path) -> None:
    """However many addresses there are, descriptors are left for paging."""
    patience = replace(HASTY, handshake_s=20.0, in_all=12)
    with desk_stage(tmp_path, patience=patience) as stage:
        text = stage.token()
        with ExitStack() as stack:
            for last in range(2, 6):
                for _ in range(6):
                    client = stack.enter_context(socket.socket())
                    client.bind((f"127.0.0.{last}", 0))
                    client.connect(("127.0.0.1", stage.serving.port))
            crowded = stage.metrics.desk_refusals.labels("tls", "connections")
            until(
                lambda: next(iter(crowded.collect())).samples[0].value == 12, "half are turned away"
            )
            assert stage.serving.porch.connections == 12
        until(lambda: stage.serving.porch.connections == 0, "they have gone")
        assert stage.desk(text).whoami().name == "ada"


def test_handshakes_that_fail_leave_nothing(tmp_path: Path) -> None:
    """Rubbish, a hang-up in the middle and an untrusting client do not use up the share."""
    with desk_stage(tmp_path, patience=HASTY) as stage:
        for _ in range(6):
            with socket.create_connection(("127.0.0.1", stage.serving.port), timeout=30) as client:
                client.sendall(b"\x16\x03\x01\x02\x00\x01")
        for _ in range(6):
            with pytest.raises(ssl.SSLError):
                stage.connect(ssl.create_default_context())
        until(lambda: stage.serving.porch.connections == 0, "nobody is there")
        assert stage.desk(stage.token()).whoami().name == "ada"


def serial(stage: DeskStage) -> bytes:
    """The certificate that a new connection is shown."""
    with stage.connect() as client:
        shown = client.getpeercert(binary_form=True)
    assert shown is not None
    return shown


def test_a_new_certificate_needs_no_restart(tmp_path: Path) -> None:
    """New connections get it; a half-written pair leaves the old one in force; calls go on."""
    with desk_stage(tmp_path) as stage:
        text = stage.token()
        desk = stage.desk(text)
        desk.whoami()
        before = serial(stage)
        fresh = stage.authority.issue_cert("localhost")
        (tmp_path / "desk.pem").write_bytes(fresh.cert_chain_pems[0].bytes())
        until(lambda: serial(stage) == before and bool(stage.serving.certificates.problem), "kept")
        found = stage.serving.health(None, datetime.now(UTC))
        assert (found.state, "old one stays" in found.text) == ("warn", True)
        assert desk.whoami().name == "ada"
        write_certificate(fresh, tmp_path)
        until(lambda: serial(stage) != before, "the new one is shown")
        assert stage.serving.certificates.problem == ""
        assert desk.whoami().name == "ada"


def test_a_configuration_is_taken_whole(tmp_path: Path) -> None:
    """Other names and files are taken; files that cannot be used change nothing."""
    with desk_stage(tmp_path) as stage:
        text = stage.token()
        bad = msgspec.structs.replace(stage.tls, hosts=("new.example",), key=tmp_path / "none.key")
        with pytest.raises(UsageError, match=r"none\.key"):
            stage.serving.use(bad)
        assert stage.post("whoami", text, host="localhost")[0] == 200
        good = msgspec.structs.replace(stage.tls, hosts=("new.example",), listen="127.0.0.1:1")
        assert "after a restart" in stage.serving.use(good)
        assert stage.post("whoami", text, host="localhost")[0] == 421
        assert stage.post("whoami", text, host="new.example")[0] == 200


def test_files_that_come_late_are_taken(tmp_path: Path) -> None:
    """A configuration in force whose files cannot be used yet takes them once they can."""
    now = [Desk()]
    with desk_stage(tmp_path, current=lambda: now[0]) as stage:
        before = serial(stage)
        paths = {"certificate": tmp_path / "late.pem", "key": tmp_path / "late.key"}
        now[0] = Desk(tls=msgspec.structs.replace(stage.tls, **paths))
        assert serial(stage) == before
        assert "late.pem" in stage.serving.certificates.problem
        write_certificate(stage.authority.issue_cert("localhost"), tmp_path, "late")
        until(lambda: serial(stage) != before, "the new certificate")
        assert stage.serving.certificates.problem == ""


def test_a_certificate_that_cannot_be_used_says_why(tmp_path: Path) -> None:
    """Not there, not PEM, a key of another one: the error names the files."""
    with desk_stage(tmp_path) as stage:
        tls = stage.tls
    other = trustme.CA().issue_cert("localhost")
    key = tmp_path / "other.key"
    key.write_bytes(other.private_key_pem.bytes())
    rubbish = tmp_path / "rubbish.pem"
    rubbish.write_text("hello")
    wrongs: tuple[tuple[dict[str, Path], str], ...] = (
        ({"key": key}, "key values mismatch"),
        ({"certificate": tmp_path / "no.pem"}, "No such file"),
        ({"certificate": rubbish}, "rubbish.pem"),
        ({"client_ca": rubbish}, "client_ca"),
    )
    for wrong, words in wrongs:
        with pytest.raises(CertificateUnusable, match=words):
            make_context(msgspec.structs.replace(tls, **wrong))


def test_a_broken_certificate_shuts_the_door_and_nothing_else(tmp_path: Path) -> None:
    """The desk starts shut, says why, and opens by itself once there are good files."""
    with desk_stage(tmp_path) as stage:
        text = stage.token()
        good = stage.tls.key.read_bytes()
    with desk_stage(tmp_path, authority=stage.authority, key_text=b"rubbish") as shut:
        with pytest.raises(DeskError, match="no answer"):
            shut.desk(text).whoami()
        found = shut.serving.health(None, datetime.now(UTC))
        assert (found.state, "is shut" in found.text) == ("bad", True)
        shut.tls.certificate.write_bytes(stage.issued.cert_chain_pems[0].bytes())
        shut.tls.key.write_bytes(good)
        until(lambda: answers(shut.desk(text)), "it opens")
        assert shut.serving.health(None, datetime.now(UTC)).state == "ok"


def answers(desk: RemoteDesk) -> bool:
    try:
        return desk.whoami().name == "ada"
    except DeskError:
        return False


@pytest.mark.parametrize("days", [-3, 0.5, 13, 15, 400, 365 * 40])
def test_the_end_of_a_certificate_is_known(tmp_path: Path, days: float) -> None:
    """Read to the second from its file; said fourteen days ahead, and that it is over."""
    end = (datetime.now(UTC) + timedelta(days=days)).replace(microsecond=0)
    start = end - timedelta(days=800)
    issued = trustme.CA().issue_cert("localhost", not_before=start, not_after=end)
    path, key = write_certificate(issued, tmp_path)
    assert certificate.expiry(path) == end
    tls = Tls(listen="127.0.0.1:0", certificate=path, key=key, hosts=("localhost",))
    found = certificate.health(tls, datetime.now(UTC))
    expected = "bad" if days <= 0 else "warn" if days < 14 else "ok"
    assert (found.name, found.state) == ("certificate", expected)
    assert f"{end:%Y-%m-%d}" in found.text
    left = certificate.seconds_left(path, datetime.now(UTC))
    assert left == pytest.approx(days * 86_400, abs=600)
