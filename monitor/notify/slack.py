"""Slack: one message an incident, edited in place, with what happens next in its thread.

Each message of the outbox is the whole present picture of its incident, so the incident's message
(the root) is replaced, never patched. What must be noticed again (a trigger for an incident that
has a message already: a repeat, another try to reach somebody) is also sent to the channel from the
thread, since an edit notifies nobody.

Slack has no idempotency key. Every message therefore carries the outbox id in its metadata, and an
attempt after one that may have been heard first looks for it in the channel's history; where that
look-up is not possible, the page goes out and says that it may be a repeat.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from monitor.config.secret import SecretUnavailableError
from monitor.http_client import HttpClient
from monitor.notify.channel import ALONE, Kind, Message, Outcome, Retry, Sent, Unknown
from monitor.notify.settings import SlackSettings
from monitor.notify.slack_blocks import (
    Block,
    fallback,
    metadata,
    reply_blocks,
    reply_text,
    root_blocks,
)
from monitor.notify.slack_buttons import Buttons
from monitor.notify.slack_call import CallError, SlackCall
from monitor.text import vis

_LOOK_UP_SHARE = 0.4
"""Of the time for one attempt, what a look-up may use before the page goes out anyway."""
_LOOK_UP_MESSAGES = 100
_LOOK_UP_BYTES = 4 * 1024 * 1024

_TOO_MUCH = frozenset(
    {"msg_too_long", "msg_blocks_too_long", "invalid_blocks", "invalid_blocks_format"}
    | {"metadata_too_large", "invalid_metadata_format", "invalid_metadata_schema"}
)
"""The content is refused, not the call: a plainer message may pass."""
_ROOT_GONE = frozenset({"message_not_found", "cant_update_message", "edit_window_closed"})
"""The incident's message can no longer be edited: a new one takes its place."""


class SlackChannel:
    """Posts to one conversation with a bot token; implements `monitor.notify.channel.Channel`."""

    kind = "slack"

    def __init__(
        self, settings: SlackSettings, http: HttpClient, buttons: Buttons | None = None
    ) -> None:
        """Args: `buttons` makes the buttons; None where nobody listens for clicks."""
        self.name = settings.name
        self._buttons = buttons
        self._settings = settings
        self._http = http

    def send(self, message: Message, now: datetime) -> Outcome:  # noqa: ARG002 - the port's shape
        """Post or edit; `Sent.receipt` is `{"channel", "ts"}` of the incident's message."""
        try:
            post = _Post(self._call(), self._settings.channel, message, self._buttons)
            if message.receipt.get("ts") and message.kind not in ALONE:
                return post.follow_up()
            return post.open()
        except CallError as failure:
            return failure.outcome

    def check(self) -> Outcome:
        """Whether the token is valid (`auth.test`); shows nothing to anybody."""
        try:
            answer = self._call().do("auth_test", {})
        except CallError as failure:
            return failure.outcome
        team = vis(str(answer.get("team") or "an unnamed team"), limit=80)
        return Sent(detail=f"the token is valid for {team}")

    def close(self) -> None:
        """Release connections."""
        self._http.close()

    def _call(self) -> SlackCall:
        settings = self._settings
        try:
            token = settings.token.reveal()
        except SecretUnavailableError as error:
            raise CallError(Retry(str(error), ours=True)) from None
        return SlackCall(self._http, settings.base_url, token, settings.timeout_s)


class _Post:
    """One attempt to show one message; every method raises `CallError`."""

    def __init__(
        self, call: SlackCall, channel: str, message: Message, buttons: Buttons | None
    ) -> None:
        self._buttons = buttons
        self._call = call
        self._channel = channel
        self._message = message

    def open(self) -> Outcome:
        """The incident's message, new in the channel."""
        found, absent = self._look_up(thread="")
        if found:
            return Sent({"channel": self._channel, "ts": found}, "already there, found by its id")
        blocks = root_blocks(self._message, maybe_repeat=not absent, buttons=self._buttons)
        answer, remark = self._plainer("chat_postMessage", fallback(self._message), blocks, {})
        ts = answer.get("ts")
        if not isinstance(ts, str):
            return Unknown("Slack answers ok without the message's ts")
        return Sent({"channel": str(answer.get("channel") or self._channel), "ts": ts}, remark)

    def follow_up(self) -> Outcome:
        """The incident's message replaced, and the news in its thread.

        The edit may be repeated without harm, so it comes first and only the reply is looked up.
        """
        message = self._message
        root = {
            "channel": message.receipt.get("channel", self._channel),
            "ts": message.receipt["ts"],
        }
        try:
            # parse: chat.update, unlike chat.postMessage, would by default make links of names
            blocks = root_blocks(message, buttons=self._buttons)
            _, remark = self._plainer(
                "chat_update", fallback(message), blocks, {**root, "parse": "none"}
            )
        except CallError as failure:
            if failure.code in _ROOT_GONE:
                return self.open()
            raise
        found, _ = self._look_up(thread=root["ts"])
        if not found:
            place: dict[str, object] = {"channel": root["channel"], "thread_ts": root["ts"]}
            place["reply_broadcast"] = message.kind is Kind.TRIGGER
            self._plainer("chat_postMessage", reply_text(message), reply_blocks(message), place)
        return Sent(root, remark)

    def _plainer(
        self, method: str, text: str, blocks: list[Block], place: dict[str, object]
    ) -> tuple[dict[str, Any], str]:
        """Call, and if Slack refuses the content, once more with a short text and nothing else."""
        fixed: dict[str, object] = {"channel": self._channel, **place}
        rich: dict[str, object] = {"text": text, "blocks": blocks}
        if method == "chat_postMessage":
            fixed |= {"unfurl_links": False, "unfurl_media": False}
            rich["metadata"] = metadata(self._message)
        try:
            return self._call.do(method, {**fixed, **rich}), ""
        except CallError as failure:
            if failure.code not in _TOO_MUCH:
                raise
            answer = self._call.do(method, {**fixed, "text": fallback(self._message, limit=300)})
            return answer, f"shortened: Slack refused the full message ({failure.code})"

    def _look_up(self, *, thread: str) -> tuple[str, bool]:
        """The `ts` of this very message if an earlier attempt left it; whether it surely did not.

        A first attempt has nothing to look for, nor has one after others that surely failed.
        """
        if self._message.attempt <= 1 or self._message.fresh:
            return "", True
        method = "conversations_replies" if thread else "conversations_history"
        arguments: dict[str, object] = {
            "channel": self._channel,
            "limit": _LOOK_UP_MESSAGES,
            "include_all_metadata": True,
        }
        if thread:
            arguments |= {"ts": thread, "channel": self._message.receipt.get("channel", "")}
        try:
            answer = self._call.do(
                method, arguments, share=_LOOK_UP_SHARE, max_bytes=_LOOK_UP_BYTES
            )
        except CallError:
            # fail open: a page that cannot be looked up is sent, and says that it may be a repeat
            return "", False
        items = answer.get("messages")
        if not isinstance(items, list):
            return "", False
        found = next((item for item in items if _id(item) == self._message.id), None)
        if found is not None and isinstance(found.get("ts"), str):
            return found["ts"], False
        return "", not answer.get("has_more")


def _id(item: object) -> str:
    """The outbox id in a message's metadata, if it is one of ours."""
    inner: object = item
    for name in ("metadata", "event_payload", "id"):
        inner = inner.get(name) if isinstance(inner, dict) else None
    return inner if isinstance(inner, str) else ""
