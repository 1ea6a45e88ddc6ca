"""The title of a pane: a rule with words in it, heavy while the pane has the cursor."""

from __future__ import annotations

from tui.lines.face import Face
from tui.lines.line import Line, Role, cells
from tui.widgets.line_view import LineView


class PaneTitle(LineView):
    """One row."""

    def say(self, text: str, face: Face, *, on: bool = False, right: str = "") -> None:
        """Show `text`; `on` marks the pane that keys go to."""
        rule = face.heavy if on else face.rule

        def draw(width: int, _height: int) -> list[Line]:
            tail = f" {right} {rule}" if right else ""
            room = max(0, width - len(tail) - 3)
            words = face.short(text, room)
            rest = rule * (width - 3 - cells(words) - len(tail))
            name: tuple[str, Role] = (f" {words} ", "bold" if on else "")
            return [Line.of((rule, "dim"), name, (rest + tail, "dim"))]

        self.show(draw)
