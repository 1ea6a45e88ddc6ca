"""What is wrong with a file a person wrote: where, what and how to mend it.

A person who edits YAML at three in the morning wants every mistake at once, each with its place,
not the first one and then the next. So checks build `Problem` values and `Problems` carries them
all. Text in a problem may quote the file; it is made visible here, because a problem is printed on
a terminal and a file is no more to be trusted than an event.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

_HIDDEN = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
_LONGEST = 400
"""Characters kept of one quoted text; a file can hold a line of 200 kB."""


def visible(text: str, *, limit: int = _LONGEST) -> str:
    r"""`text` on one line with control, format and surrogate characters shown as escapes.

    >>> visible("a\x1b[2Jb")
    'a\\x1b[2Jb'
    """
    cut = ""
    if len(text) > limit:
        cut = f"...[cut {len(text) - limit}]"
        text = text[:limit]
    if text.isascii() and text.isprintable():
        return text + cut
    return "".join(map(_shown, text)) + cut


def _shown(character: str) -> str:
    if unicodedata.category(character) not in _HIDDEN:
        return character
    point = ord(character)
    if point <= 0xFF:
        return f"\\x{point:02x}"
    return f"\\u{point:04x}" if point <= 0xFFFF else f"\\U{point:08x}"


class Severity(StrEnum):
    """Whether a problem stops the file from being used."""

    ERROR = "error"
    """The file is refused."""
    WARNING = "warning"
    """The file works; somebody should look."""


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """One thing wrong at one place of a file."""

    file: str
    """The name to print; not necessarily a path."""
    line: int
    """From 1; 0 when the file as a whole is meant."""
    col: int
    """From 1; 0 when the line as a whole is meant."""
    code: str
    """Short and stable, for a person to search and a test to compare: `duplicate-key`."""
    text: str
    """What is wrong, in words."""
    hint: str = ""
    """How to mend it; empty when the text says so already."""
    severity: Severity = Severity.ERROR

    def __str__(self) -> str:
        head = f"{visible(self.file)}:{self.line}:{self.col}: {self.severity}[{self.code}]: "
        body = head + visible(self.text)
        return f"{body}\n  hint: {visible(self.hint)}" if self.hint else body


class Problems(Exception):
    """A file that is refused, with everything that is wrong with it, in the order of the file."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems: tuple[Problem, ...] = tuple(sorted(set(problems)))
        super().__init__(self.problems)

    def __str__(self) -> str:
        return "\n".join(str(problem) for problem in self.problems)


def summary(problems: Iterable[Problem]) -> str:
    """`2 errors, 1 warning`: the last line of a check."""
    kinds = [problem.severity for problem in problems]
    errors, warnings = kinds.count(Severity.ERROR), kinds.count(Severity.WARNING)
    return f"{_count(errors, 'error')}, {_count(warnings, 'warning')}"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
