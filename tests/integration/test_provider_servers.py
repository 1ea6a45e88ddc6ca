"""The strict servers themselves: an oracle that accepts too much proves nothing."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from slack_sdk import WebClient
from slack_sdk.errors import SlackApiError

from monitor.http_client import HttpClient
from monitor.notify.loopback.block_kit import problems, total
from tests.servers import faults
from tests.servers.journal import read_journal
from tests.servers.pagerduty_server import ROUTING_KEY, PagerDutyServer
from tests.servers.slack_server import CHANNEL, TOKEN, SlackServer


@pytest.fixture
def slack() -> Iterator[SlackServer]:
    with SlackServer(burst=100) as server:
        yield server


@pytest.fixture
def sdk(slack: SlackServer) -> WebClient:
    """Slack's own client with its own transport: whether the server speaks as Slack does."""
    return WebClient(token=TOKEN, base_url=slack.base_url, retry_handlers=[])


def _error(caught: pytest.ExceptionInfo[SlackApiError]) -> str:
    return str(caught.value.response["error"])


@pytest.mark.parametrize("asks", ["thread", "button"])
def test_slack_takes_no_digest_that_asks(slack: SlackServer, sdk: WebClient, asks: str) -> None:
    """In a thread or with a button it is refused: nothing of ours may send it."""
    ts = sdk.chat_postMessage(channel=CHANNEL, text="root")["ts"]
    button = {"type": "button", "action_id": "a", "text": {"type": "plain_text", "text": "Press"}}
    with pytest.raises(SlackApiError) as caught:
        sdk.chat_postMessage(
            channel=CHANNEL,
            text="digest",
            metadata={"event_type": "tocsin_digest", "event_payload": {"id": "d"}},
            thread_ts=ts if asks == "thread" else None,
            blocks=[{"type": "actions", "elements": [button]}] if asks == "button" else None,
        )
    assert _error(caught) == "invalid_arguments"
    assert len(slack.messages) == 1


def test_slack_s_own_client_is_understood(slack: SlackServer, sdk: WebClient) -> None:
    """Post, edit, reply, history and replies work with the unmodified SDK, JSON and form alike."""
    assert sdk.auth_test()["ok"]
    ts = sdk.chat_postMessage(
        channel=CHANNEL,
        text="root",
        metadata={"event_type": "tocsin_page", "event_payload": {"id": "a"}},
    )["ts"]
    sdk.chat_update(channel=CHANNEL, ts=ts, text="edited")
    sdk.chat_postMessage(channel=CHANNEL, text="reply", thread_ts=ts)
    sdk.api_call(
        "chat.postMessage",
        params={"channel": CHANNEL, "text": "form", "blocks": '[{"type":"divider"}]'},
    )
    history = sdk.conversations_history(channel=CHANNEL, include_all_metadata=True)["messages"]
    assert [item["text"] for item in history] == ["form", "edited"]
    assert history[1]["metadata"]["event_payload"] == {"id": "a"}
    replies = sdk.conversations_replies(channel=CHANNEL, ts=ts)["messages"]
    assert [item["text"] for item in replies] == ["edited", "reply"]
    assert "event_payload" not in replies[0]["metadata"]
    assert sdk.conversations_history(channel=CHANNEL, limit=1)["has_more"]


def _section(text: str, kind: str = "plain_text") -> dict[str, Any]:
    return {"type": "section", "text": {"type": kind, "text": text}}


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"text": "x" * 40_001}, "msg_too_long"),
        ({"text": ""}, "no_text"),
        ({"text": "<!channel>"}, "invalid_arguments"),
        ({"text": "hello <@U123>"}, "invalid_arguments"),
        ({"text": "a\0b"}, "invalid_arguments"),
        ({"blocks": [_section("<!here>", "mrkdwn")]}, "invalid_arguments"),
        ({"blocks": [_section("x" * 3001)]}, "invalid_blocks"),
        ({"blocks": [_section("")]}, "invalid_blocks"),
        ({"blocks": [{"type": "divider"}] * 51}, "invalid_blocks"),
        ({"blocks": [_section("x" * 2900)] * 5}, "msg_blocks_too_long"),
        (
            {"blocks": [{"type": "header", "text": {"type": "mrkdwn", "text": "x"}}]},
            "invalid_blocks",
        ),
        (
            {"blocks": [{"type": "header", "text": {"type": "plain_text", "text": "x" * 151}}]},
            "invalid_blocks",
        ),
        ({"blocks": [{"type": "context", "elements": []}]}, "invalid_blocks"),
        ({"blocks": [{"type": "video"}]}, "invalid_blocks"),
        ({"blocks": [{**_section("x"), "block_id": "a"}] * 2}, "invalid_blocks"),
        ({"metadata": {"event_type": "a b", "event_payload": {}}}, "invalid_metadata_schema"),
        ({"metadata": {"event_type": "a"}}, "invalid_metadata_format"),
        (
            {"metadata": {"event_type": "a", "event_payload": {"x": "y" * 17_000}}},
            "metadata_too_large",
        ),
        ({"channel": "C0ARCHIVED"}, "is_archived"),
        ({"channel": "C0OUTSIDE"}, "not_in_channel"),
        ({"channel": "C0NONE"}, "channel_not_found"),
        ({"thread_ts": "1.000001"}, "thread_not_found"),
        ({"token": "xoxb-other"}, "invalid_auth"),
    ],
)
def test_slack_refuses(
    slack: SlackServer, sdk: WebClient, arguments: dict[str, Any], error: str
) -> None:
    """What Slack refuses is refused with Slack's word, and nothing is stored."""
    with pytest.raises(SlackApiError) as caught:
        sdk.api_call("chat.postMessage", json={"channel": CHANNEL, "text": "x", **arguments})
    assert _error(caught) == error
    assert slack.messages == ()


def test_slack_s_buttons_have_limits() -> None:
    """The rules for buttons are there before the first button is."""
    button = {"type": "button", "text": {"type": "plain_text", "text": "Ack"}, "value": "v"}
    actions = {"type": "actions", "elements": [button] * 25}
    assert problems([actions]) == []
    assert total([actions]) == 25 * 4
    assert problems([{**actions, "elements": [button] * 26}])
    assert problems([{**actions, "elements": [{**button, "value": "v" * 2001}]}])
    assert problems([{**actions, "elements": [{**button, "url": "u" * 3001}]}])
    long = {"type": "plain_text", "text": "x" * 76}
    assert problems([{**actions, "elements": [{**button, "text": long}]}])
    assert problems([{**actions, "elements": ["x"]}])
    assert problems(["x"])
    assert problems({})


def test_slack_s_rate_is_one_a_second_and_channel() -> None:
    """The bucket empties, says how long to wait, and fills again; each channel has its own."""
    now = [10.0]
    with SlackServer(
        burst=2, channels={CHANNEL: "", "C0OTHER": ""}, clock=lambda: now[0]
    ) as server:
        sdk = WebClient(token=TOKEN, base_url=server.base_url, retry_handlers=[])
        for _ in range(2):
            sdk.chat_postMessage(channel=CHANNEL, text="x")
        with pytest.raises(SlackApiError) as caught:
            sdk.chat_postMessage(channel=CHANNEL, text="x")
        assert _error(caught) == "ratelimited"
        assert caught.value.response.status_code == 429
        assert caught.value.response.headers["Retry-After"] == "1"
        sdk.chat_postMessage(channel="C0OTHER", text="x")
        now[0] += 1.0
        sdk.chat_postMessage(channel=CHANNEL, text="x")


@contextmanager
def _pagerduty() -> Iterator[tuple[PagerDutyServer, Any]]:
    with PagerDutyServer() as server, HttpClient() as client:

        def post(event: object, path: str = "/v2/enqueue") -> tuple[int, Any]:
            body = event if isinstance(event, bytes) else json.dumps(event).encode()
            answer = client.request("POST", server.url + path, body=body)
            return answer.status, json.loads(answer.body or b"null")

        yield server, post


def _event(**changes: Any) -> dict[str, Any]:
    payload = {"summary": "s", "source": "x", "severity": "critical"}
    whole = {
        "routing_key": ROUTING_KEY,
        "event_action": "trigger",
        "dedup_key": "k",
        "payload": payload,
    }
    return {**whole, **changes}


def _payload(**changes: Any) -> dict[str, Any]:
    return _event(payload={"summary": "s", "source": "x", "severity": "critical", **changes})


@pytest.mark.parametrize(
    ("event", "word"),
    [
        (_event(routing_key="short"), "routing_key"),
        (_event(routing_key="-" * 32), "alphanumeric"),
        (_event(routing_key="A" * 32), "Invalid routing key"),
        (_event(event_action="open"), "event_action"),
        (_event(event_action="resolve", dedup_key=""), "dedup_key"),
        (_event(dedup_key="k" * 256), "dedup_key"),
        (_event(severity="critical"), "unknown field"),
        (_event(links=[{"href": "javascript:x"}]), "links"),
        (_event(payload="x"), "payload"),
        (_payload(summary="s" * 1025), "summary"),
        (_payload(summary=" "), "summary"),
        (_payload(severity="SEV1"), "severity"),
        (_payload(source=""), "source"),
        (_payload(links=[]), "unknown field"),
        (_payload(timestamp="yesterday"), "timestamp"),
        (_payload(custom_details={"x": "y" * 600_000}), "larger"),
        (b"{", "JSON"),
        (b'{"a": "\\ud800"}', "JSON"),
        (b"[]", "object"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_pagerduty_refuses(event: object, word: str) -> None:
    """What breaks schema or size is a 400 that says why, and opens nothing."""
    with _pagerduty() as (server, post):
        status, body = post(event)
        assert status == 400
        assert word in json.dumps(body)
        assert server.incidents == ()


def test_pagerduty_folds_only_while_open() -> None:
    """A key folds triggers while its alert is open; after a resolve it pages anew."""
    with _pagerduty() as (server, post):
        for action in (
            *("acknowledge", "trigger", "trigger", "acknowledge"),
            *("trigger", "resolve", "resolve", "trigger"),
        ):
            assert post(_event(event_action=action))[0] == 202
        assert [event.effect for event in server.events] == [
            "dropped",
            "opened",
            "appended",
            "acknowledged",
            "appended while acknowledged",
            "resolved",
            "dropped",
            "opened again after resolve",
        ]
        assert [incident.state for incident in server.incidents] == ["resolved", "triggered"]


def test_pagerduty_gives_a_key_to_an_event_without_one() -> None:
    """Two triggers without a key are two incidents."""
    with _pagerduty() as (server, post):
        keys = {post(_event(dedup_key=""))[1]["dedup_key"] for _ in range(2)}
        assert len(keys) == len(server.incidents) == 2


@pytest.mark.parametrize("name", ["slack_server", "pagerduty_server", "webhook_server"])
def test_a_server_runs_as_a_program_and_its_journal_outlives_it(name: str, tmp_path: Path) -> None:
    """Started as a process and killed, it leaves every request on disk."""
    log = tmp_path / "requests.jsonl"
    command = [sys.executable, "-m", f"tests.servers.{name}", "--port", "0", "--log", str(log)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            url = json.loads(process.stdout.readline())["url"]
            with HttpClient() as client:
                for _ in range(3):
                    client.request("POST", f"{url}/nothing", body=b"{}")
        finally:
            process.kill()
    rows = read_journal(log)
    assert len(rows) == 3
    assert {row["path"] for row in rows} == {"/nothing"}
    assert all(row["outcome"].startswith("refused") for row in rows)
    assert rows[0]["at"] < rows[2]["at"]
    assert len(rows[0]["body_sha256"]) == 64


def test_an_unstable_server_fails_by_its_seed() -> None:
    """Random failures are the same for the same seed, and some requests get through."""

    def statuses() -> list[object]:
        out: list[object] = []
        with SlackServer(burst=100, unstable=0.5, seed=7) as server, HttpClient() as client:
            for _ in range(20):
                try:
                    out.append(client.request("POST", f"{server.base_url}auth.test").status)
                except Exception as error:  # noqa: BLE001 - whatever it is, it is compared
                    out.append(type(error).__name__)
        return out

    first = statuses()
    assert first == statuses()
    assert {200, "NoAnswerError"} <= set(first)


def test_a_planned_failure_waits_for_its_path(slack: SlackServer, sdk: WebClient) -> None:
    """Only the named method fails, as often as planned, and the journal names the fault."""
    slack.fail_next(faults.slack_error("fatal_error"), times=2, path="chat.update")
    ts = sdk.chat_postMessage(channel=CHANNEL, text="x")["ts"]
    for _ in range(2):
        with pytest.raises(SlackApiError):
            sdk.chat_update(channel=CHANNEL, ts=ts, text="y")
    sdk.chat_update(channel=CHANNEL, ts=ts, text="y")
    assert [row["fault"] for row in slack.journal.rows] == ["", "status", "status", ""]
