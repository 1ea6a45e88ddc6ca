"""Rows of a CSV, one after the other: a broken row is an answer, and the rows after it still come.

So that who reads can pass over what does not concern them, whatever state it is in.
"""

from __future__ import annotations

import csv
from collections import deque
from collections.abc import Iterable, Iterator
from typing import NamedTuple

_MOST_LINES = 100  # of one row; a quote that is open for longer was never closed
_UNCLOSED = "a quote is opened and never closed"


class Row(NamedTuple):
    """One row, or the line where a row should be."""

    line: int
    """Its first."""
    cells: list[str]
    """Of a broken row those that can be told."""
    wrong: str | None
    """Why it is broken."""
    ended: bool
    """Whether its last line has an end: else the file may still be written."""


class CsvRows:
    """The rows of a text with a header.

    A cell in quotes may hold line ends. Where such a row has another width than the header, or the
    quote is never closed, its first line alone is broken, and the lines after it are rows.

    Args:
        text: its lines with their ends, decoded from UTF-8 with `surrogateescape`.
    """

    def __init__(self, text: Iterable[str]) -> None:
        self._text = iter(text)
        self._again: deque[str] = deque()
        self._lines: list[str] = []
        self._width = 0
        self._rows = self._read()
        self.header = next(self._rows, Row(1, [], None, False))
        self._width = len(self.header.cells)

    def __iter__(self) -> Iterator[Row]:
        return self._rows

    def _read(self) -> Iterator[Row]:
        reader, lines, line = self._reader(), self._lines, 1
        while True:
            line += len(lines)
            lines.clear()
            cells: list[str] = []
            try:
                cells = next(reader)
                whole = len(lines) == 1 or self._width in {0, len(cells)}
                wrong = None if whole else _UNCLOSED
            except StopIteration:
                return
            except csv.Error as error:
                wrong = _UNCLOSED if "unexpected end" in str(error) else str(error)
            if wrong:
                wrong = f"not CSV: {wrong}"
                cells, reader = self._first_line(), self._reader()
            if not _is_text("".join(cells)):
                wrong = "not UTF-8: convert the file"
            if cells:
                yield Row(line, cells, wrong, lines[-1][-1] in "\r\n")

    def _reader(self) -> Iterator[list[str]]:
        return csv.reader(self._taken(), strict=True)

    def _taken(self) -> Iterator[str]:
        """The lines that come, remembered until the row is told."""
        again, lines = self._again, self._lines
        while again:
            lines.append(again.popleft())
            yield lines[-1]
        for line in self._text:
            lines.append(line)
            if len(lines) > _MOST_LINES:
                raise csv.Error(_UNCLOSED)
            yield line

    def _first_line(self) -> list[str]:
        """The cells that the first line has; the lines after it are to come again."""
        first, *others = self._lines
        self._again.extendleft(reversed(others))
        self._lines[:] = [first]
        return next(csv.reader([first[: csv.field_size_limit()]]), [])


def _is_text(text: str) -> bool:
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
