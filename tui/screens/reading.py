"""A screen that is only read: messages, a runbook's text, help."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.screen import Screen

from tui.lines.face import Face
from tui.lines.item import Item
from tui.lines.line import Line
from tui.widgets.line_list import LineList
from tui.widgets.line_view import LineView


def text_lines(text: str, face: Face) -> list[Line]:
    """A text from outside, line by line."""
    return [Line.of(f" {face.say(line.expandtabs(4), limit=4000)}") for line in text.splitlines()]


class Reading(Screen[None]):
    """Lines to scroll through.

    Args:
        title: the first row.
        lines: what is read.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q,enter", "leave", "back", show=False, id="tocsin.leave")
    ]

    def __init__(self, title: str, lines: Sequence[Line]) -> None:
        super().__init__()
        self._title = title
        self._lines = lines

    def compose(self) -> ComposeResult:
        yield LineView(id="head")
        yield LineList(id="text")
        yield LineView(id="keys")

    def on_mount(self) -> None:
        self.query_one("#head", LineView).show(
            lambda _w, _h: [Line.of((f" {self._title}", "bold"))]
        )
        keys = " j k g G move   q back"
        self.query_one("#keys", LineView).show(lambda _w, _h: [Line.of((keys, "dim"))])
        pane = self.query_one("#text", LineList)
        pane.show(lambda _w: [Item(str(n), (line,)) for n, line in enumerate(self._lines)])
        pane.focus()

    def on_line_list_chosen(self) -> None:
        self.action_leave()

    def action_leave(self) -> None:
        self.dismiss()
