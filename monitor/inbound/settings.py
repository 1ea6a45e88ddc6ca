"""What a configuration says about answers from outside; frozen, complete once it is decoded."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import msgspec

from monitor.config.secret import Secret
from monitor.url import check_url

Role = Literal["reader", "responder", "admin"]
SlackUser = Annotated[
    str,
    msgspec.Meta(pattern=r"^([UW][A-Z0-9]{2,30})?$", description="Member id: U0123456789"),
]
PagerDutyUser = Annotated[
    str, msgspec.Meta(pattern=r"^(P[A-Z0-9]{3,30})?$", description="User id: P0123AB")
]
SlackTeam = Annotated[
    str, msgspec.Meta(pattern=r"^[TE][A-Z0-9]{2,30}$", description="Workspace id: T0123456789")
]
SlackApp = Annotated[
    str, msgspec.Meta(pattern=r"^A[A-Z0-9]{2,30}$", description="App id: A0123456789")
]
PersonName = Annotated[str, msgspec.Meta(min_length=1, max_length=64)]


class _Part(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Closed: a key that is not known is an error with a suggestion."""


class Person(_Part, frozen=True, kw_only=True):
    """Somebody who may answer from outside.

    Attributes:
        name: As the timeline shows it.
        slack: Member id in the workspace (profile, "Copy member ID"), U0123456789.
        pagerduty: User id (last part of the profile's address), P0123AB.
        role: reader, responder or admin.
    """

    name: PersonName
    slack: SlackUser = ""
    pagerduty: PagerDutyUser = ""
    role: Role = "responder"

    def __post_init__(self) -> None:
        if not self.name.isprintable():
            raise ValueError("a name is printable")
        if not self.slack and not self.pagerduty:
            raise ValueError("a person needs slack, pagerduty, or both")


class SlackAnswers(_Part, frozen=True, kw_only=True):
    """Clicks on the buttons of pages: by Socket Mode (no inbound port) or by signed HTTP.

    Attributes:
        app_token: App-level token (xapp-...) with the scope connections:write, for Socket Mode.
        signing_secret: Signing secret of the app, for `POST /hooks/slack` on the `http` address.
        team: Id of the workspace, T0123456789; clicks from another one are refused.
        app: Id of the app, A0123456789; payloads for another one are refused.
        base_url: Where Slack's methods are.
        timeout_s: For one call, everything included.
        proxy: URL of an egress proxy; the environment's proxy variables are not read.
        ca_file: PEM file of authorities to trust besides the public ones.
    """

    team: SlackTeam
    app: SlackApp
    app_token: Secret | None = None
    signing_secret: Secret | None = None
    base_url: str = "https://slack.com/api/"
    timeout_s: Annotated[float, msgspec.Meta(ge=0.1, le=60.0)] = 5.0
    proxy: str = ""
    ca_file: Path | None = None

    def __post_init__(self) -> None:
        if (self.app_token is None) == (self.signing_secret is None):
            raise ValueError("slack wants one of app_token (Socket Mode) and signing_secret (HTTP)")
        check_url(self.base_url)
        if self.proxy:
            check_url(self.proxy, allow_http=True)


class PagerDutyAnswers(_Part, frozen=True, kw_only=True):
    """Web hooks v3 of PagerDuty, `POST /hooks/pagerduty` on the `http` address.

    Attributes:
        secrets: Signing secrets of the subscriptions; several while one is being replaced.
    """

    secrets: Annotated[tuple[Secret, ...], msgspec.Meta(min_length=1, max_length=10)]


class Inbound(_Part, frozen=True, kw_only=True):
    """Who may answer a page from outside, and by which roads.

    Attributes:
        people: Who is who; anybody else is refused, and it is recorded.
        slack: Buttons under pages in Slack; absent: pages have none.
        pagerduty: Acknowledgements, notes and resolves in PagerDuty; absent: they stay there.
    """

    people: tuple[Person, ...] = ()
    slack: SlackAnswers | None = None
    pagerduty: PagerDutyAnswers | None = None

    def __post_init__(self) -> None:
        for field in ("slack", "pagerduty"):
            ids = [getattr(person, field) for person in self.people if getattr(person, field)]
            if twice := sorted({one for one in ids if ids.count(one) > 1}):
                raise ValueError(f"people: {field} {twice[0]} is two people's")
