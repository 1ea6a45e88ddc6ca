"""A live log as a recording: up to where it ended when it was first looked at, and no further."""

from __future__ import annotations

from monitor.stream.sources.source import (
    Assigned,
    Began,
    Chunk,
    Gap,
    Lag,
    Partition,
    Revoked,
    Source,
    SourceEvent,
    Topology,
)


class UntilEnd:
    """Reads another source to the ends it has now; what is appended meanwhile is left alone."""

    finite = True

    def __init__(self, source: Source) -> None:
        self._source = source
        self._ours: set[Partition] = set()
        self._ends: dict[Partition, int] = {}
        self._at: dict[Partition, int] = {}
        self._held: list[SourceEvent] = []
        self.exhausted = False

    def poll(self, timeout_s: float) -> list[SourceEvent]:
        """As the other's, without the records behind the end.

        Raises:
            SourceUnavailable: the log cannot be reached now; poll on.
        """
        new = self._source.poll(timeout_s)
        for event in new:
            match event:
                case Assigned(partitions):
                    self._ours.update(partitions)
                case Revoked(partitions):
                    self._ours.difference_update(partitions)
                case Chunk(partition, _, next_offset):
                    self._at[partition] = next_offset
                case Began() | Gap():
                    pass
        self._held += new
        self._look(idle=not self._held)  # when this raises, the next poll hands out what is held
        events, self._held = self._held, []
        return [self._cut(event) for event in events]

    def start(self, partition: Partition, offset: int | None) -> None:
        """As the other's."""
        self._source.start(partition, offset)

    def pause(self) -> None:
        """As the other's."""
        self._source.pause()

    def resume(self) -> None:
        """As the other's."""
        self._source.resume()

    def lags(self) -> list[Lag]:
        """Positions, and the ends at which reading stops."""
        lags = self._source.lags()
        return [
            Lag(lag.partition, lag.position, max(lag.position, self._ends[lag.partition]))
            if lag.partition in self._ends
            else lag
            for lag in lags
        ]

    def topology(self) -> Topology:
        """As the other's."""
        return self._source.topology()

    def close(self) -> None:
        """As the other's."""
        self._source.close()

    def _look(self, *, idle: bool) -> None:
        """Note ends not known yet, and see whether all are reached."""
        if idle or not self._ours <= self._ends.keys():
            for lag in self._source.lags():
                self._ends.setdefault(lag.partition, lag.end)
                self._at[lag.partition] = lag.position
        read = {place for place, end in self._ends.items() if self._at.get(place, 0) >= end}
        self.exhausted = bool(self._ours) and self._ours <= read

    def _cut(self, event: SourceEvent) -> SourceEvent:
        if not isinstance(event, Chunk):
            return event
        end = self._ends.get(event.partition)
        if end is None or event.next_offset <= end:
            return event
        records = [record for record in event.records if record.offset < end]
        return Chunk(event.partition, records, end)
