"""The spool: what the emergency road owes, in a file of its own, fsynced before anything is sent.

One record a line: a digest of the record, and the record as JSON. A line that does not fit its
digest was torn by a crash or damaged on the disk; it is left out and said. JSON has no raw line
end, so the lines after it still read. Whatever `append` returned for is there after a SIGKILL.
"""

from __future__ import annotations

import fcntl
import logging
import os
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from hashlib import blake2b
from pathlib import Path

import msgspec

logger = logging.getLogger(__name__)

DIGEST = 16
"""Hex digits before each record."""
MAX_BYTES = 1024 * 1024
"""Over this, the history of attempts is left out, never an episode."""
NOTES_KEPT = 100


class SpoolUnavailable(Exception):
    """The spool cannot be written or is another's; the message says what to do."""


class _Record(msgspec.Struct, frozen=True, kw_only=True, tag_field="what"):
    """One thing that happened."""


class Opened(_Record, frozen=True, kw_only=True, tag="opened"):
    """An episode began: its receivers are owed a page."""

    id: str
    """What receivers key on."""
    key: str
    check: str
    severity: str
    title: str
    lines: tuple[str, ...]
    since: datetime
    at: datetime
    receivers: tuple[str, ...]
    dedup: str = ""
    """What PagerDuty folds by, where several machines find one trouble; empty: `id`."""


class Tried(_Record, frozen=True, kw_only=True, tag="tried"):
    """What became of one message."""

    message: str
    """Its id."""
    episode: str
    at: datetime
    outcome: str
    """`sent`, `refused`, `overtaken` end it; `retry` and `unknown` do not."""
    detail: str = ""
    receipt: dict[str, str] = {}


class Noted(_Record, frozen=True, kw_only=True, tag="noted"):
    """A fact for the timeline."""

    episode: str
    at: datetime
    text: str


class Closed(_Record, frozen=True, kw_only=True, tag="closed"):
    """The episode ended: whom it was told is owed the end."""

    episode: str
    at: datetime
    text: str


class Filed(_Record, frozen=True, kw_only=True, tag="filed"):
    """The whole episode is in the store."""

    episode: str
    at: datetime


Record = Opened | Tried | Noted | Closed | Filed
_DECODER = msgspec.json.Decoder(Record)


@dataclass(frozen=True, slots=True)
class Parsed:
    """What a spool's bytes say."""

    records: tuple[Record, ...]
    end: int
    """Bytes up to the end of the last whole line."""
    torn: int
    """Bytes after it."""
    damaged: int
    """Whole lines that do not fit their digest."""


def encode(record: Record) -> bytes:
    """One line."""
    body = msgspec.json.encode(record)
    return _digest(body) + b" " + body + b"\n"


def _digest(body: bytes) -> bytes:
    return blake2b(body, digest_size=DIGEST // 2).hexdigest().encode()


def parse(data: bytes) -> Parsed:
    """The records that are whole; nothing else is taken for one."""
    end = data.rfind(b"\n") + 1
    records: list[Record] = []
    damaged = 0
    for line in data[:end].split(b"\n"):
        if not line:
            continue
        head, body = line[:DIGEST], line[DIGEST + 1 :]
        if line[DIGEST : DIGEST + 1] != b" " or head != _digest(body):
            damaged += 1
            continue
        try:
            records.append(_DECODER.decode(body))
        except msgspec.DecodeError:
            damaged += 1
    return Parsed(tuple(records), end, len(data) - end, damaged)


class Spool:
    """The file, held by one auditor."""

    def __init__(self, path: Path) -> None:
        """Open, or make it for its owner alone, and cut off what a crash tore.

        Raises:
            SpoolUnavailable: it cannot be opened, or another auditor holds it.
        """
        self.path = path
        self.said = ""
        """What was found damaged; empty for nothing."""
        self._clean = True
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
            self._file = os.open(path, flags, 0o600)
            try:
                _hold(self._file, path)
                self.records = self._read()
                _sync_folder(path.parent)
            except BaseException:
                os.close(self._file)
                raise
        except BlockingIOError:
            raise SpoolUnavailable(f"another auditor holds {path}; stop it first") from None
        except OSError as problem:
            raise SpoolUnavailable(f"cannot use the spool {path}: {problem.strerror}") from problem

    def _read(self) -> list[Record]:
        data = os.pread(self._file, os.fstat(self._file).st_size, 0)
        found = parse(data)
        if found.torn:
            os.ftruncate(self._file, found.end)
            os.fsync(self._file)
        if found.torn or found.damaged:
            self.said = (
                f"the spool {self.path} had {found.torn} bytes of a torn record, which are cut, "
                f"and {found.damaged} damaged records, which are left out"
            )
            logger.warning("%s", self.said)
        return list(found.records)

    def append(self, record: Record) -> None:
        """Write one record; it is on the disk when this returns.

        Raises:
            SpoolUnavailable: it is not; what was there before still is.
        """
        line = encode(record)
        size = os.fstat(self._file).st_size
        try:
            # After a write that failed half-way the next line must not join its remains.
            whole = line if self._clean else b"\n" + line
            self._clean = False
            if os.write(self._file, whole) != len(whole):
                os.ftruncate(self._file, size)
                raise SpoolUnavailable(f"the spool {self.path} is full; make room on its disk")
            os.fsync(self._file)
            self._clean = True
        except OSError as problem:
            with suppress(OSError):
                os.ftruncate(self._file, size)
            text = f"cannot write the spool {self.path}: {problem.strerror}; make room on its disk"
            raise SpoolUnavailable(text) from problem
        self.records.append(record)

    @property
    def size(self) -> int:
        """Bytes on the disk."""
        return os.fstat(self._file).st_size

    def rewrite(self, records: Iterable[Record]) -> None:
        """Replace everything at once, or nothing.

        Raises:
            SpoolUnavailable: the old content stands.
        """
        kept = list(records)
        fresh = self.path.with_name(self.path.name + ".new")
        try:
            flags = os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_CLOEXEC
            file = os.open(fresh, flags, 0o600)
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                _write_all(file, b"".join(encode(record) for record in kept))
                os.fsync(file)
                fresh.rename(self.path)
            except BaseException:
                os.close(file)
                raise
            os.close(self._file)
            self._file, self.records, self._clean = file, kept, True
            _sync_folder(self.path.parent)
        except OSError as problem:
            with suppress(OSError):
                fresh.unlink()
            raise SpoolUnavailable(
                f"cannot write {fresh}: {problem.strerror}; make room on its disk"
            ) from problem

    def adopt(self, leftover: Path) -> bool:
        """Take over what another spool still owes, and remove it; whether it owed anything.

        An episode that is here already was taken whole, so what is left of it there is a copy.

        Raises:
            SpoolUnavailable: it is held, or ours cannot be written; it stays as it was.
        """
        other = Spool(leftover)
        try:
            ours = {record.id for record in self.records if isinstance(record, Opened)}
            owed = [each for each in compacted(other.records) if _episode_of(each) not in ours]
            if owed:
                self.rewrite([*self.records, *owed])
            leftover.unlink()
            # One that came back after a power cut would page anew, once ours is filed.
            _sync_folder(leftover.parent)
        except OSError as problem:
            raise SpoolUnavailable(f"cannot remove {leftover}: {problem.strerror}") from problem
        finally:
            other.close()
        return bool(owed)

    def close(self) -> None:
        """Let another auditor have it."""
        os.close(self._file)


def _episode_of(record: Record) -> str:
    return record.id if isinstance(record, Opened) else record.episode


def _hold(file: int, path: Path) -> None:
    """Lock the file that has the name.

    Raises:
        BlockingIOError: another holds it, or has just put a new one in its place.
    """
    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    if not os.path.samestat(os.fstat(file), path.stat()):
        raise BlockingIOError


def _write_all(file: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(file, view) :]


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def compacted(records: Sequence[Record]) -> list[Record]:
    """Without filed episodes, with the last outcome of each message and the newest notes."""
    filed = {record.episode for record in records if isinstance(record, Filed)}
    last = {record.message: record for record in records if isinstance(record, Tried)}
    notes = [r for r in records if isinstance(r, Noted) and r.episode not in filed][-NOTES_KEPT:]

    def keep(record: Record) -> bool:
        match record:
            case Opened(id=episode) | Closed(episode=episode):
                return episode not in filed
            case Tried():
                return record.episode not in filed and last[record.message] is record
            case Noted():
                return record in notes
            case Filed():
                return False

    return [record for record in records if keep(record)]
