"""Lines that only show: headers, titles, previews, key rows. Not focusable."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar

from textual import events
from textual.geometry import Region
from textual.strip import Strip
from textual.widget import Widget

from tui.lines.line import Line
from tui.widgets.paint import COMPONENTS, strip

Draw = Callable[[int, int], Sequence[Line]]
"""Width and height in, lines out."""


def _nothing(_width: int, _height: int) -> Sequence[Line]:
    return ()


class LineView(Widget):
    """Shows what a function draws for its size; only rows that changed are sent."""

    COMPONENT_CLASSES: ClassVar[set[str]] = COMPONENTS

    def __init__(self, *, id: str | None = None, classes: str | None = None) -> None:  # noqa: A002 -- the parent's name
        super().__init__(id=id, classes=classes)
        self._draw: Draw = _nothing
        self._rows: list[Line] = []
        self.more = "~"

    @property
    def text(self) -> str:
        """What is shown, as plain text."""
        return "\n".join(line.text.rstrip() for line in self._rows)

    def show(self, draw: Draw) -> None:
        """Draw with `draw`, now and at each change of size."""
        self._draw = draw
        self._redraw()

    def _redraw(self) -> None:
        width, height = self.size
        if not width or not height:
            return
        rows = list(self._draw(width, height))[:height]
        rows += [Line()] * (height - len(rows))
        old = self._rows
        self._rows = rows
        for y, line in enumerate(rows):
            if y >= len(old) or old[y] != line:
                self.refresh(Region(0, y, width, 1))

    def on_resize(self, _event: events.Resize) -> None:
        self._rows = []
        self._redraw()

    def render_line(self, y: int) -> Strip:
        line = self._rows[y] if y < len(self._rows) else Line()
        return strip(self, line, self.size.width, more=self.more)
