"""Pages: whether one is due and why, and what it says. Pure.

A page says what, how much against which baseline, where, since when and what changed, in three
lines without content, and the command to type.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from detectors.verdicts import times
from monitor.alerting.alerts import Alert, Cause
from monitor.incidents.model import Incident, Origin, Rung

SHIFT = timedelta(hours=12)
PAGED_PER_SHIFT = 2
"""Never more incidents than this page one team in a shift; the rest are folded into the digest."""
CHANGE_WINDOW = timedelta(minutes=60)
"""A change this long before the onset is worth naming in the page."""
HALF = 0.5
"""A new dimension value that explains this share of an excess is named as its cause."""
PAGING_SEVERITIES = frozenset({"SEV1", "SEV2", "SEV3"})
"""SEV4 never pages."""


@dataclass(frozen=True, slots=True)
class Due:
    """Whether to page, and the reason that the timeline keeps either way."""

    page: bool
    reason: str


@dataclass(frozen=True, slots=True)
class ChangeFact:
    """A recorded change, as the page names it."""

    kind: str
    title: str
    at: datetime
    dimensions: Mapping[str, str]


def due(
    incident: Incident,
    alerts: Sequence[Alert],
    paged_before: Sequence[datetime],
    now: datetime,
    *,
    capped: bool = True,
) -> Due:
    """Whether `incident` pages now, and why or why not.

    Args:
        incident: not paged yet.
        alerts: its alerts.
        paged_before: when earlier incidents of the team were paged.
        now: the time of the decision.
        capped: False for a profile that pages at once (the demo, tests), which says so.
    """
    if incident.paged_at is not None:
        return Due(page=False, reason="paged already")
    if incident.severity not in PAGING_SEVERITIES:
        return Due(page=False, reason=f"{incident.severity} never pages")
    if incident.origin is Origin.NEVER_EVENT:
        return Due(page=True, reason="a never-event pages on the first occurrence")
    if incident.origin is Origin.DECLARED:
        return Due(page=True, reason="declared by a person")
    if incident.origin is Origin.ALERTMANAGER:
        return Due(page=True, reason="Alertmanager sent it: its own routes said so")
    if not any(alert.tier == "page" for alert in alerts):
        return Due(page=False, reason="no alert of it is promoted to page: ticket only")
    if incident.origin is Origin.NO_DATA:
        return Due(page=True, reason="no data pages: a blind monitor looks like a quiet one")
    recent = [at for at in paged_before if now - at < SHIFT]
    if capped and len(recent) >= PAGED_PER_SHIFT:
        return Due(
            page=False,
            reason=f"{len(recent)} incidents paged within 12 hours: folded into the digest",
        )
    return Due(page=True, reason="a paging rule fires")


def where(dimensions: Mapping[str, str]) -> str:
    """`chat, category privacy.pii, in prod`: the feature first, the environment last."""
    feature = dimensions.get("feature", "")
    named = [
        f"{name} {value}"
        for name, value in dimensions.items()
        if name not in {"environment", "feature"} and value
    ]
    environment = dimensions.get("environment", "")
    parts = [part for part in (feature, *named) if part] or ["all"]
    return ", ".join(parts) + (f" in {environment}" if environment else "")


def title(alert: Alert, signal_title: str) -> str:
    """What and where, with the ratio when there is a baseline to compare with."""
    reading = alert.reading
    factor = f" {times(reading.rate, reading.baseline)} base" if reading.baseline > 0 else ""
    return f"{signal_title}{factor}: {where(alert.dimensions)}"


def _what(alert: Alert, also: int) -> str:
    more = f" (+{also} more alerts)" if also else ""
    return f"{alert.reading.reason}{more}"


def _telling(causes: Sequence[Cause]) -> Cause:
    """What is new and explains half of it speaks before what is likelier and has always been."""
    news = [cause for cause in causes if cause.first_seen is not None and cause.share >= HALF]
    return (news or causes)[0]


def _who(cause: Cause) -> str:
    value = " ".join(f"{name} {value}" for name, value in sorted(cause.dimensions.items()))
    seen = f", first seen {cause.first_seen:%H:%M} UTC" if cause.first_seen else ""
    return f"{value} explains {cause.share:.0%} of it{seen}"


def _changed(changes: Sequence[ChangeFact], onset: datetime) -> str:
    near = [c for c in changes if timedelta() <= onset - c.at <= CHANGE_WINDOW]
    if not near:
        return "no change recorded in the hour before"
    last = max(near, key=lambda change: change.at)
    ago = int((onset - last.at).total_seconds() // 60)
    more = f" (+{len(near) - 1} more)" if len(near) > 1 else ""
    return f"{last.kind} {last.title} {ago} min before the onset{more}"


def lines(alerts: Sequence[Alert], changes: Sequence[ChangeFact]) -> tuple[str, ...]:
    """The page's three lines; the strongest alert speaks.

    Args:
        alerts: of the incident; empty for a declared one.
        changes: recorded changes that could concern it.
    """
    if not alerts:
        return ()
    lead = strongest(alerts)
    origin = f"since {lead.onset_at:%H:%M} UTC: {where(lead.dimensions)}"
    if lead.causes:
        origin += f"; {_who(_telling(lead.causes))}"
    return (_what(lead, len(alerts) - 1), origin, _changed(changes, lead.onset_at))


def strongest(alerts: Sequence[Alert]) -> Alert:
    """The alert that speaks for the incident: paging, firing, severe, then the first detected."""
    return min(
        alerts,
        key=lambda a: (
            a.tier != "page",
            not a.firing,
            a.severity,
            a.detected_at,
            -a.reading.excess,
        ),
    )


def unrung(rung: Rung, rung_so_far: Collection[str]) -> list[str]:
    """Receivers of a rung that were not rung yet."""
    return [receiver for receiver in rung.receivers if receiver not in rung_so_far]


def offers(incident: Incident, rung_so_far: Collection[str]) -> tuple[str, ...]:
    """What may be done about an incident with one click: what is safe, and would have an effect.

    To resolve is not among it: that wants a verdict.

    Args:
        incident: as it is now.
        rung_so_far: receivers that were rung, this message's included.
    """
    if not incident.is_open:
        return ()
    answer = () if incident.acknowledged_at is not None else ("acknowledge",)
    left = any(unrung(rung, rung_so_far) for rung in incident.escalation)
    return (*answer, "escalate") if left else answer


def acknowledged(incident: Incident) -> str:
    """`acknowledged by ana at 14:03 UTC`; empty while nobody has."""
    if incident.acknowledged_at is None:
        return ""
    return f"acknowledged by {incident.acknowledged_by} at {incident.acknowledged_at:%H:%M} UTC"


def dedup_key(incident: Incident) -> str:
    """Stable for one incident at one severity: an upgrade must ring again although acknowledged."""
    return f"tocsin:{incident.uuid}:{incident.severity.lower()}"
