"""Records out of the bytes of a Kafka record batch (message format 2), whatever those bytes are.

kafka-python's own reader makes two objects a record, unpacks a batch to any size, and one header
key that is not UTF-8 stops its consumer for ever (3.0.12: `poll` spins and does not return). Any
producer can write such a record, so here nothing in a batch is trusted.

Format: KIP-98 and Kafka's protocol guide, "Record Batch" and "Record".
"""

from __future__ import annotations

import functools
import io
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import lz4.frame
import zstandard
from kafka import KafkaConsumer
from kafka.codec import snappy_decode
from kafka.consumer.fetcher import Fetcher
from kafka.errors import CorruptRecordError
from kafka.protocol.consumer import IsolationLevel

from monitor.stream.sources.source import Record

UNPACKED_LIMIT = 64 * 1024 * 1024
"""Bytes. A batch that unpacks to more is not read: a packed megabyte can hold gigabytes."""
SLICE_RECORDS, SLICE_BYTES = 4096, 256 * 1024
"""As many records of a batch are made at a time: one of 64 MB can hold nine million."""
HEADERS_LIMIT = 1000
"""Headers of a record that are looked at."""
_HEADER_BYTES = 61
_LOG_APPEND_TIME = 1
_FORMAT = 2
_GZIP_WINDOW = 31
_Headers = tuple[tuple[str, bytes], ...]


class Unreadable(NamedTuple):
    """Offsets of a partition that cannot be taken apart into records."""

    place: Any
    """kafka-python's `TopicPartition`."""
    first: int
    last: int
    reason: str


@dataclass(slots=True)
class Room:
    """Unpacked bytes that may still be handed out in this poll; about, for it ends with a slice."""

    left: int


class Slice(NamedTuple):
    """Some records of a batch."""

    records: list[Record]
    size: int
    """Bytes that were read for them."""
    problem: str = ""
    """Why the batch cannot be read on behind them; then it is the last slice."""


class Malformed(ValueError):
    """These bytes are not what the format says they should be."""


class TolerantRecords(Fetcher.PartitionRecords):  # type: ignore[misc] # kafka-python ships no types
    """Takes the place of kafka-python's class of that name, which `KafkaConsumer` uses to unpack.

    What it cannot read it adds to `found`, and ends there: the caller says where to go on.
    """

    def __init__(
        self, *arguments: Any, found: list[Unreadable], room: Room, **options: Any
    ) -> None:
        """As the parent, where to report to, and what may be handed out."""
        self._found = found
        self._room = room
        self._damaged = False
        super().__init__(*arguments, **options)

    def take(self, n: int | None = None) -> list[Record]:
        """The next records, `n` at most, and one at least where there is one: while there is room.

        An exception loses nothing: the position is moved by what this returns, and what lies
        behind it is fetched again.
        """
        records: list[Record] = []
        for record in self.record_iterator:
            records.append(record)
            if len(records) == n or self._room.left <= 0:
                break
        return records

    def _unpack_records(self, tp: Any, records: Any, *_deserializers: object) -> Iterator[Record]:
        """The parent's generator: moves `next_fetch_offset` along, and ends with `drain`."""
        try:
            while not self._damaged and (batch := records.next_batch()) is not None:
                if batch.magic < _FORMAT:
                    yield from self._old_format(batch)
                    continue
                if not batch.validate_crc():
                    self._pass_over(tp, batch.base_offset, _end_of_damaged(batch), "checksum")
                    continue
                self.leader_epoch = batch.leader_epoch
                if not self._hidden(batch):
                    yield from self._readable(tp, batch)
                self.next_fetch_offset = batch.next_offset
        except CorruptRecordError as error:
            self._pass_over(tp, self.next_fetch_offset, self.next_fetch_offset, str(error))
        self.drain()

    def _pass_over(self, tp: Any, first: int, last: int, reason: str) -> None:
        first = max(first, self.fetch_offset, self.next_fetch_offset)
        if first <= last:
            self._damaged = True
            self._found.append(Unreadable(tp, first, last, reason))
            self.next_fetch_offset = last + 1

    def _hidden(self, batch: Any) -> bool:
        """Is it a transaction's marker, or what a transaction took back?"""
        committed = self.isolation_level == IsolationLevel.READ_COMMITTED
        if committed and batch.has_producer_id():
            self._consume_aborted_transactions_up_to(batch.last_offset)
            if self._contains_abort_marker(batch):
                self.aborted_producer_ids.discard(batch.producer_id)
            elif self._is_batch_aborted(batch):
                return True
        return bool(batch.is_control_batch)

    def _readable(self, tp: Any, batch: Any) -> Iterator[Record]:
        """The records of one batch, from the fetched offset on; the rest is reported."""
        self.bytes_read += batch.size_in_bytes
        for some in read_batch(batch):
            self._room.left -= some.size
            self.records_read += len(some.records)
            for record in some.records:
                self.next_fetch_offset = record.offset + 1
                yield record
            if some.problem:
                self._pass_over(tp, batch.base_offset, batch.last_offset, some.problem)

    def _old_format(self, batch: Any) -> Iterator[Record]:
        for row in batch:
            self.next_fetch_offset = row.offset + 1
            self.bytes_read += row.size_in_bytes
            self._room.left -= row.size_in_bytes
            at_broker = row.timestamp_type == _LOG_APPEND_TIME
            yield Record(row.offset, row.value, row.timestamp, appended=at_broker)


def _end_of_damaged(batch: Any) -> int:
    """Its last offset, if what it says of itself agrees; else no more than its first."""
    delta = int(batch.last_offset_delta)
    return int(batch.base_offset) + (delta if 0 <= delta == batch.records_count - 1 else 0)


def read_tolerantly(consumer: KafkaConsumer, found: list[Unreadable], room: Room) -> None:
    """Make `consumer.poll` give our `Record`s; what cannot be read is added to `found` instead.

    A poll ends when there is no more `room`: without, 6 kB of zstd are 64 MB of work, and a fetch
    holds hundreds of such batches. Rests on names that kafka-python does not promise (3.0 has
    them; a contract test reads every codec, damage and transaction through it): its fetcher, the
    class it unpacks with, and how it adds up what it has taken.
    """
    fetcher = consumer._fetcher  # noqa: SLF001 -- there is no public way to the raw batches
    fetcher.PartitionRecords = functools.partial(TolerantRecords, found=found, room=room)
    append = fetcher._append  # noqa: SLF001 -- there is no public bound in bytes

    def bounded(drained: Any, part: Any, most: int, update_offsets: bool) -> int:
        taken: int = append(drained, part, most, update_offsets)
        return taken if room.left > 0 else most

    fetcher._append = bounded  # noqa: SLF001 -- as above


def read_batch(batch: Any) -> Iterator[Slice]:
    """The records of a `DefaultRecordBatch` that can be read, slice by slice."""
    packed = memoryview(batch._buffer)[_HEADER_BYTES:]  # noqa: SLF001 -- no public way to its bytes
    try:
        data = unpack(batch.compression_type, bytes(packed), UNPACKED_LIMIT)
    except Malformed as problem:
        yield Slice([], UNPACKED_LIMIT, str(problem))
        return
    appended = batch.max_timestamp if batch.timestamp_type == _LOG_APPEND_TIME else None
    yield from read_records(
        data, batch.records_count, batch.base_offset, batch.first_timestamp, appended
    )


def unpack(codec: int, packed: bytes, limit: int) -> bytes:
    """Undo Kafka's compression `codec` (0 none, 1 gzip, 2 snappy, 3 lz4, 4 zstd).

    Raises:
        Malformed: it cannot be unpacked, or to more than `limit` bytes.
    """
    try:
        data = _unpacked(codec, packed, limit)
    except (zlib.error, zstandard.ZstdError, RuntimeError, ValueError, OSError) as error:
        # RuntimeError is lz4's; snappy's errors are ValueErrors.
        raise Malformed(f"cannot be unpacked: {error}") from error
    if len(data) > limit:
        raise Malformed(f"unpacks to more than {limit} bytes")
    return data


def _unpacked(codec: int, packed: bytes, limit: int) -> bytes:
    if codec == 0:
        return packed
    if codec == 1:
        return zlib.decompressobj(_GZIP_WINDOW).decompress(packed, limit + 1)
    if codec == 2:
        # Needs no limit: snappy packs to a twentieth at best.
        return bytes(snappy_decode(packed))
    if codec == 3:
        return bytes(lz4.frame.LZ4FrameDecompressor().decompress(packed, max_length=limit + 1))
    if codec == 4:
        with zstandard.ZstdDecompressor().stream_reader(
            io.BytesIO(packed), read_across_frames=True
        ) as reader:
            return bytes(reader.read(limit + 1))
    raise Malformed(f"unknown compression {codec}")


def read_records(
    data: bytes, count: int, base_offset: int, base_ms: int, appended_ms: int | None
) -> Iterator[Slice]:
    """`count` records out of unpacked bytes; `appended_ms`, if any, stands over their own times."""
    at = 0
    while count > 0:
        records: list[Record] = []
        begun = at
        try:
            most = min(count, SLICE_RECORDS)
            at = _read_into(records, data, at, most, base_offset, base_ms, appended_ms)
        except (IndexError, Malformed) as problem:
            yield Slice(records, len(data) - begun, f"not a record: {problem}")
            return
        yield Slice(records, at - begun)
        count -= len(records)


def _read_into(  # noqa: C901, PLR0912 -- a call for each number doubles its time (2.2 us, now 1.2)
    records: list[Record],
    data: bytes,
    at: int,
    count: int,
    base_offset: int,
    base_ms: int,
    appended_ms: int | None,
) -> int:
    """The loop every event goes through: numbers of one and two bytes are decoded in place.

    Ends after `count` records or a slice of bytes, and gives the position it came to.
    """
    enough = at + SLICE_BYTES
    for _ in range(count):
        size = data[at]
        at += 1
        if size > 127:
            size, at = _longer(data, at, size)
        end = at + (size >> 1)
        at += 1  # attributes: none is defined
        delta_ms = data[at]
        at += 1
        if delta_ms > 127:
            delta_ms, at = _longer(data, at, delta_ms)
        delta = data[at]
        at += 1
        if delta > 127:
            delta, at = _longer(data, at, delta)
        size = data[at]
        at += 1
        if size > 127:
            size, at = _longer(data, at, size)
        if not size & 1:  # odd is negative: no key
            at += size >> 1
        size = data[at]
        at += 1
        if size > 127:
            if (high := data[at]) > 127:
                size, at = _longer(data, at, size)
            else:
                size += (high << 7) - 128
                at += 1
        value = None
        if not size & 1:
            value = data[at : at + (size >> 1)]
            at += size >> 1
        headers: _Headers = ()
        if data[at]:
            headers, at = _headers(data, at, end)
        else:
            at += 1
        if at != end:
            raise Malformed("it is not as long as it says")
        when = base_ms + _signed(delta_ms) if appended_ms is None else appended_ms
        at_broker = appended_ms is not None
        records.append(Record(base_offset + (delta >> 1), value, when, headers, at_broker))
        if at >= enough:
            break
    return at


def _headers(data: bytes, at: int, end: int) -> tuple[_Headers, int]:
    """The first `HEADERS_LIMIT` of them, and the position after all."""
    count, at = _number(data, at)
    headers = []
    for _ in range(min(count, HEADERS_LIMIT)):
        size, at = _number(data, at)
        key = data[at : at + size].decode(errors="backslashreplace")
        at += size
        size, at = _number(data, at)
        headers.append((key, data[at : at + max(size, 0)]))
        at += max(size, 0)
        if at > end or size < -1:
            raise Malformed("its headers are longer than it is")
    return tuple(headers), at if count <= HEADERS_LIMIT else end


def _number(data: bytes, at: int) -> tuple[int, int]:
    """A signed number, and the position after it."""
    byte = data[at]
    raw, at = (byte, at + 1) if byte < 128 else _longer(data, at + 1, byte)
    return _signed(raw), at


def _longer(data: bytes, at: int, first: int) -> tuple[int, int]:
    """The rest of a number that `first` only begins, and the position after it."""
    raw = first & 127
    for shift in range(7, 70, 7):
        byte = data[at]
        at += 1
        raw |= (byte & 127) << shift
        if byte < 128:
            return raw, at
    raise Malformed("a number in it has no end")


def _signed(raw: int) -> int:
    """Zigzag: 0, -1, 1, -2, ... are written as 0, 1, 2, 3, ..."""
    return (raw >> 1) ^ -(raw & 1)
