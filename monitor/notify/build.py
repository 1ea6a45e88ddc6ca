"""From settings to channels: the one place that knows every kind."""

from __future__ import annotations

import sys
from typing import TextIO, assert_never

from monitor.http_client import HttpClient
from monitor.notify.alertmanager import Peer
from monitor.notify.alertmanager_settings import AlertmanagerSettings
from monitor.notify.channel import Channel
from monitor.notify.log import LogChannel
from monitor.notify.pagerduty import PagerDutyChannel
from monitor.notify.settings import (
    ChannelSettings,
    LogSettings,
    PagerDutySettings,
    SlackSettings,
    WebhookSettings,
)
from monitor.notify.slack import SlackChannel
from monitor.notify.slack_buttons import Buttons
from monitor.notify.webhook import WebhookChannel


def build_channel(
    settings: ChannelSettings, *, stream: TextIO | None = None, buttons: Buttons | None = None
) -> Channel:
    """The channel that `settings` describe, with connections of its own; no call is made.

    Args:
        settings: of one channel.
        stream: where a log channel writes instead of its standard stream.
        buttons: makes the buttons of Slack messages; None where nobody listens for clicks.

    Raises:
        OSError: the configured `ca_file` cannot be read.
    """
    match settings:
        case LogSettings():
            standard = sys.stdout if settings.stream == "stdout" else sys.stderr
            return LogChannel(settings, stream or standard)
        case SlackSettings():
            return SlackChannel(settings, _http(settings), buttons)
        case PagerDutySettings():
            return PagerDutyChannel(settings, _http(settings))
        case WebhookSettings():
            return WebhookChannel(settings, _http(settings))
        case _:
            assert_never(settings)


def build_peers(settings: AlertmanagerSettings) -> list[Peer]:
    """The Alertmanagers that `settings` name, with connections of their own; no call is made.

    Raises:
        OSError: the configured `ca_file` cannot be read.
    """
    return [
        Peer(url, settings, HttpClient(ca_file=settings.ca_file, proxy=settings.proxy))
        for url in settings.urls
    ]


def _http(settings: SlackSettings | PagerDutySettings | WebhookSettings) -> HttpClient:
    return HttpClient(ca_file=settings.ca_file, proxy=settings.proxy)
