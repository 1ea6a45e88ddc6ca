"""What a command writes: data on standard output, messages on standard error, and how it ends.

Text goes through `Line`, JSON through `to_json`: no byte of either can steer a terminal.
"""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from monitor.views import DeskError
from tui.cli.flags import Flags
from tui.lines.face import Face
from tui.lines.line import Line, Role, cells, cut

EXIT_CODES = {"refused": 5, "forbidden": 5, "not_found": 4, "invalid": 2, "unavailable": 6}
"""Exit status of each code of a `DeskError`; any other code is 1."""

OK, FAILED, USAGE, PROBLEMS, NOT_FOUND, REFUSED, UNREACHABLE, NEEDS_TERMINAL = range(8)
INTERRUPTED = 130

_SGR: dict[Role, str] = {
    "": "",
    "dim": "2",
    "bold": "1",
    "ok": "32",
    "warn": "33",
    "bad": "1;31",
    "accent": "36",
    "reverse": "7",
}

_HIDDEN = re.compile(
    "[\x7f-\x9f\xad\u0600-\u0605\u061c\u06dd\u070f\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f"
    "\ue000-\uf8ff\ufeff\ufff9-\uffff\U000e0000-\U0010ffff]"
)
"""Controls that JSON leaves alone: DEL, C1, format, separator, private-use and tag characters."""


class ExitError(Exception):
    """A command ends with something else than success, in words.

    Args:
        status: the exit status.
        code: one word for programs.
        message: what is wrong.
        hint: what to do about it.
    """

    def __init__(self, status: int, code: str, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.hint = hint

    @classmethod
    def of(cls, error: DeskError) -> ExitError:
        """The end of a command that the desk did not answer."""
        status = EXIT_CODES.get(error.code, FAILED)
        return cls(status, error.code, error.message, error.hint)


def _escape(match: re.Match[str]) -> str:
    units = match.group().encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[i]:02x}{units[i + 1]:02x}" for i in range(0, len(units), 2))


def plain_json(value: Any) -> str:
    """`value` as JSON on one line, safe for a terminal."""
    return _HIDDEN.sub(_escape, msgspec.json.encode(value).decode())


def to_json(schema: str, data: Any) -> str:
    """`{"schema": "tocsin.<schema>/1", "data": ...}` on one line, safe for a terminal."""
    return plain_json({"schema": f"tocsin.{schema}/1", "data": data})


def error_json(error: ExitError) -> str:
    """`{"schema": "tocsin.error/1", "error": {...}}` on one line, safe for a terminal."""
    fault = {"code": error.code, "message": error.message, "hint": error.hint}
    return plain_json({"schema": "tocsin.error/1", "error": fault})


def paint(line: Line, *, color: bool) -> str:
    """The line as text for standard output."""
    text = line.text.rstrip()
    if not color:
        return text
    out = []
    for span in line.spans:
        code = _SGR[span.role]
        out.append(f"\x1b[{code}m{span.text}\x1b[0m" if code else span.text)
    return "".join(out).rstrip()


def write(text: str) -> None:
    """One line of data on standard output."""
    sys.stdout.write(text + "\n")


def show(lines: Iterable[Line], flags: Flags) -> None:
    """Lines of data on standard output."""
    for line in lines:
        write(paint(line, color=flags.color))


def tell(message: str, flags: Flags) -> None:
    """A message on standard error, unless `--quiet`."""
    if not flags.quiet:
        sys.stderr.write(flags.face.say(message, limit=2000) + "\n")


def fail(error: ExitError, flags: Flags) -> int:
    """Say how a command ended; the exit status."""
    if flags.output == "json":
        write(error_json(error))
    else:
        face = flags.face
        sys.stderr.write(f"tocsin: {face.say(error.message, limit=2000)}\n")
        if error.hint:
            sys.stderr.write(f"  hint: {face.say(error.hint, limit=2000)}\n")
    return error.status


Cell = str | tuple[str, Role]

LEAST = 12
"""Columns that a clipped column keeps, however narrow the terminal."""


def terminal_width() -> int:
    """Columns of the terminal that standard output is; 0 for a pipe or a file."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else 0


def table(
    heads: Sequence[str],
    rows: Sequence[Sequence[Cell]],
    face: Face,
    *,
    clip: Sequence[str] = (),
    width: int = 0,
) -> list[Line]:
    """Aligned columns under their heads; texts of cells are made safe here.

    Args:
        heads: of the columns.
        rows: a cell for each of them.
        face: how it draws.
        clip: heads of columns that give way, the widest first, where a row is wider than `width`.
        width: columns there are; 0 for any number.
    """
    made = [[_cell(cell, face) for cell in row] for row in rows]
    widths = [
        max([cells(head), *(cells(row[index][0]) for row in made)])
        for index, head in enumerate(heads)
    ]
    giving = [index for index, head in enumerate(heads) if head in clip]
    while width and sum(widths) + 2 * (len(widths) - 1) > width:
        widest = max(giving, key=lambda index: widths[index])
        if widths[widest] <= LEAST:
            break
        widths[widest] -= 1
    for row in made:
        for index in giving:
            row[index] = (cut(row[index][0], widths[index], face.more), row[index][1])
    lines = [_row([(head, "dim") for head in heads], widths)]
    lines.extend(_row(row, widths) for row in made)
    return lines


def _cell(cell: Cell, face: Face) -> tuple[str, Role]:
    return (face.say(cell), "") if isinstance(cell, str) else (face.say(cell[0]), cell[1])


def _row(row: Sequence[tuple[str, Role]], widths: Sequence[int]) -> Line:
    parts: list[tuple[str, Role]] = []
    for (text, role), width in zip(row, widths, strict=True):
        parts.extend(((text, role), (" " * (width - cells(text) + 2), "")))
    return Line.of(*parts[:-1])
