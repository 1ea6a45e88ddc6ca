"""Pages: whether one is due and why, and what it says. Pure.

A page says what, how much against which baseline, where, since when and what changed, in three
lines without content, and the command to type.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from detectors.verdicts import times
from monitor.alerting import fitting
from monitor.alerting.alerts import Alert, Cause, Reading
from monitor.alerting.fitting import ChangeFact, Suspect
from monitor.incidents.model import Incident, Origin, Rung

SHIFT = timedelta(hours=12)
PAGED_PER_SHIFT = 2
"""Never more incidents than this page one team in a shift; the rest are folded into the digest."""
CHANGE_WINDOW = fitting.PAGE_WINDOW
"""A change this long before the onset is worth naming in the page."""
LIKELY = 0.2
"""From this score on the first suspect stands in the first line."""
LATE = timedelta(seconds=10)
"""A timer that rings later than some turns of its loop take was held up, and says by how much."""
PAGING_SEVERITIES = frozenset({"SEV1", "SEV2", "SEV3"})
"""SEV4 never pages."""


@dataclass(frozen=True, slots=True)
class Due:
    """Whether to page, and the reason that the timeline keeps either way."""

    page: bool
    reason: str


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
    return f"{signal_title}{_factor(alert.reading)}: {where(alert.dimensions)}"


def _factor(reading: Reading) -> str:
    if reading.baseline <= 0:
        return ""
    if reading.rate <= 0:
        return " down to none"
    return f" {times(reading.rate, reading.baseline)} base"


def _what(alert: Alert, also: int, suspects: Sequence[Suspect]) -> str:
    """What and how much, then what explains it: a tired person may read no further."""
    more = f" (+{also} more alerts)" if also else ""
    judged = f"{alert.judged}; " if alert.judged else ""
    said = [f"{judged}{alert.reason}{more}"]
    if alert.causes and "judge" not in _telling(alert.causes).dimensions:
        said.append(_who(_telling(alert.causes)))
    said += [f"after {_named(one)}" for one in suspects[:1] if one.score >= LIKELY]
    return "; ".join(said)


def _telling(causes: Sequence[Cause]) -> Cause:
    """What is new and explains half of it speaks before what is likelier and has always been."""
    news = [
        cause for cause in causes if cause.first_seen is not None and cause.share >= fitting.HALF
    ]
    return (news or causes)[0]


def _who(cause: Cause) -> str:
    value = " ".join(f"{name} {value}" for name, value in sorted(cause.dimensions.items()))
    seen = f", first seen {cause.first_seen:%H:%M} UTC" if cause.first_seen else ""
    return f"{value} explains {cause.share:.0%} of it{seen}"


def _named(suspect: Suspect) -> str:
    return f"{suspect.change.kind} {suspect.change.title}"


def _changed(suspects: Sequence[Suspect]) -> str:
    if not suspects:
        return "no change recorded in the hour before"
    more = f" (+{len(suspects) - 1} more)" if len(suspects) > 1 else ""
    return f"{_named(suspects[0])} {suspects[0].reason}{more}"


def lines(alerts: Sequence[Alert], changes: Sequence[ChangeFact]) -> tuple[str, ...]:
    """The page's three lines; the strongest alert speaks.

    Args:
        alerts: of the incident; empty for a declared one.
        changes: recorded changes that could concern it.
    """
    if not alerts:
        return ()
    lead = strongest(alerts)
    suspects = fitting.suspects(changes, lead)
    origin = f"since {lead.onset_at:%H:%M} UTC: {where(lead.dimensions)}"
    return (_what(lead, len(alerts) - 1, suspects), origin, _changed(suspects))


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


def rung_since(last: Mapping[str, datetime], paged_at: datetime | None) -> set[str]:
    """Who was rung for this outage; a ring before it was for another.

    Args:
        last: when each receiver was last rung for the incident.
        paged_at: when the incident was paged for this outage.
    """
    return {name for name, at in last.items() if paged_at is not None and at >= paged_at}


def unrung(rung: Rung, rung_so_far: Collection[str]) -> list[str]:
    """Receivers of a rung that were not rung yet."""
    return [receiver for receiver in rung.receivers if receiver not in rung_so_far]


def next_rung(
    escalation: Sequence[Rung],
    rung_so_far: Collection[str],
    paged_at: datetime,
    now: datetime | None,
) -> tuple[Rung, list[str]] | None:
    """The first rung of a policy with somebody to ring, and whom; None when there is none.

    Args:
        escalation: the policy.
        rung_so_far: receivers that were rung.
        paged_at: from when on its times count.
        now: only rungs whose time has come; None: whatever the time.
    """
    for rung in escalation:
        new = unrung(rung, rung_so_far)
        if new and (now is None or now >= paged_at + timedelta(seconds=rung.after_s)):
            return rung, new
    return None


def late(rung: Rung, paged_at: datetime, now: datetime) -> str:
    """`, late by 340 s` for a rung whose time came while nobody could ring it; else empty."""
    behind = now - paged_at - timedelta(seconds=rung.after_s)
    return f", late by {behind.total_seconds():.0f} s" if behind > LATE else ""


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
