"""Bytes in, lines out, in bounded memory: cutting at newlines and unpacking gzip.

Kept apart from `files` because neither knows what a file is.
"""

from __future__ import annotations

import zlib

GZIP_MAGIC = b"\x1f\x8b"
_GZIP_WINDOW = 31
"""zlib's word for "expect a gzip header and check its checksum at the end"."""


class LineSplitter:
    """Cuts blocks of bytes into lines without their newline.

    A line longer than `limit` bytes comes as its first `limit + 1`: its length says it was cut.
    """

    def __init__(self, limit: int) -> None:
        """`limit` bounds what is held between two blocks."""
        self._limit = limit
        self._rest = b""
        self.fresh = True
        """Nothing was handed in yet."""

    def feed(self, block: bytes) -> list[bytes]:
        """The lines that end in `block`."""
        self.fresh = False
        lines = block.split(b"\n")
        lines[0] = self._cut(self._rest + lines[0])
        self._rest = self._cut(lines.pop())
        if len(block) > self._limit:
            return [self._cut(line) for line in lines]
        return lines

    def end(self) -> bytes:
        """What came after the last newline; empty when there was nothing."""
        rest, self._rest = self._rest, b""
        return rest

    def _cut(self, line: bytes) -> bytes:
        return line if len(line) <= self._limit else line[: self._limit + 1]


class Gunzip:
    """Unpacks a gzip stream of one or more members, and salvages what lies before a damage."""

    def __init__(self) -> None:
        """At the beginning of the stream."""
        self._inflate = zlib.decompressobj(_GZIP_WINDOW)
        self._input = b""
        self._began = False
        self.consumed = 0
        """Bytes of the packed stream that were unpacked."""
        self.damage = ""
        """What is wrong with the stream, empty as long as nothing is."""

    def feed(self, block: bytes) -> None:
        """Hand in the next packed bytes; `read` gives what is in them."""
        self._input += block

    def read(self, size: int) -> bytes:
        """At most `size` unpacked bytes; empty when more input is needed, or it is damaged."""
        while self._input and not self.damage:
            if self._inflate.eof:
                self._next_member()
                continue
            data = self._unpack(size)
            if data:
                return data
        return b""

    def end(self) -> None:
        """The packed stream ends here: in the middle of a member that is a damage."""
        if not self.damage and self._began and not self._inflate.eof:
            self.damage = "the gzip stream ends early"

    def _next_member(self) -> None:
        # gzip itself pads with zeros and ignores them; so does this.
        padding = len(self._input) - len(self._input.lstrip(b"\0"))
        self._advance(padding)
        if self._input:
            self._inflate = zlib.decompressobj(_GZIP_WINDOW)
            self._began = False

    def _advance(self, count: int) -> None:
        self._input = self._input[count:]
        self.consumed += count

    def _unpack(self, size: int) -> bytes:
        before = self._inflate.copy()
        try:
            data = self._inflate.decompress(self._input, size)
        except zlib.error as error:
            self._inflate = before
            return self._salvage(error)
        left = self._inflate.unconsumed_tail or self._inflate.unused_data
        self._advance(len(self._input) - len(left))
        self._began = True
        return data

    def _salvage(self, error: zlib.error) -> bytes:
        """Go again, a byte at a time: zlib drops what it unpacked in the call that fails."""
        self.damage = f"the gzip stream is damaged ({error})"
        kept = bytearray()
        packed, self._input = self._input, b""
        for position in range(len(packed)):
            try:
                kept += self._inflate.decompress(packed[position : position + 1])
            except zlib.error:
                break
            self.consumed += 1
        return bytes(kept)
