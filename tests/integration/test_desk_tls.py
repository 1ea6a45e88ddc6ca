"""The desk over TLS with the real server and the real client: who comes in, and who does not."""

from __future__ import annotations

import http.client
import json
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import trustme

from monitor.desk.http import MAX_BODY
from monitor.desk.limits import Buckets
from monitor.desk.remote import HEADERS, RateLimits
from monitor.desk.token_form import id_of
from monitor.views import DeskError
from tests.servers.desk_stage import WIDE, DeskStage, desk_stage

MONTH = timedelta(days=30)


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[DeskStage]:
    """A served desk without limits that a test could meet."""
    with desk_stage(tmp_path) as made:
        yield made


def code(said: tuple[int, dict[str, str], bytes]) -> tuple[int, str]:
    """Status and code of an error."""
    return said[0], json.loads(said[2])["error"]["code"]


def test_a_question_and_a_command_travel(stage: DeskStage) -> None:
    """The holder of a token asks and acts as its principal, and the timeline says how."""
    text = stage.token("ada")
    desk = stage.desk(text)
    who = desk.whoami()
    assert (who.name, who.role, who.via, who.token) == ("ada", "responder", "tls", id_of(text))
    assert [row.id for row in desk.incidents(state="open")] == ["INC-0007"]
    assert desk.note("7", text="seen from afar").incident == "INC-0007"
    note = desk.timeline("7")[-1]
    assert (note.actor, note.via, note.text) == ("ada", "tls", "seen from afar")
    assert stage.audited() == []


def test_the_last_use_is_written_once_a_minute(stage: DeskStage) -> None:
    """A token says when it was used last, without a write for each question."""
    text = stage.token()
    name = id_of(text) or ""
    stage.desk(text).whoami()
    with stage.store.read() as tx:
        first = tx.tokens.get(name)
    assert first is not None
    assert first.used_at is not None
    stage.desk(text).whoami()
    with stage.store.read() as tx:
        assert tx.tokens.get(name) == first


def test_a_token_that_does_not_open(stage: DeskStage) -> None:
    """Missing, malformed, unknown, stolen by its id, expired and revoked: 401 and a line each."""
    good, other = stage.token("ada"), stage.token("jo")
    expired = stage.token("ada", ends=timedelta(seconds=-1))
    revoked = stage.token("ada")
    with stage.store.write() as tx:
        tx.tokens.revoke(id_of(revoked) or "", datetime.now(UTC))
    mixed = good[:16] + other[16:]
    tries: dict[str, list[str | None]] = {
        "missing": [None],
        "unknown": ["tocsin_aaaaaaaa_" + "x" * 43, mixed, "rubbish", good + "x", good[:-1]],
        "expired": [expired],
        "revoked": [revoked],
    }
    for reason, tokens in tries.items():
        for token in tokens:
            said = stage.post("whoami", token)
            assert code(said) == (401, "forbidden")
            assert said[1]["www-authenticate"] == "Bearer"
            line = stage.audited()[0]
            assert (line.outcome, line.action, line.via) == (reason, "whoami", "tls 127.0.0.1")
            assert line.who == ("ada" if reason in {"expired", "revoked"} else "-")
    with pytest.raises(DeskError, match="has expired") as caught:
        stage.desk(expired).whoami()
    assert "tocsin login again" in caught.value.hint
    assert stage.desk(good).whoami().name == "ada"


def test_a_token_revoked_under_way_ends_at_once(stage: DeskStage) -> None:
    """The next call after the revocation is refused, on a kept connection too."""
    text = stage.token()
    desk = stage.desk(text)
    desk.whoami()
    with stage.store.write() as tx:
        tx.tokens.revoke(id_of(text) or "", datetime.now(UTC))
    with pytest.raises(DeskError, match="revoked"):
        desk.whoami()


def test_a_reader_changes_nothing(stage: DeskStage) -> None:
    """A role is kept, and the try is in the audit with name, place and command."""
    desk = stage.desk(stage.token("rita", "reader"))
    assert desk.incident("7").row.id == "INC-0007"
    with pytest.raises(DeskError) as caught:
        desk.acknowledge("7")
    assert caught.value.code == "forbidden"
    line = stage.audited()[0]
    assert (line.who, line.action, line.outcome) == ("rita", "acknowledge", "forbidden")
    with pytest.raises(DeskError, match="no admin"):
        stage.desk(stage.token("ada")).audit()


def test_an_admin_from_afar_makes_tokens_but_no_admins(stage: DeskStage) -> None:
    """A stolen token of an admin cannot make itself immortal."""
    desk = stage.desk(stage.token("root2", "admin"))
    made = desk.create_token(name="jo", role="reader", seconds=3600)
    assert stage.desk(made.token).whoami().name == "jo"
    with pytest.raises(DeskError, match="makes no other one"):
        desk.create_token(name="jo", role="admin")
    assert [row.name for row in desk.tokens()] == ["jo", "root2"]
    assert [line.outcome for line in desk.audit()] == ["forbidden", "done"]
    desk.revoke_token(made.id)
    with pytest.raises(DeskError, match="revoked"):
        stage.desk(made.token).whoami()


def test_everybody_may_end_their_own_token(stage: DeskStage) -> None:
    """And nobody else's."""
    text, other = stage.token("ada"), stage.token("jo")
    with pytest.raises(DeskError, match="no admin"):
        stage.desk(text).revoke_token(id_of(other) or "")
    stage.desk(text).revoke_token(id_of(text) or "")
    with pytest.raises(DeskError, match="revoked"):
        stage.desk(text).whoami()


def test_the_host_must_be_ours(stage: DeskStage) -> None:
    """A name that resolves here but is not ours (DNS rebinding) is misdirected, token or not."""
    text = stage.token()
    for host in ("evil.example:9465", "127.0.0.1", "localhost.evil.example", "localhost@evil"):
        assert code(stage.post("whoami", text, host=host)) == (421, "forbidden")
        assert stage.audited()[0].outcome == "host"
    for host in ("localhost", "LOCALHOST:1"):
        assert stage.post("whoami", text, host=host)[0] == 200
    bare = b"POST /desk/v1/whoami HTTP/1.1\r\nConnection: close\r\n\r\n"
    assert stage.raw(bare)[0] == 400


def test_no_web_page_calls_the_desk(tmp_path: Path) -> None:
    """Any origin is refused unless it is listed; no answer lets a browser read it."""
    with desk_stage(tmp_path, origins=("https://ops.example.com",)) as stage:
        text = stage.token()
        for origin in ("null", "https://evil.example", "https://localhost", ""):
            said = stage.post("whoami", text, origin=origin)
            assert code(said) == (403, "forbidden")
            assert stage.audited()[0].outcome == "origin"
        said = stage.post("whoami", text, origin="https://ops.example.com")
        assert said[0] == 200
        assert not [name for name in said[1] if name.startswith("access-control")]
        assert "set-cookie" not in said[1]
        preflight = (
            b"OPTIONS /desk/v1/whoami HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
        )
        assert stage.raw(preflight)[0] == 405


def test_every_answer_has_the_headers(stage: DeskStage) -> None:
    """No answer is kept, framed, sniffed or shown by a browser, whatever its status."""
    text = stage.token()
    said = [
        stage.post("whoami", text),
        stage.post("whoami", None),
        stage.post("nonsense", text),
        stage.post("whoami", text, host="evil"),
        stage.raw(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"),
    ]
    assert [each[0] for each in said] == [200, 401, 404, 421, 404]
    for _, headers, _ in said:
        assert {name: headers.get(name) for name, _ in HEADERS} == dict(HEADERS)
        assert "server" not in headers


def test_all_but_the_calls_is_closed(stage: DeskStage) -> None:
    """Other paths, verbs, queries and forms have no answer of the desk."""
    text = stage.token()

    def line(first: str) -> int:
        head = f"{first} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {text}\r\n"
        rest = "Content-Type: application/json\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}"
        return stage.raw((head + rest).encode())[0]

    assert line("POST /desk/v1/whoami") == 200
    assert line("GET /desk/v1/whoami") == 405
    assert line("PUT /desk/v1/whoami") == 405
    for path in ("/", "/metrics", "/desk/v1/", "/desk/v1/whoami/", "/desk/v1/../v1/whoami"):
        assert line(f"POST {path}") == 404
    assert line(f"POST /desk/v1/whoami?token={text}") == 404
    assert line("POST /desk/v1/_find") == 404
    assert stage.post("whoami", text, content_type="text/plain")[0] == 415
    twice = f"Bearer {text}\r\nAuthorization: Bearer {text}"
    assert stage.post("whoami", None, authorization=twice)[0] == 401


@pytest.mark.parametrize("path", ["/", "/metrics", "/desk/v1/../v1/whoami"])
def test_looking_around_is_written_down(stage: DeskStage, path: str) -> None:
    """Who asks for what is not here is refused, and that is in the audit and in the metrics."""
    stage.raw(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
    line = stage.audited()[0]
    assert (line.who, line.via, line.outcome) == ("-", "tls 127.0.0.1", "closed")
    assert "/" not in line.detail


@pytest.mark.parametrize(
    "at", ["9999-12-31T23:59:59-14:00", "0001-01-01T00:00:00+14:00", "2026-11-22T09:00:00"]
)
def test_a_time_that_cannot_be_read_again_is_refused(stage: DeskStage, at: str) -> None:
    """No change is recorded that would keep everybody from the list and from open incidents."""
    text = stage.token()
    body = json.dumps({"kind": "deploy", "title": "x", "at": at}).encode()
    assert code(stage.post("add_change", text, body)) == (400, "invalid")
    desk = stage.desk(text)
    assert desk.changes() == []
    assert all(entry.kind != "CHANGE" for entry in desk.timeline("7"))


@pytest.mark.parametrize(
    ("method", "arguments"),
    [
        ("timeline", {"ref": "7", "after": 10**30}),
        ("timeline", {"ref": "7", "limit": -1}),
        ("incidents", {"limit": -1}),
        ("config_revision", {"number": 10**30}),
    ],
)
def test_a_number_no_database_takes_is_refused(
    stage: DeskStage, method: str, arguments: dict[str, object]
) -> None:
    """It is the asker's mistake, with its name, and not the daemon's."""
    said = stage.post(method, stage.token(), json.dumps(arguments).encode())
    assert code(said) == (400, "invalid")
    assert json.loads(said[2])["error"]["message"].startswith(f"{method}: ")


def test_forwarded_headers_say_nothing(stage: DeskStage) -> None:
    """Where somebody comes from is the connection's address, not what the request claims."""
    stage.post("whoami", None, x_forwarded_for="198.51.100.9", forwarded="for=198.51.100.9")
    assert stage.audited()[0].via == "tls 127.0.0.1"


def test_too_much_is_refused(stage: DeskStage) -> None:
    """A body or a head over its limit is not kept, and the next call works."""
    text = stage.token()
    big = json.dumps({"ref": "7", "text": "x" * MAX_BODY}).encode()
    assert code(stage.post("note", text, big)) == (400, "invalid")
    assert stage.audited()[0].outcome == "size"
    with stage.connect() as client:
        client.sendall(b"POST /desk/v1/whoami HTTP/1.1\r\nHost: localhost\r\nX: ")
        with pytest.raises(OSError, match=r".*"):
            client.sendall(b"x" * 64 * 1024 * 1024)
    assert stage.desk(text).whoami().name == "ada"


def test_a_stranger_may_not_send_a_body(stage: DeskStage) -> None:
    """Without a token the answer comes before the body is read."""
    with stage.connect() as client:
        head = (
            b"POST /desk/v1/note HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        )
        client.sendall(head + b"Content-Length: 60000\r\n\r\n")
        assert client.recv(4096).startswith(b"HTTP/1.1 401")


def test_a_hundred_wrong_tokens(tmp_path: Path) -> None:
    """After five the address is told to wait; a good token from there still opens."""
    rates = RateLimits(
        queries=WIDE.queries, commands=WIDE.commands, strangers=Buckets(per_s=0.001, burst=5)
    )
    with desk_stage(tmp_path, rates=rates) as stage:
        text = stage.token()
        said = [*answers(stage, "tocsin_aaaaaaaa_" + "x" * 43, 100)]
        assert [status for status, _ in said] == [401] * 5 + [429] * 95
        assert all(1 <= int(wait) <= 1000 for _, wait in said[5:])
        assert stage.desk(text).whoami().name == "ada"
        assert len(stage.audited()) == 20
        counted = sum(
            sample.value
            for metric in stage.metrics.desk_refusals.collect()
            for sample in metric.samples
            if sample.name.endswith("_total")
        )
        assert counted == 100


def answers(stage: DeskStage, token: str, count: int) -> Iterator[tuple[int, str]]:
    """Status and Retry-After of many calls with one token on one connection."""
    context = ssl.create_default_context(cafile=str(stage.ca_file))
    port = stage.serving.port
    client = http.client.HTTPSConnection("localhost", port, context=context, timeout=20)
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    with closing(client):
        for _ in range(count):
            client.request("POST", "/desk/v1/whoami", b"{}", headers)
            said = client.getresponse()
            said.read()
            yield said.status, said.getheader("retry-after", "")


def test_commands_are_rarer_than_questions(tmp_path: Path) -> None:
    """A token that acts too often waits and is written down; its questions are answered."""
    rates = RateLimits(
        queries=WIDE.queries, commands=Buckets(per_s=0.01, burst=3), strangers=WIDE.strangers
    )
    with desk_stage(tmp_path, rates=rates) as stage:
        text = stage.token()
        desk = stage.desk(text)
        for _ in range(3):
            desk.note("7", text="n")
        with pytest.raises(DeskError, match="too many") as caught:
            desk.note("7", text="n")
        assert caught.value.code == "unavailable"
        assert desk.whoami().name == "ada"
        line = stage.audited()[0]
        assert (line.who, line.action, line.outcome) == ("ada", "note", "rate")


def test_an_address_has_its_share_too(tmp_path: Path) -> None:
    """Many tokens from one address together ask no more than it may."""
    rates = RateLimits(
        queries=WIDE.queries,
        commands=WIDE.commands,
        address_queries=Buckets(per_s=0.01, burst=4),
        strangers=WIDE.strangers,
    )
    with desk_stage(tmp_path, rates=rates) as stage:
        tokens = [stage.token(f"p{n}") for n in range(6)]
        said = [stage.post("whoami", text)[0] for text in tokens]
        assert said == [200] * 4 + [429] * 2
        assert (stage.audited()[0].who, stage.audited()[0].outcome) == ("-", "rate")


def test_only_the_right_authority_and_name_are_trusted(stage: DeskStage, tmp_path: Path) -> None:
    """Another authority, and another name than the certificate's: nothing is sent."""
    text = stage.token()
    other = tmp_path / "other.pem"
    trustme.CA().cert_pem.write_to_path(str(other))
    with pytest.raises(DeskError, match=r"certificate.*nothing was sent"):
        stage.desk(text, ca_file=str(other)).whoami()
    with pytest.raises(DeskError, match=r"certificate"):
        stage.desk(text, ca_file="").whoami()
    leaf = stage.authority.issue_cert("desk.example.com")
    folder = tmp_path / "named"
    folder.mkdir()
    with (
        desk_stage(folder, leaf=leaf, authority=stage.authority) as named,
        pytest.raises(DeskError, match=r"certificate: Hostname mismatch"),
    ):
        named.desk(named.token()).whoami()


def test_an_expired_certificate_is_refused(tmp_path: Path) -> None:
    """The client says that it has expired, and sends nothing."""
    authority = trustme.CA()
    past = datetime.now(UTC) - timedelta(days=1)
    leaf = authority.issue_cert("localhost", not_before=past - MONTH, not_after=past)
    with (
        desk_stage(tmp_path, leaf=leaf, authority=authority) as stage,
        pytest.raises(DeskError, match="certificate has expired"),
    ):
        stage.desk(stage.token()).whoami()


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1])
def test_old_tls_is_refused(stage: DeskStage, version: ssl.TLSVersion) -> None:
    """TLS 1.0 and 1.1 do not come to a connection; 1.2 does."""
    context = ssl.create_default_context(cafile=str(stage.ca_file))
    context.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning, match="deprecated"):
        context.minimum_version = context.maximum_version = version
    with pytest.raises((ssl.SSLError, OSError)):
        stage.connect(context)
    newer = ssl.create_default_context(cafile=str(stage.ca_file))
    newer.maximum_version = ssl.TLSVersion.TLSv1_2
    with stage.connect(newer) as client:
        assert client.version() == "TLSv1.2"


def test_plain_http_is_not_spoken(stage: DeskStage) -> None:
    """A request without TLS gets no answer of HTTP."""
    with socket.create_connection(("127.0.0.1", stage.serving.port), timeout=20) as client:
        client.sendall(b"POST /desk/v1/whoami HTTP/1.1\r\nHost: localhost\r\n\r\n")
        answer = b""
        while data := client.recv(4096):
            answer += data
    assert b"HTTP" not in answer


def test_with_client_ca_a_certificate_is_needed_too(tmp_path: Path) -> None:
    """Neither token nor certificate alone opens; one of another authority does not either."""
    with desk_stage(tmp_path, client_ca=True) as stage:
        text = stage.token()
        with pytest.raises(DeskError) as caught:
            stage.desk(text).whoami()
        assert "--certificate" in caught.value.hint
        own = stage.authority.issue_cert("ada@example.com")
        mine = {}
        for name, issued in (("own", own), ("alien", trustme.CA().issue_cert("ada@example.com"))):
            mine[name] = tmp_path / f"{name}-client.pem"
            issued.private_key_and_cert_chain_pem.write_to_path(str(mine[name]))
        with pytest.raises(DeskError, match="no answer"):
            stage.desk(text, certificate=str(mine["alien"])).whoami()
        deadline = time.monotonic() + 30
        while not (lines := stage.audited()):
            assert time.monotonic() < deadline, "a refused certificate is not in the audit"
            time.sleep(0.05)
        assert (lines[0].who, lines[0].via, lines[0].outcome) == (
            "-",
            "tls 127.0.0.1",
            "certificate",
        )
        assert stage.desk(text, certificate=str(mine["own"])).whoami().name == "ada"
        with pytest.raises(DeskError, match="not known"):
            stage.desk("tocsin_aaaaaaaa_" + "x" * 43, certificate=str(mine["own"])).whoami()


def test_many_people_at_once(stage: DeskStage) -> None:
    """Forty questions from eight threads over kept connections are all answered."""
    tokens = [stage.token(f"p{n}") for n in range(8)]
    names: list[str] = []

    def ask(text: str) -> None:
        desk = stage.desk(text)
        names.extend(desk.whoami().name for _ in range(5))

    threads = [threading.Thread(target=ask, args=(text,)) for text in tokens]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(names) == sorted(f"p{n}" for n in range(8) for _ in range(5))
