"""The port that every source of events implements; its contract suite is in `tests/contract`.

A source hands out chunks of raw records, in offset order within a partition, and never decides what
they mean. Positions belong to the caller: a source starts a partition only where `start` says, and
it never skips silently: what it could not read comes back as a `Gap` with its exact range.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol


@dataclass(frozen=True, slots=True, order=True)
class Partition:
    """One ordered log: a Kafka partition, or a file as a whole."""

    topic: str
    topic_id: str
    """Identity of this incarnation of the topic: it changes when it is deleted and made anew."""
    number: int


class Record(NamedTuple):
    """One record as it lay on the log; `value` None is a tombstone.

    A named tuple, unlike the other values here: one is made for every event, and a frozen dataclass
    costs twice as much (0.51 against 0.23 microseconds).
    """

    offset: int
    value: bytes | None
    timestamp_ms: int | None = None
    """Kafka's record timestamp in ms since the epoch (CreateTime or LogAppendTime), if any. A
    producer may write any number; counting believes what lies in this century."""
    headers: tuple[tuple[str, bytes], ...] = ()
    appended: bool = False
    """The broker wrote the timestamp (LogAppendTime), and not the producer."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """Records of one partition in offset order; `next_offset` is where reading goes on."""

    partition: Partition
    records: Sequence[Record]
    next_offset: int


@dataclass(frozen=True, slots=True)
class Assigned:
    """These partitions are ours now; each is read once the caller has answered with `start`."""

    partitions: tuple[Partition, ...]


@dataclass(frozen=True, slots=True)
class Began:
    """Where a partition begins that was started without an offset, told before its first chunk.

    A live log says so, because "now" is another place a moment later; a recording begins at 0.
    """

    partition: Partition
    offset: int


@dataclass(frozen=True, slots=True)
class Revoked:
    """These partitions are no longer ours."""

    partitions: tuple[Partition, ...]


@dataclass(frozen=True, slots=True)
class Gap:
    """Offsets `first` to `last` (both included) that the log does not hold, or no longer means.

    The partition then stands still until the caller says where to go on with `start`: behind `last`
    after `retention` and `unreadable`, at `first` after `truncated` (what comes there is new).
    """

    partition: Partition
    first: int
    last: int
    reason: str
    """`retention`: deleted before it was read; `truncated`: the log now ends before our position;
    `unreadable`: the bytes are there and cannot be taken apart into records."""


SourceEvent = Chunk | Assigned | Began | Revoked | Gap


@dataclass(frozen=True, slots=True)
class Lag:
    """How far the log goes: `end` is the offset after its last record."""

    partition: Partition
    position: int
    end: int


@dataclass(frozen=True, slots=True)
class Topology:
    """The partitions a topic has now, ours or not; decide waits for all of them."""

    topic: str
    topic_id: str
    partitions: tuple[int, ...] = field(default=())


class SourceUnavailable(Exception):
    """The log cannot be reached now; poll again later. Nothing was lost."""


class SourceCorrupt(Exception):
    """A recording is damaged: what was readable before has been handed out, the rest is lost.

    Raised once a damage; the source goes on with what else it has, and ends.
    """

    def __init__(self, file: str, line: int, byte: int, reason: str) -> None:
        """`line` (from 1) and `byte` (of the file as it lies) are the first not handed out."""
        super().__init__(f"{file}: line {line}, byte {byte}: {reason}")
        self.file = file
        self.line = line
        self.byte = byte
        self.reason = reason


class Source(Protocol):
    """Where events come from."""

    finite: bool
    """True for a recording: it ends, and then `exhausted` is true."""

    def poll(self, timeout_s: float) -> list[SourceEvent]:
        """What has come since the last call, waiting up to `timeout_s` seconds for something.

        Raises:
            SourceUnavailable: the log cannot be reached; positions are kept.
            SourceCorrupt: a recording is damaged here; poll on for what else there is.
        """
        ...

    def start(self, partition: Partition, offset: int | None) -> None:
        """Read `partition` from `offset` on; None: from the configured beginning of history.

        Never waits: what goes wrong with it comes from the next `poll`. A partition that is not
        ours (any more) is left alone.

        Raises:
            ValueError: `offset` is negative, or lies behind what can be read only once.
        """
        ...

    def pause(self) -> None:
        """Stop reading but stay a member (the store is away)."""
        ...

    def resume(self) -> None:
        """Read on after `pause`."""
        ...

    def lags(self) -> list[Lag]:
        """Position and end of each partition that was started.

        Raises:
            SourceUnavailable: the log cannot be reached.
        """
        ...

    def topology(self) -> Topology:
        """The topic's partitions as they are now.

        Raises:
            SourceUnavailable: the log cannot be reached, or has no such topic.
        """
        ...

    @property
    def exhausted(self) -> bool:
        """True when a finite source has handed out everything."""
        ...

    def close(self) -> None:
        """Leave; the object is not used afterwards."""
        ...
