"""A list of items made of lines, with a cursor that only the person moves.

Textual's own lists redraw whole panes and take text as markup. This one keeps `Line`s, refreshes
only the rows that changed, and holds on to the item under the cursor by its key when live data
inserts, removes or lengthens others.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

from textual import events
from textual.binding import Binding, BindingType
from textual.geometry import Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip

from tui.lines.item import Item
from tui.lines.line import Line
from tui.widgets.paint import COMPONENTS, strip

DrawItems = Callable[[int], Sequence[Item]]
"""Width in, items out."""

_BLANK = Line()


@dataclass(frozen=True, slots=True)
class _Row:
    line: Line
    item: int
    first: bool


def _no_items(_width: int) -> Sequence[Item]:
    return ()


class LineList(ScrollView, can_focus=True):
    """Items under a cursor.

    Args:
        tail: keep the newest in view while the view stands at the end.
        glyph: drawn before the item under the cursor.
    """

    COMPONENT_CLASSES: ClassVar[set[str]] = COMPONENTS

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("down,j", "down", "down", id="list.down", show=False),
        Binding("up,k", "up", "up", id="list.up", show=False),
        Binding("pagedown", "page(1)", "page down", id="list.page_down", show=False),
        Binding("pageup", "page(-1)", "page up", id="list.page_up", show=False),
        Binding("home,g", "first", "first", id="list.first", show=False),
        Binding("end,G", "last", "last", id="list.last", show=False),
        Binding("enter", "choose", "choose", id="list.choose", show=False),
    ]

    @dataclass
    class Moved(Message):
        """A person moved the cursor."""

        list: LineList

        @property
        def control(self) -> LineList:
            return self.list

    @dataclass
    class Chosen(Message):
        """A person pressed Enter on an item, or on the empty list."""

        list: LineList
        key: str

        @property
        def control(self) -> LineList:
            return self.list

    def __init__(self, *, id: str | None = None, tail: bool = False) -> None:  # noqa: A002 -- the parent's name
        super().__init__(id=id)
        self._draw: DrawItems = _no_items
        self._items: list[Item] = []
        self._rows: list[_Row] = []
        self._at = 0
        self._tail = tail
        self._empty: Sequence[Line] = ()
        self.glyph = ">"
        self.more = "~"

    # what is in it -------------------------------------------------------------------------------

    @property
    def items(self) -> Sequence[Item]:
        return tuple(self._items)

    @property
    def at(self) -> int:
        """The number of the item under the cursor."""
        return self._at

    @property
    def key(self) -> str:
        """The key of the item under the cursor; empty when there is none."""
        return self._items[self._at].key if self._items else ""

    @property
    def text(self) -> str:
        """All lines, as plain text."""
        if not self._rows:
            return "\n".join(line.text.rstrip() for line in self._empty)
        return "\n".join(row.line.text.rstrip() for row in self._rows)

    def show(self, draw: DrawItems, *, empty: Sequence[Line] = ()) -> None:
        """Show the items of `draw`, now and at each change of width; `empty` for none."""
        self._draw = draw
        if empty != self._empty and not self._items:
            self.refresh()
        self._empty = empty
        self._redraw()

    def go(self, key: str) -> None:
        """Put the cursor on `key`, where a person's command sends it."""
        for index, item in enumerate(self._items):
            if item.key == key:
                self._move(index)
                return

    def _redraw(self) -> None:
        width = self.size.width
        if not width:
            return
        at_end = self.scroll_offset.y >= self.max_scroll_y and self._at >= len(self._items) - 1
        old_rows, old_key, old_top = self._rows, self.key, self._top(self._at)
        self._items = list(self._draw(width - 1))
        self._rows = [
            _Row(line, index, number == 0)
            for index, item in enumerate(self._items)
            for number, line in enumerate(item.lines)
        ]
        keys = [item.key for item in self._items]
        last = max(0, len(keys) - 1)
        follow = self._tail and at_end
        self._at = (
            last if follow else keys.index(old_key) if old_key in keys else min(self._at, last)
        )
        self.virtual_size = Size(width, len(self._rows))
        if follow:
            self._scroll(len(self._rows))
        elif old_rows and old_key in keys and (moved := self._top(self._at) - old_top):
            self._scroll(max(0, self.scroll_offset.y + moved))
        if bool(old_rows) != bool(self._rows):
            self.refresh()
            return
        for y in range(max(len(old_rows), len(self._rows))):
            if y >= len(old_rows) or y >= len(self._rows) or old_rows[y] != self._rows[y]:
                self.refresh_line(y)
        if old_key != self.key:
            self._refresh_item(self._at)

    def _top(self, index: int) -> int:
        return sum(len(item.lines) for item in self._items[:index])

    # drawing -------------------------------------------------------------------------------------

    def render_line(self, y: int) -> Strip:
        width = self.size.width
        number = y + self.scroll_offset.y
        if not self._rows:
            line = self._empty[number] if number < len(self._empty) else _BLANK
            return strip(self, line, width, more=self.more)
        if number >= len(self._rows):
            return strip(self, _BLANK, width, more=self.more)
        row = self._rows[number]
        on = row.item == self._at
        lead = Line.of((self.glyph if on and row.first else " ", "bold"))
        line = lead + row.line
        return strip(self, line, width, more=self.more, reverse=on and row.first and self.has_focus)

    def _refresh_item(self, index: int) -> None:
        if index < len(self._items):
            top = self._top(index)
            for y in range(top, top + len(self._items[index].lines)):
                self.refresh_line(y)

    def on_resize(self, _event: events.Resize) -> None:
        self._redraw()
        self._into_view()

    def on_focus(self) -> None:
        self._refresh_item(self._at)

    def on_blur(self) -> None:
        self._refresh_item(self._at)

    # moving --------------------------------------------------------------------------------------

    def _move(self, index: int) -> None:
        index = max(0, min(index, len(self._items) - 1))
        if index == self._at or not self._items:
            return
        old, self._at = self._at, index
        self._refresh_item(old)
        self._refresh_item(index)
        self._into_view()
        self.post_message(self.Moved(self))

    def _into_view(self) -> None:
        if not self._items:
            return
        top, height = self._top(self._at), self.size.height
        bottom = top + len(self._items[self._at].lines)
        start = self.scroll_offset.y
        if top < start:
            self._scroll(top)
        elif bottom > start + height:
            self._scroll(min(top, bottom - height))

    def _scroll(self, y: float) -> None:
        # Forced: without a scroll bar Textual takes a pane for one that does not scroll.
        self.scroll_to(y=y, animate=False, immediate=True, force=True)

    def action_down(self) -> None:
        self._move(self._at + 1)

    def action_up(self) -> None:
        self._move(self._at - 1)

    def action_page(self, way: int) -> None:
        self._move(self._at + way * max(1, self.size.height - 1))

    def action_first(self) -> None:
        self._move(0)

    def action_last(self) -> None:
        self._move(len(self._items) - 1)

    def action_choose(self) -> None:
        self.post_message(self.Chosen(self, self.key))
