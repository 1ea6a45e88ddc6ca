"""The palette: every action of a screen, found by typing, with the command that does the same."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.screen import Screen

from tui.actions import ACTIONS, Action
from tui.actions import Screen as Where
from tui.drafts import Drafts
from tui.lines.face import Face
from tui.lines.item import Item
from tui.lines.line import Line
from tui.widgets.line_list import LineList
from tui.widgets.line_view import LineView
from tui.widgets.prompt_bar import PromptBar, Question

if TYPE_CHECKING:
    from textual.events import Key


def found(words: str, where: Where) -> list[Action]:
    """The actions of `where` in which every typed word occurs."""
    wanted = words.lower().split()
    return [
        action
        for action in ACTIONS
        if action.on(where)
        and all(
            w in f"{action.id} {action.label} {action.help} {action.cli}".lower() for w in wanted
        )
    ]


class Palette(Screen[str]):
    """Type to find, Up and Down to choose, Enter to do.

    Args:
        screen: the screen whose actions are offered.
        ref: the incident that the commands name.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up,ctrl+p", "move(-1)", "up", show=False, priority=True, id="palette.up"),
        Binding("down,ctrl+n", "move(1)", "down", show=False, priority=True, id="palette.down"),
    ]

    def __init__(self, screen: str, ref: str, face: Face | None = None) -> None:
        super().__init__()
        self._where: Where = "incident" if screen == "incident" else "home"
        self._ref = ref
        self._face = face or Face()
        self._words = ""

    def compose(self) -> ComposeResult:
        yield LineView(id="head")
        yield LineList(id="text")
        yield PromptBar(self._face, Drafts(None), id="prompt")
        yield LineView(id="keys")

    def on_mount(self) -> None:
        self.query_one("#head", LineView).show(lambda _w, _h: [Line.of((" all actions", "bold"))])
        keys = " type to find  Up Down choose  Enter do  Esc back"
        self.query_one("#keys", LineView).show(lambda _w, _h: [Line.of((keys, "dim"))])
        self._narrow("")
        self._find()

    @work
    async def _find(self) -> None:
        prompt = self.query_one(PromptBar)
        answer = await prompt.ask(Question(":", live=self._narrow))
        chosen = self.query_one("#text", LineList).key
        self.dismiss(chosen if answer is not None and chosen else None)

    def _narrow(self, words: str) -> None:
        self._words = words
        self.query_one("#text", LineList).show(
            self._items, empty=[Line.of((" nothing of that name", "dim"))]
        )

    def _items(self, width: int) -> list[Item]:
        room = max(20, width // 2 - 4)
        return [
            Item(
                action.id,
                (
                    Line.of(
                        (f"{action.key:>5} ", "bold"),
                        self._face.cell(action.help, room),
                        (f" {action.cli.format(ref=self._ref or 'INC')}", "dim"),
                    ),
                ),
            )
            for action in found(self._words, self._where)
        ]

    def action_move(self, way: int) -> None:
        pane = self.query_one("#text", LineList)
        if way > 0:
            pane.action_down()
        else:
            pane.action_up()

    @on(LineList.Chosen)
    def _chosen(self, event: LineList.Chosen) -> None:
        self.dismiss(event.key or None)

    def key_escape(self, _event: Key) -> None:
        self.dismiss(None)
