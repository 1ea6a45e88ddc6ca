"""Clicks on the buttons of pages in Slack: read, checked and applied.

Whatever the road, a payload counts only if it names our app and workspace, stands in a conversation
that pages go to, and carries a value that we sealed. Of its content nothing else is believed: not
the text, not the state, not the name, not the address that it offers for an answer.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import parse_qs

import msgspec

from monitor.config.secret import Secret, SecretUnavailableError
from monitor.inbound.answers import Answer, Answers, Reply
from monitor.inbound.hooks import Answer as HookAnswer
from monitor.inbound.people import People
from monitor.inbound.settings import SlackAnswers
from monitor.inbound.signatures import slack_flaw
from monitor.notify.slack_buttons import PREFIX, Buttons
from monitor.notify.slack_voice import SlackVoice
from monitor.text import vis
from monitor.views import Principal

logger = logging.getLogger(__name__)


class _Id(msgspec.Struct, frozen=True):
    id: str


class _User(msgspec.Struct, frozen=True):
    id: str
    team_id: str = ""


class _Pressed(msgspec.Struct, frozen=True):
    action_id: str
    action_ts: str = ""
    value: str = ""


class _Container(msgspec.Struct, frozen=True):
    message_ts: str = ""


class _Payload(msgspec.Struct, frozen=True):
    """What we read of a `block_actions` payload."""

    type: str
    api_app_id: str
    user: _User
    team: _Id | None = None
    channel: _Id | None = None
    container: _Container = _Container()
    actions: list[_Pressed] = []


@dataclass(frozen=True, slots=True)
class Click:
    """One click on a button of ours."""

    team: str
    user: str
    channel: str
    thread: str
    """`ts` of the message in which the button stands."""
    action: str
    incident: str
    key: str
    """Of this press of the button."""
    once: str = ""
    """Of the button, where it does its work once, whoever presses."""
    at: datetime | None = None
    """When it was pressed: an envelope that nobody acknowledged may come much later."""


@dataclass(frozen=True, slots=True)
class Foreign:
    """A payload that is none of our buttons' clicks, and why."""

    reason: str


def read_click(
    raw: bytes, settings: SlackAnswers, channels: frozenset[str], buttons: Buttons
) -> Click | Foreign:
    """The click that a payload tells of. Pure; never raises.

    Args:
        raw: the payload as JSON.
        settings: name the app and the workspace.
        channels: conversations that pages go to.
        buttons: know which values are ours.
    """
    try:
        payload = msgspec.json.decode(raw, type=_Payload)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return Foreign("not a payload of interactivity")
    user, team = payload.user, payload.team.id if payload.team is not None else ""
    if payload.api_app_id != settings.app:
        return Foreign("for another app")
    if team != settings.team or user.team_id not in {"", settings.team}:
        return Foreign("from another workspace")
    if payload.type != "block_actions" or len(payload.actions) != 1:
        return Foreign("not a click on one button")
    channel = payload.channel.id if payload.channel is not None else ""
    if channel not in channels:
        return Foreign("from a conversation that pages do not go to")
    pressed = payload.actions[0]
    known = buttons.read(pressed.value)
    if known is None or pressed.action_id != PREFIX + known.action:
        return Foreign("a value that was not made here")
    thread = payload.container.message_ts
    key = _digest("click", user.id, channel, thread, pressed.value, pressed.action_ts)
    # Each press of it would page one more; a message's button counts once, whoever presses.
    once = _digest("once", pressed.value) if known.action == "escalate" else ""
    at = _moment(pressed.action_ts)
    return Click(team, user.id, channel, thread, known.action, known.incident, key, once, at)


def _moment(stamp: str) -> datetime | None:
    try:
        return datetime.fromtimestamp(float(stamp), UTC)
    except (ValueError, OverflowError, OSError):
        return None


def _digest(*parts: str) -> str:
    joined = "\x00".join(parts).encode("utf-8", "surrogatepass")
    return f"slack:{hashlib.sha256(joined).hexdigest()[:40]}"


class SlackActions:
    """Applies clicks, whichever road they came by."""

    def __init__(
        self,
        settings: SlackAnswers,
        people: Callable[[], People],
        buttons: Buttons,
        answers: Answers,
        voice: SlackVoice,
    ) -> None:
        """Args: `people` are those of the configuration as it is now."""
        self._settings = settings
        self._people = people
        self._buttons = buttons
        self._answers = answers
        self._voice = voice

    def take(self, payload: bytes, *, signed: str = "") -> Reply | Foreign:
        """Apply a payload that comes from Slack; committed when this returns.

        Args:
            payload: JSON.
            signed: the key of its signature, where it has one.

        Raises:
            StoreUnavailable: it is not known to be written; Slack must hear nothing.
        """
        click = read_click(payload, self._settings, self._voice.channels, self._buttons)
        if isinstance(click, Foreign):
            logger.warning("slack: a payload was ignored: %s", click.reason)
            return click
        who = self._people().of_slack(click.team, click.user)
        reply = self._answers.in_time(_answer(click, who, signed))
        if reply.outcome in {"refused", "late"}:
            self._voice.whisper(click.channel, click.user, reply.text, thread=click.thread)
        return reply

    def hook(self, body: bytes, headers: Mapping[str, str], now: datetime) -> HookAnswer:
        """`POST /hooks/slack`; implements `monitor.inbound.hooks.Hook`.

        Raises:
            StoreUnavailable: answered with 503.
        """
        secret = self._settings.signing_secret
        flaw = "Socket Mode is configured" if secret is None else _flaw(secret, headers, body, now)
        if flaw:
            logger.warning("slack: a request was refused: %s", flaw)
            return HookAnswer.of(401, "not signed as it must be")
        payload = _form(body)
        if payload is None:
            return HookAnswer.of(400, "no payload")
        stamp = headers.get("x-slack-request-timestamp", "")
        signed = _digest("signed", stamp, headers.get("x-slack-signature", ""))
        reply = self.take(payload, signed=signed)
        if isinstance(reply, Foreign):
            return HookAnswer.of(401, "not for us")
        if reply.key == signed:
            # Slack signs each request anew; one that we have seen is somebody else's copy.
            return HookAnswer.of(401, "that request was here before")
        return HookAnswer.of(200)


def _flaw(secret: Secret, headers: Mapping[str, str], body: bytes, now: datetime) -> str:
    try:
        value = secret.reveal()
    except SecretUnavailableError as problem:
        return str(problem)
    return slack_flaw(value, headers, body, now.timestamp())


def _form(body: bytes) -> bytes | None:
    """The one `payload` of a form."""
    try:
        fields = parse_qs(body.decode("ascii"), max_num_fields=8, strict_parsing=True)
        found = fields.get("payload", [])
        return found[0].encode() if len(found) == 1 else None
    except ValueError:  # UnicodeError too
        return None


def _answer(click: Click, who: Principal | None, signed: str) -> Answer:
    return Answer(
        source="slack",
        keys=(signed, click.key) if signed else (click.key,),
        once=click.once,
        account=vis(f"{click.team}/{click.user}", limit=80),
        who=who,
        action="escalate" if click.action == "escalate" else "acknowledge",
        occurred_at=click.at,
        incident=click.incident,
    )
