"""What every working screen has: the prompt bar, messages, commands to the desk, common keys."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, ClassVar, TypeVar

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.reactive import Reactive
from textual.screen import Screen
from textual.widget import Widget

from monitor.views import DeskError, Done
from tui.lines.line import Line, Role
from tui.widgets.line_list import LineList
from tui.widgets.line_view import LineView
from tui.widgets.prompt_bar import PromptBar, Question

if TYPE_CHECKING:
    from tui.app import TocsinApp
    from tui.lines.face import Face

T = TypeVar("T")

_WIDTHS = [(0, "-tiny"), (60, "-narrow"), (80, "-normal"), (100, "-wide"), (116, "-full")]
_HEIGHTS = [(0, "-low"), (20, "-usual"), (32, "-tall")]
"""From how many columns and rows a class is set on the screen; `app.tcss` says what it means."""


class DeskScreen(Screen[None]):
    """A screen over the desk. Subclasses compose panes above `compose_bottom`."""

    AUTO_FOCUS = None
    HORIZONTAL_BREAKPOINTS = _WIDTHS
    VERTICAL_BREAKPOINTS = _HEIGHTS
    focused: Reactive[Widget | None] = Reactive(None, repaint=False)
    """As the parent's, but a moved focus does not send the whole screen again (11 kB at 80x24)."""
    NAME: ClassVar[str] = ""
    BINDINGS: ClassVar[list[BindingType]] = []

    ready = False
    """Whether its panes are there: news may come before them."""

    # what is shared ------------------------------------------------------------------------------

    @property
    def tocsin(self) -> TocsinApp:
        """The application, by its own type."""
        from tui.app import TocsinApp

        assert isinstance(self.app, TocsinApp)
        return self.app

    @property
    def face(self) -> Face:
        return self.tocsin.face

    @property
    def prompt(self) -> PromptBar:
        return self.query_one(PromptBar)

    @property
    def ref(self) -> str:
        """The incident that commands are about; empty for none."""
        return ""

    def compose_bottom(self) -> ComposeResult:
        """The prompt bar, the key row, and what is shown instead of a screen too small."""
        app = self.tocsin
        yield PromptBar(self.face, app.drafts, clock=app.look.clock, id="prompt")
        yield LineView(id="keys")
        yield LineView(id="too-small")

    def on_mount(self) -> None:
        more, glyph = self.face.more, self.face.cursor
        self.set_class(self.face.ascii, "-ascii")
        for view in self.query(LineView):
            view.more = more
        for pane in self.query(LineList):
            pane.more, pane.glyph = more, glyph
        self.query_one("#too-small", LineView).show(self._too_small)
        self.ready = True
        self._come_up()

    def on_screen_resume(self) -> None:
        if self.ready:
            self._come_up()

    def _come_up(self) -> None:
        self.draw()
        self.tocsin.feed.want(self.ref if self.NAME == "incident" else "")

    def _too_small(self, width: int, _height: int) -> list[Line]:
        instead = f"tocsin inc watch {self.ref}" if self.ref else "tocsin inc list"
        size = f"{width}x{self.size.height}"
        return [
            Line.of((" Too small", "bold"), f" ({size}): 60x20 is needed."),
            Line.of(f" {instead}"),
            Line.of((" says the same in plain lines. q leaves.", "dim")),
        ]

    def draw(self) -> None:
        """Draw everything from what is known."""
        raise NotImplementedError

    def show_pulse(self) -> None:
        """Draw what changes with time alone."""
        raise NotImplementedError

    # telling and asking --------------------------------------------------------------------------

    def say(self, text: str, role: Role = "") -> None:
        """A message in the bar and in the log."""
        app = self.tocsin
        at = "" if app.overview is None else self.face.clock(app.overview.now)
        app.log_lines.append((at, text))
        self.prompt.say(text, role)

    def say_error(self, error: DeskError) -> None:
        """What the desk objected, and its hint."""
        hint = f" - {error.hint}" if error.hint else ""
        self.say(f"{error.code.replace('_', ' ')}: {error.message}{hint}", "warn")

    async def ask(self, question: Question) -> str | None:
        return await self.prompt.ask(question)

    async def fetch(self, call: Callable[[], T]) -> T | None:
        """The desk's answer to a question, asked off the screen's thread; None when refused."""
        try:
            return await asyncio.to_thread(call)
        except DeskError as error:
            self.say_error(error)
            return None

    async def do(self, call: Callable[[], Done]) -> Done | None:
        """Send a command and say what happened; None when it was refused."""
        if not self.may_change():
            return None
        done = await self.fetch(call)
        if done is not None:
            self.say(done.text, "ok")
            self.tocsin.feed.wake()
        return done

    def may_change(self) -> bool:
        """False, and said so, in read-only mode."""
        if self.tocsin.look.read_only:
            self.say("read-only: start without --read-only to change something", "warn")
            return False
        return True

    # common keys ---------------------------------------------------------------------------------

    def action_help(self) -> None:
        from tui.screens.help import Help

        self.app.push_screen(Help(self.NAME, self.ref))

    def action_palette(self) -> None:
        from tui.screens.palette import Palette

        def chosen(action: str | None) -> None:
            if action:
                self.call_later(self.run_action, action)

        self.app.push_screen(Palette(self.NAME, self.ref), chosen)

    def action_messages(self) -> None:
        from tui.screens.reading import Reading

        lines = [
            Line.of((f" {at:<9} ", "dim"), self.face.say(text, limit=1000))
            for at, text in reversed(self.tocsin.log_lines)
        ]
        self.app.push_screen(Reading("messages, newest first", lines or [Line.of(" none yet")]))

    def action_pause(self) -> None:
        app = self.tocsin
        app.paused = not app.paused
        app.feed.pause(on=app.paused)
        self.say("paused: p goes on" if app.paused else "live again")
        self.show_pulse()

    def action_clock(self) -> None:
        face = self.tocsin.turn_clock()
        self.say(f"times in {face.zone}")
        self.draw()

    def action_copy(self) -> None:
        focused = self.focused
        pane = focused if isinstance(focused, LineList) else None
        text = pane.items[pane.at].copy if pane is not None and pane.items else ""
        text = text or self.ref
        if not text:
            self.say("nothing to copy here")
            return
        self.app.copy_to_clipboard(text)
        self.say(f"copied, if your terminal allows: {text}")

    def action_back(self) -> None:
        """Subclasses go one level back."""

    def action_quit(self) -> None:
        self.action_back()
