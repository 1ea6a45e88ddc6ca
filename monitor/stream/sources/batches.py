"""A recording in memory: the source of the simulator at speed, and of tests."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence

from monitor.stream.sources.source import (
    Assigned,
    Chunk,
    Gap,
    Lag,
    Partition,
    Record,
    SourceEvent,
    Topology,
)

Batch = tuple[int, Sequence[Record]]


class BatchSource:
    """Hands out (partition number, records) pairs in their order, a few thousand records a poll.

    The iterable is read lazily and once, so it may be a generator of any length. Its offsets ascend
    within a partition and may have holes, as on a compacted log.
    """

    finite = True

    def __init__(
        self,
        batches: Iterable[Batch],
        *,
        partitions: int = 1,
        topic: str = "batches",
        topic_id: str = "",
        max_records: int = 5000,
    ) -> None:
        """`partitions` is how many there are, numbered from 0; `max_records` bounds one poll."""
        self._topic = topic
        self._topic_id = topic_id or topic
        self._partitions = {n: Partition(topic, self._topic_id, n) for n in range(partitions)}
        self._batches: Iterator[Batch] = iter(batches)
        self._max_records = max_records
        self._head: Batch | None = None
        self._ended = False
        self._assigned = False
        self._paused = False
        self._positions: dict[int, int] = {}
        self._read: dict[int, int] = {}

    def poll(self, timeout_s: float) -> list[SourceEvent]:
        """The next chunks; waits only while paused.

        A batch whose partition was not started yet holds back all that come after it.

        Raises:
            ValueError: a batch names a partition that does not exist, or its offsets do not ascend.
        """
        if self._paused:
            time.sleep(timeout_s)
        if not self._assigned:
            self._assigned = True
            return [Assigned(tuple(self._partitions.values()))]
        events: list[SourceEvent] = []
        taken = 0
        while not self._paused and taken < self._max_records and self._peek() is not None:
            chunk = self._next_chunk()
            if chunk is None:
                break
            if chunk.records:
                events.append(chunk)
                taken += len(chunk.records)
        return events or self._beyond()

    def start(self, partition: Partition, offset: int | None) -> None:
        """Read from `offset` on; what lies before it is passed over.

        Raises:
            ValueError: `offset` is negative, or was already passed.
        """
        if self._partitions.get(partition.number) != partition:
            return
        position = 0 if offset is None else offset
        passed = self._read.get(partition.number, 0)
        if position < 0 or (offset is not None and position < passed):
            raise ValueError(f"cannot start at {offset}: read up to {passed} and only once")
        self._positions[partition.number] = max(position, passed)

    def pause(self) -> None:
        """Hand out nothing until `resume`."""
        self._paused = True

    def resume(self) -> None:
        """Go on."""
        self._paused = False

    def lags(self) -> list[Lag]:
        """Positions; `end` is what is known without reading on: a lag of 1 means "at least 1"."""
        more = 0 if self._peek() is None else 1
        return [
            Lag(self._partitions[number], position, position + more)
            for number, position in sorted(self._positions.items())
        ]

    def topology(self) -> Topology:
        """Fixed from the start."""
        return Topology(self._topic, self._topic_id, tuple(self._partitions))

    @property
    def exhausted(self) -> bool:
        """Everything was handed out, and every partition was started."""
        if len(self._positions) < len(self._partitions) or self._peek() is not None:
            return False
        return all(at <= self._read.get(number, 0) for number, at in self._positions.items())

    def close(self) -> None:
        """Nothing to let go of."""

    def _beyond(self) -> list[SourceEvent]:
        """Partitions that were to start behind their last record: what they ask for is not here."""
        if self._paused or self._peek() is not None:
            return []
        events: list[SourceEvent] = []
        for number, position in sorted(self._positions.items()):
            end = self._read.get(number, 0)
            if position > end:
                del self._positions[number]
                events.append(Gap(self._partitions[number], end, position - 1, "truncated"))
        return events

    def _peek(self) -> Batch | None:
        if self._head is None and not self._ended:
            self._head = next(self._batches, None)
            self._ended = self._head is None
        return self._head

    def _next_chunk(self) -> Chunk | None:
        """The chunk of the batch at the head; None while its partition waits for `start`."""
        if self._head is None:
            return None
        number, records = self._head
        if number not in self._partitions:
            raise ValueError(f"batch for partition {number} of {len(self._partitions)}")
        position = self._positions.get(number)
        if position is None:
            return None
        self._head = None
        if records and not self._read.get(number, 0) <= records[0].offset <= records[-1].offset:
            raise ValueError(f"offsets of partition {number} do not ascend at {records[0].offset}")
        if records:
            self._read[number] = records[-1].offset + 1
        if records and records[0].offset < position:
            records = [record for record in records if record.offset >= position]
        if records:
            self._positions[number] = records[-1].offset + 1
        return Chunk(self._partitions[number], records, self._positions[number])
