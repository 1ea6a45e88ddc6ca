"""Loop 1: stream -> cells.

`step` polls the source once, decodes and counts what came, and writes cells, progress, quarantine
and never-events in one transaction, at most once a second of the clock it is given. It keeps no
state that a restart could not rebuild from the log: it replays from the low-water mark.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from monitor import recovery
from monitor.faults import fault_point
from monitor.metrics import Metrics
from monitor.store.finding_rows import GapRow, Quarantined
from monitor.store.heir_rows import Inherited
from monitor.store.store import Store, StoreUnavailable, Tx
from monitor.stream.cells import FATES, Arrival, Emission, Progress
from monitor.stream.counting import Counter
from monitor.stream.decode import Decoded, Rejected, Skipped, decode
from monitor.stream.event import Amend
from monitor.stream.signals import Plan
from monitor.stream.sources.source import (
    Assigned,
    Began,
    Chunk,
    Gap,
    Lag,
    Partition,
    Record,
    Revoked,
    Source,
    SourceCorrupt,
    SourceEvent,
    SourceUnavailable,
)
from monitor.stream.tally import Tally
from monitor.watchdog import tick

logger = logging.getLogger(__name__)

COMMIT_EVERY = timedelta(seconds=1)
SAY_AGAIN = timedelta(minutes=1)
"""A source that cannot be read for the same reason is logged this often, and not at each try."""
LEAK = "confirmed_leak"
"""The never-event of a confirmed secret or card number in an event that should be redacted."""


@dataclass(slots=True)
class _Share:
    """What this process keeps of one assigned partition."""

    partition: Partition
    counter: Counter
    begun: bool
    """It is known where it begins. Before, there is no progress: it would say offset 0."""
    heard: bool = False
    """An event came since the last write."""
    told: dict[str, int] = field(default_factory=dict)
    """Fates that the metrics know of."""
    unsaved: Emission | None = None
    """Taken from the counter and not written yet: the store did not answer."""
    quarantine: list[Quarantined] = field(default_factory=list)
    gaps: list[GapRow] = field(default_factory=list)

    def gather(self) -> Emission | None:
        """All that the counter has to tell and that is not in the store."""
        if self.begun:
            new = self.counter.take()
            self.unsaved = new if self.unsaved is None else self.unsaved.then(new)
        return self.unsaved

    def saved(self) -> None:
        """All of it is in the store."""
        self.heard = False
        self.unsaved = None
        self.quarantine = []
        self.gaps = []


class Ingest:
    """The ingest loop of one process."""

    def __init__(
        self, store: Store, source: Source, plan: Plan, metrics: Metrics, *, digest_key: bytes
    ) -> None:
        self._store = store
        self._source = source
        for fate in FATES:
            metrics.events.labels(fate)  # a rate misses what a counter began with
        self._tally = Tally(plan)
        self._plan = plan
        self._metrics = metrics
        self._key = digest_key
        self._shares: dict[Partition, _Share] = {}
        self._saved_at: datetime | None = None
        self._waiting: deque[SourceEvent] = deque()
        """What the source told and the store has not let us act on yet."""
        self._unsaved = False
        self._finished = False
        self._silent, self._silent_at = "", datetime.min.replace(tzinfo=UTC)
        """Why the source was last found unreadable, and when that was said."""
        self.partitions = 0
        """Of the whole topic, as last looked up; 0 before."""

    damage = ""
    """Where a recording was found damaged; what was readable before is counted."""

    @property
    def finished(self) -> bool:
        """A finite source has ended and everything of it is stored."""
        return self._finished

    def step(self, now: datetime, timeout_s: float = 0.2) -> int:
        """Read once; the number of records taken.

        Raises:
            StoreUnavailable: nothing was lost; what was counted is written by a later step.
        """
        taken = self._poll(timeout_s, now)
        if self._source.exhausted and not self._waiting and not self._finished:
            self.finish(now)
        elif self._due(now, taken):
            self.flush(now)
        return taken

    def _due(self, now: datetime, taken: int) -> bool:
        if self._source.finite:
            return taken > 0 or self._unsaved
        return self._saved_at is None or now - self._saved_at >= COMMIT_EVERY

    def _poll(self, timeout_s: float, now: datetime) -> int:
        try:
            if not self._waiting:
                self._waiting.extend(self._source.poll(timeout_s))
            self._silent = ""
        except SourceUnavailable as problem:
            self._unreadable(str(problem), now)
        except SourceCorrupt as problem:
            self._metrics.source_errors.inc()
            self.damage = str(problem)
            logger.error("the recording is damaged: %s", problem)  # noqa: TRY400 - the place is the news, not our stack
        fault_point("K1")
        return self._act(now)

    def _unreadable(self, why: str, now: datetime) -> None:
        self._metrics.source_errors.inc()
        if why != self._silent or now - self._silent_at >= SAY_AGAIN:
            self._silent, self._silent_at = why, now
            logger.warning("the source cannot be read: %s", why)

    def _act(self, now: datetime) -> int:
        taken = 0
        while self._waiting:
            try:
                taken += self._handle(self._waiting[0], now)
            except SourceUnavailable as problem:
                self._metrics.source_errors.inc()
                logger.warning("the topic cannot be looked at: %s", problem)
                break
            self._waiting.popleft()
        return taken

    def _handle(self, item: SourceEvent, now: datetime) -> int:
        match item:
            case Chunk():
                taken = self._take(item, now)
                fault_point("K2")
                return taken
            case Assigned():
                self._assigned(item.partitions, now)
            case Began():
                self._began(item)
            case Revoked():
                self._revoked(item.partitions, now)
            case Gap():
                self._gap(item, now)
        return 0

    def flush(self, now: datetime) -> None:
        """Write what changed, in one transaction.

        Raises:
            StoreUnavailable: kept in memory, and the source is paused until the store is back.
        """
        self._unsaved = True
        lags = self._lags()
        self._metrics.lag.set(sum(max(0, lag.end - lag.position) for lag in lags))
        try:
            with self._store.write() as tx:
                self._write(tx, now)
                seen = tx.leases.now(now)
                for topic, topic_id in {(x.partition.topic, x.partition.topic_id) for x in lags}:
                    positions = [
                        (x.partition.number, x.position, x.end)
                        for x in lags
                        if x.partition.topic_id == topic_id
                    ]
                    silent = self._silent_of(topic_id)
                    tx.stream.liveness(topic, topic_id, positions, seen, silent)
        except StoreUnavailable:
            self._source.pause()
            raise
        fault_point("K4")
        for share in self._shares.values():
            self._tell(share)
            share.saved()
        self._source.resume()
        self._saved_at = now
        self._unsaved = False

    def _silent_of(self, topic_id: str) -> frozenset[int]:
        shares = self._shares.items()
        return frozenset(p.number for p, one in shares if p.topic_id == topic_id and not one.heard)

    def _tell(self, share: _Share) -> None:
        """The fates of what is stored now; each is told once, by whoever judged it first."""
        if share.unsaved is None:
            return
        totals = share.unsaved.progress.totals
        for fate, count in totals.items():
            self._metrics.events.labels(fate).inc(max(0, count - share.told.get(fate, 0)))
        share.told = totals

    def _lags(self) -> list[Lag]:
        try:
            return self._source.lags()
        except SourceUnavailable as problem:
            logger.warning("how far the log goes is not known: %s", problem)
            return []

    def finish(self, now: datetime) -> None:
        """Treat what is read as all there is: close every bucket and write it."""
        for share in self._shares.values():
            share.begun = True
            share.counter.finish()
        self.flush(now)
        self._finished = True

    def close(self, now: datetime) -> None:
        """Write what is there and leave."""
        fault_point("K14")
        self.flush(now)
        self._source.close()

    def _write(self, tx: Tx, now: datetime) -> None:
        pipeline = tx.stream.pipeline(self._plan, now)
        for share in self._shares.values():
            if (emission := share.gather()) is not None:
                where = (pipeline, share.partition.topic_id, share.partition.number)
                tx.stream.save(*where, emission)
            fault_point("K3")
            tx.stream.quarantine(share.quarantine)
            for gap in share.gaps:
                tx.stream.gap(gap)

    def _assigned(self, partitions: Iterable[Partition], now: datetime) -> None:
        # Others may read the rest: decide must know of every partition before it trusts a bucket.
        topology = None if self._source.finite else self._source.topology()
        replayed, inherited = 0, dict[Partition, Inherited | None]()
        with self._store.write() as tx:
            if topology is not None:
                seen = tx.leases.now(now)
                tx.stream.known(topology.topic, topology.topic_id, topology.partitions, seen)
                self.partitions = len(topology.partitions)
            pipeline = tx.stream.pipeline(self._plan, now)
            for partition in partitions:
                key = (pipeline, partition.topic_id, partition.number)
                if not self._source.finite:
                    inherited[partition] = tx.heirs.inherit(self._plan, *key)
                progress = tx.stream.progress(*key)
                if progress is not None and not self._source.finite:
                    replayed += max(0, progress.hi - progress.low_water)
                counter = Counter(self._tally, progress or Progress(), tx.stream.words(*key))
                self._shares[partition] = _Share(partition, counter, progress is not None)
                self._shares[partition].told = {} if progress is None else progress.totals
                self._source.start(partition, None if progress is None else progress.low_water)
        recovery.tell(self._metrics, "events replayed", replayed)
        _tell_inherited(inherited)

    def _began(self, begin: Began) -> None:
        share = self._shares.get(begin.partition)
        if share is not None and not share.begun:
            share.counter.pass_over(begin.offset)
            share.begun = True

    def _revoked(self, partitions: Iterable[Partition], now: datetime) -> None:
        self.flush(now)
        for partition in partitions:
            self._shares.pop(partition, None)

    def _gap(self, gap: Gap, now: datetime) -> None:
        p = gap.partition
        share = self._shares.get(p)
        if share is None:
            return
        first = gap.first
        if gap.reason == "truncated":
            # What comes at these offsets now is new: it must not be taken for a replay, nor be
            # written over by what was counted there and is not stored yet.
            self.flush(now)
            with self._store.write() as tx:
                tx.stream.rewind(p.topic_id, p.number, first)
            share.counter.rewind(first)
        else:
            first = max(first, share.counter.judged)  # what a replay misses was counted before
            share.counter.pass_over(gap.last + 1)
        if first <= gap.last:
            self._metrics.gaps.labels(gap.reason).inc(gap.last - first + 1)
            share.gaps.append(
                GapRow(p.topic, p.topic_id, p.number, first, gap.last, gap.reason, now)
            )
        self._source.start(p, share.counter.next_offset)

    def _take(self, chunk: Chunk, now: datetime) -> int:
        share = self._shares.get(chunk.partition)
        if share is None:
            return 0  # revoked meanwhile: its new owner reads it
        share.begun = True
        for record in chunk.records:
            self._count(share, record, now)
            tick()
        return len(chunk.records)

    def _count(self, share: _Share, record: Record, now: datetime) -> None:
        match decode(record, key=self._key):
            case Decoded(event=event, quarantine=rows):
                flags: tuple[str, ...] = ()
                if rows:
                    flags = (LEAK,) if any(row.confirmed for row in rows) else ()
                    for row in rows:
                        self._hold(share, record, row.rule, row.path, row.length, row.digest, now)
                kind = "amend" if isinstance(event, Amend) else "interaction"
                share.heard = True
                share.counter.add(
                    Arrival(
                        record.offset,
                        record.timestamp_ms,
                        kind,
                        event,
                        record.value or b"",
                        flags,
                        record.appended,
                    )
                )
                self._metrics.records.labels("event").inc()
            case Rejected() as bad:
                self._hold(share, record, bad.rule, bad.path, bad.length, bad.digest, now)
                for rule in bad.confirmed:
                    self._hold(share, record, rule, "$", bad.length, bad.digest, now)
                    share.counter.leak(LEAK, record.offset, record.timestamp_ms)
                share.counter.skip(record.offset, "quarantined")
                self._metrics.records.labels("quarantined").inc()
            case Skipped(reason=reason):
                share.counter.skip(record.offset, reason)
                self._metrics.records.labels(reason).inc()

    def _hold(
        self,
        share: _Share,
        record: Record,
        rule: str,
        path: str,
        length: int,
        digest: str,
        now: datetime,
    ) -> None:
        p = share.partition
        share.quarantine.append(
            Quarantined(
                p.topic, p.topic_id, p.number, record.offset, rule, path, length, digest, now
            )
        )
        self._metrics.quarantined.labels(rule).inc()


def _tell_inherited(inherited: Mapping[Partition, Inherited | None]) -> None:
    for partition, heir in inherited.items():
        if heir is not None:
            left = f"; {heir.passed} s of events are judged by neither" if heir.passed else ""
            logger.info(
                "%s-%d is counted by other signals from offset %d on, where those before stood%s",
                partition.topic,
                partition.number,
                heir.offset,
                left,
            )
