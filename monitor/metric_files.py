"""The files in which the processes of a daemon keep their metrics, every byte of them on the disk.

prometheus_client reads them, and would write them too: into files with holes. To touch a hole when
the disk has become full is a SIGBUS, which ends the process. Here what finds no room stays in the
memory of its process, and is tried again when it changes.

A file has its used length as an integer of 4 bytes, 4 bytes of nothing, and values: the length of
the key as such an integer, the key, 1 to 8 blanks up to a multiple of 8 bytes, the value and a time
as doubles (the format of prometheus_client's multiprocess mode).
"""

from __future__ import annotations

import logging
import mmap
import os
import struct
import time
from pathlib import Path

logger = logging.getLogger(__name__)

FILE_BYTES = 64 * 1024
"""Of each file, to begin with."""
AGAIN_S = 1.0
"""Between two looks whether there is room by now."""
_HEAD = 8
_LENGTH = struct.Struct("i")
_PAIR = struct.Struct("dd")

_short: list[MetricFile] = []
"""Files of this process that have no room for all that is to be in them."""


def homeless() -> bool:
    """Whether a file of this process cannot be had: what is in it is known here only."""
    return any(file.absent for file in _short)


class MetricFile:
    """Numbers by key, for the one process that writes them; prometheus_client holds its lock."""

    def __init__(self, filename: str) -> None:
        """Args: `filename` is made unless it is there; where it cannot be, that is said once."""
        self._path = Path(filename)
        self._places: dict[str, int] = {}
        self._waiting: dict[str, tuple[float, float]] = {}
        """What has no place yet."""
        self._map: mmap.mmap | None = None
        self._used = _HEAD
        self._again = 0.0
        self._settle()

    @property
    def absent(self) -> bool:
        """There is no such file."""
        return self._map is None

    def read_value(self, key: str) -> tuple[float, float]:
        """The value and its time; a new one is put there, nought."""
        if key not in self._places and key not in self._waiting:
            self._waiting[key] = (0.0, 0.0)
            self._settle()
        if key in self._waiting:
            return self._waiting[key]
        assert self._map is not None
        value, at = _PAIR.unpack_from(self._map, self._places[key])
        return value, at

    def write_value(self, key: str, value: float, at: float) -> None:
        """Keep a value with its time."""
        if key in self._places:
            self._write(key, value, at)
        else:
            self._waiting[key] = (value, at)
            self._settle()
        for file in tuple(_short):
            file._settle()  # noqa: SLF001 - of our own class

    def close(self) -> None:
        """Let go of the file."""
        if self._map is not None:
            self._map.close()
            self._map = None
        self._places.clear()
        self._waiting.clear()
        if self in _short:
            _short.remove(self)

    def _write(self, key: str, value: float, at: float) -> None:
        assert self._map is not None
        place = self._places[key]
        # One assignment: who reads meanwhile sees the old or the new.
        self._map[place : place + _PAIR.size] = _PAIR.pack(value, at)

    def _settle(self) -> None:
        """Give what waits its place, if there is room."""
        if time.monotonic() < self._again:
            return
        try:
            if self._map is None:
                self._open()
            for key in tuple(self._waiting):
                if key not in self._places:
                    self._add(key)
                self._write(key, *self._waiting.pop(key))
        except OSError as problem:
            self._without(problem)
        else:
            self._roomy()

    def _without(self, problem: OSError) -> None:
        if not _short:
            folder, why = self._path.parent, problem.strerror
            logger.warning("metrics: no room in %s, what is new stays in memory: %s", folder, why)
        if self not in _short:
            _short.append(self)
        self._again = time.monotonic() + AGAIN_S

    def _roomy(self) -> None:
        if self in _short:
            self._again = 0.0
            _short.remove(self)
            if not _short:
                logger.info("metrics: there is room in %s again", self._path.parent)

    def _open(self) -> None:
        if not self._path.exists():
            # Whole or not at all: who scrapes meanwhile must not meet an empty one.
            fresh = self._path.with_suffix(".new")
            with fresh.open("wb") as file:
                os.posix_fallocate(file.fileno(), 0, FILE_BYTES)
                file.write(_LENGTH.pack(_HEAD))
            fresh.replace(self._path)
        self._map = self._mapped(self._path.stat().st_size)
        self._find()

    def _mapped(self, size: int) -> mmap.mmap:
        """The file with at least `size` bytes, all of them allocated."""
        with self._path.open("r+b") as file:
            before = os.fstat(file.fileno()).st_size
            try:
                os.posix_fallocate(file.fileno(), 0, size)
            except OSError:
                # Some file systems keep the part that they had room for.
                file.truncate(before)
                raise
            return mmap.mmap(file.fileno(), size)

    def _find(self) -> None:
        """The places of what a former life of this process has written."""
        assert self._map is not None
        (self._used,) = _LENGTH.unpack_from(self._map)
        at = _HEAD
        while at < self._used:
            (length,) = _LENGTH.unpack_from(self._map, at)
            begin = at + _LENGTH.size
            at = begin + length + _blanks(length)
            self._places[self._map[begin : begin + length].decode()] = at
            at += _PAIR.size

    def _add(self, key: str) -> None:
        """Give `key` a place, in twice the file if need be."""
        assert self._map is not None
        text = key.encode()
        entry = _LENGTH.pack(len(text)) + text + b" " * _blanks(len(text)) + _PAIR.pack(0.0, 0.0)
        end = self._used + len(entry)
        if end > len(self._map):
            former, self._map = self._map, self._mapped(2 * len(self._map))
            former.close()
        self._map[self._used : end] = entry
        self._map[: _LENGTH.size] = _LENGTH.pack(end)
        self._places[key], self._used = end - _PAIR.size, end


def _blanks(length: int) -> int:
    """After a key of so many bytes."""
    return 8 - (_LENGTH.size + length) % 8
