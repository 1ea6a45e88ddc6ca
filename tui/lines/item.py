"""Things in a list: an identity that survives updates, and the lines that show it."""

from __future__ import annotations

from dataclasses import dataclass

from tui.lines.line import Line


@dataclass(frozen=True, slots=True)
class Item:
    """One thing a cursor can stand on."""

    key: str
    """Who it is: the cursor stays on the key when lines move."""
    lines: tuple[Line, ...]
    copy: str = ""
    """What `y` copies; safe text."""
