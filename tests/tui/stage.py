"""A stage for the terminal application: started at a size, read as text, driven by keys."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from textual.pilot import Pilot

from tests.tui.story_desk import StoryDesk
from tui.app import Look, TocsinApp
from tui.drafts import Drafts
from tui.lines.face import Face
from tui.widgets.line_list import LineList
from tui.widgets.prompt_bar import PromptBar

SMALL, WIDE, NARROW = (80, 24), (120, 40), (60, 20)


class Stage:
    """One running application."""

    def __init__(self, app: TocsinApp, pilot: Pilot[None], desk: StoryDesk) -> None:
        self.app = app
        self.pilot = pilot
        self.desk = desk
        self.seconds = 1000.0

    @property
    def rows(self) -> list[str]:
        """What is on the screen, row by row."""
        strips = self.app.screen._compositor.render_strips()
        return ["".join(segment.text for segment in strip).rstrip() for strip in strips]

    @property
    def text(self) -> str:
        return "\n".join(self.rows)

    @property
    def prompt(self) -> PromptBar:
        return self.app.screen.query_one(PromptBar)

    def pane(self, name: str) -> LineList:
        return self.app.screen.query_one(f"#{name}", LineList)

    async def until(self, true: Callable[[], bool], *, what: str = "") -> None:
        """Wait until something holds; fail with the screen when it does not in five seconds."""
        deadline = time.monotonic() + 5
        while not true():
            if time.monotonic() > deadline:
                raise AssertionError(f"never: {what}\n{self.text}")
            await asyncio.sleep(0.01)
            await self.pilot.pause()

    async def sees(self, words: str) -> None:
        """Wait until `words` are on the screen."""
        await self.until(lambda: words in self.text, what=f"{words!r} on the screen")

    async def did(self, command: str) -> dict[str, object]:
        """Wait until the desk was asked for `command`; its arguments."""
        await self.until(lambda: any(name == command for name, _ in self.desk.log), what=command)
        return next(arguments for name, arguments in reversed(self.desk.log) if name == command)

    async def press(self, *keys: str) -> None:
        await self.pilot.press(*keys)

    async def type(self, text: str) -> None:
        """Keys for each character of `text`, when the bar asks, past its guard time."""
        await self.until(lambda: self.prompt.asking, what="a question")
        self.seconds += 1
        await self.pilot.press(*("space" if c == " " else c for c in text))

    async def answer(self, text: str) -> None:
        await self.type(text)
        await self.pilot.press("enter")


@asynccontextmanager
async def stage(
    desk: StoryDesk | None = None,
    *,
    size: tuple[int, int] = SMALL,
    ref: str = "INC-0142",
    face: Face | None = None,
    read_only: bool = False,
    drafts: Drafts | None = None,
) -> AsyncIterator[Stage]:
    """An application on a story, ready when its first facts are there."""
    story = desk or StoryDesk()
    made: list[Stage] = []
    look = Look(
        face=face or Face(),
        read_only=read_only,
        clock=lambda: made[0].seconds if made else 0.0,
    )
    app = TocsinApp(story, look=look, drafts=drafts or Drafts(None), ref=ref)
    async with app.run_test(size=size) as pilot:
        here = Stage(app, pilot, story)
        made.append(here)
        if not story.lost and size[0] >= 60 and size[1] >= 20:
            await here.until(lambda: "INC-0142" in here.text, what="the first facts")
        yield here
