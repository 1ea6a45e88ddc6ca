"""An incident: what people work on. Frozen; every change makes a new value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum


class State(StrEnum):
    """Where an incident is; acknowledgement is a time, not a state."""

    TRIAGE = "triage"
    ACTIVE = "active"
    MITIGATED = "mitigated"
    RESOLVED = "resolved"
    CLOSED = "closed"
    MERGED = "merged"
    CANCELLED = "cancelled"
    FALSE_POSITIVE = "false_positive"


OPEN = frozenset({State.TRIAGE, State.ACTIVE, State.MITIGATED})
"""States in which alerts may join and people still owe something."""

SEVERITIES = ("SEV1", "SEV2", "SEV3", "SEV4")


class Origin(StrEnum):
    """What opened the incident."""

    ALERT = "alert"
    NEVER_EVENT = "never_event"
    NO_DATA = "no_data"
    DECLARED = "declared"
    TOCSIN = "tocsin"
    """Tocsin itself is in trouble: its auditor says so."""
    ALERTMANAGER = "alertmanager"


@dataclass(frozen=True, slots=True)
class Rung:
    """One step of an escalation policy: whom to page this long after the first page."""

    after_s: int
    receivers: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Incident:
    """One incident; `number` is what people say, `uuid` what receivers key on."""

    uuid: str
    number: int
    title: str
    severity: str
    origin: Origin
    detected_at: datetime
    state: State = State.TRIAGE
    impact_at: datetime | None = None
    """Onset of the first alert that pages (until one does, of the first), as estimated."""
    signal: str | None = None
    dimensions: Mapping[str, str] = field(default_factory=dict)
    groups: frozenset[str] = frozenset()
    """Route groups whose alerts belong here."""
    acknowledged_at: datetime | None = None
    acknowledged_by: str | None = None
    commander: str | None = None
    mitigated_at: datetime | None = None
    verified_at: datetime | None = None
    """When a signal condition last held for its full time after an action."""
    normal_at: datetime | None = None
    """Since when no alert fires, once it has paged no alert that may page; None while one does."""
    resolved_at: datetime | None = None
    closed_at: datetime | None = None
    verdict: str | None = None
    paged_at: datetime | None = None
    """When the first page of this outage was queued, or a person opened it again; None for an
    incident that only a ticket reports. Who was rung before is not rung yet."""
    escalation: tuple[Rung, ...] = ()
    """The policy as it was when that page was queued; later edits do not reach it."""
    drill: bool = False

    @property
    def name(self) -> str:
        """`INC-0142`."""
        return f"INC-{self.number:04d}"

    @property
    def is_open(self) -> bool:
        """Alerts may join and people still owe something."""
        return self.state in OPEN
