"""The incident screen in lines: header, tabs, runbook, detail, facets, timeline, status."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from monitor.views import (
    Chart,
    IncidentRow,
    IncidentView,
    Overview,
    RunbookRow,
    RunView,
    StepView,
    TimelineEntry,
)
from tui.lines.face import SEVERITY_ROLES, Face, age, ratio, share, state_word
from tui.lines.home import where
from tui.lines.item import Item
from tui.lines.line import Line, Role, sides, wrap
from tui.lines.report import STEP_GLYPHS

PANES = ("list", "runbook", "signal", "timeline")


def header(
    view: IncidentView | None,
    overview: Overview | None,
    width: int,
    face: Face,
    notes: Sequence[str] = (),
) -> Line:
    """`INC-0142 SEV2 ACK | title | IC mira | T+04:12 | LIVE lag 0.8s`."""
    if view is None or overview is None:
        return Line.of((" waiting for the desk", "dim")).fit(width)
    row = view.row
    word, role = state_word(row)
    bar = f" {face.bar} "
    since = age((row.resolved_at or overview.now) - row.detected_at)
    lag = "" if overview.lag_s is None else f" lag {overview.lag_s:.1f}s"
    live = "no daemon" if not overview.daemon else "LIVE" if overview.live else "RECORDING"
    modes: list[tuple[str, Role]] = [(f"{bar}{note}", "warn") for note in notes]
    right = Line.of(
        (f"{bar}IC ", "dim"),
        face.short(view.commander or "nobody", 12),
        f"{bar}T+{since}",
        (f"{bar}{live}{lag}" if width >= 100 or not overview.live else "", "dim"),
        *modes,
        " ",
    )
    left = Line.of(
        (face.say(row.id), "bold"),
        " ",
        (face.say(row.severity), SEVERITY_ROLES.get(row.severity, "")),
        " ",
        (word, role),
        bar,
        f"{face.say(row.title)}  {where(row, face)}",
    )
    return sides(left, right, width, face.more)


def tabs(view: IncidentView | None, pane: int, width: int, face: Face) -> Line:
    """` 1 list [2 RUNBOOK] 3 signal 4 timeline        2/7 done  next: 3`."""
    parts: list[tuple[str, Role]] = []
    for number, name in enumerate(PANES, start=1):
        on = number == pane
        text = f"[{number} {name.upper()}]" if on else f" {number} {name} "
        parts.append((text, "bold" if on else "dim"))
    run = view.run if view is not None else None
    right = Line()
    if run is not None:
        step = next((step for step in run.steps if step.current), None)
        after = f"   next: {step.number}" if step is not None else f"   {face.say(run.state)}"
        right = Line.of(f"{run.done}/{run.total} done{after} ")
    return sides(Line.of(*parts), right, width)


def runbook_title(run: RunView | None, face: Face) -> str:
    """`runbook refusal-spike v7`."""
    return "runbook" if run is None else f"runbook {face.say(run.runbook)} v{run.version}"


def steps(run: RunView, now: datetime, width: int, face: Face) -> list[Item]:
    """One step an item: glyph, number, type, title, how long; what it wants on a second line."""
    items = []
    for step in run.steps:
        glyph, role = STEP_GLYPHS[step.state]
        danger = step.effect == "destructive"
        kind = "DANGER" if danger else step.type.partition("_")[0]
        took = ""
        if step.started_at is not None:
            span = (step.ended_at or now) - step.started_at
            took = age(span) if step.state == "running" or span.total_seconds() >= 1 else ""
        room = max(4, width - 15 - (len(took) + 1 if took else 0))
        line = Line.of(
            (glyph, role),
            f" {step.number} ",
            (face.cell(kind, 7) + " ", "bad" if danger else "dim"),
            face.cell(step.title, room),
            (f" {took}" if took else "", "dim"),
        )
        lines = [line]
        if (more := _wants(step, now)) is not None:
            lines.append(Line.of(" " * 6, (face.short(more, width - 6), "dim")))
        items.append(Item(step.id, tuple(lines), copy=face.say(step.request or step.title)))
    return items


def _wants(step: StepView, now: datetime) -> str | None:
    """What a person should know of a step before pressing a key on it."""
    if step.state == "running":
        left = "" if step.deadline_at is None else f", {age(step.deadline_at - now)} left"
        return f"running{left}"
    if step.state in {"failed", "skipped", "unknown"} and step.note:
        return f"{step.state}: {step.note}"
    if step.state == "pending" and step.confirm:
        how = "y" if step.confirm == "y" else f"type {step.confirm}"
        first = "next: " if step.current else ""
        return f"{first}confirm: {how}" + ("  undo: u" if step.undo else "  no undo")
    if step.state == "pending" and step.current:
        return "next: Enter ticks it" if "done" in step.actions else "next: Enter runs it"
    if "undo" in step.actions:
        return "undo: u"
    return None


def no_run(runbooks: Sequence[RunbookRow], face: Face, width: int) -> list[Item]:
    """The runbook pane before a runbook is started."""
    items = []
    for row in runbooks:
        word: tuple[str, Role] = ("suggested  ", "accent") if row.suggested else ("           ", "")
        name = f"{face.say(row.id)} v{row.version}  {face.say(row.title)}"
        line = Line.of(word, face.cell(name, max(4, width - 13)))
        items.append(Item(f"start:{row.id}", (line,), copy=face.say(row.id)))
    return items


def detail(step: StepView | None, width: int, height: int, face: Face) -> list[Line]:
    """The step under the cursor in `height` lines: words, request, undo, note; newest output."""
    if step is None:
        return []
    said = [Line.of(f" {text}") for text in _wrapped(reflow(step.text), width - 1, face)]
    if step.request:
        texts = _wrapped(step.request, width - 3, face)
        said.extend(
            Line.of((" $ " if i == 0 else "   ", "accent"), text) for i, text in enumerate(texts)
        )
    if step.undo:
        said.append(Line.of((" undo ", "dim"), face.say(step.undo)))
    if step.note:
        said.append(Line.of((" note ", "dim"), face.say(step.note)))
    output = [Line.of(f" {text}") for text in _wrapped(step.output, width - 1, face)]
    if len(said) + len(output) <= height or height < 4:
        return said + output
    tail = output[-max(height // 2, height - len(said)) :] if output else []
    head = height - len(tail)
    if len(said) > head:
        said = [*said[: head - 1], Line.of((" + shows all", "dim"))]
    return said + tail


def reflow(text: str) -> str:
    """Prose whose lines were broken by hand, one line a paragraph; lists keep their lines."""
    out: list[str] = []
    for line in text.splitlines():
        item = line.lstrip().startswith(("-", "*", ">", "`", "|")) or line.lstrip()[:1].isdigit()
        if out and out[-1] and line.strip() and not item and not line.startswith((" ", "\t")):
            out[-1] = f"{out[-1]} {line}"
        else:
            out.append(line)
    return "\n".join(out)


def _wrapped(text: str, width: int, face: Face) -> list[str]:
    out = []
    for paragraph in text.splitlines():
        out.extend(wrap(face.say(paragraph, limit=4000), width))
    return out


def facets(view: IncidentView, width: int, face: Face) -> list[Line]:
    """Facts, shares, changes, pages and links: what is known beside the signal."""
    lines: list[Line] = []
    for fact in view.facts:
        lines.extend(Line.of(f" {text}") for text in wrap(face.say(fact), width - 1))
    for cause in view.causes:
        text = face.pairs(cause.dimensions)
        lines.append(Line.of((f" {cause.share:>4.0%} ", "bold"), text))
    for change in view.changes:
        words = f"{face.say(change.kind)} {face.say(change.title)}"
        lines.append(Line.of((f" {face.clock(change.at, seconds=False)} ", "accent"), words))
    states: dict[str, Role] = {"sent": "ok", "dead": "bad", "retrying": "warn", "waiting": ""}
    for page in view.pages:
        state = (f" {page.state} ", states[page.state])
        lines.append(Line.of(state, f"{face.say(page.receiver)} ", (face.say(page.detail), "dim")))
    for name, url in view.links.items():
        lines.append(Line.of((f" {face.say(name)} ", "dim"), face.say(url)))
    if view.verdict:
        lines.append(Line.of((" verdict ", "dim"), face.say(view.verdict)))
    return lines


def others(rows: Sequence[IncidentRow], width: int, face: Face) -> list[Item]:
    """The other incidents, two lines each, beside the one that is open."""
    items = []
    for row in rows:
        word, role = state_word(row)
        first = Line.of(
            (face.cell(row.severity, 5), SEVERITY_ROLES.get(row.severity, "")),
            (f"{word:<6} ", role),
            face.say(row.id),
            f" {face.say(row.owner or '')}",
        )
        second = Line.of(("  " + face.short(row.title, width - 4), "dim"))
        items.append(Item(row.id, (first, second), copy=face.say(row.id)))
    return items


def timeline(entries: Sequence[TimelineEntry], width: int, face: Face) -> list[Item]:
    """The entries, wrapped under their kind: `03:13:11 ACK    mira: acknowledged`."""
    kinds: dict[str, Role] = {
        "DETECT": "bad",
        "PAGE": "accent",
        "VERIFY": "ok",
        "MITIGATED": "ok",
        "RESOLVED": "ok",
        "NOTE": "bold",
    }
    narrow = width < 50
    label = 7 if narrow else 10
    indent = 9 if narrow else 9 + label
    items = []
    for entry in entries:
        who = "" if entry.actor in {"tocsin", "detector", ""} else f"{face.say(entry.actor)}: "
        words = _hung(
            f"{who}{face.say(entry.text, limit=4000)}", width - 10 - label, width - indent - 1
        )
        first = Line.of(
            (f"{face.clock(entry.occurred_at)} ", "dim"),
            (_kind(entry.kind, label - 1, face), kinds.get(entry.kind, "")),
            words[0],
        )
        rest = tuple(Line.of(" " * indent, text) for text in words[1:])
        copy = f"{face.stamp(entry.occurred_at)} {face.say(entry.kind)} {who}{face.say(entry.text)}"
        items.append(Item(str(entry.seq), (first, *rest), copy=copy))
    return items


_SHORT = {"MITIGATED": "MITIG", "RESOLVED": "RESLV", "SEVERITY": "SEV", "ESCALATE": "ESCAL"}


def _kind(kind: str, width: int, face: Face) -> str:
    """The kind in `width` columns and a blank; a long one by its short word."""
    return face.cell(_SHORT.get(kind, kind) if len(kind) > width else kind, width) + " "


def _hung(text: str, first: int, rest: int) -> list[str]:
    """`text` wrapped to `first` columns on its first line and `rest` on the others."""
    head = wrap(text, max(8, first))[0]
    left = text[len(head) :].lstrip(" ")
    return [head, *wrap(left, max(8, rest))] if left else [head]


def status(view: IncidentView | None, chart: Chart | None, now: datetime, face: Face) -> Line:
    """`SIGNAL 4.1x -> 3.2x (-22% in 5 min)   VERIFIED` and what to resolve it is missing."""
    if view is None:
        return Line()
    left: list[str | tuple[str, Role]] = [" "]
    firing = any(alert.state == "firing" for alert in view.alerts)
    left.append(("SIGNAL ", "dim"))
    left.append(_trend(chart))
    left.append(("  firing", "bad") if firing else ("  normal", "ok") if view.alerts else "")
    if view.verified:
        left.append(("   verified", "ok"))
    waiting = _waiting(view.run, now)
    if waiting:
        left.append((f"   {waiting}", "accent"))
    elif view.row.state == "mitigated" and view.resolve_lacks:
        left.append((f"   to resolve: {face.say(view.resolve_lacks[0])}", "warn"))
    if view.verdict:
        left.append(f"   {face.say(view.verdict)}")
    return Line.of(*left)


def _trend(chart: Chart | None) -> str:
    points = [p for p in chart.points if p.rate is not None] if chart is not None else []
    if not points:
        return "none"
    now, before = points[-1], points[-6] if len(points) > 5 else points[0]
    figures = f"{ratio(before.rate, before.baseline)} -> {ratio(now.rate, now.baseline)}"
    if "-" in {ratio(now.rate, now.baseline), ratio(before.rate, before.baseline)}:
        figures = f"{share(before.rate)} -> {share(now.rate)}"
    if not before.rate or now.rate is None:
        return figures
    minutes = max(1, round((now.at - before.at).total_seconds() / 60))
    return f"{figures} ({now.rate / before.rate - 1:+.0%} in {minutes} min)"


def _waiting(run: RunView | None, now: datetime) -> str:
    for step in run.steps if run is not None else []:
        if step.state == "running" and step.deadline_at is not None:
            return f"step {step.number}: {age(step.deadline_at - now)} left"
    return ""
