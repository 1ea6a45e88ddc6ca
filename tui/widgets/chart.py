"""The live chart of an incident's signal."""

from __future__ import annotations

from collections.abc import Sequence

from monitor import views
from tui.lines import chart as drawing
from tui.lines.face import Face
from tui.lines.line import Line
from tui.widgets.line_view import LineView


class Chart(LineView):
    """Bars over a baseline, marks and a time axis, for whatever size it has."""

    def plot(self, chart: views.Chart | None, face: Face, *, with_legend: bool = False) -> None:
        """Show `chart`; with room, `with_legend` names the marks beneath."""

        def draw(width: int, height: int) -> Sequence[Line]:
            if chart is None or not with_legend or height < 16:
                return drawing.draw(chart, width, height, face)
            legend = drawing.legend(chart, face)[-(height // 3) :]
            bars = height - len(legend)
            return [*drawing.draw(chart, width, bars, face), *legend]

        self.show(draw)
