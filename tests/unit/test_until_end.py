"""A log read as a recording: nothing is lost when its end cannot be asked for."""

from __future__ import annotations

import pytest

from monitor.stream.sources.batches import BatchSource
from monitor.stream.sources.source import Assigned, Chunk, Lag, Record, SourceUnavailable
from monitor.stream.sources.until_end import UntilEnd

END = 5


class Outage(BatchSource):
    """A log of five records a partition; the first questions about its end get no answer."""

    def __init__(self, batches: list[tuple[int, list[Record]]], *, outages: int) -> None:
        super().__init__(batches, partitions=2, max_records=2)
        self._outages = outages

    def lags(self) -> list[Lag]:
        """Positions and ends, once the outages are over."""
        if self._outages:
            self._outages -= 1
            raise SourceUnavailable("no broker answers")
        return [Lag(lag.partition, lag.position, END) for lag in super().lags()]


@pytest.mark.parametrize("outages", [0, 1, 3])
def test_what_was_polled_before_an_outage_is_handed_out_after_it(outages: int) -> None:
    """A poll that cannot learn the ends keeps what it has read for the next one."""
    log = [(n % 2, [Record(n // 2, b"%d" % n)]) for n in range(2 * END)]
    source, values = UntilEnd(Outage(log, outages=outages)), []
    for _ in range(50):
        try:
            events = source.poll(0.0)
        except SourceUnavailable:
            continue
        for event in events:
            if isinstance(event, Assigned):
                for partition in event.partitions:
                    source.start(partition, None)
            elif isinstance(event, Chunk):
                values += [int(record.value or b"") for record in event.records]
        if source.exhausted:
            break
    assert source.exhausted
    assert sorted(values) == list(range(2 * END))
