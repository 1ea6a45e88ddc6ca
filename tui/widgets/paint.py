"""From a `Line` to what Textual draws."""

from __future__ import annotations

from rich.segment import Segment
from rich.style import Style
from textual.strip import Strip
from textual.widget import Widget

from tui.lines.line import Line

_REVERSE = Style(reverse=True)


def strip(widget: Widget, line: Line, width: int, *, more: str, reverse: bool = False) -> Strip:
    """`line` in exactly `width` cells, in the colours of the theme."""
    base = widget.rich_style
    segments = []
    for span in line.fit(width, more).spans:
        style = base
        if reverse:
            style = base + _REVERSE  # one even bar: roles would turn into patches of background
        elif span.role == "reverse":
            style = base + _REVERSE
        elif span.role:
            style = base + widget.get_component_rich_style(f"line--{span.role}", partial=True)
        segments.append(Segment(span.text, style))
    return Strip(segments, width)


COMPONENTS = {"line--dim", "line--bold", "line--ok", "line--warn", "line--bad", "line--accent"}
"""The component classes a widget that calls `strip` needs."""
