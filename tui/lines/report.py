"""What the command line says about an incident: plain paragraphs, one fact a line."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from monitor.desk.port import DeskPort
from monitor.views import IncidentView, RunView, StepView, TimelineEntry
from tui.lines.face import SEVERITY_ROLES, Face, age, ratio, share, state_word
from tui.lines.line import Line, Role

PAGE = 500
"""Timeline entries asked for at once."""

STEP_GLYPHS: dict[str, tuple[str, Role]] = {
    "pending": ("[ ]", ""),
    "running": ("[>]", "accent"),
    "succeeded": ("[x]", "ok"),
    "failed": ("[!]", "bad"),
    "skipped": ("[-]", "dim"),
    "unknown": ("[?]", "warn"),
    "rolled_back": ("[<]", "warn"),
}
"""State of a step: glyph and role."""


def nothing(text: str) -> Line:
    """A line that says there is nothing."""
    return Line.of((text, "dim"))


def said(text: str) -> Line:
    """A line of plain words."""
    return Line.of(text)


def all_entries(desk: DeskPort, ref: str, *, after: int = 0) -> list[TimelineEntry]:
    """Every timeline entry after `after`, page by page."""
    entries: list[TimelineEntry] = []
    while True:
        page = desk.timeline(ref, after=after, limit=PAGE)
        entries.extend(page)
        if len(page) < PAGE:
            return entries
        after = page[-1].seq


def _labelled(label: str, text: str, role: Role = "") -> Line:
    return Line.of((f"{label:<13}", "dim"), (text, role))


def incident(view: IncidentView, now: datetime, face: Face) -> list[Line]:
    """All of an incident but its timeline."""
    row = view.row
    word, role = state_word(row)
    lines = [
        Line.of(
            (face.say(row.id), "bold"),
            " ",
            (face.say(row.severity), SEVERITY_ROLES.get(row.severity, "")),
            " ",
            (word, role),
            f"  {face.say(row.title)}",
        ),
        _labelled("where", face.pairs(row.dimensions) or "-"),
        _labelled("detected", f"{face.stamp(row.detected_at)}  ({age(now - row.detected_at)} ago)"),
    ]
    for label, at in (
        ("acknowledged", row.acknowledged_at),
        ("mitigated", row.mitigated_at),
        ("resolved", row.resolved_at),
        ("closed", row.closed_at),
    ):
        if at is not None:
            after = age(at - row.detected_at)
            lines.append(_labelled(label, f"{face.stamp(at)}  (+{after})"))
    lines.append(_labelled("commander", face.say(view.commander or "nobody")))
    if view.verdict:
        lines.append(_labelled("verdict", face.say(view.verdict)))
    lines.extend(_labelled("fact", face.say(fact)) for fact in view.facts)
    lines.extend(_alerts(view, face))
    lines.extend(
        _labelled("share", f"{cause.share:.0%}  {face.pairs(cause.dimensions)}")
        for cause in view.causes
    )
    lines.extend(
        _labelled("change", f"{face.stamp(each.at)}  {face.say(each.kind)}: {face.say(each.title)}")
        for each in view.changes
    )
    lines.extend(_pages(view, face))
    if view.run is not None:
        lines.extend(run(view.run, face))
    lines.extend(_labelled("to resolve", face.say(what), "warn") for what in view.resolve_lacks)
    lines.extend(
        _labelled("link", f"{face.say(name)}: {face.say(url)}") for name, url in view.links.items()
    )
    if view.review_path:
        lines.append(_labelled("review", face.say(view.review_path)))
    return lines


def _alerts(view: IncidentView, face: Face) -> list[Line]:
    lines = []
    for alert in view.alerts:
        where = face.pairs(alert.dimensions)
        figures = (
            f"{share(alert.rate)} against {share(alert.baseline)}"
            f" ({ratio(alert.rate, alert.baseline)}), {alert.k}/{alert.n}"
        )
        role: Role = "bad" if alert.state == "firing" else "dim"
        lines.append(_labelled("alert", f"{alert.state}  {face.say(alert.signal)} {where}", role))
        lines.append(_labelled("", figures))
        lines.append(_labelled("", face.say(alert.reason)))
    return lines


def _pages(view: IncidentView, face: Face) -> list[Line]:
    roles: dict[str, Role] = {"sent": "ok", "dead": "bad", "retrying": "warn", "waiting": ""}
    return [
        _labelled(
            "page",
            f"{page.state:<8}  {face.say(page.receiver)} ({face.say(page.kind)}),"
            f" {page.attempts} tries  {face.say(page.detail)}".rstrip(),
            roles[page.state],
        )
        for page in view.pages
    ]


def run(view: RunView, face: Face) -> list[Line]:
    """A runbook and its steps."""
    head = f"{face.say(view.runbook)} v{view.version}  {face.say(view.state)}"
    lines = [_labelled("runbook", f"{head}  {view.done}/{view.total} done")]
    lines.extend(step_line(step, face) for step in view.steps)
    return lines


def step_line(step: StepView, face: Face) -> Line:
    """`[x]  1 http    Pull samples`, with what it wants typed."""
    glyph, role = STEP_GLYPHS[step.state]
    danger = "  DANGER" if step.effect == "destructive" else ""
    wants = ""
    if step.state == "pending" and step.confirm:
        wants = f"  (confirm: {face.say(step.confirm)})"
    return Line.of(
        "  ",
        (glyph, role),
        f" {step.number:>2} {face.cell(step.type, 8)} {face.say(step.title)}",
        (danger, "bad"),
        (wants, "dim"),
        (f"  {face.say(step.note)}" if step.note else "", "dim"),
    )


def timeline(entries: Iterable[TimelineEntry], face: Face) -> list[Line]:
    """One line an entry: time, kind, actor, text."""
    return [
        Line.of(
            (face.stamp(entry.occurred_at), "dim"),
            f"  {face.cell(entry.kind, 9)} ",
            f"{_actor(entry, face)}: " if entry.actor else "",
            face.say(entry.text, limit=4000),
            (f"  (revises {entry.revises})" if entry.revises is not None else "", "dim"),
        )
        for entry in entries
    ]


def _actor(entry: TimelineEntry, face: Face) -> str:
    """A name, and that it came from another machine."""
    return face.say(entry.actor) + (" (remote)" if entry.via == "tls" else "")
