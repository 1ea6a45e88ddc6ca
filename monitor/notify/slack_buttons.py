"""The buttons under a page in Slack: what they are called, and what their value may not say.

A value is an opaque id: the incident, the action and the message it stands in, sealed with a key of
this installation (HMAC-SHA-256, cut to 128 bits). It says nothing of the incident's state, which is
looked at when somebody clicks; and a value that we did not make does nothing, even in a request
that Slack signed.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from dataclasses import dataclass
from typing import Any

from monitor.notify.channel import ALONE, Kind, Message
from monitor.notify.fit import fit
from monitor.text import vis

PREFIX = "tocsin."
"""Of the action ids, so that clicks on something else are told apart."""
_MAC = 16
_SERIAL = 8
_CODES = {"acknowledge": b"a", "escalate": b"e"}
_ACTIONS = {code: action for action, code in _CODES.items()}
_WORDS = {"acknowledge": "Acknowledge", "escalate": "Escalate now"}
_SURE = "Pages whoever is next in the escalation policy. It cannot be taken back."


@dataclass(frozen=True, slots=True)
class Pressed:
    """What a value that is ours says."""

    action: str
    """`acknowledge` or `escalate`."""
    incident: str
    """The incident's uuid."""


class Buttons:
    """Makes and reads values.

    Args:
        key: a secret of the installation; another one is derived from it.
    """

    def __init__(self, key: bytes) -> None:
        self._key = hmac.new(key, b"tocsin slack buttons 1", hashlib.sha256).digest()

    def value(self, action: str, incident: str, message: str) -> str:
        """The value of a button, up to some 100 characters of A-Z a-z 0-9 - _.

        Args:
            action: `acknowledge` or `escalate`.
            incident: its uuid.
            message: id of the message in which the button stands.
        """
        serial = hashlib.sha256(message.encode()).digest()[:_SERIAL]
        body = _CODES[action] + serial + incident.encode()
        return base64.urlsafe_b64encode(self._seal(body) + body).decode().rstrip("=")

    def read(self, value: str) -> Pressed | None:
        """What a button of ours was for; None for a value that we did not make."""
        try:
            raw = base64.b64decode(value + "=" * (-len(value) % 4), altchars=b"-_", validate=True)
            seal, body = raw[:_MAC], raw[_MAC:]
            incident = body[1 + _SERIAL :].decode()
        except (ValueError, binascii.Error):
            return None
        action = _ACTIONS.get(body[:1])
        if not hmac.compare_digest(seal, self._seal(body)) or action is None:
            return None
        return Pressed(action, incident)

    def _seal(self, body: bytes) -> bytes:
        return hmac.new(self._key, body, hashlib.sha256).digest()[:_MAC]

    def block(self, message: Message) -> list[dict[str, Any]]:
        """The row of buttons of a message; nothing where there is nothing to press."""
        if message.kind in {Kind.RESOLVE, *ALONE} or not message.uuid:
            return []
        buttons = [self._button(action, message) for action in message.offers if action in _CODES]
        return [{"type": "actions", "elements": buttons}] if buttons else []

    def _button(self, action: str, message: Message) -> dict[str, Any]:
        button: dict[str, Any] = {
            "type": "button",
            "action_id": PREFIX + action,
            "text": _plain(_WORDS[action]),
            "value": self.value(action, message.uuid, message.id),
        }
        if action == "acknowledge":
            return {**button, "style": "primary"}
        title = fit(vis, f"Escalate {message.incident}?", 100)
        confirm = {
            "title": _plain(title),
            "text": _plain(_SURE),
            "confirm": _plain("Page them"),
            "deny": _plain("Cancel"),
            "style": "danger",
        }
        return {**button, "style": "danger", "confirm": confirm}


def _plain(text: str) -> dict[str, Any]:
    return {"type": "plain_text", "text": text, "emoji": False}
