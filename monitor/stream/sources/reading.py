"""One file or pipe, read as lines: opening, unpacking, waiting, numbering."""

from __future__ import annotations

import os
import select
import stat
from pathlib import Path

from monitor.stream.sources.lines import GZIP_MAGIC, Gunzip, LineSplitter
from monitor.stream.sources.source import Record

_BLOCK = 64 * 1024
_PACKED_BLOCK = 16 * 1024
"""Packed bytes are read in smaller blocks: one of them can unpack to a thousand times its size."""
_MOST_BYTES = 8 * 1024 * 1024
"""Lines that are taken at once hold about so many bytes at most."""
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class ByteStream:
    """The bytes of a file or a pipe, unpacked if they are gzip; a pipe is waited for."""

    def __init__(self, path: Path | None, descriptor: int = 0) -> None:
        """Opens `path`; None reads `descriptor`, which stays the caller's.

        Raises:
            OSError: it cannot be opened.
        """
        self._owned = path is not None
        self._file = os.open(path, os.O_RDONLY | os.O_CLOEXEC) if path is not None else descriptor
        facts = os.fstat(self._file)
        self.inode = facts.st_ino if stat.S_ISREG(facts.st_mode) else None
        """Identity of a regular file; None for what can be read only once."""
        self._first = b""
        self._sniffed = False
        self._gunzip: Gunzip | None = None
        self._ended = False
        self._read_bytes = 0
        self._failure = ""
        if stat.S_ISDIR(facts.st_mode):
            self.close()
            raise IsADirectoryError(f"{path} is a folder")

    @property
    def damage(self) -> str:
        """Why it ended before its end; empty when it did not."""
        return self._failure or (self._gunzip.damage if self._gunzip else "")

    @property
    def consumed(self) -> int:
        """How many bytes were made use of, of the file as it lies there."""
        return self._gunzip.consumed if self._gunzip else self._read_bytes

    def read(self, timeout_s: float) -> bytes | None:
        """The next bytes; empty at the end or at a damage; None when none came in time."""
        if not self._sniffed and not self._sniff(timeout_s):
            return None
        if self._gunzip is None:
            first, self._first = self._first, b""
            return first or self._block(_BLOCK, timeout_s)
        while True:
            data = self._gunzip.read(_BLOCK)
            if data or self._gunzip.damage or self._ended:
                return data
            block = self._block(_PACKED_BLOCK, timeout_s)
            if block is None:
                return None
            self._gunzip.feed(block)
            if not block:
                self._gunzip.end()
                self._ended = True

    def close(self) -> None:
        """Let go of the file; a descriptor that was given stays open."""
        if self._owned and self._file >= 0:
            os.close(self._file)
            self._file = -1

    def _sniff(self, timeout_s: float) -> bool:
        """Is it packed? False when too little has come to say."""
        while len(self._first) < len(GZIP_MAGIC):
            block = self._block(_PACKED_BLOCK, timeout_s)
            if block is None:
                return False
            if not block:
                break
            self._first += block
        self._sniffed = True
        if self._first.startswith(GZIP_MAGIC):
            self._gunzip = Gunzip()
            self._gunzip.feed(self._first)
        return True

    def _block(self, size: int, timeout_s: float) -> bytes | None:
        if self.inode is None:
            waiting = select.poll()
            waiting.register(self._file, select.POLLIN)
            if not waiting.poll(timeout_s * 1000):
                return None
        try:
            block = os.read(self._file, size)
        except OSError as error:
            self._failure = error.strerror or str(error)
            return b""
        self._read_bytes += len(block)
        return block


class LineReader:
    """Numbered lines of one stream, from a chosen one on."""

    def __init__(self, path: Path | None, limit: int, descriptor: int = 0) -> None:
        """Opens `path`, or reads `descriptor` when it is None; `limit` is in bytes a line.

        Raises:
            OSError: it cannot be opened.
        """
        self._path = path
        self._limit = limit
        self._descriptor = descriptor
        self.begin = 0
        """The first line to hand out."""
        self._open()

    def _open(self) -> None:
        self.stream = ByteStream(self._path, self._descriptor)
        self._splitter = LineSplitter(self._limit)
        self._waiting: list[bytes] = []
        self._ended = False
        self.line = 0
        """The number of the next line, from 0."""

    @property
    def ended(self) -> bool:
        """All of it was taken."""
        return self._ended and not self._waiting

    def start(self, line: int) -> None:
        """Go on at `line`, forwards by reading, backwards by opening the file again.

        Raises:
            ValueError: it lies behind, in a stream that can be read only once.
            OSError: the file cannot be opened again.
        """
        if line < self.line:
            if self.stream.inode is None:
                raise ValueError(f"cannot go back to line {line}: this can be read only once")
            self.stream.close()
            self._open()
        self.begin = line

    def peek(self, timeout_s: float) -> bytes | None:
        """The next line, left in place: empty at the end, None when it did not come in time."""
        while not self._waiting and not self._ended:
            if not self._fill(timeout_s):
                return None
        return self._waiting[0] if self._waiting else b""

    def take(self, count: int, timeout_s: float) -> list[Record]:
        """About `count` lines that are not empty; waits only for the first."""
        records: list[Record] = []
        room = _MOST_BYTES
        while len(records) < count and room > 0 and not self.ended:
            if not self._waiting and not self._fill(0.0 if records else timeout_s):
                break
            lines, self._waiting = self._waiting, []
            first = self.line
            self.line += len(lines)
            room -= sum(map(len, lines))
            if first < self.begin:
                lines = lines[self.begin - first :]
                first = min(self.begin, self.line)
            numbered = enumerate(lines, first)
            records += [Record(n, line) for n, line in numbered if line and not line.isspace()]
        return records

    def _fill(self, timeout_s: float) -> bool:
        """Read one block; False when none came in time."""
        block = self.stream.read(timeout_s)
        if block is None:
            return False
        if self.line == 0 and not self._waiting and self._splitter.fresh:
            block = block.removeprefix(_BYTE_ORDER_MARK)
        if block:
            self._waiting += self._splitter.feed(block)
        else:
            self._ended = True
            rest = self._splitter.end()
            # Before a damage the last line is a piece of one, and a piece is not what was written.
            if rest and not self.stream.damage:
                self._waiting.append(rest)
        return True
