"""From settings to channels: the one place that knows every kind."""

from __future__ import annotations

import sys
from typing import TextIO, assert_never

from monitor.http_client import HttpClient
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
from monitor.notify.webhook import WebhookChannel


def build_channel(settings: ChannelSettings, *, stream: TextIO | None = None) -> Channel:
    """The channel that `settings` describe, with connections of its own; no call is made.

    Args:
        settings: of one channel.
        stream: where a log channel writes instead of its standard stream.

    Raises:
        OSError: the configured `ca_file` cannot be read.
    """
    match settings:
        case LogSettings():
            standard = sys.stdout if settings.stream == "stdout" else sys.stderr
            return LogChannel(settings, stream or standard)
        case SlackSettings():
            return SlackChannel(settings, _http(settings))
        case PagerDutySettings():
            return PagerDutyChannel(settings, _http(settings))
        case WebhookSettings():
            return WebhookChannel(settings, _http(settings))
        case _:
            assert_never(settings)


def _http(settings: SlackSettings | PagerDutySettings | WebhookSettings) -> HttpClient:
    return HttpClient(ca_file=settings.ca_file, proxy=settings.proxy)
