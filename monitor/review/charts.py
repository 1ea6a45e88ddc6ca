"""Charts of a review: plain text for Markdown, so that they survive every place it is pasted to."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from monitor.views import Chart, ChartMark, ChartPoint

REVIEW_MINUTES = 180
"""A chart shows this much at least; more where the incident was longer."""
WIDTH = 72
HEIGHT = 8
_MARKS = {
    "onset": "o",
    "detected": "d",
    "acknowledged": "a",
    "step": "s",
    "change": "c",
    "mitigated": "m",
    "resolved": "r",
}


def text_chart(chart: Chart, *, width: int = WIDTH, height: int = HEIGHT) -> str:
    """The rate over time as columns of `#`, its baseline as `-`, events as letters below."""
    columns = _columns(chart.points, width)
    rates = [rate for rate, _ in columns if rate is not None]
    if not rates:
        return "(no data)"
    top = max(*rates, *(base for _, base in columns if base is not None), 1e-9)
    rows = []
    for level in range(height, 0, -1):
        edge, below = top * level / height, top * (level - 1) / height
        cells = "".join(_cell(rate, base, below, edge) for rate, base in columns)
        rows.append(f"{edge:7.1%} |{cells.rstrip()}")
    rows.append(" " * 8 + "+" + "-" * len(columns))
    rows.append(" " * 9 + _mark_line(chart, len(columns)))
    first, last = chart.points[0].at, chart.points[-1].at
    left, right = f"{first:%H:%M}", f"{last:%H:%M} UTC"
    rows.append(" " * 9 + left + right.rjust(max(len(right) + 1, len(columns) - len(left))))
    return "\n".join(row.rstrip() for row in rows)


def legend(chart: Chart) -> str:
    """What the letters below the chart mean, those that stand there."""
    kinds = {mark.kind for mark in chart.marks if _place(chart, mark) is not None}
    return ", ".join(f"{letter} {kind}" for kind, letter in _MARKS.items() if kind in kinds)


def _cell(rate: float | None, base: float | None, below: float, edge: float) -> str:
    if rate is not None and rate > below and rate > 0:
        return "#"
    if base is not None and below < base <= edge:
        return "-"
    return " "


def _columns(points: Sequence[ChartPoint], width: int) -> list[tuple[float | None, float | None]]:
    """Points folded into at most `width` columns: pooled rates, mean baselines."""
    size = max(1, -(-len(points) // width))
    columns: list[tuple[float | None, float | None]] = []
    for start in range(0, len(points), size):
        part = points[start : start + size]
        n = sum(p.n for p in part)
        k = sum((p.rate or 0.0) * p.n for p in part)
        bases = [p.baseline for p in part if p.baseline is not None]
        columns.append((k / n if n else None, sum(bases) / len(bases) if bases else None))
    return columns


def _place(chart: Chart, mark: ChartMark) -> float | None:
    """Where a mark stands, 0..1 of the chart's width; None off the chart."""
    if not chart.points:
        return None
    first, last = chart.points[0].at, chart.points[-1].at
    ahead = mark.at - last
    if timedelta(0) < ahead <= timedelta(seconds=chart.bucket_s):
        return 1.0
    place = (mark.at - first).total_seconds() / max((last - first).total_seconds(), 1.0)
    return place if 0 <= place <= 1 else None


def _mark_line(chart: Chart, columns: int) -> str:
    line = [" "] * columns
    for mark in chart.marks:
        place = _place(chart, mark)
        if place is not None:
            line[min(columns - 1, int(place * columns))] = _MARKS[mark.kind]
    return "".join(line)
