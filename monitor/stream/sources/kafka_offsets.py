"""Where a partition's log begins and ends, and where in it a moment lies."""

from __future__ import annotations

from datetime import datetime

from kafka import KafkaConsumer, TopicPartition
from kafka.errors import KafkaError

from monitor.stream.sources.source import SourceUnavailable
from monitor.watchdog import tick

_LOOKUP_MS = 5000
_Offsets = dict[TopicPartition, int]


def edges(consumer: KafkaConsumer | None, places: list[TopicPartition], *, end: bool) -> _Offsets:
    """The first offset of each log, or the one after its last record; nothing without a consumer.

    Raises:
        SourceUnavailable: no broker answers in time.
    """
    if consumer is None or not places:
        return {}
    look = consumer.end_offsets if end else consumer.beginning_offsets
    tick()
    try:
        found: _Offsets = look(places, timeout_ms=_LOOKUP_MS)
    except KafkaError as error:
        raise SourceUnavailable(f"no broker answers: {error!r}") from error
    return found


def since(consumer: KafkaConsumer, places: list[TopicPartition], begin: datetime) -> _Offsets:
    """The first offset of a record since `begin`, or the end where there is none.

    Raises:
        SourceUnavailable: no broker answers in time.
    """
    since_ms = int(begin.timestamp() * 1000)
    ends = edges(consumer, places, end=True)
    try:
        found = consumer.offsets_for_times(dict.fromkeys(places, since_ms), timeout_ms=_LOOKUP_MS)
    except KafkaError as error:
        raise SourceUnavailable(f"no broker answers: {error!r}") from error
    return {place: at.offset if (at := found[place]) else ends[place] for place in places}
