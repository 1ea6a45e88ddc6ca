"""A line of styled text that cannot carry control characters.

Everything shown to a person, on the screen or by a command, is a `Line`. A `Span` sends its text
through `vis` when it is made, so no code path can forget to.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from monitor.text import vis

Role = Literal["", "dim", "bold", "ok", "warn", "bad", "accent", "reverse"]
"""How a span is drawn; the theme says in which colour. Never the only sign of a state."""


def cells(text: str) -> int:
    """The columns `text` takes in a terminal."""
    if text.isascii():
        return len(text)
    from rich.cells import cell_len

    return cell_len(text)


def cut(text: str, width: int, more: str = "~") -> str:
    """`text` in at most `width` columns; a cut one ends in `more`."""
    if width <= 0:
        return ""
    if cells(text) <= width:
        return text
    room = max(0, width - cells(more))
    if text.isascii():
        return text[:room] + more[:width]
    kept: list[str] = []
    used = 0
    for character in text:
        size = cells(character)
        if used + size > room:
            break
        kept.append(character)
        used += size
    return "".join(kept) + more[:width]


def pad(text: str, width: int, more: str = "~") -> str:
    """`text` in exactly `width` columns."""
    short = cut(text, width, more)
    return short + " " * (width - cells(short))


def wrap(text: str, width: int) -> list[str]:
    """`text` over lines of at most `width` columns, broken at spaces where there are any."""
    width = max(1, width)
    out: list[str] = []
    line = ""
    for word in text.split(" "):
        rest = word
        if line and cells(line) + 1 + cells(rest) <= width:
            line = f"{line} {rest}"
            continue
        if line:
            out.append(line)
        while cells(rest) > width:
            head = cut(rest, width, "") or rest[0]
            out.append(head)
            rest = rest[len(head) :]
        line = rest
    out.append(line)
    return out


@dataclass(frozen=True, slots=True)
class Span:
    """A piece of a line; its text is safe for a terminal from the moment it exists."""

    text: str
    role: Role = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "text", vis(self.text))


@dataclass(frozen=True, slots=True)
class Line:
    """One line of spans, side by side."""

    spans: tuple[Span, ...] = ()

    @classmethod
    def of(cls, *parts: str | tuple[str, Role]) -> Line:
        """A line from plain strings and (text, role) pairs."""
        made = (Span(part) if isinstance(part, str) else Span(*part) for part in parts)
        return cls(tuple(span for span in made if span.text))

    @property
    def text(self) -> str:
        return "".join(span.text for span in self.spans)

    @property
    def width(self) -> int:
        return sum(cells(span.text) for span in self.spans)

    def __add__(self, other: Line) -> Line:
        return Line(self.spans + other.spans)

    def fit(self, width: int, more: str = "~") -> Line:
        """The line in exactly `width` columns, cut or padded."""
        have = self.width
        if have <= width:
            return self if have == width else Line((*self.spans, Span(" " * (width - have))))
        out: list[Span] = []
        room = width
        for span in self.spans:
            size = cells(span.text)
            if size < room or (size == room and span is self.spans[-1]):
                out.append(span)
                room -= size
                continue
            out.append(Span(pad(span.text + "  ", room, more), span.role))
            break
        return Line(tuple(out))

    def role(self, role: Role) -> Line:
        """The same text, all in one role."""
        return Line((Span(self.text, role),))


def sides(left: Line, right: Line, width: int, more: str = "~") -> Line:
    """`left` and `right` at the two ends of `width` columns; the right one is cut last."""
    room = width - right.width
    if room < 1:
        return right.fit(width, more)
    return left.fit(room, more) + right


def plain(lines: Iterable[Line]) -> Iterator[str]:
    """The text of each line, without the blanks at its end."""
    return (line.text.rstrip() for line in lines)
