"""Home: the incidents, what is under the cursor, the signals and the parts of Tocsin."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from textual import on, work
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Horizontal, Vertical

from monitor.views import IncidentRow, SignalNow
from tui.actions import bindings, key_row
from tui.lines import home as lines
from tui.lines.line import Line
from tui.messages import HomeNews
from tui.screens.commands import IncidentCommands
from tui.widgets.line_list import LineList
from tui.widgets.line_view import LineView
from tui.widgets.pane_title import PaneTitle
from tui.widgets.prompt_bar import Question

_KEYS = ("open", "take", "ack", "filter", "declare", "note", "copy", "pause", "clock")


class Home(IncidentCommands):
    """The list people come from and go back to."""

    NAME = "home"
    BINDINGS: ClassVar[list[BindingType]] = [*bindings("home")]

    def __init__(self) -> None:
        super().__init__()
        self._rows: Sequence[IncidentRow] = ()
        self._signals: Sequence[SignalNow] = ()
        self._words = ""
        self._pane = 1

    def compose(self) -> ComposeResult:
        yield LineView(id="head")
        yield LineView(id="filter")
        with Horizontal(id="body"):
            with Vertical(id="main"):
                yield LineView(id="columns")
                yield LineList(id="incidents")
                yield PaneTitle(id="preview-title")
                yield LineView(id="preview")
            with Vertical(id="side"):
                yield PaneTitle(id="signals-title")
                yield LineList(id="signals")
                yield PaneTitle(id="parts-title")
                yield LineView(id="parts")
        yield from self.compose_bottom()

    def on_mount(self) -> None:
        super().on_mount()
        self._go(1)

    @property
    def ref(self) -> str:
        return self.query_one("#incidents", LineList).key

    # drawing -------------------------------------------------------------------------------------

    def show_news(self, news: HomeNews) -> None:
        """New incidents and signals; the cursor stays on its incident."""
        self._rows, self._signals = news.rows, news.signals
        self.draw()

    def draw(self) -> None:
        self.show_pulse()
        self._draw_signals()
        self.query_one("#keys", LineView).show(
            lambda width, _h: [Line.of((key_row("home", _KEYS, width), "dim"))]
        )

    def show_pulse(self) -> None:
        app, face = self.tocsin, self.face
        self.query_one("#head", LineView).show(
            lambda width, _h: [lines.header(app.overview, width, face, notes=app.notes())]
        )
        if app.lost is not None:
            self.prompt.say(f"{app.lost.message} - trying again", "bad")
        if app.overview is None:
            return
        now = app.overview.now
        shown = lines.active_first(lines.matching(self._rows, self._words))
        self.query_one("#filter", LineView).show(
            lambda width, _h: [
                lines.filter_line(self._words, len(shown), len(self._rows), width, face)
            ]
        )
        self.query_one("#columns", LineView).show(lambda width, _h: [lines.columns(width)])
        self.query_one("#incidents", LineList).show(
            lambda width: lines.rows(shown, now, width, face),
            empty=lines.empty(app.overview, self._words, face),
        )
        self._draw_preview()
        parts = lines.worst_first(app.overview.parts)
        self.query_one("#parts", LineView).show(
            lambda width, _h: lines.parts(parts, face, width=width, brief=True)
        )

    def _draw_preview(self) -> None:
        face = self.face
        row = next((row for row in self._rows if row.id == self.ref), None)
        self.query_one("#preview-title", PaneTitle).say(f"{self.ref or 'nothing'} preview", face)
        self.query_one("#preview", LineView).show(lambda w, _h: lines.preview(row, w, face))

    def _draw_signals(self) -> None:
        face = self.face
        self.query_one("#signals-title", PaneTitle).say("2 signals / times of baseline", face)
        self.query_one("#parts-title", PaneTitle).say("3 parts", face)
        self.query_one("#signals", LineList).show(
            lambda width: lines.signals(self._signals, width, face),
            empty=[Line.of((" no series yet", "dim"))],
        )

    # keys ----------------------------------------------------------------------------------------

    @on(LineList.Moved, "#incidents")
    def _moved(self) -> None:
        self._draw_preview()

    @on(LineList.Chosen, "#incidents")
    def _chosen(self, event: LineList.Chosen) -> None:
        if event.key:
            self.tocsin.open_incident(event.key)

    def _go(self, pane: int) -> None:
        self._pane = pane
        self.set_class(pane > 1, "-side")
        self.query_one("#signals" if pane > 1 else "#incidents", LineList).focus()

    def action_open(self) -> None:
        if self.ref:
            self.tocsin.open_incident(self.ref)

    def action_pane_1(self) -> None:
        self._go(1)

    def action_pane_2(self) -> None:
        self._go(2)

    def action_pane_3(self) -> None:
        self._go(3)

    def action_next_pane(self) -> None:
        self._go(1 if self._pane > 1 else 2)

    def action_zoom(self) -> None:
        self._go(1 if self._pane > 1 else 2)

    @work(group="ask", exclusive=True)
    async def action_filter(self) -> None:
        before = self._words
        answer = await self.ask(Question("filter:", initial=before, live=self._narrow))
        self._narrow(answer or "")

    def _narrow(self, words: str) -> None:
        self._words = words
        self.show_pulse()

    def action_back(self) -> None:
        if self._pane > 1:
            self._go(1)
        elif self._words:
            self._narrow("")

    def action_quit(self) -> None:
        if self._pane > 1:
            self._go(1)
        else:
            self._leave()

    @work(group="ask", exclusive=True)
    async def _leave(self) -> None:
        overview = self.tocsin.overview
        if overview is not None and overview.yours:
            label = f"you own {overview.yours} open: y leaves (the daemon goes on), Esc stays"
            if await self.ask(Question(label, keys={"y": "y"})) is None:
                return
        self.app.exit()
