"""Exact counts: from the events of one partition to its cells, as a function of its log alone.

No wall clock, no sketch, no randomness: replaying a partition from its low-water mark rebuilds the
same absolute cells, so a crash, a replay or a zombie writes what is already there. Lateness is
judged per record in offset order against the partition's own watermark.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import blake2b
from typing import Any

from monitor.stream.signals import DIMENSION_LIMITS
from monitor.stream.tally import Tally

OTHER = "__other__"
TUPLES_PER_BUCKET = 10_000
"""Dimension tuples of one partition and bucket; what comes after is folded to `__other__`."""
FUTURE_S = 60
"""An event may be this far ahead of its record's Kafka timestamp; more is clamped to it."""
JUMP_S = 3600
"""Without record timestamps, a jump of the clock by more than this is doubted ..."""
JUMP_RECORDS = 100
"""... until this many records agree."""


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
    """Largest accepted event time, unix seconds."""
    doubted: tuple[float, ...] = ()
    """Event times beyond a jump, not believed yet."""
    finished: bool = False
    """A recording that has ended: all its buckets are closed."""
    totals: dict[str, int] = field(default_factory=dict)
    """Records by fate since the beginning: counted, late, duplicate, conflict, excluded_eval."""
    leaks: dict[str, int] = field(default_factory=dict)
    """Bucket of the newest leak in an unreadable record, by rule: one is told a bucket."""


@dataclass(frozen=True, slots=True)
class Arrival:
    """One decoded event with its record."""

    offset: int
    timestamp_ms: int | None
    """Kafka's record timestamp, where the log has one."""
    kind: str
    """`interaction` or `amend`."""
    event: Any
    """`source`, `id`, `time` and `data` are read."""
    body: bytes
    """As it lay on the log, to tell a copy from a conflict."""
    flags: tuple[str, ...] = ()
    """Never-events that decoding found: a confirmed secret or card number."""


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
    base: dict[BaseKey, list[int]] = field(default_factory=dict)
    narrow: dict[NarrowKey, list[int]] = field(default_factory=dict)
    seen: dict[tuple[str, str], bytes] = field(default_factory=dict)
    nevers: set[tuple[str, str]] = field(default_factory=set)
    changed: bool = True


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


class Counter:
    """The counts of one partition."""

    def __init__(
        self, tally: Tally, progress: Progress, vocabulary: dict[str, set[str]] | None = None
    ) -> None:
        """Go on from `progress`; the caller feeds records from `progress.low_water` on.

        Args:
            tally: the compiled plan.
            progress: as stored.
            vocabulary: label values admitted by this partition so far, by dimension.
        """
        self._tally = tally
        self._bucket_s = tally.plan.bucket_s
        self._lateness_s = tally.plan.lateness_s
        self._open: dict[int, Bucket] = {}
        self._vocabulary: dict[str, set[str]] = {
            name: set((vocabulary or {}).get(name, ())) for name in tally.plan.dimensions
        }
        self._hi = progress.hi
        self._next = progress.low_water
        self._closed = progress.closed
        self._watermark = progress.watermark
        self._doubted = list(progress.doubted)
        self._finished = progress.finished
        self._totals = dict(progress.totals)
        self._done: list[Bucket] = []
        self._late: list[tuple[int, int]] = []
        self._occurrences: list[Occurrence] = []
        self._leaks = dict(progress.leaks)
        self._admissions: list[Admission] = []

    @property
    def next_offset(self) -> int:
        """Where reading goes on."""
        return self._next

    def skip(self, offset: int, fate: str) -> None:
        """A record that is no event: quarantined, a tombstone, ..."""
        if offset >= self._hi:
            self._totals[fate] = self._totals.get(fate, 0) + 1
        self._move(offset)

    def leak(self, rule: str, offset: int, timestamp_ms: int | None) -> None:
        """A never-event in a record that is no event: all that is known is where it lay."""
        if offset < self._hi:
            return
        at = timestamp_ms / 1000 if timestamp_ms is not None else self._watermark or 0.0
        start = self._start(at)
        if self._leaks.get(rule) != start:
            self._leaks[rule] = start
            when = datetime.fromtimestamp(at, UTC)
            self._occurrences.append(Occurrence(rule, "unreadable", start, offset, when, {}, ""))

    def add(self, arrival: Arrival) -> None:
        """Count one event; its offset ascends, from `progress.low_water` on."""
        fresh = arrival.offset >= self._hi
        at = arrival.event.time.timestamp()
        stamp = arrival.timestamp_ms
        if stamp is not None and at > stamp / 1000 + FUTURE_S:
            at = stamp / 1000
            if fresh:
                self._tell("clamped")
        start = self._start(at)
        if self._closed is None or start + self._bucket_s > self._closed:
            bucket = self._open.get(start)
            if bucket is None:
                bucket = self._open[start] = Bucket(start, arrival.offset)
            fate = self._fate(bucket, arrival)
            if fate == "counted":
                self._count(bucket, arrival)
            if fresh:
                self._tell(fate)
        elif fresh:
            self._judge_late(arrival, start)
        if fresh:
            self._tick(at, trusted=stamp is not None)
        self._move(arrival.offset)

    def rewind(self, offset: int) -> None:
        """The log was cut off at `offset`: what comes there now is new."""
        self._hi = self._next = offset

    def finish(self) -> None:
        """The recording has ended: close every bucket up to the last time that is believed.

        Doubted times that nothing refuted are the log's last word; a refuted one stays open.
        """
        self._finished = True
        if self._doubted:
            self._watermark = max(self._doubted)
            self._doubted.clear()
        if self._watermark is not None:
            self._close_until(self._start(self._watermark) + self._bucket_s)

    def take(self) -> Emission:
        """What changed since the last call; an open bucket only once its replay is over."""
        buckets, self._done = self._done, []
        if self._next >= self._hi:
            buckets += [bucket for bucket in self._open.values() if bucket.changed]
            for bucket in self._open.values():
                bucket.changed = False
        emission = Emission(
            self.progress(), buckets, self._late, self._occurrences, self._admissions
        )
        self._late, self._occurrences, self._admissions = [], [], []
        return emission

    def progress(self) -> Progress:
        """Where this partition is now."""
        firsts = [bucket.first_offset for bucket in self._open.values()]
        return Progress(
            low_water=min([*firsts, self._next]),
            hi=max(self._hi, self._next),
            closed=self._closed,
            watermark=self._watermark,
            doubted=tuple(self._doubted),
            finished=self._finished,
            totals=dict(self._totals),
            leaks=dict(self._leaks),
        )

    def _start(self, at: float) -> int:
        return int(at // self._bucket_s) * self._bucket_s

    def _tell(self, fate: str) -> None:
        self._totals[fate] = self._totals.get(fate, 0) + 1

    def _move(self, offset: int) -> None:
        self._next = offset + 1
        self._hi = max(self._hi, self._next)

    def _judge_late(self, arrival: Arrival, start: int) -> None:
        self._tell("late")
        self._late.append((arrival.offset, start))
        if arrival.event.data.traffic_class == "user":
            self._occur(arrival, start, self._labels(arrival.event.data), set())

    def _fate(self, bucket: Bucket, arrival: Arrival) -> str:
        """What becomes of an event in an open bucket: counted, or why not."""
        mark = blake2b(arrival.body, digest_size=8).digest()
        known = bucket.seen.setdefault((arrival.event.source, arrival.event.id), mark)
        if known is not mark:
            return "duplicate" if known == mark else "conflict"
        bucket.changed = True
        return _excluded(arrival.event.data) or "counted"

    def _count(self, bucket: Bucket, arrival: Arrival) -> None:
        data = arrival.event.data
        labels = self._labels(data, bucket.start)
        key = self._fold(bucket, labels)
        counts = bucket.base.get(key)
        if counts is None:
            counts = bucket.base[key] = [0] * self._tally.width
        for slot in self._tally.base(arrival.kind, data):
            counts[slot] += 1
        for name, by, value, k, n in self._tally.narrow(arrival.kind, data):
            admitted = self._admit(name, value, bucket.start)
            cell = bucket.narrow.setdefault((name, tuple(key[i] for i in by), admitted), [0, 0])
            cell[0] += k
            cell[1] += n
        self._count_source(bucket, arrival.event.source, key[self._tally.environment])
        self._occur(arrival, bucket.start, labels, bucket.nevers)

    def _count_source(self, bucket: Bucket, source: str, environment: str) -> None:
        if name := self._tally.volume:
            key = (name, (environment,), self._admit(name, source, bucket.start))
            cell = bucket.narrow.get(key, (0, 0))
            bucket.narrow[key] = [cell[0] + 1, cell[1] + 1]

    def _fold(self, bucket: Bucket, labels: dict[str, str]) -> BaseKey:
        key = tuple(labels.values())
        if key in bucket.base or len(bucket.base) < TUPLES_PER_BUCKET:
            return key
        return (*key[:2], *(OTHER for _ in key[2:]))

    def _labels(self, data: Any, start: int | None = None) -> dict[str, str]:
        return {name: self._admit(name, read(data), start) for name, read in self._tally.readers}

    def _admit(self, dimension: str, value: str, start: int | None) -> str:
        known = self._vocabulary.setdefault(dimension, set())
        if value in known or not value:
            return value
        most = DIMENSION_LIMITS.get(dimension) or self._tally.limits[dimension]
        if start is None or len(known) >= most:
            return OTHER
        known.add(value)
        self._admissions.append(Admission(dimension, value, start))
        return value

    def _occur(
        self,
        arrival: Arrival,
        start: int,
        labels: dict[str, str],
        told: set[tuple[str, str]],
    ) -> None:
        event = arrival.event
        broken = [
            name
            for name, on, breaks in self._tally.never
            if on in {arrival.kind, "any"} and breaks(event.data)
        ]
        for rule in (*arrival.flags, *broken):
            if (rule, event.source) not in told:
                told.add((rule, event.source))
                self._occurrences.append(
                    Occurrence(
                        rule, event.source, start, arrival.offset, event.time, labels, event.id
                    )
                )

    def _tick(self, at: float, *, trusted: bool) -> None:
        if self._watermark is None or trusted or at <= self._watermark + JUMP_S:
            if self._watermark is not None and at <= self._watermark:
                return
            self._watermark = at
            self._doubted.clear()
        else:
            self._doubted.append(at)
            if len(self._doubted) < JUMP_RECORDS:
                return
            self._watermark = min(self._doubted)
            self._doubted.clear()
        horizon = self._start(self._watermark - self._lateness_s)
        if self._closed is None or horizon > self._closed:
            self._close_until(horizon)

    def _close_until(self, end: int) -> None:
        self._closed = max(end, self._closed or end)
        for start in sorted(self._open):
            if start + self._bucket_s <= end:
                self._done.append(self._open.pop(start))


def _excluded(data: Any) -> str | None:
    """Why an event is left out of the rates, if it is."""
    if data.traffic_class != "user":
        return f"excluded_{data.traffic_class}"
    if getattr(data.coverage, "sampling_mode", None) == "outcome_biased":
        return "excluded_outcome_sampled"
    return None
