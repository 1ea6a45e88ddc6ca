"""Every channel passes this suite, against its provider's strict server."""

from __future__ import annotations

import dataclasses
import time
import unicodedata
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from monitor.notify.channel import DIGEST_LINES, Kind, Refused, Retry, Sent, Unknown
from tests.contract.channel_cases import (
    ALL,
    HOSTILE,
    NOW,
    REMOTE,
    TIMEOUT_S,
    Case,
    digest,
    hostile,
    message,
    open_case,
    strings,
)
from tests.servers import faults

_SLACK_MARKS = ("<!", "<@", "<#")


@pytest.fixture(params=sorted(ALL))
def case(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Case]:
    with open_case(request.param, tmp_path) as opened:
        yield opened


@pytest.fixture(params=REMOTE)
def remote(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Case]:
    with open_case(request.param, tmp_path) as opened:
        yield opened


def _server(case: Case) -> faults.FaultyServer:
    assert case.server is not None
    return case.server


def test_a_page_arrives_with_incident_title_and_lines(case: Case) -> None:
    """An accepted page is Sent, and its receiver holds the number, the title and every line."""
    outcome = case.channel.send(message(), NOW)
    assert isinstance(outcome, Sent)
    (arrived,) = case.arrived()
    everything = "\n".join(strings(arrived))
    for part in ("INC-0142", "SEV1", "Refusals 4.1x baseline", "412 of 3,322", "safety-prompt v41"):
        assert part in everything


def test_a_channel_says_its_name_and_kind(case: Case) -> None:
    """The name is the receiver's in the configuration, the kind one of four words."""
    assert case.channel.name == case.channel.kind
    assert case.channel.kind in ALL


@pytest.mark.parametrize("kind", list(Kind))
def test_every_kind_of_message_works_without_a_receipt(case: Case, kind: Kind) -> None:
    """An update, acknowledgement or resolve whose first message was never sent is no failure."""
    assert isinstance(case.channel.send(message(kind=kind), NOW), Sent)


@pytest.mark.parametrize("kind", [Kind.UPDATE, Kind.ACKNOWLEDGE, Kind.RESOLVE])
def test_a_follow_up_takes_the_first_message_s_receipt(case: Case, kind: Kind) -> None:
    """The receipt of the trigger is what the next messages of the incident carry."""
    first = case.channel.send(message(), NOW)
    assert isinstance(first, Sent)
    follow_up = message(id="pg-0002", kind=kind, receipt=first.receipt)
    assert isinstance(case.channel.send(follow_up, NOW), Sent)


@pytest.mark.parametrize("name", sorted(HOSTILE))
def test_hostile_text_arrives_inert_and_within_limits(case: Case, name: str) -> None:
    """Whatever the text, the strict receiver takes the page and holds nothing hidden in it."""
    for number, kind in enumerate((Kind.TRIGGER, Kind.RESOLVE)):
        page = hostile(HOSTILE[name], kind=kind, id=f"pg-{number}")
        assert isinstance(case.channel.send(page, NOW), Sent)
    assert case.arrived()
    for text in strings(case.arrived()):
        _assert_inert(case, text)


@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(text=st.text(st.characters(exclude_categories=()), max_size=400))
def test_any_text_is_accepted(case: Case, text: str) -> None:
    """No text at all makes a page that the strict receiver refuses."""
    assert isinstance(case.channel.send(hostile(text), NOW), Sent)


def test_a_digest_arrives_whole_and_asks_for_nothing(case: Case) -> None:
    """Each of its lines is there, under a kind of its own, without an incident or a button; what
    can only ring is not sent anything."""
    lines = [f"line {n}: {'x' * 100}" for n in range(DIGEST_LINES)]
    assert isinstance(case.channel.send(digest(*lines), NOW), Sent)
    if case.channel.kind == "pagerduty":
        assert case.arrived() == []
        return
    (arrived,) = case.arrived()
    everything = "\n".join(strings(arrived))
    for part in ("2 tickets since", "tocsin tickets", *lines):
        assert part in everything
    assert "digest" in everything
    assert "INC-" not in everything
    assert "actions" not in everything


@pytest.mark.parametrize("name", sorted(HOSTILE))
def test_a_hostile_digest_arrives_inert_and_within_limits(case: Case, name: str) -> None:
    """However many lines of whatever text."""
    text = HOSTILE[name]
    page = digest(*[text] * (DIGEST_LINES + 5), title=text, command=text)
    assert isinstance(case.channel.send(page, NOW), Sent)
    for found in strings(case.arrived()):
        _assert_inert(case, found)


def test_a_digest_goes_on_with_no_conversation(case: Case) -> None:
    """With a receipt of another day it is a message of its own all the same."""
    first = case.channel.send(digest("one"), NOW)
    assert isinstance(first, Sent)
    other = digest("two", id="digest:slack:2026-03-02", receipt=first.receipt)
    assert isinstance(case.channel.send(other, NOW), Sent)
    assert len(case.arrived()) == (0 if case.channel.kind == "pagerduty" else 2)


def test_a_digest_whose_answer_was_lost_is_folded(remote: Case) -> None:
    """A second attempt under the same id is not there twice; what only rings made no first."""
    rings = remote.channel.kind == "pagerduty"
    _server(remote).fail_next(faults.reset_after_store)
    first = remote.channel.send(digest("one"), NOW)
    assert isinstance(first, Sent if rings else Unknown)
    assert isinstance(remote.channel.send(digest("one", attempt=2), NOW), Sent)
    assert len(remote.arrived()) == (0 if rings else 1)


def _assert_inert(case: Case, text: str) -> None:
    for character in text:
        hidden = unicodedata.category(character) in {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
        assert not hidden or character == "\n", f"{character!r} is hidden in {text[:80]!r}"
    if case.channel.kind == "slack":
        assert not any(mark in text for mark in _SLACK_MARKS)
        assert "<https://evil" not in text


def _turned_away(case: Case) -> bool:
    """Whether what it did with a page shows a wrong secret."""
    outcome = case.channel.send(message(), NOW)
    if case.channel.kind == "webhook":  # where anybody on the way may say 401
        return isinstance(outcome, Retry) and outcome.astray
    return isinstance(outcome, Refused)


def test_a_wrong_secret_is_no_success(remote: Case) -> None:
    """A token that the provider does not know is refused in its words; a web hook's 401 waits."""
    remote.bad_secret()
    assert _turned_away(remote)
    assert not remote.arrived()


def test_a_changed_secret_is_read_again(remote: Case, tmp_path: Path) -> None:
    """A rotated secret works at the next attempt, without a restart."""
    files = {p: p.read_text() for p in tmp_path.iterdir()}
    remote.bad_secret()
    assert _turned_away(remote)
    for path, text in files.items():
        path.write_text(text)
    assert isinstance(remote.channel.send(message(), NOW), Sent)


def test_a_missing_secret_is_ours_to_bring_back(remote: Case, tmp_path: Path) -> None:
    """Without its secret a channel sends nothing, says which file, and sends once it is back."""
    (path,) = tmp_path.iterdir()
    secret = path.read_text()
    path.unlink()
    outcome = remote.channel.send(message(), NOW)
    assert isinstance(outcome, Retry)
    assert outcome.ours
    assert str(path) in outcome.reason
    assert not remote.arrived()
    path.write_text(secret)
    assert isinstance(remote.channel.send(message(), NOW), Sent)


@pytest.mark.parametrize(
    ("header", "after_s"),
    [("7", 7.0), ("99999", 300.0), ("-1", None), ("soon", None), (None, None), ("0", 0.0)],
)
def test_too_many_requests_is_retried_when_the_provider_says(
    remote: Case, header: str | None, after_s: float | None
) -> None:
    """429 is Retry with the provider's own wish, capped at 5 minutes; nonsense is no wish."""
    headers = {} if header is None else {"Retry-After": header}
    _server(remote).fail_next(faults.status(429, headers=headers))
    outcome = remote.channel.send(message(), NOW)
    assert isinstance(outcome, Retry)
    assert outcome.after_s == after_s


def test_a_date_to_retry_after_is_measured_by_the_server_s_clock(remote: Case) -> None:
    """A date in Retry-After counts from the answer's own Date, whatever our clock says."""
    headers = {
        "Date": "Sun, 01 Mar 2020 03:00:00 GMT",
        "Retry-After": "Sun, 01 Mar 2020 03:00:40 GMT",
    }

    def fail(failing: faults.Failing) -> None:
        failing.drop()
        sock = failing.wire.socket
        head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        sock.sendall(f"HTTP/1.1 429 Slow\r\n{head}Content-Length: 0\r\n\r\n".encode())

    _server(remote).fail_next(fail)
    outcome = remote.channel.send(message(), NOW)
    assert isinstance(outcome, Retry)
    assert outcome.after_s == 40.0


@pytest.mark.parametrize("status", [500, 502, 503, 504])
def test_a_server_error_is_tried_again(remote: Case, status: int) -> None:
    """5xx is never a refusal: the next attempt arrives."""
    _server(remote).fail_next(faults.status(status, b"oops"))
    assert isinstance(remote.channel.send(message(), NOW), Retry | Unknown)
    assert isinstance(remote.channel.send(message(attempt=2), NOW), Sent)


@pytest.mark.parametrize(
    "fault", [faults.hang, faults.hang_after_store, faults.slow_headers], ids=lambda f: f.__name__
)
def test_no_answer_is_unknown_within_the_timeout(remote: Case, fault: faults.Fault) -> None:
    """A server that hangs or drips holds the channel no longer than its timeout."""
    _server(remote).fail_next(fault)
    began = time.monotonic()
    assert isinstance(remote.channel.send(message(), NOW), Unknown)
    assert time.monotonic() - began < TIMEOUT_S + 1.0


@pytest.mark.parametrize(
    "fault", [faults.reset, faults.reset_after_store], ids=lambda f: f.__name__
)
def test_a_broken_connection_is_unknown(remote: Case, fault: faults.Fault) -> None:
    """After the first byte a broken connection says nothing about the page."""
    _server(remote).fail_next(fault)
    assert isinstance(remote.channel.send(message(), NOW), Unknown)


def test_a_repeat_after_an_unknown_outcome_is_folded(remote: Case) -> None:
    """What was stored although no answer came is not there twice after the next attempt."""
    _server(remote).fail_next(faults.reset_after_store)
    assert isinstance(remote.channel.send(message(), NOW), Unknown)
    assert isinstance(remote.channel.send(message(attempt=2), NOW), Sent)
    assert len(remote.arrived()) == 1


@pytest.mark.parametrize("status", [500, 502, 504])
def test_an_error_after_the_page_was_taken_is_unknown(remote: Case, status: int) -> None:
    """A server or its gateway that fails may have the page already: its end must follow."""
    _server(remote).fail_next(faults.status(status, b"oops"))
    assert isinstance(remote.channel.send(message(), NOW), Unknown)


def test_a_server_that_is_down_is_retried(remote: Case) -> None:
    """A refused connection means that nothing was sent: safe to repeat."""
    _server(remote).stop()
    outcome = remote.channel.send(message(), NOW)
    assert isinstance(outcome, Retry)
    assert "nothing was sent" in outcome.reason


@pytest.mark.parametrize("status", [302, 401, 403, 404, 407, 418])
def test_an_answer_from_on_the_way_ends_no_page(remote: Case, status: int) -> None:
    """What a proxy or a login page says is not the provider's word: another road is taken, and the
    page is tried again."""
    _server(remote).fail_next(faults.html_page(status), times=9)
    outcome = remote.channel.send(message(), NOW)
    assert isinstance(outcome, Retry)
    assert outcome.astray
    assert str(status) in outcome.reason
    _server(remote).recover()
    assert isinstance(remote.channel.send(message(attempt=2), NOW), Sent)


def test_a_redirect_is_not_followed(remote: Case) -> None:
    """The page, its secret and its signature go to the configured address only."""
    server = _server(remote)
    server.fail_next(faults.redirect(f"{server.url}/canary"))
    outcome = remote.channel.send(message(), NOW)
    assert isinstance(outcome, Retry)
    assert outcome.astray
    assert [row["path"] for row in server.journal.rows if "canary" in row["path"]] == []


def test_a_huge_answer_is_read_up_to_a_limit(remote: Case) -> None:
    """Ten gigabytes of answer cost neither memory nor time."""
    _server(remote).fail_next(faults.huge_body(200))
    began = time.monotonic()
    outcome = remote.channel.send(message(), NOW)
    # the webhook's receiver has said 200; the others' answers are to be read, and cannot be
    assert isinstance(outcome, Sent if remote.channel.kind == "webhook" else Unknown)
    assert time.monotonic() - began < TIMEOUT_S + 1.0


def test_a_page_that_is_not_the_provider_s_is_no_success(remote: Case) -> None:
    """A login page with status 200 is no acceptance by a provider that answers otherwise."""
    _server(remote).fail_next(faults.html_page())
    outcome = remote.channel.send(message(), NOW)
    assert isinstance(outcome, Sent if remote.channel.kind == "webhook" else Unknown)


@pytest.mark.parametrize(
    "body",
    [b"", b"null", b"[]", b"[" * 50_000, b'{"ok":1', b"\xff\xfe", b'{"ok":false,"error":[{}]}'],
    ids=["empty", "null", "list", "deep", "torn", "bytes", "odd"],
)
@pytest.mark.parametrize("status", [200, 202, 400, 429, 500])
def test_no_answer_makes_a_channel_raise(remote: Case, status: int, body: bytes) -> None:
    """Whatever comes back, an outcome is returned."""
    _server(remote).fail_next(faults.status(status, body), times=3)
    outcome = remote.channel.send(message(), NOW)
    assert isinstance(outcome, Sent | Retry | Unknown | Refused)


def test_no_reason_or_repr_holds_a_secret(remote: Case) -> None:
    """Secrets stay out of every outcome, even when the provider sends them back, and of reprs."""
    server, echo = _server(remote), remote.secret.encode()
    for fault in (
        faults.status(400, b'{"errors": ["bad ' + echo + b'"], "message": "' + echo + b'"}'),
        faults.slack_error("invalid_blocks"),
        faults.status(
            200,
            b'{"ok": false, "error": "x", "response_metadata": {"messages": ["' + echo + b'"]}}',
        ),
        faults.status(500, echo, {"X-Echo": remote.secret}),
        faults.hang,
        faults.reset,
    ):
        server.fail_next(fault)
        outcome = remote.channel.send(message(), NOW)
        server.recover()
        assert remote.secret not in repr(outcome)
    assert remote.secret not in repr(remote.channel) + repr(vars(remote.channel))


def test_a_page_may_be_frozen_and_sent_again(case: Case) -> None:
    """Sending does not change the message."""
    page = message()
    case.channel.send(page, NOW)
    assert page == dataclasses.replace(page)
    assert page == message()
