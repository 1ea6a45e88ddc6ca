"""A CSV of counts, read at the speed of its bytes and refused with the place of what is wrong.

A block of plain lines is taken apart by numpy; a block with anything else in it (commas in quotes,
blank lines, spaces) goes through the `csv` module line by line, which is also who says what is
wrong and where. Both give the same rows.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from detectors.columns import Ints
from detectors.counts import Counts

COLUMNS = ("series", "bucket", "k", "n")
MONDAY_S = 4 * 86_400
"""1970-01-05, a Monday 00:00 UTC: where whole-number buckets are counted from."""
_END_S = 253_402_300_800  # the year 10000
_BLOCK = 1 << 22
_NOUGHT = np.uint8(48)
_DIGITS = 15  # more do not fit a float exactly
_WHOLE = re.compile(r"[0-9]+(?:\.0*)?", re.ASCII)
_PLAIN = re.compile(r"0|[1-9][0-9]*", re.ASCII)
_TIME = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(?:\.\d+)?([Zz]|[+-]\d\d:\d\d)?", re.ASCII)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class BadCountsError(Exception):
    """The file is not one of counts; says where, what, and what to do."""

    def __init__(self, file: str, line: int, col: int, what: str) -> None:
        super().__init__(f"{file}:{line}:{col}: {what}")


@dataclass(frozen=True, slots=True)
class CountsFile:
    """What a file holds."""

    counts: Counts
    """Its rows, in its order."""
    names: list[str]
    """The series, in order of their first row."""
    texts: list[str]
    """The different buckets as written: times, and numbers that are not plain, such as 007."""
    text: NDArray[np.int32]
    """Of each row, its place in `texts`; -1 where the bucket is a plain number."""
    line: NDArray[np.int32]
    """Of each row, its line."""


@dataclass(slots=True)
class _Columns:
    """Rows as they come, a block at a time."""

    blocks: dict[str, list[NDArray[np.generic]]] = field(default_factory=dict)

    def add(self, **columns: Sequence[int] | NDArray[np.generic]) -> None:
        for name, values in columns.items():
            kind = np.int32 if name in {"series", "text", "line"} else np.int64
            self.blocks.setdefault(name, []).append(np.asarray(values, kind))

    def whole(self, name: str) -> NDArray[np.generic]:
        """The column; its blocks are let go."""
        blocks = self.blocks.pop(name, None)
        kind = np.int32 if name in {"series", "text", "line"} else np.int64
        return np.concatenate(blocks) if blocks else np.zeros(0, kind)


class _Names(dict[bytes, int]):
    """Numbers of the series, given at the first sight of each."""

    def __init__(self) -> None:
        super().__init__()
        self.texts: list[str] = []

    def __missing__(self, raw: bytes) -> int:
        self.texts.append(raw.decode())
        self[raw] = number = len(self.texts) - 1
        return number


class _Written(_Names):
    """The same for buckets as they are written, with what they mean."""

    def __init__(self, meaning: Callable[[str, int], int], bucket_s: int) -> None:
        super().__init__()
        self.meaning = meaning
        self.bucket_s = bucket_s
        self.buckets: list[int] = []

    def __missing__(self, raw: bytes) -> int:
        self.buckets.append(self.meaning(raw.decode().strip(), self.bucket_s))
        return super().__missing__(raw)


def bucket_of_number(text: str, bucket_s: int) -> int:
    """Whole buckets since 1970 of a number of buckets since a Monday.

    Raises:
        ValueError: it is beyond the year 9999.

    >>> bucket_of_number("1", 60)
    5761
    """
    digits = text.partition(".")[0].lstrip("0")
    number = int(digits[: _DIGITS + 1] or "0")
    if number * bucket_s >= _END_S - MONDAY_S:
        raise ValueError("it is beyond the year 9999")
    return number + MONDAY_S // bucket_s


def bucket_of_time(text: str, bucket_s: int) -> int:
    """Whole buckets since 1970 of an RFC 3339 time.

    Raises:
        ValueError: it is none, has no zone, or is not the start of a bucket.

    >>> bucket_of_time("1970-01-05T00:01:00Z", 60)
    5761
    """
    found = _TIME.fullmatch(text)
    if found is None:
        raise ValueError("neither a whole number nor a time such as 2026-01-05T00:01:00Z")
    if found.group(1) is None:
        raise ValueError("the time has no zone: append Z, or its offset such as +01:00")
    try:
        since = datetime.fromisoformat(text.upper()) - _EPOCH
    except (ValueError, OverflowError) as error:
        raise ValueError(f"no such time: {error}") from None
    if since < timedelta(0):
        raise ValueError("the time is before 1970")
    bucket, rest = divmod(since, timedelta(seconds=bucket_s))
    if rest:
        raise ValueError(f"not the start of a bucket of {bucket_s} s: round it down, or --bucket-s")
    return bucket


def read(
    stream: BinaryIO, file: str, bucket_s: int, told: Callable[[int], None] = lambda _bytes: None
) -> CountsFile:
    """Everything `stream` holds.

    Args:
        stream: the bytes of a CSV with a header.
        file: its name, for errors.
        bucket_s: length of a bucket in seconds.
        told: called with how many more bytes were read.

    Raises:
        BadCountsError: the first thing that is wrong.
        OSError: the stream cannot be read.
    """
    reader = _Reader(file, bucket_s)
    for block in _blocks(stream, reader, told):
        reader.take(block)
    if reader.width == 0:
        raise BadCountsError(file, 1, 1, f"it is empty: {_HEADER}")
    return reader.result()


_HEADER = f"the first line must name the columns {', '.join(COLUMNS)}"


def _blocks(stream: BinaryIO, reader: _Reader, told: Callable[[int], None]) -> Iterator[bytes]:
    """The stream in whole lines, a few MiB at a time; the header apart."""
    rest, first = b"", True
    while block := stream.read(_BLOCK):
        told(len(block))
        cut = block.rfind(b"\n") + 1
        if not cut:
            rest += block
            if len(rest) > 2 * _BLOCK:
                raise BadCountsError(reader.file, reader.line, 1, "a line of megabytes: no CSV")
            continue
        whole, rest = rest + block[:cut], block[cut:]
        if first:
            head, _, whole = whole.partition(b"\n")
            reader.header(head)
            first = False
        if whole:
            yield whole
    if rest and first:
        reader.header(rest)
    elif rest:
        yield rest + b"\n"


class _Reader:
    """Takes blocks of lines apart."""

    def __init__(self, file: str, bucket_s: int) -> None:
        self.file = file
        self.line = 1
        self.width = 0
        self._bucket_s = bucket_s
        self._origin = MONDAY_S // bucket_s
        self._at: tuple[int, ...] = ()
        self._names = _Names()
        self._written: _Written | None = None
        self._columns = _Columns()

    def header(self, raw: bytes) -> None:
        """Read the first line."""
        heads = [head.strip() for head in self._cells(raw.removeprefix(b"\xef\xbb\xbf"))]
        for name in COLUMNS:
            if heads.count(name) != 1:
                many = "no column" if name not in heads else "more than one column"
                found = ", ".join(heads)
                raise self._bad(1, f"{many} {name!r}, but {found or 'nothing'}: {_HEADER}")
        self._at = tuple(heads.index(name) for name in COLUMNS)
        self.width = len(heads)
        self.line = 2

    def take(self, block: bytes) -> None:
        """Read whole lines."""
        if b"\r" in block:
            block = block.replace(b"\r\n", b"\n")
        while block and self._written is None:
            first, _, block = block.partition(b"\n")
            self._take_any(first)
        plain = _unquoted(block) if b'"' in block else block
        if block and (plain is None or not self._take_plain(plain)):
            self._take_any(block)

    def result(self) -> CountsFile:
        """What was read."""
        series, line, text = (
            self._columns.whole(name).astype(np.int32, copy=False)
            for name in ("series", "line", "text")
        )
        bucket, k, n = (
            self._columns.whole(name).astype(np.int64, copy=False) for name in ("bucket", "k", "n")
        )
        texts = [] if self._written is None else self._written.texts
        return CountsFile(Counts(series, bucket, k, n), self._names.texts, texts, text, line)

    # -- plain lines ------------------------------------------------------------------------------

    def _take_plain(self, block: bytes) -> bool:
        """Whether every line was a plain one, and taken."""
        data = np.frombuffer(block, np.uint8)
        ends = np.flatnonzero(data == 10)
        commas = np.flatnonzero(data == 44)
        if len(commas) != len(ends) * (self.width - 1):
            return False
        starts = np.concatenate(([0], ends[:-1] + 1))
        edges = np.column_stack((starts - 1, commas.reshape(len(ends), -1), ends))
        if (np.diff(edges, axis=1) < 1).any():
            return False
        spans = [(edges[:, at] + 1, edges[:, at + 1]) for at in self._at]
        k, n = (_whole(data, *span) for span in spans[2:])
        if k is None or n is None or (k > n).any():
            return False
        try:
            when = self._plain_buckets(block, data, *spans[1])
            if when is None:
                return False
            bucket, text = when
            if (spans[0][0] == spans[0][1]).any():
                return False
            series = _numbers(block, self._names, *spans[0])
        except ValueError:
            return False
        line = np.arange(self.line, self.line + len(ends), dtype=np.int32)
        self._columns.add(series=series, bucket=bucket, k=k, n=n, text=text, line=line)
        self.line += len(ends)
        return True

    def _plain_buckets(
        self, block: bytes, data: NDArray[np.uint8], start: Ints, end: Ints
    ) -> tuple[Ints, Ints] | None:
        """Buckets and the places of their texts; None where one is no plain number nor known."""
        assert self._written is not None
        if self._written.meaning is bucket_of_number:
            number = _whole(data, start, end)
            if number is None or (number * self._bucket_s >= _END_S - MONDAY_S).any():
                return None
            if not ((data[start] == _NOUGHT) & (end - start > 1)).any():
                return number + self._origin, np.full(len(number), -1)
        text = np.array(_numbers(block, self._written, start, end))
        return np.asarray(self._written.buckets, np.int64)[text], text

    # -- any lines --------------------------------------------------------------------------------

    def _take_any(self, block: bytes) -> None:
        rows: list[tuple[int, int, int, int, int, int]] = []
        for raw in block.removesuffix(b"\n").split(b"\n"):
            if raw.strip():
                rows.append(self._row(raw))
            self.line += 1
        if rows:
            series, bucket, text, k, n, line = zip(*rows, strict=True)
            self._columns.add(series=series, bucket=bucket, k=k, n=n, text=text, line=line)

    def _row(self, raw: bytes) -> tuple[int, int, int, int, int, int]:
        cells = self._cells(raw)
        if len(cells) != self.width:
            raise self._bad(
                _col(raw, min(len(cells), self.width)),
                f"{len(cells)} columns where the header names {self.width}",
            )
        name, when, flagged, all_ = (cells[at] for at in self._at)
        if not name:
            raise self._bad(_col(raw, self._at[0]), "series is empty: name it")
        bucket, text = self._bucket(raw, when)
        k, n = self._count(raw, 2, flagged), self._count(raw, 3, all_)
        if k > n:
            raise self._bad(
                _col(raw, self._at[2]), f"k is {k} and n is {n}: k counts within n, so k <= n"
            )
        return self._names[name.encode()], bucket, text, k, n, self.line

    def _bucket(self, raw: bytes, text: str) -> tuple[int, int]:
        plain = text.strip()
        number = _WHOLE.fullmatch(plain)
        meaning = bucket_of_number if number else bucket_of_time
        written = self._written
        if written is None:
            written = _Written(meaning, self._bucket_s)
        elif meaning is not written.meaning:
            what = f"bucket {plain!r} is no whole number of buckets, 0 or more"
            if number or _TIME.fullmatch(plain):
                this, others = ("a number", "times") if number else ("a time", "whole numbers")
                what = f"bucket is {this} where those before are {others}: use one form"
            raise self._bad(_col(raw, self._at[1]), what)
        try:
            if _PLAIN.fullmatch(text):
                bucket, place = bucket_of_number(text, self._bucket_s), -1
            else:
                place = written[text.encode()]
                bucket = written.buckets[place]
        except ValueError as error:
            raise self._bad(_col(raw, self._at[1]), f"bucket {plain!r}: {error}") from None
        self._written = written
        return bucket, place

    def _count(self, raw: bytes, column: int, text: str) -> int:
        text = text.strip()
        if _WHOLE.fullmatch(text) and len(text) <= _DIGITS:
            return int(text.partition(".")[0])
        name, col = COLUMNS[column], _col(raw, self._at[column])
        if not text:
            raise self._bad(col, f"{name} is empty: leave the row out where there is no data")
        if text.startswith("-"):
            raise self._bad(col, f"{name} is {text}: a count is 0 or more")
        raise self._bad(col, f"{name} is {text!r}: a count is a whole number, as 12")

    def _cells(self, raw: bytes) -> list[str]:
        try:
            text = raw.decode()
        except UnicodeDecodeError as error:
            raise self._bad(error.start + 1, "not UTF-8: convert the file") from None
        try:
            return next(csv.reader([text], strict=True), [])
        except csv.Error as error:
            if "unexpected end" not in str(error):
                raise self._bad(1, f"not CSV: {error}") from None
            col = _col(raw, len(next(csv.reader([text]), [])) - 1)
            what = "not CSV: a quote is opened here and not closed in this line"
            raise self._bad(
                col, f"{what}; a row is one line, so no name has a line break"
            ) from None

    def _bad(self, col: int, what: str) -> BadCountsError:
        return BadCountsError(self.file, self.line, col, what)


def _unquoted(block: bytes) -> bytes | None:
    """The block without the quotes around cells; None where a quote does more than that."""
    data = np.frombuffer(block, np.uint8)
    ends = (data == 10) | (data == 44)
    opening, closing = (np.flatnonzero(data == 34)[side::2] for side in (0, 1))
    if len(opening) != len(closing):
        return None
    between = np.cumsum(ends)
    around = ends[closing + 1].all() and (ends[opening - 1] | (opening == 0)).all()
    inside = (between[opening] != between[closing]).any() or (closing - opening < 2).any()
    return block.replace(b'"', b"") if around and not inside else None


def _whole(data: NDArray[np.uint8], start: Ints, end: Ints) -> Ints | None:
    """The numbers between these places; None where one is not digits only."""
    width = end - start
    widest = int(width.max())
    if int(width.min()) < 1 or widest > _DIGITS:
        return None
    value = np.zeros(len(start), np.int64)
    for place in range(widest):
        inside = width > place
        digit = data[np.where(inside, end - 1 - place, end)] - _NOUGHT
        if (digit[inside] > 9).any():
            return None
        value += np.where(inside, digit, 0).astype(np.int64) * 10**place
    return value


def _numbers(block: bytes, known: _Names, start: Ints, end: Ints) -> list[int]:
    return [known[block[a:b]] for a, b in zip(start.tolist(), end.tolist(), strict=True)]


def _col(raw: bytes, cell: int) -> int:
    """Where the `cell`th cell of a line begins, counted in letters from 1."""
    quoted = False
    for at, letter in enumerate(raw.decode()):
        if cell == 0:
            return at + 1
        quoted ^= letter == '"'
        cell -= letter == "," and not quoted
    return len(raw.decode()) + 1
