"""NDJSON files, packed with gzip or not, and standard input (`-`), as a recording that ends.

Each file is one partition, numbered in the order given. The offset of a record is its line number
counted from 0; empty lines are counted and never handed out. A last line without a newline is a
line like any other.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from pathlib import Path

from monitor.stream.sources.reading import LineReader
from monitor.stream.sources.source import (
    Assigned,
    Chunk,
    Gap,
    Lag,
    Partition,
    SourceCorrupt,
    SourceEvent,
    SourceUnavailable,
    Topology,
)

STANDARD_INPUT = "-"
LINE_LIMIT = 256 * 1024
"""Bytes. A longer line is handed out as its first `LINE_LIMIT + 1`: its length says it was cut."""
_IDENTITY_BYTES = 1024


class FileSource:
    """Reads its files side by side, a chunk of each in turn, so that their times stay together."""

    finite = True

    def __init__(
        self,
        names: Sequence[str],
        *,
        max_records: int = 5000,
        line_limit: int = LINE_LIMIT,
        standard_input: int = 0,
    ) -> None:
        """`names` are paths, or `-`; gzip is known by its first bytes, not by its name.

        The topic's identity is a digest of each file's path, inode and first line, so that another
        file under an old name counts as another topic; a file may grow, and still be the same one.

        Raises:
            OSError: a file cannot be opened.
            ValueError: no name, or one named twice.
        """
        if not names or len(set(names)) != len(names):
            raise ValueError("name at least one file, and each once")
        self._names = tuple(names)
        self._max_records = max_records
        paths = [None if name == STANDARD_INPUT else Path(name) for name in names]
        self._readers = [LineReader(path, line_limit, standard_input) for path in paths]
        self._topic = "file:" + ",".join(path.name if path else STANDARD_INPUT for path in paths)
        self._topic_id = ""
        self._assigned = False
        self._paused = False
        self._started: set[int] = set()
        self._finished: set[int] = set()
        self._turn = 0

    def poll(self, timeout_s: float) -> list[SourceEvent]:
        """The next chunk of the next file that has one; waits only for standard input.

        Raises:
            SourceCorrupt: a file is damaged; its readable lines were handed out before.
        """
        if not self._assigned:
            if not self._identify(timeout_s):
                return []
            self._assigned = True
            return [Assigned(tuple(map(self._partition, range(len(self._names)))))]
        if self.exhausted:
            return []
        if self._paused or not self._started - self._finished:
            time.sleep(timeout_s)
            return []
        return self._next(0.0) or self._next(timeout_s)

    def start(self, partition: Partition, offset: int | None) -> None:
        """Read from line `offset` on, by reading past what lies before it.

        Raises:
            ValueError: `offset` is negative, or standard input was read past it already.
            OSError: the file is gone and cannot be read from its beginning again.
        """
        number = partition.number
        if number >= len(self._names) or partition != self._partition(number):
            return
        if offset is not None and offset < 0:
            raise ValueError(f"cannot start at {offset}")
        self._readers[number].start(offset or 0)
        self._started.add(number)
        self._finished.discard(number)

    def pause(self) -> None:
        """Read nothing until `resume`."""
        self._paused = True

    def resume(self) -> None:
        """Read on."""
        self._paused = False

    def lags(self) -> list[Lag]:
        """Positions; `end` is what is known without reading on: a lag of 1 means "at least 1"."""
        lags = []
        for number in sorted(self._started):
            reader = self._readers[number]
            position = max(reader.line, reader.begin)
            end = position if number in self._finished else position + 1
            lags.append(Lag(self._partition(number), position, end))
        return lags

    def topology(self) -> Topology:
        """One partition a file.

        Raises:
            SourceUnavailable: nothing has come on standard input yet.
        """
        if not self._identify(0.0):
            raise SourceUnavailable("nothing has come on standard input yet")
        return Topology(self._topic, self._topic_id, tuple(range(len(self._names))))

    @property
    def exhausted(self) -> bool:
        """Every file was handed out to its end, or to its damage."""
        return len(self._finished) == len(self._names)

    def close(self) -> None:
        """Close the files."""
        for reader in self._readers:
            reader.stream.close()

    def _partition(self, number: int) -> Partition:
        return Partition(self._topic, self._topic_id, number)

    def _identify(self, timeout_s: float) -> bool:
        if self._topic_id:
            return True
        digest = hashlib.blake2b(digest_size=16)
        for name, reader in zip(self._names, self._readers, strict=True):
            line = reader.peek(timeout_s)
            if line is None:
                return False
            path = name if name == STANDARD_INPUT else str(Path(name).resolve())
            for part in (path.encode(), str(reader.stream.inode).encode(), line[:_IDENTITY_BYTES]):
                digest.update(len(part).to_bytes(4, "big") + part)
        self._topic_id = digest.hexdigest()
        return True

    def _next(self, timeout_s: float) -> list[SourceEvent]:
        """One chunk, of the file whose turn it is; the others are asked when it has none."""
        for _ in self._names:
            number = self._turn
            self._turn = (number + 1) % len(self._names)
            if number in self._started and number not in self._finished:
                events = self._chunk(number, timeout_s)
                if events:
                    return events
        return []

    def _chunk(self, number: int, timeout_s: float) -> list[SourceEvent]:
        reader = self._readers[number]
        records = reader.take(self._max_records, timeout_s)
        if records:
            return [Chunk(self._partition(number), records, reader.line)]
        if not reader.ended:
            return []
        self._finished.add(number)
        if reader.stream.damage:
            raise SourceCorrupt(
                self._names[number], reader.line + 1, reader.stream.consumed, reader.stream.damage
            )
        if reader.line < reader.begin:
            self._started.discard(number)
            self._finished.discard(number)
            first, last = reader.line, reader.begin - 1
            return [Gap(self._partition(number), first, last, "truncated")]
        return []
