"""`paging.digest`: who is told once a day of what woke nobody."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, time, tzinfo
from typing import Annotated
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec

from monitor.alerting.digest import Daily

TimeOfDay = Annotated[str, msgspec.Meta(pattern="^([01][0-9]|2[0-3]):[0-5][0-9]$")]
RINGS = frozenset({"pagerduty"})
"""Kinds of receivers that can do nothing but ring."""


class DigestSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One message a day of tickets, levels that changed and demotions proposed.

    Attributes:
        receivers: Names of receivers that can be written to without a page: slack, webhook or log.
        at: From this time of the day on, as 09:00.
        timezone: Whose clock that is, as Europe/Paris.
    """

    receivers: Annotated[tuple[str, ...], msgspec.Meta(min_length=1)]
    at: TimeOfDay = "09:00"
    timezone: str = "UTC"

    def daily(self, tiers: Mapping[str, str]) -> Daily:
        """For the decisions; `tiers` are the rules' by the configuration.

        Raises:
            ValueError: no such zone; `load` has told so with its place.
        """
        receivers = tuple(dict.fromkeys(self.receivers))
        return Daily(receivers, time.fromisoformat(self.at), zone(self.timezone), tiers)


def zone(name: str) -> tzinfo:
    """The time zone of an IANA name; UTC needs no database.

    Raises:
        ValueError: this machine knows none of that name.
    """
    if name == "UTC":
        return UTC
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, OSError, ValueError):
        raise ValueError(f"no time zone {name!r}") from None
