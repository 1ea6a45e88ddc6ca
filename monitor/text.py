"""The one door for text from outside.

Every string that an event, a person, a command or another system gave us is hostile until the sink
that shows it has encoded it. `vis` makes the invisible visible and the dangerous inert; the other
functions encode for one sink each and call `vis` first. Nothing else in the project builds text for
a terminal, Slack, Markdown or a log from outside strings.
"""

from __future__ import annotations

import html
import unicodedata

_HIDDEN = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
_MARKS = frozenset({"Mn", "Me"})
_MAX_MARKS = 3
"""Combining marks kept after one base character; more is a wall of ink, not a word."""


def _escape(character: str) -> str:
    point = ord(character)
    if point <= 0xFF:
        return f"\\x{point:02x}"
    return f"\\u{point:04x}" if point <= 0xFFFF else f"\\U{point:08x}"


def vis(text: str, *, limit: int | None = None, newlines: bool = False) -> str:
    r"""`text` with every control, format, surrogate and unassigned character made visible.

    Args:
        text: anything.
        limit: the most characters to keep; what is cut is said (`...[cut 12]`).
        newlines: keep line feeds as they are (for a multi-line pane).

    >>> vis("a\x1b]52;c;x\x07b")
    'a\\x1b]52;c;x\\x07b'
    """
    cut = ""
    if limit is not None and len(text) > limit:
        cut = f"...[cut {len(text) - limit}]"
        text = text[:limit]
    if text.isascii() and text.isprintable():
        return text + cut
    out: list[str] = []
    marks = 0
    for character in text:
        category = unicodedata.category(character)
        if category in _MARKS:
            marks += 1
            if marks > _MAX_MARKS:
                continue
        else:
            marks = 0
        if category in _HIDDEN and not (newlines and character == "\n"):
            out.append(_escape(character))
        else:
            out.append(character)
    return "".join(out) + cut


def utf8(text: str) -> str:
    r"""`text` with lone surrogates, which UTF-8 has no bytes for, made visible.

    A shell hands over what was typed in another encoding as such.

    >>> utf8("caf\udce9")
    'caf\\udce9'
    """
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()


def slack(text: str, *, limit: int = 2900) -> str:
    """`text` for Slack's mrkdwn: `& < >` escaped, so that data makes no mention and no link."""
    safe = vis(text, limit=limit, newlines=True)
    return safe.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


_MARKDOWN = str.maketrans({c: f"\\{c}" for c in "\\`*_{}[]<>#!|~&@"})


def markdown(text: str, *, limit: int | None = None) -> str:
    """`text` for a line of Markdown: no link, image, HTML, cell break or emphasis survives."""
    safe = vis(text, limit=limit).translate(_MARKDOWN)
    return safe.replace("://", ":\\/\\/").replace("www.", "www\\.")


def html_text(text: str, *, limit: int | None = None) -> str:
    """`text` for HTML or SVG character data and attribute values."""
    return html.escape(vis(text, limit=limit), quote=True)
