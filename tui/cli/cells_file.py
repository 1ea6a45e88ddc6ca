"""A CSV of counts by attributes, up to one bucket, refused with the place of what is wrong."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import BinaryIO

import numpy as np

from detectors.cells import Table
from detectors.columns import Floats
from tui.cli.csv_rows import CsvRows, Row

_NUMBER = re.compile(r"\s*-?[0-9]{1,18}(?:\.0*)?\s*", re.ASCII)
_EXACT = float(1 << 53)
_SECOND = 1_000_000
Moment = tuple[bool, int]
"""Whether it was written as a time, and its number: of the bucket, or microseconds since 1970."""


class BadCellsError(Exception):
    """The file is not one of counts by attributes; says where, what, and what to do."""

    def __init__(self, file: str, line: int, what: str) -> None:
        super().__init__(f"{file}:{line}: {what}")


@dataclass(frozen=True, slots=True)
class CellsFile:
    """What a file holds up to a bucket."""

    table: Table
    moment: int
    """The bucket, as in `table.at`."""
    later: int
    """Rows after the bucket, and a last line that ends within its bucket: passed over."""


@dataclass(frozen=True, slots=True)
class _Heads:
    file: str
    names: list[str]
    time: int
    k: int
    n: int

    @classmethod
    def of(cls, file: str, names: list[str], time: str, k: str, n: str) -> _Heads:
        places = []
        for option, name in (("--time", time), ("--k", k), ("--n", n)):
            if names.count(name) != 1:
                many = "no column" if name not in names else "more than one column"
                listed = ", ".join(names) or "nothing"
                what = f"{many} {name!r}, which {option} names; the first line names {listed}"
                raise BadCellsError(file, 1, what)
            places.append(names.index(name))
        if len(set(places)) < 3:
            raise BadCellsError(file, 1, "--time, --k and --n must name three columns")
        if len(set(names)) < len(names):
            raise BadCellsError(file, 1, "two columns have one name: rename one")
        if len(names) == 3:
            raise BadCellsError(file, 1, "no attributes: every other column is one, add some")
        return cls(file, names, *places)

    @property
    def attributes(self) -> list[int]:
        return [at for at in range(len(self.names)) if at not in {self.time, self.k, self.n}]


def moment_of(text: str) -> Moment:
    """A bucket as it is written: a whole number, or an RFC 3339 time.

    Raises:
        ValueError: it is neither.

    >>> moment_of("1566397800")
    (False, 1566397800)
    >>> moment_of("1970-01-01T00:01:00Z")
    (True, 60000000)
    """
    if _NUMBER.fullmatch(text):
        return False, int(text.partition(".")[0])
    try:
        at = datetime.fromisoformat(text.strip().upper())
    except ValueError:
        raise ValueError(
            f"{text!r} is no bucket: a whole number, or a time as 2026-11-27T03:00:00Z"
        ) from None
    if at.tzinfo is None:
        raise ValueError(f"the time {text!r} has no zone: append Z, or its offset such as +01:00")
    since = at - datetime(1970, 1, 1, tzinfo=UTC)
    return True, (since.days * 86_400 + since.seconds) * _SECOND + since.microseconds


def read(stream: BinaryIO, file: str, time: str, k: str, n: str, at: str) -> CellsFile:
    """Rows up to the bucket `at`; of rows after it nothing else is looked at, be they whole or not.

    A row whose bucket cannot be told is refused, for it may be one of the past; only a last line
    that ends before or within its bucket is still being written, and later.

    Args:
        stream: the bytes of a CSV with a header.
        file: its name, for errors.
        time: name of the column of buckets; all other columns but k and n are attributes.
        k: name of the column of what is counted.
        n: name of the column of what it is counted of.
        at: the bucket that moved.

    Raises:
        BadCellsError: the first thing that is wrong.
        ValueError: `at` is no bucket.
        OSError: the stream cannot be read.
    """
    wanted = moment_of(at)
    text = io.TextIOWrapper(stream, "utf-8-sig", errors="surrogateescape", newline="")
    try:
        source = CsvRows(text)
        if source.header.wrong:
            raise BadCellsError(file, source.header.line, source.header.wrong)
        heads = _Heads.of(file, [name.strip() for name in source.header.cells], time, k, n)
        rows, lines, moments, later = _rows(source, heads, wanted)
    finally:
        text.detach()
    _must_compare(file, moments, wanted[1], later, at)
    columns = list(zip(*rows, strict=True))
    found = _Counts(heads, lines)
    of_k, of_n = found.read(columns[heads.k], heads.k), found.read(columns[heads.n], heads.n)
    if (of_k > of_n).any():
        row = int(np.argmax(of_k > of_n))
        what = f"{k} is {of_k[row]:.0f} and {n} is {of_n[row]:.0f}: {k} counts within {n}"
        raise BadCellsError(file, lines[row], f"{what}; are --k and --n the other way round?")
    named = {heads.names[at]: columns[at] for at in heads.attributes}
    return CellsFile(Table.columns(named, np.array(moments), of_k, of_n), wanted[1], later)


def _rows(
    source: CsvRows, heads: _Heads, wanted: Moment
) -> tuple[list[list[str]], list[int], list[int], int]:
    """Rows, their lines and buckets, and how many were later."""
    rows: list[list[str]] = []
    lines: list[int] = []
    moments: list[int] = []
    known: dict[str, int] = {}
    width, later = len(heads.names), 0
    for row in source:
        written = row.cells[heads.time] if len(row.cells) > heads.time else ""
        moment = known.get(written)
        if not row.ended and len(row.cells) < min(heads.time + 2, width):
            later += 1
            continue
        if moment is None:
            moment = known[written] = _moment(heads, row, written, wanted)
        if moment > wanted[1]:
            later += 1
            continue
        _must_be_whole(heads, row)
        rows.append(row.cells)
        lines.append(row.line)
        moments.append(moment)
    return rows, lines, moments, later


def _must_be_whole(heads: _Heads, row: Row) -> None:
    if row.wrong:
        raise BadCellsError(heads.file, row.line, row.wrong)
    if len(row.cells) != len(heads.names):
        what = f"{len(row.cells)} columns where the first line names {len(heads.names)}"
        raise BadCellsError(heads.file, row.line, what)


def _moment(heads: _Heads, row: Row, text: str, wanted: Moment) -> int:
    """The row's bucket, refused where that cannot be told: it may be one of the past."""
    name = heads.names[heads.time]
    try:
        timed, moment = moment_of(text)
    except ValueError as error:
        _must_be_whole(heads, row)
        raise BadCellsError(heads.file, row.line, f"{name}: {error}") from None
    if timed != wanted[0]:
        this, other = ("a time", "a number") if timed else ("a number", "a time")
        what = f"{name} is {this} and --at {other}: write both in one form"
        raise BadCellsError(heads.file, row.line, what)
    return moment


def _must_compare(file: str, moments: Sequence[int], wanted: int, later: int, at: str) -> None:
    """Refuse a file with nothing at the bucket, or nothing before it."""
    if not moments and not later:
        raise BadCellsError(file, 1, "no rows")
    if wanted not in moments:
        near = f"; the last before it is {max(moments)}" if moments else ""
        what = f"no rows at --at {at}{near}: --at is written as in the column"
        raise BadCellsError(file, 1, what)
    if min(moments) == wanted:
        what = f"no rows before --at {at}: nothing to compare with; add the time before"
        raise BadCellsError(file, 1, what)


@dataclass(frozen=True, slots=True)
class _Counts:
    heads: _Heads
    lines: Sequence[int]

    def read(self, column: Sequence[str], place: int) -> Floats:
        try:
            counts = np.array([float(text) for text in column])
        except ValueError:
            raise self._bad(column, place) from None
        whole = (counts >= 0) & (counts <= _EXACT) & (counts == np.floor(counts))
        if not whole.all() or "_" in "".join(column):
            raise self._bad(column, place)
        return counts

    def _bad(self, column: Sequence[str], place: int) -> BadCellsError:
        name = self.heads.names[place]
        for line, text in zip(self.lines, column, strict=True):
            plain = _NUMBER.fullmatch(text) is not None
            if not plain or not 0 <= float(text) <= _EXACT:
                what = f"{name} is {text!r}: a count is a whole number, 0 or more, as 12"
                return BadCellsError(self.heads.file, line, what)
        return BadCellsError(self.heads.file, 1, f"{name} must be whole numbers")
