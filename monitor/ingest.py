"""Loop 1: stream -> cells.

`step` polls the source once, decodes and counts what came, and writes cells, progress, quarantine
and never-events in one transaction, at most once a second of the clock it is given. It keeps no
state that a restart could not rebuild from the log: it replays from the low-water mark.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from monitor.metrics import Metrics
from monitor.store.store import Store, StoreUnavailable, Tx
from monitor.store.stream_rows import GapRow, Quarantined
from monitor.stream.counting import Arrival, Counter, Emission, Progress, Tally
from monitor.stream.decode import Decoded, Rejected, Skipped, decode
from monitor.stream.event import Amend
from monitor.stream.signals import Plan
from monitor.stream.sources.source import (
    Assigned,
    Chunk,
    Gap,
    Partition,
    Record,
    Revoked,
    Source,
    SourceCorrupt,
    SourceUnavailable,
)

logger = logging.getLogger(__name__)

COMMIT_EVERY = timedelta(seconds=1)
LEAK = "confirmed_leak"
"""The never-event of a confirmed secret or card number in an event that should be redacted."""


@dataclass(slots=True)
class _Share:
    """What this process keeps of one assigned partition."""

    partition: Partition
    counter: Counter
    unsaved: Emission | None = None
    """Taken from the counter and not written yet: the store did not answer."""
    quarantine: list[Quarantined] = field(default_factory=list)
    gaps: list[GapRow] = field(default_factory=list)

    def saved(self) -> None:
        """All of it is in the store."""
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
        self._tally = Tally(plan)
        self._plan = plan
        self._metrics = metrics
        self._key = digest_key
        self._pipeline: int | None = None
        self._shares: dict[Partition, _Share] = {}
        self._saved_at: datetime | None = None
        self._dirty = False
        self._finished = False

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
        if self._source.exhausted and not self._finished:
            self.finish(now)
        elif self._due(now, taken):
            self.flush(now)
        return taken

    def _due(self, now: datetime, taken: int) -> bool:
        if self._source.finite:
            return taken > 0
        return self._saved_at is None or now - self._saved_at >= COMMIT_EVERY

    def _poll(self, timeout_s: float, now: datetime) -> int:
        taken = 0
        try:
            for item in self._source.poll(timeout_s):
                match item:
                    case Chunk():
                        taken += self._take(item, now)
                    case Assigned():
                        self._assigned(item.partitions, now)
                    case Revoked():
                        self._revoked(item.partitions, now)
                    case Gap():
                        self._gap(item, now)
        except SourceUnavailable as problem:
            self._metrics.source_errors.inc()
            logger.warning("the source cannot be read: %s", problem)
        except SourceCorrupt as problem:
            self._metrics.source_errors.inc()
            logger.error("the recording is damaged: %s", problem)  # noqa: TRY400 - the place is the news, not our stack
        return taken

    def flush(self, now: datetime) -> None:
        """Write what changed, in one transaction.

        Raises:
            StoreUnavailable: kept in memory, and the source is paused until the store is back.
        """
        lags = self._source.lags()
        self._metrics.lag.set(sum(max(0, lag.end - lag.position) for lag in lags))
        try:
            with self._store.write() as tx:
                self._write(tx, now)
                for topic, topic_id in {(x.partition.topic, x.partition.topic_id) for x in lags}:
                    positions = [
                        (x.partition.number, x.position, x.end)
                        for x in lags
                        if x.partition.topic_id == topic_id
                    ]
                    tx.stream.liveness(topic, topic_id, positions, now)
        except StoreUnavailable:
            self._source.pause()
            raise
        for share in self._shares.values():
            share.saved()
        self._source.resume()
        self._saved_at = now

    def finish(self, now: datetime) -> None:
        """Treat what is read as all there is: close every bucket and write it."""
        for share in self._shares.values():
            share.counter.finish()
        self.flush(now)
        self._finished = True

    def close(self, now: datetime) -> None:
        """Write what is there and leave."""
        self.flush(now)
        self._source.close()

    def _write(self, tx: Tx, now: datetime) -> None:
        pipeline = self._pipeline_in(tx, now)
        for share in self._shares.values():
            if share.unsaved is None:
                share.unsaved = share.counter.take()
            where = (pipeline, share.partition.topic_id, share.partition.number)
            tx.stream.save(*where, share.unsaved)
            tx.stream.quarantine(share.quarantine)
            for gap in share.gaps:
                tx.stream.gap(gap)

    def _pipeline_in(self, tx: Tx, now: datetime) -> int:
        if self._pipeline is None:
            self._pipeline = tx.stream.pipeline(self._plan, now)
        return self._pipeline

    def _assigned(self, partitions: Iterable[Partition], now: datetime) -> None:
        with self._store.write() as tx:
            pipeline = self._pipeline_in(tx, now)
            for partition in partitions:
                key = (pipeline, partition.topic_id, partition.number)
                progress = tx.stream.progress(*key)
                counter = Counter(self._tally, progress or Progress(), tx.stream.words(*key))
                self._shares[partition] = _Share(partition, counter)
                self._source.start(partition, None if progress is None else progress.low_water)

    def _revoked(self, partitions: Iterable[Partition], now: datetime) -> None:
        self.flush(now)
        for partition in partitions:
            self._shares.pop(partition, None)

    def _gap(self, gap: Gap, now: datetime) -> None:
        p = gap.partition
        self._metrics.gaps.labels(gap.reason).inc(gap.last - gap.first + 1)
        share = self._shares.get(p)
        if share is None:
            return
        share.gaps.append(
            GapRow(p.topic, p.topic_id, p.number, gap.first, gap.last, gap.reason, now)
        )
        self._source.start(p, gap.last + 1)

    def _take(self, chunk: Chunk, now: datetime) -> int:
        share = self._shares[chunk.partition]
        for record in chunk.records:
            self._count(share, record, now)
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
                share.counter.add(
                    Arrival(
                        record.offset, record.timestamp_ms, kind, event, record.value or b"", flags
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
