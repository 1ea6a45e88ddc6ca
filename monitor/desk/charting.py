"""The signal of an incident over time: points a chart can bear, and sums over all of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta

from monitor import views
from monitor.alerting.pages import CHANGE_WINDOW
from monitor.config.settings import Configured
from monitor.desk.reading import decided_until, near_changes, near_notes, series_points
from monitor.incidents.model import Incident
from monitor.store.decision_rows import Point
from monitor.store.store import Tx

MOST = 720
"""Points of a chart of a whole incident; beyond, its buckets are wider."""
READ_S = 6 * 3600
"""Read at a time: a long incident takes no more memory than a short one."""


def buckets(
    tx: Tx, configured: Configured, incident: Incident, first: int, end: int
) -> Iterator[tuple[int, Point | None]]:
    """(bucket start, point or None) of the incident's signal, buckets in [first, end)."""
    if incident.signal is None:
        return
    step = configured.plan.bucket_s
    part = max(1, READ_S // step) * step
    for start in range(first // step * step, end, part):
        yield from series_points(
            tx,
            configured,
            incident.signal,
            dict(incident.dimensions),
            start,
            min(start + part, end),
        )


def chart(
    tx: Tx, configured: Configured, incident: Incident, now: datetime, minutes: int
) -> views.Chart:
    """The last `minutes` of the incident's signal, until shortly after its end."""
    end = _end(tx, configured, incident, now)
    return _drawn(tx, configured, incident, now, end - minutes * 60, end, 1)


def whole(
    tx: Tx, configured: Configured, incident: Incident, now: datetime, minutes: int
) -> views.Chart:
    """All of the incident's signal from an hour before its onset on, and at least `minutes`.

    Buckets are as wide as it takes to have at most `MOST` points: pooled rates, and baselines
    weighted by their interactions.
    """
    step = configured.plan.bucket_s
    end = _end(tx, configured, incident, now)
    began = min(incident.impact_at or incident.detected_at, incident.detected_at)
    before = int((began - CHANGE_WINDOW).timestamp()) // step * step
    first = min(end - minutes * 60, before)
    width = max(1, -(-(end - first) // (step * MOST)))
    return _drawn(tx, configured, incident, now, first, end, width)


def _end(tx: Tx, configured: Configured, incident: Incident, now: datetime) -> int:
    step = configured.plan.bucket_s
    last = min(now, (incident.resolved_at or now) + timedelta(minutes=10))
    return min(int(last.timestamp()) // step * step, decided_until(tx, configured, now))


def _drawn(
    tx: Tx,
    configured: Configured,
    incident: Incident,
    now: datetime,
    first: int,
    end: int,
    width: int,
) -> views.Chart:
    points: list[views.ChartPoint] = []
    part: list[Point | None] = []
    start = first
    for bucket, point in buckets(tx, configured, incident, first, end):
        if len(part) == width:
            points.append(_point(start, part))
            part = []
        start = start if part else bucket
        part.append(point)
    if part:
        points.append(_point(start, part))
    return views.Chart(
        signal=incident.signal or "",
        dimensions=dict(incident.dimensions),
        bucket_s=configured.plan.bucket_s * width,
        points=points,
        marks=_marks(tx, incident, now),
    )


def _point(start: int, part: Sequence[Point | None]) -> views.ChartPoint:
    """One point of the chart for buckets side by side."""
    known = [point for point in part if point is not None]
    n = sum(point.n for point in known)
    based = [(point.baseline, point.n) for point in known if point.baseline is not None]
    weight = sum(count for _, count in based)
    baseline = based[-1][0] if based else None
    if len(based) > 1 and weight:
        baseline = sum(base * count for base, count in based) / weight
    return views.ChartPoint(
        at=datetime.fromtimestamp(start, UTC),
        rate=sum(point.k for point in known) / n if n else None,
        baseline=baseline,
        n=n,
    )


def _marks(tx: Tx, incident: Incident, now: datetime) -> list[views.ChartMark]:
    marks = [
        views.ChartMark(at=at, kind=kind, text=text)  # type: ignore[arg-type] # a list of literals
        for at, kind, text in (
            (incident.impact_at, "onset", "onset"),
            (incident.detected_at, "detected", "detected"),
            (incident.acknowledged_at, "acknowledged", "acknowledged"),
            (incident.mitigated_at, "mitigated", "mitigated"),
            (incident.resolved_at, "resolved", "resolved"),
        )
        if at is not None
    ]
    marks += [
        views.ChartMark(at=row.at, kind="change", text=f"{row.kind} {row.title}")
        for row in near_changes(tx, incident, now)
    ]
    marks += [
        views.ChartMark(at=row.onset_at, kind="change", text=row.text)
        for row in near_notes(tx, incident, now)
    ]
    return sorted(marks, key=lambda mark: mark.at)
