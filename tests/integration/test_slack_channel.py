"""The Slack channel against a strict Slack."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace

import pytest

from monitor.config.secret import Secret
from monitor.http_client import HttpClient
from monitor.notify.channel import Kind, Message, Outcome, Refused, Retry, Sent, Unknown
from monitor.notify.settings import SlackSettings
from monitor.notify.slack import SlackChannel
from tests.contract.channel_cases import NOW, digest, message, strings
from tests.servers import faults
from tests.servers.slack_server import CHANNEL, TOKEN, SlackServer

POST, UPDATE = "chat.postMessage", "chat.update"


@pytest.fixture
def server() -> Iterator[SlackServer]:
    with SlackServer(burst=1000) as running:
        yield running


@pytest.fixture
def slack(server: SlackServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[SlackChannel]:
    monkeypatch.setenv("TOCSIN_TEST_SLACK", TOKEN)
    channel = SlackChannel(_settings(server), HttpClient())
    yield channel
    channel.close()


def _settings(server: SlackServer, channel: str = CHANNEL) -> SlackSettings:
    return SlackSettings(
        name="slack",
        token=Secret(env="TOCSIN_TEST_SLACK"),
        channel=channel,
        base_url=server.base_url,
        timeout_s=1.2,
    )


def _sent(outcome: Outcome) -> Sent:
    assert isinstance(outcome, Sent), outcome
    return outcome


def _next(first: Sent, kind: Kind, number: int = 2, **changes: object) -> Message:
    return message(id=f"pg-{number:04}", kind=kind, receipt=first.receipt, **changes)


def test_an_incident_is_one_message_edited_in_place(
    server: SlackServer, slack: SlackChannel
) -> None:
    """Later messages change the root and add to its thread; the channel has one message."""
    first = _sent(slack.send(message(), NOW))
    assert first.receipt == {"channel": CHANNEL, "ts": server.messages[0].ts}
    for number, kind in enumerate((Kind.ACKNOWLEDGE, Kind.UPDATE, Kind.RESOLVE), start=2):
        outcome = _sent(slack.send(_next(first, kind, number), NOW))
        assert outcome.receipt == first.receipt
    root, *thread = server.messages
    assert root.edits == 3
    assert "Resolved." in root.text
    assert "Resolved." in root.blocks[0]["text"]["text"]
    assert [m.thread_ts for m in thread] == [root.ts] * 3
    assert not any(m.broadcast for m in thread)


def test_the_root_keeps_the_id_of_the_message_that_made_it(
    server: SlackServer, slack: SlackChannel
) -> None:
    """An edit does not take away what a look-up recognises the first page by."""
    first = _sent(slack.send(message(), NOW))
    _sent(slack.send(_next(first, Kind.RESOLVE), NOW))
    assert server.messages[0].metadata["event_payload"]["id"] == "pg-0001"
    assert server.messages[0].metadata["event_type"] == "tocsin_page"


def test_a_new_trigger_for_a_known_incident_is_noticed(
    server: SlackServer, slack: SlackChannel
) -> None:
    """An edit notifies nobody, so a repeated page also goes to the channel from its thread."""
    first = _sent(slack.send(message(), NOW))
    _sent(slack.send(_next(first, Kind.TRIGGER), NOW))
    assert [m.broadcast for m in server.messages] == [False, True]


def test_text_and_blocks_always_go_together(server: SlackServer, slack: SlackChannel) -> None:
    """Text alone would remove the blocks at an edit, blocks alone would notify with nothing."""
    first = _sent(slack.send(message(), NOW))
    _sent(slack.send(_next(first, Kind.UPDATE), NOW))
    for stored in server.messages:
        assert stored.text
        assert stored.blocks


def test_nothing_is_unfurled(server: SlackServer, slack: SlackChannel) -> None:
    """Slack fetches no address from a page."""
    first = _sent(slack.send(message(), NOW))
    _sent(slack.send(_next(first, Kind.UPDATE), NOW))
    assert not any(m.unfurl for m in server.messages)


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("invalid_auth", Refused),
        ("token_revoked", Refused),
        ("account_inactive", Refused),
        ("channel_not_found", Refused),
        ("is_archived", Refused),
        ("not_in_channel", Refused),
        ("restricted_action", Refused),
        ("missing_scope", Refused),
        ("a_code_from_the_future", Refused),
        ("ratelimited", Retry),
        ("rate_limited", Retry),
        ("message_limit_exceeded", Retry),
        ("service_unavailable", Retry),
        ("internal_error", Unknown),
        ("fatal_error", Unknown),
    ],
)
def test_slack_s_error_codes(
    server: SlackServer, slack: SlackChannel, code: str, kind: type[Outcome]
) -> None:
    """`ok: false` is a refusal, a wish to wait, or an unknown outcome, by its code, and says it."""
    server.fail_next(faults.slack_error(code))
    outcome = slack.send(message(), NOW)
    assert isinstance(outcome, kind)
    assert not isinstance(outcome, Sent)
    assert code in outcome.reason


@pytest.mark.parametrize("channel", ["C0ARCHIVED", "C0OUTSIDE", "C0NOWHERE"])
def test_a_channel_that_cannot_be_posted_to_is_refused(
    server: SlackServer, monkeypatch: pytest.MonkeyPatch, channel: str
) -> None:
    """Archived, not joined and unknown channels need another road."""
    monkeypatch.setenv("TOCSIN_TEST_SLACK", TOKEN)
    slack = SlackChannel(_settings(server, channel), HttpClient())
    assert isinstance(slack.send(message(), NOW), Refused)
    slack.close()


def test_posting_too_fast_is_told_how_long_to_wait(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The per-channel rate ends in a Retry with Slack's seconds, and nobody sleeps."""
    monkeypatch.setenv("TOCSIN_TEST_SLACK", TOKEN)
    with SlackServer(burst=1) as server:
        slack = SlackChannel(_settings(server), HttpClient())
        _sent(slack.send(message(), NOW))
        outcome = slack.send(message(id="pg-0002"), NOW)
        slack.close()
    assert isinstance(outcome, Retry)
    assert outcome.after_s == 1.0


@pytest.mark.parametrize("code", ["invalid_blocks", "msg_too_long", "msg_blocks_too_long"])
def test_refused_content_goes_out_as_plain_text(
    server: SlackServer, slack: SlackChannel, code: str
) -> None:
    """A page whose form Slack refuses is sent once more, short and without blocks, and says so."""
    server.fail_next(faults.slack_error(code), path=POST)
    outcome = _sent(slack.send(message(), NOW))
    assert code in outcome.detail
    (stored,) = server.messages
    assert stored.blocks == ()
    assert "INC-0142" in stored.text
    server.fail_next(faults.slack_error(code), path=UPDATE)
    _sent(slack.send(_next(outcome, Kind.RESOLVE), NOW))


@pytest.mark.parametrize("code", ["message_not_found", "cant_update_message", "edit_window_closed"])
def test_a_root_that_cannot_be_edited_is_replaced(
    server: SlackServer, slack: SlackChannel, code: str
) -> None:
    """When the incident's message is gone a new one takes its place, with its own receipt."""
    first = _sent(slack.send(message(), NOW))
    server.fail_next(faults.slack_error(code), path=UPDATE)
    second = _sent(slack.send(_next(first, Kind.RESOLVE), NOW))
    assert second.receipt["ts"] == server.messages[-1].ts != first.receipt["ts"]


@pytest.mark.parametrize(
    "fault",
    [faults.reset_after_store, faults.hang_after_store, faults.slow_headers, faults.slow_body],
    ids=lambda f: f.__name__,
)
def test_a_page_whose_answer_was_lost_is_found_again(
    server: SlackServer, slack: SlackChannel, fault: faults.Fault
) -> None:
    """The second attempt finds the first by its id and takes its ts, instead of posting again."""
    server.fail_next(fault, path=POST)
    assert isinstance(slack.send(message(), NOW), Unknown)
    outcome = _sent(slack.send(message(attempt=2), NOW))
    assert outcome.receipt["ts"] == server.messages[0].ts
    assert len(server.messages) == 1


def test_a_reply_whose_answer_was_lost_is_found_again(
    server: SlackServer, slack: SlackChannel
) -> None:
    """The same holds in the thread, where the edit before it is harmless to repeat."""
    first = _sent(slack.send(message(), NOW))
    server.fail_next(faults.reset_after_store, path=POST)
    resolve = _next(first, Kind.RESOLVE)
    assert isinstance(slack.send(resolve, NOW), Unknown)
    _sent(slack.send(replace(resolve, attempt=2), NOW))
    assert len(server.messages) == 2


def test_a_second_attempt_that_is_surely_the_first_says_nothing(
    server: SlackServer, slack: SlackChannel
) -> None:
    """After a look-up that found nothing the page is not marked as a possible repeat."""
    server.fail_next(faults.status(500), path=POST)
    assert isinstance(slack.send(message(), NOW), Unknown)
    _sent(slack.send(message(attempt=2), NOW))
    assert not [text for text in strings(server.messages[0].blocks) if "repeat" in text]


def test_after_attempts_that_surely_failed_nothing_is_looked_up(
    server: SlackServer, slack: SlackChannel
) -> None:
    """A 429 has posted nothing: the next attempt is one call, and says nothing of a repeat."""
    _sent(slack.send(message(attempt=3, fresh=True), NOW))
    assert len(server.journal.rows) == 1
    assert not [text for text in strings(server.messages[0].blocks) if "repeat" in text]


@pytest.mark.parametrize(
    "fault",
    [faults.slack_error("missing_scope"), faults.hang, faults.status(500), faults.html_page()],
    ids=["scope", "hang", "500", "html"],
)
def test_without_a_look_up_the_page_goes_out_and_says_so(
    server: SlackServer, slack: SlackChannel, fault: faults.Fault
) -> None:
    """Paging fails open: what cannot be looked up is sent as a possible repeat."""
    server.fail_next(fault, path="conversations.history")
    _sent(slack.send(message(attempt=3), NOW))
    (stored,) = server.messages
    assert [text for text in strings(stored.blocks) if "Attempt 3: this may repeat" in text]


def test_a_look_up_sees_past_other_messages(server: SlackServer, slack: SlackChannel) -> None:
    """The page is found among others of the last hundred."""
    server.fail_next(faults.reset_after_store, path=POST)
    assert isinstance(slack.send(message(), NOW), Unknown)
    for number in range(2, 40):
        _sent(slack.send(message(id=f"pg-{number:04}"), NOW))
    outcome = _sent(slack.send(message(attempt=2), NOW))
    assert outcome.receipt["ts"] == server.messages[0].ts


def test_a_look_up_of_a_busy_channel_is_not_certain(
    server: SlackServer, slack: SlackChannel
) -> None:
    """Beyond a hundred messages absence is not proven, and the page says so."""
    for number in range(2, 105):
        _sent(slack.send(message(id=f"pg-{number:04}"), NOW))
    _sent(slack.send(message(attempt=2), NOW))
    assert [text for text in strings(server.messages[-1].blocks) if "may repeat" in text]


def test_a_test_page_is_a_message_of_its_own(server: SlackServer, slack: SlackChannel) -> None:
    """A test never edits an incident's message, whatever receipt it carries."""
    first = _sent(slack.send(message(), NOW))
    _sent(slack.send(_next(first, Kind.TEST), NOW))
    assert [m.edits for m in server.messages] == [0, 0]
    assert "Test page." in server.messages[1].text


def test_a_digest_has_its_own_kind_and_no_button(server: SlackServer, slack: SlackChannel) -> None:
    """Fifty blocks are never needed, nor 3,000 characters in one of them; nobody is asked."""
    _sent(slack.send(digest(*[f"{n} {'<&>' * 90}" for n in range(40)]), NOW))
    (found,) = server.messages
    assert found.metadata["event_type"] == "tocsin_digest"
    assert {block["type"] for block in found.blocks} == {"header", "section", "context"}
    assert len(found.blocks) <= 10
    assert "until 2026-03-01" in json.dumps(found.blocks)


def test_check_says_whether_the_token_is_valid(
    server: SlackServer, slack: SlackChannel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A configuration can be tried without showing anything to anybody."""
    assert "Loopback" in _sent(slack.check()).detail
    monkeypatch.setenv("TOCSIN_TEST_SLACK", "xoxb-wrong")
    assert isinstance(slack.check(), Refused)
    assert server.messages == ()


def test_the_token_travels_to_its_address_only(
    server: SlackServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither a proxy of the environment nor a redirect sees the token."""
    monkeypatch.setenv("TOCSIN_TEST_SLACK", TOKEN)
    with SlackServer() as thief:
        for name in ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"):
            monkeypatch.setenv(name, thief.url)
        slack = SlackChannel(_settings(server), HttpClient())
        server.fail_next(faults.redirect(f"{thief.base_url}chat.postMessage"))
        assert isinstance(slack.send(message(), NOW), Retry)
        _sent(slack.send(message(), NOW))
        slack.close()
        assert thief.journal.rows == ()


def test_a_proxy_s_failure_is_no_refusal(server: SlackServer, slack: SlackChannel) -> None:
    """502 with HTML from something in between is tried again."""
    server.fail_next(faults.html_page(502))
    assert isinstance(slack.send(message(), NOW), Unknown)
