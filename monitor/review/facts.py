"""The facts of a review, gathered from what was captured; nothing in it is typed by hand.

Missing times are absent, never zero. The human sections are empty fields of their own, so that
generating again never overwrites what a person wrote.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from math import ceil

import msgspec

from monitor import views
from monitor.config.settings import Configured
from monitor.desk import charting
from monitor.desk import reading as desk_views
from monitor.incidents.model import Incident
from monitor.incidents.timeline import Entry, broken_at
from monitor.notify.channel import Kind
from monitor.review.charts import REVIEW_MINUTES
from monitor.runs import RunUnreadableError, decoded
from monitor.store.run_rows import RunRow
from monitor.store.store import Tx
from runbooks.runs import Run


class Times(msgspec.Struct, frozen=True, kw_only=True):
    """Moments in UTC, and the spans between them in seconds; absent ones are None."""

    impact_started_at: datetime | None
    detected_at: datetime
    first_page_at: datetime | None
    acknowledged_at: datetime | None
    mitigated_at: datetime | None
    resolved_at: datetime | None
    closed_at: datetime | None
    to_detect_s: float | None
    """Impact to detection."""
    to_acknowledge_s: float | None
    """Detection to acknowledgement."""
    to_mitigate_s: float | None
    """Impact to mitigation."""
    to_resolve_s: float | None
    """Impact to resolution."""


class Impact(msgspec.Struct, frozen=True, kw_only=True):
    """What the signal of the incident counted from onset to mitigation (or the end)."""

    interactions: int
    flagged: int
    expected: float
    """What the baseline would have flagged."""
    excess: float


class RunFacts(msgspec.Struct, frozen=True, kw_only=True):
    """One run of a runbook."""

    runbook: str
    version: int
    sha256: str
    state: str
    steps: list[tuple[str, str, str]]
    """(id, state, reason)."""


class Review(msgspec.Struct, frozen=True, kw_only=True):
    """Everything a review says."""

    schema: str = "tocsin.review/1"
    generated_at: datetime
    incident: views.IncidentRow
    verdict: str | None
    facts: list[str]
    times: Times
    impact: Impact | None
    alerts: list[views.AlertView]
    causes: list[views.Cause]
    changes: list[views.ChangeView]
    notes: list[views.NoteView]
    """Levels of its signal that changed for good."""
    pages: list[views.PageView]
    runs: list[RunFacts]
    timeline: list[views.TimelineEntry]
    chain_head: str
    """Digest of the last timeline entry: whoever holds it can prove what was there."""
    chain_intact: bool
    chart: views.Chart
    late: int
    """Interactions that came after their bucket was decided; no detector saw them."""
    missing: list[str]
    """What a person still owes."""


def gather(tx: Tx, configured: Configured, incident: Incident, now: datetime) -> Review:
    """Read all facts of an incident in one view of the store."""
    chain = tx.incidents.timeline(incident.uuid)
    view = desk_views.incident_view(tx, configured, incident, now, None)
    chart = charting.whole(tx, configured, incident, now, REVIEW_MINUTES)
    runs = [_decoded(row) for row in reversed(tx.runs.of_incident(incident.uuid))]
    return Review(
        generated_at=now,
        incident=view.row,
        verdict=incident.verdict,
        facts=view.facts,
        times=_times(incident, view.pages, [item.entry for item in chain]),
        impact=_impact(tx, configured, incident, now),
        alerts=view.alerts,
        causes=view.causes,
        changes=view.changes,
        notes=[desk_views.note_view(row) for row in desk_views.near_notes(tx, incident, now)],
        pages=view.pages,
        runs=[_run(run) for run in runs if run is not None],
        timeline=[desk_views.timeline_entry(item) for item in chain],
        chain_head=chain[-1].digest if chain else "",
        chain_intact=broken_at(chain) is None,
        chart=chart,
        late=_late(tx, configured, incident, now),
        missing=[*_missing(incident), *["a run that this release cannot read"] * runs.count(None)],
    )


def _span(start: datetime | None, end: datetime | None) -> float | None:
    return None if start is None or end is None else (end - start).total_seconds()


def _times(incident: Incident, pages: Sequence[views.PageView], entries: Sequence[Entry]) -> Times:
    """Of its first outage; one that fired again was paged and acknowledged anew."""
    impact = incident.impact_at
    rung = [page.created_at for page in pages if page.kind == str(Kind.TRIGGER)]
    taken = [entry.occurred_at for entry in entries if entry.kind == "ACK"]
    acknowledged_at = min(taken, default=incident.acknowledged_at)
    return Times(
        impact_started_at=impact,
        detected_at=incident.detected_at,
        first_page_at=min(rung, default=incident.paged_at),
        acknowledged_at=acknowledged_at,
        mitigated_at=incident.mitigated_at,
        resolved_at=incident.resolved_at,
        closed_at=incident.closed_at,
        to_detect_s=_span(impact, incident.detected_at),
        to_acknowledge_s=_span(incident.detected_at, acknowledged_at),
        to_mitigate_s=_span(impact, incident.mitigated_at),
        to_resolve_s=_span(impact, incident.resolved_at),
    )


def _impact(tx: Tx, configured: Configured, incident: Incident, now: datetime) -> Impact | None:
    """Sums over every bucket of the span, however coarse its chart is."""
    if incident.impact_at is None:
        return None
    step = configured.plan.bucket_s
    ended = incident.mitigated_at or incident.normal_at or incident.resolved_at or now
    end = min(ceil(ended.timestamp()), desk_views.decided_until(tx, configured, now))
    first = ceil(incident.impact_at.timestamp() / step) * step
    interactions, flagged, expected, empty = 0, 0, 0.0, True
    for _, point in charting.buckets(tx, configured, incident, first, end):
        empty = False
        if point is not None:
            interactions += point.n
            flagged += point.k if point.n else 0
            expected += (point.baseline or 0.0) * point.n
    if empty:
        return None
    return Impact(
        interactions=interactions,
        flagged=flagged,
        expected=round(expected, 1),
        excess=round(flagged - expected, 1),
    )


def _decoded(row: RunRow) -> Run | None:
    """None for one that another release wrote."""
    try:
        return decoded(row)
    except RunUnreadableError:
        return None


def _run(run: Run) -> RunFacts:
    return RunFacts(
        runbook=run.runbook_id,
        version=run.runbook_version,
        sha256=run.runbook_sha256,
        state=str(run.state),
        steps=[(step.id, str(step.state), step.reason) for step in run.steps],
    )


def _late(tx: Tx, configured: Configured, incident: Incident, now: datetime) -> int:
    pipeline = tx.stream.known_pipeline(configured.plan)
    if pipeline is None:
        return 0
    first = int((incident.impact_at or incident.detected_at).timestamp())
    end = int((incident.resolved_at or now).timestamp())
    return sum(tx.stream.late_by_bucket(pipeline, first, end).values())


def _missing(incident: Incident) -> list[str]:
    missing = []
    if incident.verdict is None:
        missing.append("the verdict (given at resolve)")
    if incident.acknowledged_at is None:
        missing.append("nobody acknowledged")
    if incident.verified_at is None:
        missing.append("no verification passed")
    missing += ["causes and trigger, in words", "action items with owner and date"]
    return missing
