"""An alert: one series that fires. `advance` moves it by one verdict and says why."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

UNJUDGED = timedelta(hours=24)
"""An alert that could not be judged for so long is over, without a word about how it is now."""


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
    blind: bool = False
    """There was no traffic to judge, or too little: whether it fires on or is over is not known."""


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
    unjudged_since: datetime | None = None
    """From when on there was no traffic to judge; None while there is."""

    @property
    def firing(self) -> bool:
        """Not cleared."""
        return self.cleared_at is None

    @property
    def reason(self) -> str:
        """Of its highest score so far, and since when it could not be judged."""
        since = self.unjudged_since
        lost = "" if since is None else f"; not judged since {since:%H:%M} UTC, for want of traffic"
        return f"{self.reading.reason}{lost}"


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
        if not reading.firing or reading.blind:
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
    if reading.blind:
        return _unjudged(alert, reading)
    if not reading.firing:
        cleared = replace(alert, cleared_at=reading.at, updated_at=reading.at, unjudged_since=None)
        return Advance(cleared, Change.CLEARED, f"back to normal: {reading.reason}")
    peak = reading if reading.score > alert.reading.score else alert.reading
    return Advance(
        replace(alert, updated_at=reading.at, reading=peak, unjudged_since=None),
        Change.CONTINUES,
        reading.reason,
    )


def _unjudged(alert: Alert, reading: Reading) -> Advance:
    """Silence is no return to normal: the alert stays as it is, for a day at most."""
    since = alert.unjudged_since or alert.updated_at
    waits = replace(alert, unjudged_since=since)
    if reading.at - since >= UNJUDGED:
        over = replace(waits, cleared_at=reading.at, updated_at=reading.at)
        return Advance(over, Change.CLEARED, f"not judged for 24 h: {reading.reason}")
    change = Change.NOTHING if alert.unjudged_since else Change.CONTINUES
    return Advance(waits, change, f"not judged: {reading.reason}")


def labels(signal: str, dimensions: Mapping[str, str], severity: str) -> dict[str, str]:
    """Trusted labels for routes and receivers: signal, severity and vocabulary values."""
    return {"signal": signal, "severity": severity, **dimensions}
