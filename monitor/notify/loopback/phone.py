"""What somebody's phone would show for the pages that the receivers on this machine took.

A push notification is less than the page: of a Slack message its `text`, of a PagerDuty incident
its summary, and only what notifies at all. Edits, replies in a thread and triggers for an open
incident do not.
"""

from __future__ import annotations

import html
from collections.abc import Iterable
from dataclasses import dataclass

from monitor.notify.loopback.pagerduty import PagerDutyIncident
from monitor.notify.loopback.slack import SlackMessage
from monitor.text import vis

_BODY_LINES = 4
"""What a lock screen shows before it folds the rest."""
_LINE = 400
"""Characters of a line: room for the change that stands at the end of the first."""


@dataclass(frozen=True, slots=True)
class Notice:
    """One notification on a lock screen; the text is safe for a terminal."""

    app: str
    title: str
    lines: tuple[str, ...]


def slack_notices(messages: Iterable[SlackMessage]) -> tuple[Notice, ...]:
    """Notifications of a channel that is set to notify of every message."""
    return tuple(
        Notice("Slack", f"{message.channel} Tocsin", _lines(html.unescape(message.text)))
        for message in messages
        if not message.thread_ts or message.broadcast
    )


def pagerduty_notices(incidents: Iterable[PagerDutyIncident]) -> tuple[Notice, ...]:
    """Notifications of the person on call for the service: one an incident."""
    return tuple(
        Notice(
            "PagerDuty",
            f"Incident #{incident.number} {incident.severity}",
            _lines(f"{incident.summary}\n{incident.source}"),
        )
        for incident in incidents
    )


def _lines(text: str) -> tuple[str, ...]:
    return tuple(vis(line, limit=_LINE) for line in text.splitlines()[:_BODY_LINES])
