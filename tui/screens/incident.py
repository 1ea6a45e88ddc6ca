"""Incident: the screen where one is worked. Runbook left, signal and timeline right."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import ClassVar

from textual import on, work
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Horizontal, Vertical

from monitor.views import TimelineEntry
from tui.actions import bindings, key_row
from tui.lines import chart as chart_lines
from tui.lines import incident as lines
from tui.lines.face import OVER
from tui.lines.line import Line
from tui.messages import IncidentNews
from tui.screens.steps import StepCommands
from tui.widgets.chart import Chart
from tui.widgets.line_list import LineList
from tui.widgets.line_view import LineView
from tui.widgets.pane_title import PaneTitle
from tui.widgets.prompt_bar import Question

_KEYS = (
    "take", "choose", "note", "mitigate", "resolve", "verify", "ack", "escalate",
    "skip", "fail", "undo", "runbook", "severity", "copy", "pause",
)  # fmt: skip


class Incident(StepCommands):
    """One incident.

    Args:
        ref: its id.
    """

    NAME = "incident"
    BINDINGS: ClassVar[list[BindingType]] = [*bindings("incident")]

    def __init__(self, ref: str) -> None:
        super().__init__()
        self._ref = ref
        self._news: IncidentNews | None = None
        self._pane = 2
        self._words = ""

    @property
    def ref(self) -> str:
        return self._ref

    @property
    def news(self) -> IncidentNews | None:
        return self._news

    def compose(self) -> ComposeResult:
        yield LineView(id="head")
        yield LineView(id="tabs")
        with Horizontal(id="body"):
            with Vertical(id="side"):
                yield PaneTitle(id="others-title")
                yield LineList(id="others")
                yield PaneTitle(id="facets-title")
                yield LineView(id="facets")
            with Vertical(id="work"):
                yield PaneTitle(id="runbook-title")
                yield LineList(id="runbook")
                yield PaneTitle(id="detail-title")
                yield LineView(id="detail")
            with Vertical(id="watch"):
                yield PaneTitle(id="chart-title")
                yield Chart(id="chart")
                yield PaneTitle(id="timeline-title")
                yield LineList(id="timeline", tail=True)
        yield LineView(id="status")
        yield from self.compose_bottom()

    def on_mount(self) -> None:
        super().on_mount()
        self._go(2)

    # drawing -------------------------------------------------------------------------------------

    def show_news(self, news: IncidentNews) -> None:
        """New facts; cursors stay where they are."""
        if news.view.row.id != self._ref and self._news is not None:
            return
        first = self._news is None
        self._news, self._ref = news, news.view.row.id
        self.draw()
        if first:
            self.to_current()

    def draw(self) -> None:
        face = self.face
        self.query_one("#keys", LineView).show(
            lambda width, _h: [Line.of((key_row("incident", _KEYS, width), "dim"))]
        )
        self.show_pulse()
        self._draw_titles()
        news = self._news
        if news is None:
            return
        self.query_one("#facets", LineView).show(lambda w, _h: lines.facets(news.view, w, face))
        self.query_one("#others", LineList).show(
            lambda w: lines.others([row for row in news.rows if row.state not in OVER], w, face)
        )
        self.query_one("#chart", Chart).plot(news.chart, face, with_legend=self._pane == 3)
        shown = _matching(news.entries, self._words)
        self.query_one("#timeline", LineList).show(lambda w: lines.timeline(shown, w, face))

    def show_pulse(self) -> None:
        app, face, news = self.tocsin, self.face, self._news
        view = news.view if news is not None else None
        self.query_one("#head", LineView).show(
            lambda w, _h: [lines.header(view, app.overview, w, face, app.notes())]
        )
        self.query_one("#tabs", LineView).show(
            lambda w, _h: [lines.tabs(view, self._pane, w, face)]
        )
        if app.lost is not None:
            self.prompt.say(f"{app.lost.message} - trying again", "bad")
        if app.overview is None or news is None:
            return
        now = app.overview.now
        self.query_one("#status", LineView).show(
            lambda _w, _h: [lines.status(view, news.chart, now, face)]
        )
        self._draw_runbook(news, now)

    def _draw_runbook(self, news: IncidentNews, now: datetime) -> None:
        face, run = self.face, news.view.run
        pane = self.query_one("#runbook", LineList)
        if run is not None:
            pane.show(lambda w: lines.steps(run, now, w, face))
        else:
            pane.show(
                lambda w: lines.no_run(news.runbooks, face, w),
                empty=[Line.of((" no runbook is known: see `tocsin runbook list`", "dim"))],
            )
        self._draw_detail()

    def _draw_detail(self) -> None:
        face, news = self.face, self._news
        if news is None:
            return
        step = self.step_here
        title = self.query_one("#detail-title", PaneTitle)
        detail = self.query_one("#detail", LineView)
        if step is None:
            title.say("facts", face)
            detail.show(lambda w, _h: lines.facets(news.view, w, face))
        else:
            title.say(f"step {step.number} {step.state}", face)
            detail.show(lambda w, h: lines.detail(step, w, h, face))

    def _draw_titles(self) -> None:
        face, pane, news = self.face, self._pane, self._news
        run = news.view.run if news is not None else None
        entries = len(news.entries) if news is not None else 0
        chart = news.chart if news is not None else None
        say = {
            "others": ("1 incidents", 1, ""),
            "facets": ("facets", 0, ""),
            "runbook": (f"2 {lines.runbook_title(run, face)}", 2, ""),
            "chart": (f"3 {chart_lines.title(chart, face)}", 3, ""),
            "timeline": (f"4 timeline {face.zone}", 4, self._words or f"{entries}"),
        }
        for name, (text, number, right) in say.items():
            title = self.query_one(f"#{name}-title", PaneTitle)
            title.say(text, face, on=number == pane, right=face.say(right))

    # keys ----------------------------------------------------------------------------------------

    @on(LineList.Moved, "#runbook")
    def _moved(self) -> None:
        self._draw_detail()

    @on(LineList.Chosen, "#runbook")
    def _chosen(self, event: LineList.Chosen) -> None:
        self.choose(event.key)

    @on(LineList.Chosen, "#others")
    def _other(self, event: LineList.Chosen) -> None:
        if event.key and event.key != self._ref:
            self.tocsin.open_incident(event.key)
        else:
            self._go(2)

    def action_choose(self) -> None:
        self.choose(self.query_one("#runbook", LineList).key)

    def _go(self, pane: int) -> None:
        for number in range(1, 5):
            self.set_class(number == pane, f"-pane-{number}")
        self._pane = pane
        target = {1: "#others", 2: "#runbook", 4: "#timeline"}.get(pane)
        if target is not None:
            self.query_one(target, LineList).focus()
        else:
            self.set_focus(None)
        self.draw()

    def action_pane_1(self) -> None:
        self._go(1)

    def action_pane_2(self) -> None:
        self._go(2)

    def action_pane_3(self) -> None:
        self._go(3)

    def action_pane_4(self) -> None:
        self._go(4)

    def action_next_pane(self) -> None:
        self._go(self._pane % 4 + 1)

    def action_zoom(self) -> None:
        self.toggle_class("-zoom")

    @work(group="ask", exclusive=True)
    async def action_filter(self) -> None:
        answer = await self.ask(Question("timeline:", initial=self._words, live=self._narrow))
        self._narrow(answer or "")

    def _narrow(self, words: str) -> None:
        self._words = words
        self.draw()

    def action_back(self) -> None:
        if self.has_class("-zoom"):
            self.remove_class("-zoom")
        elif self._words:
            self._narrow("")
        elif self._pane != 2:
            self._go(2)
        else:
            self.app.pop_screen()

    def action_quit(self) -> None:
        self.app.pop_screen()


def _matching(entries: Sequence[TimelineEntry], words: str) -> Sequence[TimelineEntry]:
    wanted = words.lower().split()
    if not wanted:
        return entries
    return [
        entry
        for entry in entries
        if all(word in f"{entry.kind} {entry.actor} {entry.text}".lower() for word in wanted)
    ]
