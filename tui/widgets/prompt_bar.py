"""The one row at the bottom where a person is told things and asked things.

Every note, reason and confirmation is typed here: no dialogs, which cost a whole repaint over a
slow link. What was typed is kept when a question is left with Esc.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import ClassVar

from textual import events
from textual.geometry import Region
from textual.strip import Strip
from textual.widget import Widget

from tui.drafts import Drafts
from tui.lines.face import Face
from tui.lines.line import Line, Role, Span, cells
from tui.widgets.paint import COMPONENTS, strip

GUARD_S = 0.3
"""Keys within this time of a dangerous question opening are not an answer to it."""

_MAX_TEXT = 4000


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked in the bar.

    `keys` asks for one key and no Enter; otherwise a line of text is typed, which `check` may
    object to in words (an empty objection is none).
    """

    label: str
    initial: str = ""
    draft: str = ""
    """Key under which the text is kept when it is left with Esc; empty: not kept."""
    keys: Mapping[str, str] = field(default_factory=dict)
    check: Callable[[str], str] | None = None
    guarded: bool = False
    live: Callable[[str], None] | None = None
    """Told of every change, for filters."""


def _word_back(text: str, at: int) -> tuple[str, int]:
    head = text[:at].rstrip().rpartition(" ")
    kept = head[0] + head[1]
    return kept + text[at:], len(kept)


_EDITS: Mapping[str, Callable[[str, int], tuple[str, int]]] = {
    "backspace": lambda text, at: (text[: max(0, at - 1)] + text[at:], max(0, at - 1)),
    "delete": lambda text, at: (text[:at] + text[at + 1 :], at),
    "left": lambda text, at: (text, max(0, at - 1)),
    "right": lambda text, at: (text, min(len(text), at + 1)),
    "home": lambda text, _at: (text, 0),
    "ctrl+a": lambda text, _at: (text, 0),
    "end": lambda text, _at: (text, len(text)),
    "ctrl+e": lambda text, _at: (text, len(text)),
    "ctrl+u": lambda text, at: (text[at:], 0),
    "ctrl+k": lambda text, at: (text[:at], at),
    "ctrl+w": _word_back,
}
"""Editing keys: text and cursor before, text and cursor after."""


class PromptBar(Widget, can_focus=False):
    """Messages while idle; asks one question at a time, and has the keys only then.

    Args:
        face: how it draws.
        drafts: where texts are kept.
        clock: monotonic seconds.
    """

    COMPONENT_CLASSES: ClassVar[set[str]] = COMPONENTS

    def __init__(
        self,
        face: Face,
        drafts: Drafts,
        *,
        clock: Callable[[], float] = time.monotonic,
        id: str | None = None,  # noqa: A002 -- the parent's name
    ) -> None:
        super().__init__(id=id)
        self._face = face
        self._drafts = drafts
        self._clock = clock
        self._question: Question | None = None
        self._answer: asyncio.Future[str | None] | None = None
        self._opened = 0.0
        self._typed = ""
        self._cursor = 0
        self._complaint = ""
        self._message = Line()
        self._back: Widget | None = None

    # idle ----------------------------------------------------------------------------------------

    @property
    def asking(self) -> bool:
        return self._question is not None

    @property
    def text(self) -> str:
        """What is shown, as plain text."""
        return self._line(200).text.rstrip()

    def say(self, text: str, role: Role = "") -> None:
        """Show a message until the next one; a question hides it meanwhile."""
        self._message = Line.of((f" {self._face.say(text, limit=1000)}", role))
        self._repaint()

    # asking --------------------------------------------------------------------------------------

    async def ask(self, question: Question) -> str | None:
        """The answer, or None when the person pressed Esc or asked for something else."""
        self._finish(None)
        self._question = question
        self._typed = question.initial or (
            self._drafts.get(question.draft) if question.draft else ""
        )
        self._cursor = len(self._typed)
        self._complaint = ""
        self._opened = self._clock()
        answer: asyncio.Future[str | None] = asyncio.get_running_loop().create_future()
        self._answer = answer
        # At once, not by `focus()`, which waits its turn: the next question may come before it.
        self._back = self.screen.focused
        self.can_focus = True
        self.screen.set_focus(self)
        self._repaint()
        try:
            return await answer
        finally:
            if self._answer is answer:
                self._finish(None)

    def cancel(self) -> None:
        """Leave the question; its draft stays."""
        self._finish(None)

    def _finish(self, value: str | None) -> None:
        question, answer = self._question, self._answer
        if question is None or answer is None:
            return
        if question.draft:
            self._drafts.keep(question.draft, "" if value is not None else self._typed)
        self._question = self._answer = None
        if not answer.done():
            answer.set_result(value)
        if self.screen.focused is self:
            back = self._back
            self.screen.set_focus(back if back is not None and back.is_attached else None)
        self.can_focus = False
        self._back = None
        self._repaint()

    # keys ----------------------------------------------------------------------------------------

    def on_key(self, event: events.Key) -> None:
        if self._question is None:
            return
        event.stop()
        event.prevent_default()
        if event.key == "escape":
            self._finish(None)
            return
        if self._question.guarded and self._clock() - self._opened < GUARD_S:
            return
        if self._question.keys:
            self._one_key(self._question, event)
        elif event.key == "enter":
            self._enter(self._question)
        else:
            self._edit(event)

    def _one_key(self, question: Question, event: events.Key) -> None:
        value = question.keys.get(event.character or "")
        if value is not None:
            self._finish(value)
            return
        self._complaint = f"{' or '.join(question.keys)}; Esc cancels"
        self._repaint()

    def _enter(self, question: Question) -> None:
        text = self._typed.strip()
        complaint = question.check(text) if question.check is not None else ""
        if complaint:
            self._complaint = complaint
            self._repaint()
        else:
            self._finish(text)

    def _edit(self, event: events.Key) -> None:
        text, at = self._typed, self._cursor
        change = _EDITS.get(event.key)
        if change is not None:
            text, at = change(text, at)
        elif event.is_printable and event.character is not None:
            text, at = text[:at] + event.character + text[at:], at + 1
        else:
            return
        self._set(text[:_MAX_TEXT], at)

    def on_paste(self, event: events.Paste) -> None:
        event.stop()
        if self._question is None or self._question.keys or self._question.guarded:
            return  # a confirmation is typed, never pasted
        pasted = " ".join(event.text.split())
        text, at = self._typed, self._cursor
        self._set((text[:at] + pasted + text[at:])[:_MAX_TEXT], at + len(pasted))

    def _set(self, text: str, cursor: int) -> None:
        changed = text != self._typed
        self._typed, self._cursor = text, min(cursor, len(text))
        self._complaint = ""
        question = self._question
        if changed and question is not None:
            if question.draft:
                self._drafts.keep(question.draft, text)
            if question.live is not None:
                question.live(text)
        self._repaint()

    def on_blur(self) -> None:
        # Between two questions the focus leaves and comes back before this is heard of.
        if self.screen.focused is not self:
            self._finish(None)

    # drawing -------------------------------------------------------------------------------------

    def _line(self, width: int) -> Line:
        question = self._question
        if question is None:
            return self._message
        face = self._face
        label = face.say(question.label, limit=1000)
        objection: tuple[str, Role] = ("", "")
        if self._complaint:
            objection = (f"{face.say(self._complaint)}{face.bar}", "warn")
        if question.keys:
            return Line.of(("> ", "accent"), objection, (label, "bold"))
        before = face.say(self._typed[: self._cursor], limit=None)
        under = face.say(self._typed[self._cursor : self._cursor + 1] or " ")
        after = face.say(self._typed[self._cursor + 1 :], limit=None)
        # Half the row is the question's at least, what is typed scrolls in the rest.
        room = max(width // 2, width - cells(before + under + after) - 5)
        label = face.short(label, max(8, room - cells(objection[0])))
        left = width - cells(objection[0] + label) - 4
        while cells(before) > max(1, left - cells(under)):
            before = before[1:]
        spans = (Span(before), Span(under, "reverse"), Span(after))
        return Line.of(("> ", "accent"), objection, (label, "bold"), " ") + Line(spans)

    def render_line(self, y: int) -> Strip:
        width = self.size.width
        line = self._line(width) if y == 0 else Line()
        return strip(self, line, width, more=self._face.more)

    def _repaint(self) -> None:
        if self.is_attached:
            self.refresh(Region(0, 0, self.size.width, 1))
