"""What a configuration says about each channel; frozen, and complete once it is decoded."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import msgspec

from monitor.config.secret import Secret
from monitor.url import check_url

Name = Annotated[str, msgspec.Meta(pattern=r"^[a-z0-9][a-z0-9_-]{0,62}$")]
SlackConversation = Annotated[
    str,
    msgspec.Meta(
        pattern=r"^[CGD][A-Z0-9]{2,30}$",
        description="Id of the conversation (C0123456789): editing and look-up do not take names",
    ),
]
Seconds = Annotated[float, msgspec.Meta(ge=0.1, le=60.0)]


class _Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="type"):
    """What every channel has.

    Attributes:
        name: What routes, escalation and timelines call it.
    """

    name: Name


class _HttpSettings(_Settings, frozen=True, kw_only=True):
    """What every channel has that is reached by HTTP.

    Attributes:
        timeout_s: Seconds for one attempt, everything included.
        proxy: URL of an egress proxy; the environment's proxy variables are not read.
        ca_file: PEM file of authorities to trust besides the public ones.
    """

    timeout_s: Seconds = 5.0
    proxy: str = ""
    ca_file: Path | None = None

    def __post_init__(self) -> None:
        if self.proxy:
            check_url(self.proxy, allow_http=True)


class SlackSettings(_HttpSettings, frozen=True, kw_only=True, tag="slack"):
    """One Slack conversation, written to by a bot token.

    The token needs the scope `chat:write`; with `channels:history` (`groups:history` for a private
    channel) a page whose answer was lost is looked up before it is sent again.

    Attributes:
        token: The bot token of the app, xoxb-...
        base_url: Where Slack's Web API is.
    """

    token: Secret
    channel: SlackConversation
    base_url: str = "https://slack.com/api/"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_url(self.base_url)


class PagerDutySettings(_HttpSettings, frozen=True, kw_only=True, tag="pagerduty"):
    """One integration key of the Events API v2.

    Attributes:
        routing_key: Integration key of a service, 32 characters.
        base_url: https://events.eu.pagerduty.com for the EU service region.
    """

    routing_key: Secret
    base_url: str = "https://events.pagerduty.com"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_url(self.base_url)


class WebhookSettings(_HttpSettings, frozen=True, kw_only=True, tag="webhook"):
    """Any receiver of signed JSON.

    Attributes:
        url: Address, or a secret that holds it, where the path is one.
        secret: Key of the signature.
        allow_http: Send unencrypted to another machine; the body is signed all the same.
    """

    url: str | Secret
    secret: Secret
    allow_http: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if isinstance(self.url, str):
            check_url(self.url, allow_http=self.allow_http)

    def address(self) -> str:
        """Where to post to, read anew.

        Raises:
            SecretUnavailableError: the secret that holds it cannot be read.
            ValueError: what it holds is no address to send to; the message does not show it.
        """
        if isinstance(self.url, str):
            return self.url
        return check_url(self.url.reveal(), allow_http=self.allow_http)


class LogSettings(_Settings, frozen=True, kw_only=True, tag="log"):
    """One line of JSON a page on a standard stream.

    Attributes:
        stream: stdout or stderr.
    """

    stream: Literal["stdout", "stderr"] = "stderr"


ChannelSettings = SlackSettings | PagerDutySettings | WebhookSettings | LogSettings
