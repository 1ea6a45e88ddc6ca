"""Alertmanager's webhook, version 4: what it sends, read strictly and said in words.

Fields that are not read here are passed over, so that a newer Alertmanager may add some; those that
are read must be what its documents say. Text is from outside: what leaves here is one visible line.

Protocol: prometheus/alertmanager, docs/configuration.md (webhook_config), template/template.go.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Literal

import msgspec

from monitor.text import vis

ALL_ENDED = "all alerts resolved"
"""`notification_reason` of Alertmanager 0.34 that speaks for truncated alerts too."""

MOST = 100_000
"""Alerts of one message; one with more is refused."""
_MOST_COMMAS = 16 * MOST
"""Of a body with more nothing is built; of `MOST` alerts in 16 MiB each has eight or so."""
SHOWN_UNREAD = 1000
"""Alerts of one message of which it is kept why they cannot be read; the rest is a number."""

_EARLIEST = datetime(2000, 1, 1, tzinfo=UTC)
_LATEST = datetime(2200, 1, 1, tzinfo=UTC)

Status = Literal["firing", "resolved"]


class Received(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """One alert of a notification; fields that we do not read are passed over."""

    status: Status
    labels: dict[str, str]
    annotations: dict[str, str] = {}
    starts_at: Annotated[datetime, msgspec.Meta(tz=True)]
    fingerprint: Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{1,64}$")]

    @property
    def began(self) -> datetime:
        """When it began, in UTC (peers write their own zones), within what arithmetic can bear."""
        return min(max(self.starts_at, _EARLIEST), _LATEST).astimezone(UTC)

    @property
    def name(self) -> str:
        """Its `alertname`."""
        return vis(self.labels.get("alertname", "") or "an alert", limit=100)

    @property
    def text(self) -> str:
        """Its name and what it says of itself."""
        said = words(self.annotations, ("summary", "message", "description", "title"), 400)
        return f"{self.name}: {said}" if said else self.name


@dataclass(frozen=True, slots=True)
class Unread:
    """An alert of a notification that is not what it should be; the others are taken."""

    number: int
    """Its place in the notification, from 0."""
    path: str
    """What of it is wrong: `$.alerts[3].startsAt`."""
    why: str
    """Safe to show."""
    raw: bytes


class _Envelope(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Alertmanager's webhook, version 4; fields that we do not read are passed over."""

    version: Literal["4"]
    group_key: Annotated[str, msgspec.Meta(min_length=1)]
    truncated_alerts: Annotated[int, msgspec.Meta(ge=0)] = 0
    alerts: Annotated[list[msgspec.Raw], msgspec.Meta(max_length=MOST)]
    common_annotations: dict[str, str] = {}
    notification_reason: str = msgspec.field(default="", name="notification_reason")


@dataclass(frozen=True, slots=True, kw_only=True)
class Notification:
    """What a notification says, as far as it can be read."""

    group_key: str
    truncated_alerts: int
    alerts: Sequence[Received]
    unread: Sequence[Unread]
    """The first `SHOWN_UNREAD` of those that cannot be read."""
    unreadable: int
    """How many cannot be read."""
    common_annotations: Mapping[str, str]
    notification_reason: str

    @property
    def ended(self) -> bool:
        """Every alert of the group has ended, those that were cut off or not read too."""
        whole = not self.truncated_alerts and not self.unreadable
        sure = whole or self.notification_reason == ALL_ENDED
        # Its own `status` counts our own alerts too, which were left out here.
        return sure and all(one.status == "resolved" for one in self.alerts)


_ENVELOPE = msgspec.json.Decoder(_Envelope)
_ONE = msgspec.json.Decoder(Received)
_UNREADABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)


def decode(body: bytes) -> Notification:
    """Read one notification, and of its alerts those that can be read.

    Raises:
        ValueError: it is none; the message says why and is safe to show.
    """
    # The length of a list is looked at when it is built: 80 bytes for each "0," of the body.
    if body.count(b",") > _MOST_COMMAS:
        raise ValueError(f"more than {_MOST_COMMAS} commas: no {MOST} alerts have so many")
    try:
        found = _ENVELOPE.decode(body)
    except _UNREADABLE as problem:
        raise ValueError(vis(str(problem), limit=200)) from None
    alerts: list[Received] = []
    unread: list[Unread] = []
    unreadable = 0
    for number, raw in enumerate(found.alerts):
        try:
            alerts.append(_ONE.decode(raw))
        except _UNREADABLE as problem:
            unreadable += 1
            if unreadable > SHOWN_UNREAD:
                continue
            why, _, place = str(problem).partition(" - at `$")
            path = f"$.alerts[{number}]{place.rstrip('`')}"
            unread.append(Unread(number, vis(path, limit=200), vis(why, limit=200), bytes(raw)))
    return Notification(
        group_key=found.group_key,
        truncated_alerts=found.truncated_alerts,
        alerts=alerts,
        unread=unread,
        unreadable=unreadable,
        common_annotations=found.common_annotations,
        notification_reason=found.notification_reason,
    )


def words(annotations: Mapping[str, str], names: Iterable[str], limit: int) -> str:
    """The first of these annotations that says anything, on one line."""
    for name in names:
        if text := " ".join(annotations.get(name, "").split()):
            return vis(text, limit=limit)
    return ""
