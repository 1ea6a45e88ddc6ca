"""The port that every channel implements: one message in, one outcome out.

A channel does not retry, sleep or remember: the outbox owns attempts, back-off and order, so that a
killed process loses nothing and one slow provider cannot starve another. The outcome says what kind
of failure it was, because only the channel can read its provider's answer. The contract suite is in
`tests/contract`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Protocol


class Kind(StrEnum):
    """What the message asks of the receiver."""

    TRIGGER = "trigger"
    UPDATE = "update"
    ACKNOWLEDGE = "acknowledge"
    RESOLVE = "resolve"
    TEST = "test"
    DIGEST = "digest"
    """What woke nobody, once a day: it must not ring, and is of no incident."""


ALONE = frozenset({Kind.TEST, Kind.DIGEST})
"""Belong to no conversation about an incident: they begin none and go on with none."""
NO_INCIDENT = ""
"""In place of an incident's id."""
DIGEST_LINES = 25
"""A channel shows so many of a digest, each short."""


@dataclass(frozen=True, slots=True)
class Link:
    """A link built from configuration and ids only, never from event text."""

    text: str
    href: str


@dataclass(frozen=True, slots=True)
class Message:
    """One page as a channel gets it; the text fields are raw and each channel encodes them."""

    id: str
    """Id of the outbox row: unique, so that a receiver can recognise a repeat."""
    kind: Kind
    dedup_key: str
    """One for an incident at a severity (`tocsin:{incident uuid}:{sev}`); up to 255 characters."""
    incident: str
    """The number people say, `INC-0142`."""
    severity: str
    """`SEV1` .. `SEV4`."""
    state: str
    title: str
    lines: tuple[str, ...]
    """What, how much against which baseline, where, since when, what changed: up to three.

    A digest has a line for each thing found.
    """
    labels: Mapping[str, str] = field(default_factory=dict)
    """Trusted labels: signal, environment, feature, and vocabulary values."""
    links: tuple[Link, ...] = ()
    command: str = ""
    """The command to type: `tocsin open INC-0142`."""
    occurred_at: datetime | None = None
    attempt: int = 1
    """1 on the first try; above it a message may be a repeat, and says so where it can."""
    fresh: bool = False
    """Surely no repeat: each attempt before this one, if any, is known to have come to nothing."""
    receipt: Mapping[str, str] = field(default_factory=dict)
    """What the channel returned for this incident's first message (Slack: channel and ts)."""
    uuid: str = ""
    """The incident's own id; buttons carry it sealed, nobody sees it."""
    offers: tuple[str, ...] = ()
    """What may be done with one click where a channel has buttons: `acknowledge`, `escalate`."""
    acknowledged: str = ""
    """`acknowledged by ana at 14:03 UTC`; empty while nobody has."""
    news: str = ""
    """What somebody just did, in one line; empty when the rest of the message is the news."""


@dataclass(frozen=True, slots=True)
class Sent:
    """The provider accepted it; `receipt` is kept for later messages of the same incident."""

    receipt: Mapping[str, str] = field(default_factory=dict)
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Retry:
    """Surely not accepted, may work later; `after_s` is the provider's own wish (Retry-After)."""

    reason: str
    after_s: float | None = None
    ours: bool = False
    """Nothing was tried: we lack what it takes, a secret that cannot be read.

    It says nothing of the provider, so no wait grows by it, and another road is taken meanwhile.
    """
    astray: bool = False
    """The answer is not the provider's own, but of a proxy or a login page on the way to it.

    Nobody knows for how long it stands there, so another road is taken meanwhile.
    """


@dataclass(frozen=True, slots=True)
class Unknown:
    """Sent, but no answer came: it may have been accepted. Sent again with the same key."""

    reason: str


@dataclass(frozen=True, slots=True)
class Refused:
    """Will never be accepted as it is (bad token, unknown channel): another road must be taken."""

    reason: str


Outcome = Sent | Retry | Unknown | Refused


class Channel(Protocol):
    """One way to reach people or systems."""

    name: str
    """The receiver's name in the configuration."""
    kind: str
    """`slack`, `pagerduty`, `webhook`, `log`."""

    def send(self, message: Message, now: datetime) -> Outcome:
        """Try once, within the channel's own timeout; never raises for a provider's failure."""
        ...

    def close(self) -> None:
        """Release connections."""
        ...
