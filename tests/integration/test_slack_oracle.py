"""The strict Slack's interactivity and Socket Mode: an oracle that forgives proves nothing."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from slack_sdk import WebClient
from slack_sdk.errors import SlackApiError
from slack_sdk.socket_mode import SocketModeClient
from slack_sdk.socket_mode.request import SocketModeRequest
from slack_sdk.socket_mode.response import SocketModeResponse
from websockets.exceptions import InvalidStatus
from websockets.sync.client import ClientConnection, connect

from monitor.notify.loopback.block_kit import problems
from tests.servers.slack_server import APP_TOKEN, CHANNEL, TOKEN, SlackServer
from tests.servers.slack_socket import MOST, SlackSockets

PATIENCE_S = 30.0


@pytest.fixture
def slack() -> Iterator[SlackServer]:
    with SlackServer(burst=100, ack_s=0.5) as server:
        yield server


@pytest.fixture
def sockets(slack: SlackServer) -> SlackSockets:
    return slack.socket_mode()


def _bot(slack: SlackServer, token: str = TOKEN) -> WebClient:
    return WebClient(token=token, base_url=slack.base_url, retry_handlers=[])


def _error(caught: pytest.ExceptionInfo[SlackApiError]) -> str:
    return str(caught.value.response["error"])


def _hello(client: ClientConnection) -> dict[str, Any]:
    return dict(json.loads(client.recv(timeout=PATIENCE_S)))


def test_slack_s_own_client_is_understood(slack: SlackServer, sockets: SlackSockets) -> None:
    """The unmodified SDK opens a connection, gets the envelope as it was sent, acknowledges it."""
    seen: list[dict[str, Any]] = []

    def listen(client: Any, request: SocketModeRequest) -> None:
        seen.append(request.payload)
        client.send_socket_mode_response(SocketModeResponse(envelope_id=request.envelope_id))

    theirs = SocketModeClient(app_token=APP_TOKEN, web_client=_bot(slack))
    theirs.socket_mode_request_listeners.append(listen)
    theirs.connect()
    try:
        sockets.wait_connected()
        handed = sockets.hand_out({"type": "block_actions", "n": 1}, attempts=20)
        assert handed.acked.is_set()
        assert seen[0] == {"type": "block_actions", "n": 1}
    finally:
        theirs.close()


def test_what_is_not_acknowledged_comes_again(sockets: SlackSockets) -> None:
    """With the same id, and how often; then it is given up."""
    with connect(sockets.address()) as client:
        assert _hello(client)["type"] == "hello"
        handed = sockets.hand_out({"n": 1}, attempts=3)
        assert not handed.acked.is_set()
        got = [json.loads(client.recv(timeout=PATIENCE_S)) for _ in range(3)]
    assert {one["envelope_id"] for one in got} == {handed.envelope}
    assert [one.get("retry_attempt") for one in got] == [None, 1, 2]


def test_only_acknowledgements_of_what_was_sent_are_taken(sockets: SlackSockets) -> None:
    """Anything else is written down as the client's mistake."""
    with connect(sockets.address()) as client:
        assert _hello(client)["connection_info"]["app_id"] == "A0LOOP"
        for noise in ("x", "[]", '{"envelope_id": "made-up"}', '{"ok": true}'):
            client.send(noise)
        done = threading.Thread(target=sockets.hand_out, args=({"n": 1},))
        done.start()
        envelope = json.loads(client.recv(timeout=PATIENCE_S))["envelope_id"]
        client.send(json.dumps({"envelope_id": envelope}))
        done.join()
    assert len(sockets.problems) == 4


def test_an_address_is_good_for_one_connection(sockets: SlackSockets) -> None:
    """A used, a made-up and no ticket are refused at the door."""
    address = sockets.address()
    with connect(address) as client:
        _hello(client)
    for wrong in (address, address.replace("ticket=", "ticket=0"), address.partition("?")[0]):
        with pytest.raises(InvalidStatus):
            connect(wrong)


def test_an_app_has_ten_connections(sockets: SlackSockets) -> None:
    """The eleventh is sent away, and says why."""
    with ExitStack() as stack:
        clients = [stack.enter_context(connect(sockets.address())) for _ in range(MOST)]
        seats = sorted(_hello(one)["num_connections"] for one in clients)
        assert seats == list(range(1, MOST + 1))
        with connect(sockets.address()) as last:
            assert _hello(last) == {"type": "disconnect", "reason": "too_many_websockets"}


def test_a_refresh_is_told_before_the_end(sockets: SlackSockets) -> None:
    """First the message, later the close."""
    with connect(sockets.address()) as client:
        _hello(client)
        sockets.wait_connected()
        sockets.refresh(grace_s=0.1)
        assert json.loads(client.recv(timeout=PATIENCE_S))["reason"] == "refresh_requested"


def test_tokens_are_told_apart(slack: SlackServer) -> None:
    """A bot's token opens no connection, an app's posts nothing."""
    with pytest.raises(SlackApiError) as caught:
        _bot(slack).apps_connections_open(app_token=TOKEN)
    assert _error(caught) == "not_allowed_token_type"
    with pytest.raises(SlackApiError) as caught:
        _bot(slack, APP_TOKEN).chat_postMessage(channel=CHANNEL, text="x")
    assert _error(caught) == "not_allowed_token_type"
    with pytest.raises(SlackApiError) as caught:
        _bot(slack).apps_connections_open(app_token="xapp-wrong")
    assert _error(caught) == "invalid_auth"


def test_a_whisper_is_seen_by_one_person(slack: SlackServer) -> None:
    """It wants a person of the channel, obeys the rules of messages, and is no message."""
    _bot(slack).chat_postEphemeral(channel=CHANNEL, user="U0ANA", text="hush")
    assert [(one.user, one.text) for one in slack.receiver.whispers] == [("U0ANA", "hush")]
    assert slack.messages == ()
    for user, text, error in (
        ("ana", "x", "user_not_in_channel"),
        ("U0ANA", "<!channel> x", ""),
    ):
        with pytest.raises(SlackApiError) as caught:
            _bot(slack).chat_postEphemeral(channel=CHANNEL, user=user, text=text)
        assert error in {"", _error(caught)}


def test_an_edit_without_blocks_takes_them_away(slack: SlackServer) -> None:
    """So text and blocks must always go together."""
    bot = _bot(slack)
    block = {"type": "section", "text": {"type": "plain_text", "text": "a"}}
    ts = bot.chat_postMessage(channel=CHANNEL, text="a", blocks=[block])["ts"]
    bot.chat_update(channel=CHANNEL, ts=ts, text="b")
    assert slack.messages[0].blocks == ()


def _button(**changes: object) -> list[dict[str, object]]:
    plain = {"type": "plain_text", "text": "x"}
    dialog = {"title": plain, "text": plain, "confirm": plain, "deny": plain}
    button = {"type": "button", "text": plain, "action_id": "a", "confirm": dialog, **changes}
    return [{"type": "actions", "elements": [button]}]


@pytest.mark.parametrize(
    "changes",
    [
        {"style": "green"},
        {"confirm": {}},
        {"confirm": "yes"},
        {"confirm": _button()[0]["elements"][0]["confirm"] | {"title": {"type": "mrkdwn"}}},  # type: ignore[index] # made above
        {
            "confirm": _button()[0]["elements"][0]["confirm"]  # type: ignore[index] # made above
            | {"title": {"type": "plain_text", "text": "x" * 101}}
        },
        {
            "confirm": _button()[0]["elements"][0]["confirm"]  # type: ignore[index] # made above
            | {"deny": {"type": "plain_text", "text": "x" * 31}}
        },
        {"confirm": _button()[0]["elements"][0]["confirm"] | {"url": "x"}},  # type: ignore[index] # made above
    ],
)
def test_a_bad_dialog_is_refused(changes: dict[str, object]) -> None:
    """As Slack would."""
    assert problems(_button()) == []
    assert problems(_button(**changes))


def test_two_buttons_have_two_ids() -> None:
    """Slack refuses a row in which one id stands twice."""
    elements = [*_button()[0]["elements"], *_button()[0]["elements"]]  # type: ignore[misc] # made above
    assert problems([{"type": "actions", "elements": elements}])
