"""An alert: one series that fires. `advance` moves it by one verdict and says why."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum


class Change(StrEnum):
    """What a verdict did to an alert."""

    OPENED = "opened"
    CONTINUES = "continues"
    CLEARED = "cleared"
    NOTHING = "nothing"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What a detector says of one series at one bucket, in the words of alerting."""

    signal: str
    dimensions: Mapping[str, str]
    tier: str
    """`shadow`, `ticket` or `page`."""
    severity: str
    firing: bool
    at: datetime
    """End of the bucket."""
    onset_at: datetime
    k: int
    n: int
    rate: float
    baseline: float
    excess: float
    score: float
    threshold: float
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Alert:
    """A firing (or cleared) series; it belongs to at most one incident."""

    fingerprint: str
    signal: str
    dimensions: Mapping[str, str]
    tier: str
    severity: str
    onset_at: datetime
    detected_at: datetime
    updated_at: datetime
    cleared_at: datetime | None = None
    incident: str | None = None
    """uuid of the incident; None for a shadow alert."""
    reading: Reading
    """The reading at its highest score so far."""
    causes: tuple[Cause, ...] = ()
    judged: str = ""
    """Where a check has a new version: whether it is the judge that changed, in words."""

    @property
    def firing(self) -> bool:
        """Not cleared."""
        return self.cleared_at is None


@dataclass(frozen=True, slots=True, kw_only=True)
class Cause:
    """A dimension value that explains part of an excess."""

    dimensions: Mapping[str, str]
    share: float
    """0..1 of the excess."""
    first_seen: datetime | None = None


@dataclass(frozen=True, slots=True)
class Advance:
    """The alert after a verdict, what changed, and why."""

    alert: Alert | None
    change: Change
    reason: str


def fingerprint(signal: str, dimensions: Mapping[str, str]) -> str:
    """Identity of a series: the same signal and dimensions give the same 16 hex digits."""
    parts = [signal, *(f"{k}={v}" for k, v in sorted(dimensions.items()))]
    return hashlib.sha256("\x1f".join(parts).encode()).hexdigest()[:16]


def advance(alert: Alert | None, reading: Reading) -> Advance:
    """Move `alert` (None: the series has no firing alert) by one reading."""
    if alert is None or not alert.firing:
        if not reading.firing:
            return Advance(alert, Change.NOTHING, "quiet")
        new = Alert(
            fingerprint=fingerprint(reading.signal, reading.dimensions),
            signal=reading.signal,
            dimensions=dict(reading.dimensions),
            tier=reading.tier,
            severity=reading.severity,
            onset_at=reading.onset_at,
            detected_at=reading.at,
            updated_at=reading.at,
            reading=reading,
        )
        return Advance(new, Change.OPENED, reading.reason)
    if not reading.firing:
        cleared = replace(alert, cleared_at=reading.at, updated_at=reading.at)
        return Advance(cleared, Change.CLEARED, f"back to normal: {reading.reason}")
    peak = reading if reading.score > alert.reading.score else alert.reading
    return Advance(
        replace(alert, updated_at=reading.at, reading=peak), Change.CONTINUES, reading.reason
    )


def labels(signal: str, dimensions: Mapping[str, str], severity: str) -> dict[str, str]:
    """Trusted labels for routes and receivers: signal, severity and vocabulary values."""
    return {"signal": signal, "severity": severity, **dimensions}
