"""Exact counts: from the events of one partition to its cells, as a function of its log alone.

No wall clock, no sketch, no randomness: replaying a partition from its low-water mark rebuilds the
same absolute cells, so a crash, a replay or a zombie writes what is already there. Lateness is
judged per record in offset order against the partition's own watermark.
"""

from __future__ import annotations

from datetime import UTC, datetime
from hashlib import blake2b
from typing import Any, NamedTuple

from monitor.stream.cells import Admission, Arrival, BaseKey, Bucket, Emission, Occurrence, Progress
from monitor.stream.event import YEARS
from monitor.stream.log_clock import FUTURE_S, ClockState, LogClock
from monitor.stream.signals import DIMENSION_LIMITS
from monitor.stream.strays import note
from monitor.stream.tally import Tally

OTHER = "__other__"
TUPLES_PER_BUCKET = 10_000
"""Dimension tuples of one partition and bucket; what comes after is folded to `__other__`."""
_FIRST_MS, _END_MS = (
    int(datetime(year, 1, 1, tzinfo=UTC).timestamp() * 1000) for year in (YEARS.start, YEARS.stop)
)


class _Held(NamedTuple):
    """An event counted at a time that the log may still contradict."""

    arrival: Arrival
    bucket: Bucket
    fate: str


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
        self._clock = LogClock(progress.clock, self._lateness_s)
        self._furthest = progress.watermark
        """The clock at `hi`, which a replay has not reached yet."""
        self._strays = dict(progress.strays)
        self._held: list[_Held] = []
        self._withdrawn: set[int] = set()
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

    @property
    def judged(self) -> int:
        """Offset after the last record judged; what lies before it was read once."""
        return self._hi

    def skip(self, offset: int, fate: str) -> None:
        """A record that is no event: quarantined, a tombstone, ..."""
        if offset >= self._hi:
            self._totals[fate] = self._totals.get(fate, 0) + 1
        self._move(offset)

    def leak(self, rule: str, offset: int, timestamp_ms: int | None) -> None:
        """A never-event in a record that is no event: all that is known is where it lay."""
        if offset < self._hi:
            return
        stamp = _believable(timestamp_ms)
        at = stamp / 1000 if stamp is not None else self._clock.watermark or 0.0
        start = self._start(at)
        if self._leaks.get(rule) != start:
            self._leaks[rule] = start
            when = datetime.fromtimestamp(at, UTC)
            self._occurrences.append(Occurrence(rule, "unreadable", start, offset, when, {}, ""))

    def add(self, arrival: Arrival) -> None:
        """Count one event; its offset ascends, from `progress.low_water` on."""
        fresh = arrival.offset >= self._hi
        said = at = arrival.event.time.timestamp()
        stamp_ms = _believable(arrival.timestamp_ms)
        stamp = None if stamp_ms is None else stamp_ms / 1000
        if stamp is not None and at > stamp + FUTURE_S:
            at = stamp
        before, clock = self._clock.watermark, self._before(at)
        contradicted = self._see(arrival, at, stamp)
        if self._clock.turned and self._held:
            self._settle(fresh=fresh)
        mark = self._clock.watermark
        if contradicted and mark is not None and self._far(self._start(at)):
            at = mark
        if fresh and at < said:
            self._stray(arrival, "clamped")
        self._place(arrival, at, clock, fresh=fresh)
        if mark is not None and mark != before:
            self._close_until(self._start(mark - self._lateness_s))
        self._move(arrival.offset)

    def pass_over(self, offset: int) -> None:
        """What lies before `offset` and was not read will not come: reading goes on there."""
        self._next = max(self._next, offset)
        self._hi = max(self._hi, self._next)

    def rewind(self, offset: int) -> None:
        """The log was cut off at `offset`: what comes there now is new, what came is forgotten.

        Open buckets may hold some of it, so they are built anew: reading goes on at `next_offset`.
        """
        self._furthest = self.progress().watermark
        self._hi = offset
        first = self._first()
        if first is not None:
            self._clock = LogClock(first.clock, self._lateness_s)
            offset = min(first.first_offset, offset)
        self._next = offset
        self._open.clear()
        self._held.clear()

    def finish(self) -> None:
        """The recording has ended: close every bucket up to the last time that is believed.

        Doubted times that nothing refuted are the log's last word; a refuted one stays open.
        """
        self._finished = True
        self._clock.finish()
        self._held.clear()
        if (mark := self._clock.watermark) is not None:
            self._close_until(self._start(mark) + self._bucket_s)

    def take(self) -> Emission:
        """What changed since the last call; an open bucket only once its replay is over."""
        buckets, self._done = self._done, []
        if self._next >= self._hi:
            buckets += [bucket for bucket in self._open.values() if bucket.changed]
            for bucket in self._open.values():
                bucket.changed = False
        emission = Emission(
            self.progress(),
            buckets,
            self._late,
            self._occurrences,
            self._admissions,
            self._withdrawn,
        )
        self._late, self._occurrences, self._admissions = [], [], []
        self._withdrawn = set()
        return emission

    def progress(self) -> Progress:
        """Where this partition is now."""
        first = self._first()
        replayed = first is not None and first.first_offset < self._next
        marks = [mark for mark in (self._furthest, self._clock.watermark) if mark is not None]
        return Progress(
            low_water=first.first_offset if first is not None and replayed else self._next,
            hi=max(self._hi, self._next),
            closed=self._closed,
            watermark=max(marks, default=None),
            clock=first.clock if first is not None and replayed else self._clock.state(),
            strays=dict(self._strays),
            finished=self._finished,
            totals=dict(self._totals),
            leaks=dict(self._leaks),
        )

    def _first(self) -> Bucket | None:
        """The open bucket whose first record is the oldest."""
        return min(self._open.values(), key=lambda bucket: bucket.first_offset, default=None)

    # -- time -----------------------------------------------------------------------------------

    def _far(self, start: int) -> bool:
        """Whether a bucket lies so far ahead that only its own events vouch for it."""
        mark = self._clock.watermark
        return mark is None or start > mark + FUTURE_S

    def _before(self, at: float) -> ClockState | None:
        """The clock as it is, if the next event may open a bucket."""
        mark = self._clock.watermark
        if self._start(at) in self._open and (mark is None or self._start(mark) in self._open):
            return None
        return self._clock.state()

    def _see(self, arrival: Arrival, at: float, stamp: float | None) -> bool:
        """Move the clock; whether the log has contradicted this time."""
        if stamp is not None and arrival.appended:
            self._clock.see_appended(min(at, stamp))
        elif stamp is None and not self._clock.witnessed:
            self._clock.see_bare(at)
        else:
            return self._clock.see(arrival.event.source, at)
        return False

    def _settle(self, *, fresh: bool) -> None:
        """A doubt has ended: what was counted far ahead counts at the clock's own time.

        Args:
            fresh: the record that ended it is judged for the first time.
        """
        mark = self._clock.watermark
        assert mark is not None
        held, self._held = self._held, []
        gone = [
            each for each in held if each.bucket.start > mark + FUTURE_S and not each.bucket.certain
        ]
        told: set[tuple[str, str]] = set()
        for _, bucket, _ in gone:
            told |= bucket.nevers
            if self._open.pop(bucket.start, None) is not None and fresh:
                self._withdrawn.add(bucket.start)
        for arrival, bucket, fate in gone:
            if fresh:
                self._totals[fate] -= 1
                self._stray(arrival, "clamped")
            self._place(arrival, mark, bucket.clock, fresh=fresh, told=told)

    def _stray(self, arrival: Arrival, fate: str) -> None:
        """An event whose source has the wrong time, or was held up."""
        self._tell(fate)
        if (mark := self._clock.watermark) is not None:
            note(self._strays, arrival.event.source, arrival.event.time.timestamp() - mark)

    # -- counts ---------------------------------------------------------------------------------

    def _place(
        self,
        arrival: Arrival,
        at: float,
        clock: ClockState | None,
        *,
        fresh: bool,
        told: set[tuple[str, str]] | None = None,
    ) -> None:
        """Count an event in its bucket, or as late.

        Args:
            arrival: the event.
            at: its time, as far as it is believed.
            clock: before the event, or before all that came with it.
            fresh: its fate was not told yet.
            told: never-events that were.
        """
        start = self._start(at)
        if self._closed is not None and start + self._bucket_s <= self._closed:
            if fresh:
                self._judge_late(arrival, start)
            return
        bucket = self._open.get(start)
        if bucket is None:
            bucket = Bucket(start, arrival.offset, clock or self._clock.state())
            self._open[start] = bucket
        elif arrival.offset < bucket.first_offset and clock is not None:
            bucket.first_offset, bucket.clock = arrival.offset, clock
        if told:
            bucket.nevers |= told
        fate = self._fate(bucket, arrival)
        if fate == "counted":
            self._count(bucket, arrival)
        if fresh:
            self._tell(fate)
        if self._clock.doubts and self._far(start):
            self._held.append(_Held(arrival, bucket, fate))
        else:
            bucket.certain = True

    def _start(self, at: float) -> int:
        return int(at // self._bucket_s) * self._bucket_s

    def _tell(self, fate: str) -> None:
        self._totals[fate] = self._totals.get(fate, 0) + 1

    def _move(self, offset: int) -> None:
        self._next = offset + 1
        self._hi = max(self._hi, self._next)

    def _judge_late(self, arrival: Arrival, start: int) -> None:
        self._stray(arrival, "late")
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

    def _close_until(self, end: int) -> None:
        if self._closed is not None and end <= self._closed:
            return
        self._closed = end
        for start in sorted(self._open):
            if start + self._bucket_s <= end:
                self._done.append(self._open.pop(start))


def _believable(timestamp_ms: int | None) -> int | None:
    """A record's time if it is one: -1 means none, and a producer may write the year 9999."""
    if timestamp_ms is None or not _FIRST_MS <= timestamp_ms < _END_MS:
        return None
    return timestamp_ms


def _excluded(data: Any) -> str | None:
    """Why an event is left out of the rates, if it is."""
    if data.traffic_class != "user":
        return f"excluded_{data.traffic_class}"
    if getattr(data.coverage, "sampling_mode", None) == "outcome_biased":
        return "excluded_outcome_sampled"
    return None
