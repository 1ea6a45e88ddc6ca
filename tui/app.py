"""The terminal application: a stateless view over a desk.

It owns what the screens share: the feed, the last overview, the messages so far, the face. What a
person does is a call to the desk; what comes back is shown; nothing else is kept here.
"""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace

from textual.app import App
from textual.css.query import NoMatches

from monitor.desk.port import DeskPort
from monitor.views import DeskError, IncidentRow, Overview
from tui import messages
from tui.drafts import Drafts
from tui.feed import Feed
from tui.lines.face import Face
from tui.screens.desk_screen import DeskScreen
from tui.screens.home import Home
from tui.screens.incident import Incident
from tui.themes import ANSI, NAMES, THEMES


@dataclass(frozen=True, slots=True)
class Look:
    """How the application shows itself."""

    face: Face = field(default_factory=Face)
    theme: str = "dark"
    color: bool = True
    """False, or `NO_COLOR` in the environment: the terminal's own two colours only."""
    read_only: bool = False
    fps: float = 2.0
    """Questions to the desk, and so redraws, a second; at most 2."""
    clock: Callable[[], float] = time.monotonic
    desk: str = ""
    """Name of a desk on another machine; every screen says it."""


class TocsinApp(App[None]):
    """The `tocsin open` application.

    Args:
        desk: whom to ask; called from several threads.
        look: see there.
        drafts: where typed texts are kept.
        ref: the incident to open; empty shows the list.
    """

    CSS_PATH = "app.tcss"
    TITLE = "tocsin"
    ENABLE_COMMAND_PALETTE = False

    def __init__(self, desk: DeskPort, *, look: Look, drafts: Drafts, ref: str = "") -> None:
        # Textual reads NO_COLOR while it is built, and only then makes the filter that keeps a
        # terminal's own colours; a theme set later shows black on black.
        if not look.color:
            os.environ["NO_COLOR"] = "1"
        plain = "NO_COLOR" in os.environ
        native = plain or look.theme == "ansi"
        super().__init__(ansi_color=True if native else None)
        self.desk = desk
        self.look = look
        self.face = look.face
        self.drafts = drafts
        self.start_ref = ref
        self.overview: Overview | None = None
        self.lost: DeskError | None = None
        self.paused = False
        self.rows: list[IncidentRow] = []
        self.log_lines: deque[tuple[str, str]] = deque(maxlen=500)
        self.animation_level = "none"
        for theme in THEMES:
            self.register_theme(theme)
        self.theme = "ansi-dark" if native else NAMES[look.theme]
        self.feed = Feed(desk, self.post_message, interval_s=1 / look.fps)

    def get_theme_variable_defaults(self) -> dict[str, str]:
        return dict(ANSI)

    def on_mount(self) -> None:
        self.push_screen(Home())
        if self.start_ref:
            self.push_screen(Incident(self.start_ref))
        self.feed.start()

    def on_unmount(self) -> None:
        self.feed.stop()

    # news ----------------------------------------------------------------------------------------

    def _tell(self, show: Callable[[DeskScreen], None]) -> None:
        if not self.screen_stack:  # news that came while the app was being closed
            return
        screen = self.screen
        if not isinstance(screen, DeskScreen) or not screen.ready:
            return
        with suppress(NoMatches):  # it is being taken down: its panes are gone before it is
            show(screen)

    def on_pulse(self, message: messages.Pulse) -> None:
        self.overview = message.overview
        found = self.lost is not None
        self.lost = None

        def show(screen: DeskScreen) -> None:
            if found:
                screen.say("the desk answers again", "ok")
            screen.show_pulse()

        self._tell(show)

    def on_lost(self, message: messages.Lost) -> None:
        self.lost = message.error
        self._tell(lambda screen: screen.show_pulse())

    def on_home_news(self, message: messages.HomeNews) -> None:
        self.rows = list(message.rows)
        self._tell(lambda screen: screen.show_news(message) if isinstance(screen, Home) else None)

    def on_incident_news(self, message: messages.IncidentNews) -> None:
        self.rows = list(message.rows)
        self._tell(
            lambda screen: screen.show_news(message) if isinstance(screen, Incident) else None
        )

    # shared by the screens -----------------------------------------------------------------------

    def open_incident(self, ref: str) -> None:
        """Show `ref`; over the list, or instead of the incident that is open."""
        if isinstance(self.screen, Incident):
            self.switch_screen(Incident(ref))
        else:
            self.push_screen(Incident(ref))

    def turn_clock(self) -> Face:
        """UTC to local time, or back."""
        self.face = replace(self.face, local=not self.face.local)
        return self.face

    def notes(self) -> list[str]:
        """The modes that a header must say."""
        made = [f"ON {self.face.say(self.look.desk)}"] if self.look.desk else []
        if self.lost is not None:
            made.append("DESK LOST")
        if self.paused:
            made.append("PAUSED")
        if self.look.read_only:
            made.append("READ-ONLY")
        return made
