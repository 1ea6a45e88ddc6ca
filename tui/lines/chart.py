"""The signal of an incident drawn with characters: bars, baseline, marks and a time axis."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from monitor.views import Chart, ChartPoint
from tui.lines.face import Face, ratio, share
from tui.lines.line import Line, Role

MARKS = {
    "onset": "o",
    "detected": "D",
    "acknowledged": "a",
    "step": "s",
    "change": "c",
    "mitigated": "M",
    "resolved": "R",
}
"""One letter for each kind of mark on the axis."""

_LABEL = 7
"""Columns of the value axis."""


@dataclass(frozen=True, slots=True)
class Column:
    """One character column: the mean of the buckets that fall on it."""

    rate: float | None
    baseline: float | None


def fold(points: Sequence[ChartPoint], width: int) -> list[Column]:
    """The points on `width` columns: means weighted by n where several share one."""
    if not points or width <= 0:
        return []
    out = []
    count = len(points)
    for index in range(width):
        first = index * count // width
        last = max(first + 1, (index + 1) * count // width)
        group = [point for point in points[first:last] if point.rate is not None]
        weight = sum(max(point.n, 1) for point in group)
        rate = sum((point.rate or 0.0) * max(point.n, 1) for point in group) / (weight or 1)
        base = next((p.baseline for p in points[first:last] if p.baseline is not None), None)
        out.append(Column(rate if group else None, base))
    return out


def title(chart: Chart | None, face: Face) -> str:
    """`refusal_rate 41.0% (4.1x)`: the last bucket that has a rate."""
    if chart is None:
        return "signal"
    name = face.say(chart.signal)
    last = next((point for point in reversed(chart.points) if point.rate is not None), None)
    if last is None:
        return name
    if last.baseline is None:
        return f"{name} {share(last.rate)}"
    return f"{name} {share(last.rate)} ({ratio(last.rate, last.baseline)})"


def draw(chart: Chart | None, width: int, height: int, face: Face) -> list[Line]:
    """The chart in `height` lines of `width` columns: bars, a line of marks, a time axis."""
    if height <= 0:
        return []
    if chart is None or not chart.points:
        return [Line.of((f" {_empty(chart, face)}", "dim")), *(Line() for _ in range(height - 1))]
    inner = max(1, width - _LABEL - 1)
    columns = fold(chart.points, inner)
    levels = [c.rate for c in columns if c.rate is not None]
    bases = [c.baseline for c in columns if c.baseline is not None]
    top = max([*levels, *(base * 1.2 for base in bases)], default=0.0) or 1.0
    rows = max(1, height - 2)
    lines = [_row(columns, top, rows, row, face) for row in range(rows)]
    lines.extend([_marks(chart, inner), _axis(chart, inner, face)][: height - rows])
    return lines


def _empty(chart: Chart | None, face: Face) -> str:
    """Why there are no bars."""
    if chart is None:
        return "waiting"
    if chart.signal:
        return f"nothing to draw: {face.say(chart.signal)} is not counted as a rate"
    return "no signal: declared by a person"


def _row(columns: Sequence[Column], top: float, rows: int, row: int, face: Face) -> Line:
    """One line of bars, `row` 0 on top."""
    low = top * (rows - 1 - row) / rows
    high = top * (rows - row) / rows
    base = next((c.baseline for c in reversed(columns) if c.baseline is not None), None)
    on_base = base is not None and low <= base < high
    label = share(top) if row == 0 else share(base) if on_base else "0%" if row == rows - 1 else ""
    parts: list[tuple[str, Role]] = [
        (f"{label:>{_LABEL}}"[:_LABEL], "dim" if not on_base else "accent"),
        (face.bar, "dim"),
    ]
    steps = face.levels
    parts.extend(_cell(column, low, high, steps, face) for column in columns)
    return Line.of(*_joined(parts))


def _cell(column: Column, low: float, high: float, steps: str, face: Face) -> tuple[str, Role]:
    base = column.baseline
    on_base = base is not None and low <= base < high
    if column.rate is None:
        return ("?", "dim") if low == 0 else (" ", "")
    role: Role = "warn" if base is not None and column.rate > 1.5 * base else "accent"
    part = (column.rate - low) / (high - low)
    if part <= 0.06:
        return (face.rule, "dim") if on_base else (" ", "")
    if part >= 1:
        return steps[-1], role
    filled = steps[min(len(steps) - 1, max(1, round(part * (len(steps) - 1))))]
    return filled, role


def _joined(parts: Sequence[tuple[str, Role]]) -> list[tuple[str, Role]]:
    """Neighbours with one role as one part: fewer escape sequences on the wire."""
    out: list[tuple[str, Role]] = []
    for text, role in parts:
        if out and out[-1][1] == role:
            out[-1] = (out[-1][0] + text, role)
        else:
            out.append((text, role))
    return out


def _span(chart: Chart) -> tuple[datetime, timedelta]:
    start = chart.points[0].at
    return start, chart.points[-1].at + timedelta(seconds=chart.bucket_s) - start


def _marks(chart: Chart, inner: int) -> Line:
    start, length = _span(chart)
    line = [" "] * inner
    for mark in sorted(chart.marks, key=lambda each: each.at):
        place = int((mark.at - start) / length * inner)
        if 0 <= place < inner:
            line[place] = MARKS[mark.kind]
    return Line.of(" " * (_LABEL + 1), ("".join(line), "bold"))


def _axis(chart: Chart, inner: int, face: Face) -> Line:
    start, length = _span(chart)
    left = face.clock(start, seconds=False)
    right = face.clock(start + length, seconds=False)
    rule = face.rule * max(0, inner - len(left) - len(right) - 2)
    return Line.of(" " * (_LABEL + 1), (f"{left} {rule} {right}", "dim"))


def legend(chart: Chart, face: Face) -> list[Line]:
    """What the letters on the axis stand for, oldest first."""
    return [
        Line.of(
            (f" {MARKS[mark.kind]} ", "bold"),
            (f"{face.clock(mark.at)} ", "dim"),
            face.say(mark.text),
        )
        for mark in sorted(chart.marks, key=lambda each: each.at)
    ]
