"""Slack's Web API as far as a page needs it, with its limits, errors and rates.

Stricter than Slack in two points: a raw mention (`<!channel>`, `<@U...>`, `<#C...>`) is refused
wherever it stands, since no message of ours has one and data must not be able to make one; and a
digest stands alone in the channel, without a button, since nobody must be asked by it.
"""

from __future__ import annotations

import json
import math
import re
import threading
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from monitor.notify.fit import units
from monitor.notify.loopback import block_kit
from monitor.notify.loopback.server import Answer, Request

TEXT = 40_000
METADATA = 16_000
_MENTION = re.compile(r"<[!@#]")
_EVENT_TYPE = re.compile(r"[A-Za-z0-9_]{1,255}")
_JSON_FIELDS = ("blocks", "metadata", "attachments")


@dataclass(frozen=True, slots=True)
class SlackMessage:
    """One message as the channel holds it."""

    channel: str
    ts: str
    text: str
    blocks: tuple[dict[str, Any], ...] = ()
    thread_ts: str = ""
    broadcast: bool = False
    metadata: Mapping[str, Any] = field(default_factory=dict)
    unfurl: bool = True
    posted: tuple[dict[str, Any], ...] = ()
    """Blocks as they were when it rang: an edit rings nobody."""
    edits: int = 0


@dataclass(frozen=True, slots=True)
class Whisper:
    """A message that one person sees, once."""

    channel: str
    user: str
    text: str
    blocks: tuple[dict[str, Any], ...] = ()
    thread_ts: str = ""


class _RefusedError(Exception):
    """Becomes `{"ok": false, "error": code}`."""

    def __init__(self, code: str, *messages: str, retry_after_s: int = 0, needed: str = "") -> None:
        super().__init__(code)
        self.needed = needed
        self.code = code
        self.messages = messages
        self.retry_after_s = retry_after_s


class SlackReceiver:
    """One workspace with one bot token.

    Args:
        token: the only valid one of a bot.
        app_token: the app's own, good for `apps.connections.open` and nothing else.
        connection: makes the address of a new connection of Socket Mode; None: it is switched off.
        scopes: what the app token may do.
        members: who is in the channels; empty: anybody.
        channels: id to error code; an empty code means that posting works.
        per_second: messages a second that one channel takes in the long run.
        burst: messages it takes at once.
        clock: seconds, monotonic; for the rate.
        wall: seconds since the epoch; for `ts`.
    """

    def __init__(
        self,
        *,
        token: str,
        channels: Mapping[str, str],
        per_second: float = 1.0,
        burst: int = 3,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
        app_token: str = "",
        connection: Callable[[], str] | None = None,
        scopes: Collection[str] = ("connections:write",),
        members: Collection[str] = (),
    ) -> None:
        self._token = token
        self._app_token, self._connection = app_token, connection
        self._scopes, self._members = frozenset(scopes), frozenset(members)
        self._whispers: list[Whisper] = []
        self._channels = dict(channels)
        self._per_second, self._burst = per_second, float(burst)
        self._clock, self._wall = clock, wall
        self._lock = threading.Lock()
        self._messages: list[SlackMessage] = []
        self._buckets: dict[str, tuple[float, float]] = {}
        self._last_ts = 0
        self._methods: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
            "auth.test": self._auth_test,
            "chat.postMessage": self._post,
            "chat.update": self._update,
            "chat.postEphemeral": self._whisper,
            "apps.connections.open": self._open,
            "conversations.history": self._history,
            "conversations.replies": self._replies,
        }

    @property
    def messages(self) -> tuple[SlackMessage, ...]:
        """Everything in all channels and threads, oldest first."""
        with self._lock:
            return tuple(self._messages)

    @property
    def whispers(self) -> tuple[Whisper, ...]:
        """Everything that only one person saw, oldest first."""
        with self._lock:
            return tuple(self._whispers)

    def set_channel(self, channel: str, error: str = "") -> None:
        """From now on posting to `channel` fails with `error`, or works."""
        with self._lock:
            self._channels[channel] = error

    def answer(self, request: Request) -> Answer:
        """Take one call."""
        method = urlsplit(request.path).path.removeprefix("/api/").lstrip("/")
        key = ""
        try:
            arguments = _arguments(request)
            key = _key(arguments)
            self._check_token(request, arguments, method)
            with self._lock:
                result = self._methods.get(method, _unknown_method)(arguments)
        except _RefusedError as refusal:
            return _refusal(refusal, key, method)
        body = json.dumps({"ok": True, **result}).encode()
        return Answer(200, body, _HEADERS, key, f"accepted: {method}")

    def _check_token(self, request: Request, arguments: dict[str, Any], method: str) -> None:
        given = request.headers.get("authorization", "").removeprefix("Bearer ")
        given = given or str(arguments.pop("token", ""))
        if not given:
            raise _RefusedError("not_authed")
        if given not in {self._token, self._app_token}:
            raise _RefusedError("invalid_auth")
        if (given == self._app_token) != (method == "apps.connections.open"):
            raise _RefusedError("not_allowed_token_type")

    def _auth_test(self, _: dict[str, Any]) -> dict[str, Any]:
        return {"url": "https://example.slack.com/", "team": "Loopback", "user": "tocsin"}

    def _post(self, arguments: dict[str, Any]) -> dict[str, Any]:
        channel = self._channel(arguments)
        self._take_token(channel)
        message = SlackMessage(channel, self._new_ts(), **_content(arguments))
        message = replace(
            message,
            posted=message.blocks,
            thread_ts=str(arguments.get("thread_ts") or ""),
            broadcast=_true(arguments.get("reply_broadcast")),
            unfurl=_true(arguments.get("unfurl_links", True))
            or _true(arguments.get("unfurl_media", True)),
        )
        if message.thread_ts:
            self._find(channel, message.thread_ts, "thread_not_found")
        _check_digest(message)
        self._messages.append(message)
        return {"channel": channel, "ts": message.ts, "message": _shown(message, whole=True)}

    def _update(self, arguments: dict[str, Any]) -> dict[str, Any]:
        channel = self._channel(arguments)
        place = self._find(channel, str(arguments.get("ts")), "message_not_found")
        old = self._messages[place]
        content = _content(arguments)
        if "metadata" not in arguments:
            content["metadata"] = old.metadata
        self._messages[place] = replace(old, edits=old.edits + 1, **content)
        return {"channel": channel, "ts": old.ts, "text": content["text"]}

    def _whisper(self, arguments: dict[str, Any]) -> dict[str, Any]:
        channel, user = self._channel(arguments), str(arguments.get("user") or "")
        if not re.fullmatch(r"[UW][A-Z0-9]+", user) or (
            self._members and user not in self._members
        ):
            raise _RefusedError("user_not_in_channel")
        content = _content(arguments)
        thread = str(arguments.get("thread_ts") or "")
        self._whispers.append(Whisper(channel, user, content["text"], content["blocks"], thread))
        return {"message_ts": self._new_ts()}

    def _open(self, _: dict[str, Any]) -> dict[str, Any]:
        if "connections:write" not in self._scopes:
            raise _RefusedError("missing_scope", needed="connections:write")
        if self._connection is None:
            raise _RefusedError("socket_mode_not_enabled")
        return {"url": self._connection()}

    def _history(self, arguments: dict[str, Any]) -> dict[str, Any]:
        channel = self._channel(arguments)
        seen = [m for m in self._messages if m.channel == channel]
        seen = [m for m in seen if not m.thread_ts or m.broadcast]
        return _page(seen[::-1], arguments)

    def _replies(self, arguments: dict[str, Any]) -> dict[str, Any]:
        channel, ts = self._channel(arguments), str(arguments.get("ts"))
        place = self._find(channel, ts, "thread_not_found")
        thread = [m for m in self._messages if m.channel == channel and m.thread_ts == ts]
        return _page([self._messages[place], *thread], arguments)

    def _channel(self, arguments: dict[str, Any]) -> str:
        channel = str(arguments.get("channel") or "")
        error = self._channels.get(channel, "channel_not_found")
        if error:
            raise _RefusedError(error)
        return channel

    def _find(self, channel: str, ts: str, error: str) -> int:
        for place, message in enumerate(self._messages):
            if message.channel == channel and message.ts == ts:
                return place
        raise _RefusedError(error)

    def _take_token(self, channel: str) -> None:
        now = self._clock()
        level, then = self._buckets.get(channel, (self._burst, now))
        level = min(self._burst, level + (now - then) * self._per_second)
        if level < 1.0:
            self._buckets[channel] = (level, now)
            wait = max(1, math.ceil((1.0 - level) / self._per_second))
            raise _RefusedError("ratelimited", retry_after_s=wait)
        self._buckets[channel] = (level - 1.0, now)

    def _new_ts(self) -> str:
        self._last_ts = max(self._last_ts + 1, int(self._wall() * 1_000_000))
        return f"{self._last_ts // 1_000_000}.{self._last_ts % 1_000_000:06d}"


_HEADERS = {"Content-Type": "application/json; charset=utf-8"}


def _unknown_method(arguments: dict[str, Any]) -> dict[str, Any]:
    raise _RefusedError("unknown_method", *sorted(arguments)[:3])


def _refusal(refusal: _RefusedError, key: str, method: str) -> Answer:
    data: dict[str, Any] = {"ok": False, "error": refusal.code}
    if refusal.needed:
        data |= {"needed": refusal.needed, "provided": "authorizations:read"}
    if refusal.messages:
        data["errors"] = list(refusal.messages)
        data["response_metadata"] = {"messages": [f"[ERROR] {m}" for m in refusal.messages]}
    wait = refusal.retry_after_s
    headers = {**_HEADERS, "Retry-After": str(wait)} if wait else _HEADERS
    body = json.dumps(data).encode()
    return Answer(429 if wait else 200, body, headers, key, f"refused: {method} {refusal.code}")


def _arguments(request: Request) -> dict[str, Any]:
    """The arguments of a call, sent as JSON or as a form."""
    if request.method != "POST":
        return dict(parse_qsl(urlsplit(request.path).query))
    kind = request.headers.get("content-type", "").partition(";")[0].strip()
    try:
        text = request.body.decode()
        if kind == "application/json":
            arguments = json.loads(text or "{}")
            json.dumps(arguments, ensure_ascii=False).encode()  # fails on lone surrogates
        elif kind == "application/x-www-form-urlencoded":
            arguments = dict(parse_qsl(text, keep_blank_values=True))
            for name in _JSON_FIELDS:
                if name in arguments:
                    arguments[name] = json.loads(arguments[name])
        else:
            raise _RefusedError("invalid_post_type")
    except (ValueError, RecursionError):
        raise _RefusedError("invalid_json") from None
    if not isinstance(arguments, dict):
        raise _RefusedError("json_not_object")
    return arguments


def _content(arguments: dict[str, Any]) -> dict[str, Any]:
    """Text, blocks and metadata of a message, checked."""
    text, blocks = arguments.get("text") or "", arguments.get("blocks") or []
    if not str(text).strip() and not blocks:
        raise _RefusedError("no_text")
    if not isinstance(text, str) or units(text) > TEXT:
        raise _RefusedError("msg_too_long")
    if found := block_kit.problems(blocks):
        raise _RefusedError("invalid_blocks", *found)
    if block_kit.total(blocks) > block_kit.TOTAL:
        raise _RefusedError("msg_blocks_too_long")
    if "\0" in text + json.dumps(blocks, ensure_ascii=False):
        raise _RefusedError("invalid_arguments", "a NUL character")
    if _MENTION.search(text) or _MENTION.search(json.dumps(blocks, ensure_ascii=False)):
        raise _RefusedError(
            "invalid_arguments", "a raw mention, which data must not be able to make"
        )
    metadata = arguments.get("metadata") or {}
    if metadata:
        _check_metadata(metadata)
    return {"text": text, "blocks": tuple(blocks), "metadata": metadata}


def _check_metadata(metadata: object) -> None:
    if not isinstance(metadata, dict) or metadata.keys() != {"event_type", "event_payload"}:
        raise _RefusedError("invalid_metadata_format")
    kind, payload = metadata["event_type"], metadata["event_payload"]
    if not isinstance(kind, str) or not _EVENT_TYPE.fullmatch(kind):
        raise _RefusedError("invalid_metadata_schema")
    if not isinstance(payload, dict):
        raise _RefusedError("invalid_metadata_schema")
    if len(json.dumps(metadata)) > METADATA:
        raise _RefusedError("metadata_too_large")


def _check_digest(message: SlackMessage) -> None:
    if message.metadata.get("event_type") != "tocsin_digest":
        return
    if message.thread_ts or any(block["type"] == "actions" for block in message.blocks):
        raise _RefusedError("invalid_arguments", "a digest has no thread and no buttons")


def _page(messages: list[SlackMessage], arguments: dict[str, Any]) -> dict[str, Any]:
    wish = str(arguments.get("limit") or 100)
    if not wish.isdigit() or not 0 < int(wish) < 1000:
        raise _RefusedError("invalid_limit")
    limit = int(wish)
    whole = _true(arguments.get("include_all_metadata"))
    shown = [_shown(message, whole=whole) for message in messages[:limit]]
    return {"messages": shown, "has_more": len(messages) > limit}


def _shown(message: SlackMessage, *, whole: bool) -> dict[str, Any]:
    out: dict[str, Any] = {"type": "message", "ts": message.ts, "text": message.text}
    out["blocks"] = list(message.blocks)
    if message.thread_ts:
        out["thread_ts"] = message.thread_ts
    if message.metadata:
        metadata = dict(message.metadata)
        out["metadata"] = metadata if whole else {"event_type": metadata["event_type"]}
    return out


def _key(arguments: dict[str, Any]) -> str:
    metadata = arguments.get("metadata")
    payload = metadata.get("event_payload") if isinstance(metadata, dict) else None
    return str(payload.get("id", "")) if isinstance(payload, dict) else ""


def _true(value: object) -> bool:
    return value is True or value in {"1", "true"}
