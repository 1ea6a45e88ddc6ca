"""What Slack sends when people press buttons: payloads of interactivity, and requests signed by it.

Written from Slack's documents and not from the product's reader, so that the two can disagree.
"""

from __future__ import annotations

import hashlib
import hmac
import itertools
import json
import time
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote_plus

from monitor.http_client import HttpClient, Response
from monitor.notify.loopback.slack import SlackMessage

TEAM, APP = "T0LOOP", "A0LOOP"
SIGNING_SECRET = "8f742231b10e8888abcd99yyyzzz85a5"
_count = itertools.count(1)


def button(message: SlackMessage, action: str) -> dict[str, Any]:
    """The button of a message, by the last part of its action id.

    Raises:
        LookupError: it has no such button.
    """
    for block in message.blocks:
        for element in block.get("elements", []):
            if str(element.get("action_id", "")).endswith(action):
                return dict(element)
    raise LookupError(f"no button {action!r} in: {message.text}")


def has_button(message: SlackMessage, action: str) -> bool:
    """Whether it can be pressed."""
    try:
        button(message, action)
    except LookupError:
        return False
    return True


def press(
    message: SlackMessage,
    action: str,
    user: str,
    *,
    team: str = TEAM,
    app: str = APP,
    at: float | None = None,
) -> dict[str, Any]:
    """The payload of one press of a button, now or `at`; each call is a press of its own."""
    pressed = button(message, action)
    number = next(_count)
    return {
        "type": "block_actions",
        "api_app_id": app,
        "token": "verification-token-that-nobody-should-use",
        "team": {"id": team, "domain": "example"},
        "user": {"id": user, "username": "not.to.be.believed", "name": "root", "team_id": team},
        "channel": {"id": message.channel, "name": "pages"},
        "container": {
            "type": "message",
            "message_ts": message.ts,
            "channel_id": message.channel,
            "is_ephemeral": False,
        },
        "trigger_id": f"{number}.{time.time_ns()}.abcdef",
        "response_url": "http://127.0.0.1:9/never/call/this",
        "message": {"ts": message.ts, "text": message.text, "blocks": list(message.blocks)},
        "state": {"values": {}},
        "actions": [
            {
                "type": "button",
                "action_id": pressed["action_id"],
                "block_id": "b1",
                "text": pressed["text"],
                "value": pressed["value"],
                "action_ts": f"{time.time_ns() / 1e9:.6f}" if at is None else f"{at:.6f}",
            }
        ],
    }


@dataclass(frozen=True, slots=True)
class Signed:
    """A request as Slack makes it; change what you like."""

    body: bytes
    timestamp: str
    signature: str

    def headers(self) -> dict[str, str]:
        """Its headers."""
        return {
            "content-type": "application/x-www-form-urlencoded",
            "x-slack-request-timestamp": self.timestamp,
            "x-slack-signature": self.signature,
        }


def sign(
    payload: dict[str, Any], *, at: float | None = None, secret: str = SIGNING_SECRET
) -> Signed:
    """The request that carries a payload, signed at a time (seconds since the epoch)."""
    return sign_body(b"payload=" + quote_plus(json.dumps(payload)).encode(), at=at, secret=secret)


def sign_body(body: bytes, *, at: float | None = None, secret: str = SIGNING_SECRET) -> Signed:
    """The same for any body."""
    stamp = str(int(time.time() if at is None else at))
    base = b"v0:" + stamp.encode() + b":" + body
    digest = hmac.new(secret.encode(), base, hashlib.sha256).hexdigest()
    return Signed(body, stamp, f"v0={digest}")


def post(url: str, request: Signed, *, timeout_s: float = 20.0) -> Response:
    """Send a request to `url`."""
    with HttpClient() as client:
        return client.request(
            "POST", url, body=request.body, headers=request.headers(), timeout_s=timeout_s
        )
