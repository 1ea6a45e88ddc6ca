"""What counting reads and makes: arrivals, buckets of cells, and how far a partition is."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, get_args

from monitor.stream.log_clock import ClockState
from monitor.stream.strays import Stray
from monitor.stream.vocabulary import TrafficClass

FATES = (
    "counted",
    "late",
    "duplicate",
    "conflict",
    "clamped",
    "excluded_outcome_sampled",
    *(f"excluded_{name}" for name in get_args(TrafficClass) if name != "user"),
    "quarantined",
    "tombstone",
)
"""What becomes of a record; `clamped` comes in addition."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far one partition is: what `Counter` needs to go on, stored with the cells."""

    low_water: int = 0
    """Where a replay starts: the first offset of the oldest open bucket, or the position."""
    hi: int = 0
    """Offset after the last record judged; below it nothing moves the clock or counts as late."""
    closed: int | None = None
    """Unix seconds: every bucket that ends by then is closed. None before the first event."""
    watermark: float | None = None
    """Largest believed event time at `hi`, unix seconds."""
    clock: ClockState = field(default_factory=ClockState)
    """What time it was at `low_water`: a replay judges each time as the first reading did."""
    finished: bool = False
    """A recording that has ended: all its buckets are closed."""
    totals: dict[str, int] = field(default_factory=dict)
    """Records by fate since the beginning; each has one of `FATES`, and a clamped one two."""
    leaks: dict[str, int] = field(default_factory=dict)
    """Bucket of the newest leak in an unreadable record, by rule: one is told a bucket."""
    strays: dict[str, Stray] = field(default_factory=dict)
    """Sources whose events were late, or far ahead."""


@dataclass(frozen=True, slots=True)
class Arrival:
    """One decoded event with its record."""

    offset: int
    timestamp_ms: int | None
    """Kafka's record timestamp, where the log has one; its producer may have written any number."""
    kind: str
    """`interaction` or `amend`."""
    event: Any
    """`source`, `id`, `time` and `data` are read."""
    body: bytes
    """As it lay on the log, to tell a copy from a conflict."""
    flags: tuple[str, ...] = ()
    """Never-events that decoding found: a confirmed secret or card number."""
    appended: bool = False
    """The broker wrote the timestamp (LogAppendTime), and not the producer."""


@dataclass(frozen=True, slots=True)
class Occurrence:
    """A never-event: it pages on the first occurrence."""

    rule: str
    source: str
    bucket: int
    offset: int
    at: datetime
    dimensions: dict[str, str]
    event_id: str


@dataclass(frozen=True, slots=True)
class Admission:
    """A label value that this partition counts under its own name from now on."""

    dimension: str
    value: str
    bucket: int


BaseKey = tuple[str, ...]
NarrowKey = tuple[str, tuple[str, ...], str]
"""Signal, values of its `by` dimensions, value of the item (`*`: any item, the signal's n)."""


@dataclass(slots=True)
class Bucket:
    """One open bucket; counts are absolute."""

    start: int
    first_offset: int
    clock: ClockState = field(default_factory=ClockState)
    """Before the record of `first_offset`."""
    base: dict[BaseKey, list[int]] = field(default_factory=dict)
    narrow: dict[NarrowKey, list[int]] = field(default_factory=dict)
    seen: dict[tuple[str, str], bytes] = field(default_factory=dict)
    nevers: set[tuple[str, str]] = field(default_factory=set)
    changed: bool = True
    certain: bool = False
    """It holds an event whose time nothing can contradict any more."""


@dataclass(slots=True)
class Emission:
    """What has changed since the last `take`: to be written in one transaction."""

    progress: Progress
    buckets: list[Bucket]
    """Closed and open buckets with changes; their counts replace what is stored."""
    late: list[tuple[int, int]]
    """(offset, bucket) of each late interaction: the offset says whether it is stored already."""
    occurrences: list[Occurrence]
    admissions: list[Admission]
    withdrawn: set[int] = field(default_factory=set)
    """Buckets that never were: the log has contradicted their time."""

    def then(self, later: Emission) -> Emission:
        """Both as one: counts are absolute, so of a bucket only the later ones stay."""
        known = [bucket for bucket in self.buckets if bucket.start not in later.withdrawn]
        buckets = {bucket.start: bucket for bucket in (*known, *later.buckets)}
        return Emission(
            later.progress,
            list(buckets.values()),
            self.late + later.late,
            self.occurrences + later.occurrences,
            self.admissions + later.admissions,
            self.withdrawn | later.withdrawn,
        )
