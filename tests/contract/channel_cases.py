"""The channels under contract, each with its provider's server, and the texts that attack them."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from monitor.config.secret import Secret
from monitor.notify.build import build_channel
from monitor.notify.channel import Channel, Kind, Link, Message
from monitor.notify.settings import (
    ChannelSettings,
    LogSettings,
    PagerDutySettings,
    SlackSettings,
    WebhookSettings,
)
from tests.servers import pagerduty_server, slack_server, webhook_server
from tests.servers.faults import FaultyServer

NOW = datetime(2026, 3, 1, 3, 12, tzinfo=UTC)
TIMEOUT_S = 1.0

HOSTILE = {
    "escape": "\x1b[2J\x1b]0;owned\x07",
    "osc52": "\x1b]52;c;ZXZpbA==\x07",
    "c1": "\x9b31m\x90\x9d",
    "mention": "<!channel> <!here> <@U0123ABC> <#C0123> <!subteam^S1>",
    "link": "<https://evil.example|Runbook> https://evil.example/x",
    "entities": "&lt;!channel&gt; &amp;lt;",
    "bidi": "a\u202eevil\u2066b\u2069",
    "zero_width": "a\u200b\ufeffb\u00ad",
    "surrogate": "a\ud800b\udfff",
    "nul": "a\0b",
    "noncharacter": "\uffff\U0010ffff",
    "zalgo": "e" + "\u0301" * 500,
    "lines": "one\ntwo\r\nthree\u2028four\x0b",
    "json": '"}]}\\u0000 \\ud800',
    "templates": "{{7*7}} ${x} %s {0.__class__}",
    "markup": "`*_~>` [x](javascript:1) @here #general :smile:",
    "long": "x" * 10_000,
    "long_hidden": "\U000e0001" * 10_000,
    "long_escaped": "<&>" * 4_000,
    "long_wide": "\N{POLICE CARS REVOLVING LIGHT}" * 10_000,
    "blank": "   ",
    "empty": "",
}


def message(**changes: Any) -> Message:
    """A page with everything in it, and `changes`."""
    given: dict[str, Any] = {
        "id": "pg-0001",
        "kind": Kind.TRIGGER,
        "dedup_key": "tocsin:6b0f:SEV1",
        "incident": "INC-0142",
        "severity": "SEV1",
        "state": "triage",
        "title": "Refusals 4.1x baseline in chat/prod",
        "lines": (
            "refusal_rate 12.4 % against 3.0 % (412 of 3,322 interactions)",
            "prod, chat, model m-2; since 03:04 UTC",
            "changed: guardrail safety-prompt v41 at 03:02",
        ),
        "labels": {"environment": "prod", "feature": "chat", "signal": "refusal_rate"},
        "links": (Link("Runbook", "https://tocsin.example/runbooks/refusal-spike?inc=1&x=2"),),
        "command": "tocsin open INC-0142",
        "occurred_at": NOW,
    }
    return Message(**{**given, **changes})


def digest(*lines: str, **changes: Any) -> Message:
    """A digest with `lines`, and `changes`."""
    given: dict[str, Any] = {
        "id": "digest:slack:2026-03-01",
        "kind": Kind.DIGEST,
        "dedup_key": "tocsin:digest:slack:2026-03-01",
        "incident": "",
        "severity": "",
        "state": "",
        "title": "2 tickets since 2026-02-28 09:00 UTC",
        "lines": lines,
        "command": "tocsin tickets",
        "occurred_at": NOW,
    }
    return Message(**{**given, **changes})


def hostile(text: str, **changes: Any) -> Message:
    """A page whose every field that data can reach is `text`."""
    return message(
        title=text,
        lines=(text, text, text),
        labels={"feature": text, "tool": text},
        links=(Link(text, "https://tocsin.example/x"), Link("bad", text)),
        command=text,
        **changes,
    )


@dataclass(slots=True)
class Case:
    """One channel, its server if it has one, and what arrived there as plain values."""

    channel: Channel
    server: FaultyServer | None
    arrived: Callable[[], list[Any]]
    secret: str = ""
    bad_secret: Callable[[], None] = field(default=lambda: None)
    """Put a wrong value where the channel finds its secret."""


def _slack(folder: Path) -> Iterator[Case]:
    token = folder / "token"
    token.write_text(slack_server.TOKEN + "\n")
    with slack_server.SlackServer(burst=1000) as server:
        settings = SlackSettings(
            name="slack",
            token=Secret(file=str(token)),
            channel=slack_server.CHANNEL,
            base_url=server.base_url,
            timeout_s=TIMEOUT_S,
        )

        def arrived() -> list[Any]:
            return [
                {"text": m.text, "blocks": list(m.blocks), "metadata": dict(m.metadata)}
                for m in server.messages
            ]

        def spoil() -> None:
            token.write_text("xoxb-wrong-wrong-wrong")

        yield from _case(settings, server, arrived, slack_server.TOKEN, spoil)


def _pagerduty(folder: Path) -> Iterator[Case]:
    key = folder / "key"
    key.write_text(pagerduty_server.ROUTING_KEY)
    with pagerduty_server.PagerDutyServer() as server:
        settings = PagerDutySettings(
            name="pagerduty",
            routing_key=Secret(file=str(key)),
            base_url=server.base_url,
            timeout_s=TIMEOUT_S,
        )

        def arrived() -> list[Any]:
            return [
                {
                    "summary": i.summary,
                    "source": i.source,
                    "details": i.custom_details,
                    "links": list(i.links),
                }
                for i in server.incidents
            ]

        def spoil() -> None:
            key.write_text("R9999999999999999999999999999999")

        yield from _case(settings, server, arrived, pagerduty_server.ROUTING_KEY, spoil)


def _webhook(folder: Path) -> Iterator[Case]:
    key = folder / "secret"
    key.write_text(webhook_server.SECRET)
    with webhook_server.WebhookServer() as server:
        settings = WebhookSettings(
            name="webhook", url=server.hook, secret=Secret(file=str(key)), timeout_s=TIMEOUT_S
        )

        def spoil() -> None:
            key.write_text("whsec-wrong")

        yield from _case(
            settings, server, lambda: list(server.documents), webhook_server.SECRET, spoil
        )


def _log(folder: Path) -> Iterator[Case]:
    stream = io.StringIO()
    channel = build_channel(LogSettings(name="log"), stream=stream)
    yield Case(channel, None, lambda: [json.loads(n) for n in stream.getvalue().split("\n")[:-1]])
    channel.close()


def _case(
    settings: ChannelSettings,
    server: FaultyServer,
    arrived: Callable[[], list[Any]],
    secret: str,
    spoil: Callable[[], None],
) -> Iterator[Case]:
    channel = build_channel(settings)
    try:
        yield Case(channel, server, arrived, secret, spoil)
    finally:
        channel.close()


ALL = {"slack": _slack, "pagerduty": _pagerduty, "webhook": _webhook, "log": _log}
REMOTE = ("slack", "pagerduty", "webhook")


@contextmanager
def open_case(name: str, folder: Path) -> Iterator[Case]:
    """The channel called `name` with its server, both stopped at the end."""
    yield from ALL[name](folder)


def strings(value: Any) -> Iterator[str]:
    """Every string in a JSON-like value, keys included."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from strings(key)
            yield from strings(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from strings(item)
