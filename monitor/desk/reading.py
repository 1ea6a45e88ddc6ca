"""From stored values to what the desk answers: reading only."""

from __future__ import annotations

from datetime import datetime, timedelta

from monitor import views
from monitor.alerting import pages
from monitor.alerting.alerts import Alert, Cause
from monitor.alerting.fitting import ChangeFact
from monitor.config.settings import Configured
from monitor.division import Division
from monitor.evidence import stored_series
from monitor.incidents import actions
from monitor.incidents.model import Incident
from monitor.incidents.timeline import Linked
from monitor.paging import concerns, render_links
from monitor.store.decision_rows import Point
from monitor.store.finding_rows import Quarantined
from monitor.store.incident_rows import ChangeRow
from monitor.store.note_rows import NoteRow
from monitor.store.outbox import Queued
from monitor.store.store import Tx
from monitor.stream.series import named
from runbooks.allow import AllowList
from runbooks.model import Effect, Manual, ManualUndo, Runbook, WaitSignal
from runbooks.outlook import next_step, preview
from runbooks.params import AnyParam
from runbooks.runs import DONE_STEPS, Run, RunState, StepRun, StepState

SPARK_BUCKETS = 60
STATES = {"w": "warming", "q": "quiet", "f": "firing"}
_PAGE_STATES = {"sent": "sent", "dead": "dead", "overtaken": "dead"}
"""The detail says by what a page was overtaken; clients of other versions know four states."""


def series_points(
    tx: Tx, configured: Configured, signal: str, dimensions: dict[str, str], first: int, end: int
) -> list[tuple[int, Point | None]]:
    """(bucket start, point or None) of one series."""
    stored = stored_series(configured, signal, dimensions)
    if stored is None:
        return []
    signal, dims = stored
    step = configured.plan.bucket_s
    found = tx.decisions.points(signal, first, end)
    return [
        (bucket, next((p for p in found.get(bucket, ()) if p.dims == dims), None))
        for bucket in range(first // step * step, end, step)
    ]


def decided_until(tx: Tx, configured: Configured, now: datetime) -> int:
    """End of the last decided bucket (unix seconds): a chart ends where the verdicts do."""
    pipeline = tx.stream.known_pipeline(configured.plan)
    position = None if pipeline is None else tx.decisions.position(pipeline)
    return int(now.timestamp()) if position is None else position


def incident_row(
    tx: Tx, configured: Configured, incident: Incident, until: datetime, *, spark: bool = True
) -> views.IncidentRow:
    """One line of the list."""
    line: list[float | None] = []
    if spark and incident.signal is not None:
        end = int((incident.resolved_at or until).timestamp())
        end = min(end, decided_until(tx, configured, until))
        first = end - SPARK_BUCKETS * configured.plan.bucket_s
        line = [
            point.k / point.n if point is not None and point.n else None
            for _, point in series_points(
                tx, configured, incident.signal, dict(incident.dimensions), first, end
            )
        ][-SPARK_BUCKETS:]
    return views.IncidentRow(
        id=incident.name,
        title=incident.title,
        state=str(incident.state),
        severity=incident.severity,
        detected_at=incident.detected_at,
        acknowledged_at=incident.acknowledged_at,
        mitigated_at=incident.mitigated_at,
        resolved_at=incident.resolved_at,
        closed_at=incident.closed_at,
        dimensions=dict(incident.dimensions),
        signal=incident.signal,
        owner=incident.commander or incident.acknowledged_by,
        paged=incident.paged_at is not None,
        firing=incident.is_open and incident.normal_at is None and incident.signal is not None,
        spark=line,
    )


def alert_view(alert: Alert) -> views.AlertView:
    """One alert."""
    reading = alert.reading
    return views.AlertView(
        fingerprint=alert.fingerprint,
        signal=alert.signal,
        dimensions=dict(alert.dimensions),
        state="firing" if alert.firing else "cleared",
        tier=alert.tier,  # type: ignore[arg-type] # the plan admits just these three
        severity=alert.severity,
        onset_at=alert.onset_at,
        detected_at=alert.detected_at,
        cleared_at=alert.cleared_at,
        k=reading.k,
        n=reading.n,
        rate=reading.rate,
        baseline=reading.baseline,
        excess=reading.excess,
        score=reading.score,
        threshold=reading.threshold,
        reason=alert.reason,
    )


def cause_view(cause: Cause) -> views.Cause:
    """One cause."""
    return views.Cause(
        dimensions=dict(cause.dimensions), share=cause.share, first_seen=cause.first_seen
    )


def change_view(row: ChangeRow) -> views.ChangeView:
    """One change."""
    return views.ChangeView(
        id=f"CHG-{row.id}",
        kind=row.kind,
        title=row.title,
        at=row.at,
        dimensions=row.dimensions,
        actor=row.actor,
    )


def note_view(row: NoteRow) -> views.NoteView:
    """A note as stored."""
    return views.NoteView(
        kind=row.kind,
        signal=row.signal,
        dimensions=row.dimensions,
        onset_at=row.onset_at,
        at=row.at,
        before=row.before,
        after=row.after,
        text=row.text,
        fits=row.fits,
    )


def near_notes(tx: Tx, incident: Incident, until: datetime) -> list[NoteRow]:
    """Notes on what the incident is about, from an hour before its onset on, oldest first."""
    since = (incident.impact_at or incident.detected_at) - pages.CHANGE_WINDOW
    return [
        row
        for row in reversed(tx.notes.since(since, incident.resolved_at or until))
        if row.signal == incident.signal and concerns(row.dimensions, incident.dimensions)
    ]


def quarantine_row(row: Quarantined) -> views.QuarantineRow:
    """A finding as stored."""
    return views.QuarantineRow(
        topic=row.topic,
        partition=row.number,
        offset=row.offset,
        rule=row.rule,
        path=row.path,
        length=row.length,
        digest=row.digest,
        at=row.at,
    )


def timeline_entry(item: Linked) -> views.TimelineEntry:
    """One line of the timeline."""
    return views.TimelineEntry(
        seq=item.seq,
        kind=item.entry.kind,
        text=item.entry.text,
        actor=item.entry.actor,
        occurred_at=item.entry.occurred_at,
        recorded_at=item.recorded_at,
        revises=item.entry.revises,
        via=str(item.entry.data.get("via", "")),
    )


def page_view(page: Queued) -> views.PageView:
    """One page."""
    state = _PAGE_STATES.get(page.state, "retrying" if page.attempts > 1 else "waiting")
    return views.PageView(
        receiver=page.receiver,
        kind=str(page.message.kind),
        state=state,  # type: ignore[arg-type] # one of the four above
        attempts=page.attempts,
        created_at=page.created_at,
        sent_at=page.sent_at,
        detail=page.detail,
    )


def near_changes(tx: Tx, incident: Incident, until: datetime) -> list[ChangeRow]:
    """Changes from an hour before the onset on that could concern the incident, oldest first."""
    since = (incident.impact_at or incident.detected_at) - pages.CHANGE_WINDOW
    end = incident.resolved_at or until
    return [
        row
        for row in reversed(tx.incidents.changes(since=since, until=end))
        if concerns(row.dimensions, incident.dimensions)
    ]


def incident_view(
    tx: Tx,
    configured: Configured,
    incident: Incident,
    now: datetime,
    run: views.RunView | None,
) -> views.IncidentView:
    """All of one incident but its timeline."""
    alerts = tx.incidents.alerts_of(incident.uuid)
    changes = near_changes(tx, incident, now)
    facts = [ChangeFact(c.kind, c.title, c.at, c.dimensions) for c in changes]
    lead = pages.strongest(alerts) if alerts else None
    return views.IncidentView(
        row=incident_row(tx, configured, incident, now),
        facts=list(pages.lines(alerts, facts)),
        alerts=[alert_view(alert) for alert in alerts],
        causes=[cause_view(cause) for cause in lead.causes] if lead is not None else [],
        changes=[change_view(row) for row in changes],
        commander=incident.commander,
        run=run,
        pages=[page_view(page) for page in tx.outbox.of_incident(incident.uuid)],
        verdict=incident.verdict,
        verified=incident.verified_at is not None,
        resolve_lacks=actions.resolve_lacks(incident),
        links={link.text: link.href for link in render_links(configured.policy.links, incident)},
    )


def signals_now(tx: Tx, configured: Configured) -> list[views.SignalNow]:
    """Every series at the last bucket that was decided."""
    plan = configured.plan
    pipeline = tx.stream.known_pipeline(plan)
    end = None if pipeline is None else tx.decisions.position(pipeline)
    if end is None:
        return []
    set_by_people = tx.decisions.tiers()
    division = Division(plan, configured.profile)
    division.rebuild(tx, configured.policy.budgets)
    rows = []
    together = plan.together()
    for signal in [*plan.rates(), *([together] if together is not None else [])]:
        tier = (
            set_by_people[signal.name].tier
            if signal.name in set_by_people
            else configured.profile.tier(signal)
        )
        for points in tx.decisions.points(signal.name, end - plan.bucket_s, end).values():
            rows += [
                views.SignalNow(
                    signal=signal.name,
                    dimensions=named(signal, point.dims),
                    state=STATES[point.state],  # type: ignore[arg-type] # the three states
                    rate=point.k / point.n if point.n else None,
                    baseline=point.baseline,
                    score=point.score,
                    threshold=configured.profile.vectors.threshold
                    if signal is together
                    else division.alarm(signal, point.dims).threshold,
                    tier=tier,  # type: ignore[arg-type] # the three tiers
                )
                for point in points
            ]
    return rows


def param_view(name: str, param: AnyParam, default: object) -> views.Param:
    """A value a runbook asks for; `default` is the operator's, over the file's."""
    value = default if default is not None else getattr(param, "default", None)
    return views.Param(
        name=name,
        type=type(param).__struct_config__.tag or "string",  # type: ignore[arg-type] # tags are strings
        description=getattr(param, "title", "") or "",
        required=bool(getattr(param, "required", False)),
        default=value if isinstance(value, str | int | bool) else None,
        values=list(getattr(param, "values", ())),
    )


def run_view(book: Runbook, run: Run, allow: AllowList, now: datetime) -> views.RunView:
    """A run with what may be done at each step."""
    current = next_step(book, run)
    steps = [_step_view(book, run, step, allow, now, current) for step in run.steps]
    return views.RunView(
        id=run.id,
        runbook=book.id,
        version=book.spec.version,
        title=book.title,
        state=str(run.state),
        done=sum(step.state in DONE_STEPS for step in run.steps),
        total=len(steps),
        steps=steps,
    )


def _step_view(
    book: Runbook, run: Run, step: StepRun, allow: AllowList, now: datetime, current: str | None
) -> views.StepView:
    spec = book.step(step.id)
    assert spec is not None
    shown = preview(book, run, step.id, now, allow)
    attempt = step.attempt
    deadline = attempt.deadline if attempt is not None else None
    if step.watching is not None:
        deadline = _holds_at(step)
    return views.StepView(
        number=shown.number,
        id=step.id,
        type=type(spec).__struct_config__.tag or "",  # type: ignore[arg-type] # tags are strings
        title=shown.title,
        text=shown.text,
        state=str(step.state),  # type: ignore[arg-type] # the same words
        effect=str(shown.effect),  # type: ignore[arg-type] # the same words
        request=shown.shown,
        confirm=shown.confirm or None,
        undo=shown.undo,
        undo_confirm=confirmation(book, step.id, run.incident.id) or None,
        asks=[param_view(name, param, None) for name, param in spec.capture.items()]
        if isinstance(spec, Manual)
        else [],
        started_at=step.started_at,
        ended_at=step.ended_at,
        deadline_at=deadline if step.state is StepState.RUNNING else None,
        output=_output(step),
        note=step.reason or (shown.refusal.text if shown.refusal is not None else ""),
        current=step.id == current,
        actions=_actions(book, run, step),
    )


def _holds_at(step: StepRun) -> datetime | None:
    watching = step.watching
    if watching is None or watching.since is None:
        return None if watching is None else watching.timeout_at
    return watching.since + timedelta(seconds=watching.hold_seconds)


def _output(step: StepRun) -> str:
    lines = [
        f"attempt {a.number}: {a.outcome}"
        + (f" ({a.status})" if a.status is not None else "")
        + (f": {a.detail}" if a.detail else "")
        for a in step.attempts
    ]
    lines += [f"{name} = {value}" for name, value in step.captured.items() if value is not None]
    return "\n".join(lines)


def _actions(book: Runbook, run: Run, step: StepRun) -> list[views.StepAction]:
    spec = book.step(step.id)
    if spec is None or run.state in {RunState.PENDING, RunState.ABORTED}:
        return []
    actions_: list[views.StepAction] = []
    manual = type(spec).__struct_config__.tag == "manual"
    if step.state in {StepState.PENDING, StepState.FAILED}:
        actions_ += ["done", "fail", "skip"] if manual else ["run", "fail", "skip"]
    elif step.state is StepState.UNKNOWN:
        actions_ += ["done", "fail", "skip", "run"]
    elif step.state is StepState.RUNNING and manual:
        actions_ += ["done", "fail", "skip"]
    rollback = None if isinstance(spec, WaitSignal) else spec.rollback
    undoable = {StepState.SUCCEEDED, StepState.FAILED, StepState.UNKNOWN}
    there = step.attempts or manual
    if rollback is not None and step.state in undoable and there and not step.under_way:
        actions_.append("undo")
    return actions_


def confirmation(book: Runbook, step: str, incident: str) -> str:
    """What must be typed to undo a step: empty, `y` or the incident's id."""
    spec = book.step(step)
    if spec is None or isinstance(spec, WaitSignal) or spec.rollback is None:
        return ""
    effect = spec.rollback.effect
    if isinstance(spec.rollback, ManualUndo) and effect is Effect.READ_ONLY:
        return ""
    return {Effect.REVERSIBLE: "y", Effect.DESTRUCTIVE: incident}.get(effect, "")
