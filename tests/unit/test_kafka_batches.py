"""Taking record batches apart: what kafka-python packs comes out, and no bytes break the reader."""

from __future__ import annotations

import gzip
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kafka import TopicPartition
from kafka.record import MemoryRecords, MemoryRecordsBuilder

from monitor.stream.sources import kafka_batches
from monitor.stream.sources.kafka_batches import (
    HEADERS_LIMIT,
    SLICE_BYTES,
    SLICE_RECORDS,
    Malformed,
    Room,
    TolerantRecords,
    Unreadable,
    read_records,
    unpack,
)
from monitor.stream.sources.source import Record

PLACE = TopicPartition("t", 0)
TEXT = st.text(st.characters(codec="utf-8"), max_size=20)
PARTS = st.tuples(
    st.integers(min_value=0, max_value=2**42),
    st.none() | st.binary(max_size=200),
    st.none() | st.binary(max_size=3000),
    st.lists(st.tuples(TEXT, st.none() | st.binary(max_size=200)), max_size=4),
)
Parts = tuple[int, bytes | None, bytes | None, list[tuple[str, bytes | None]]]


def batch(rows: list[Parts], codec: int = 0, base: int = 0) -> bytearray:
    builder = MemoryRecordsBuilder(2, codec, 1 << 24)
    for when, key, value, headers in rows:
        assert builder.append(timestamp=when, key=key, value=value, headers=headers)
    builder.close()
    packed = bytearray(builder.buffer())
    struct.pack_into(">q", packed, 0, base)  # the broker's part
    return packed


def records_of(
    data: bytes, count: int, base_ms: int, appended_ms: int | None = None
) -> tuple[list[Record], str]:
    """All records, and what is wrong with the one after the last of them."""
    slices = list(read_records(data, count, 0, base_ms, appended_ms))
    assert not any(one.problem for one in slices[:-1])
    problem = slices[-1].problem if slices else ""
    return [record for one in slices for record in one.records], problem


def taken(data: bytearray, start: int = 0) -> tuple[list[Record], list[Unreadable]]:
    """What is read from an offset on, as one answer of the broker to a fetch."""
    found: list[Unreadable] = []
    records = MemoryRecords(bytes(data))
    reader = TolerantRecords(start, PLACE, records, found=found, room=Room(1 << 40))
    rows: list[Record] = []
    while reader.record_iterator is not None:
        rows += reader.take(3)
    return rows, found


def plain(rows: list[Parts], base: int = 0) -> list[Record]:
    return [
        Record(base + n, value, when, tuple((key, bound or b"") for key, bound in headers))
        for n, (when, _, value, headers) in enumerate(rows)
    ]


@settings(max_examples=60, deadline=None)
@given(st.lists(PARTS, min_size=1, max_size=12), st.integers(0, 4), st.integers(0, 2**40))
def test_what_kafka_python_packs_comes_out(rows: list[Parts], codec: int, base: int) -> None:
    """Every field of every record is the same again, with every codec, from any offset on."""
    assert taken(batch(rows, codec, base), base) == (plain(rows, base), [])
    middle = len(rows) // 2
    assert taken(batch(rows, codec, base), base + middle) == (plain(rows, base)[middle:], [])


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=400), st.integers(0, 50))
def test_no_bytes_break_the_reader(data: bytes, count: int) -> None:
    """Arbitrary bytes give fewer records and a reason, never an exception or an endless loop."""
    records, reason = records_of(data, count, 0)
    assert len(records) <= count
    assert bool(reason) == (len(records) < count)


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 4), st.data())
def test_a_damaged_batch_is_named_and_passed_over(codec: int, data: st.DataObject) -> None:
    """One flipped bit in a batch: its offsets are reported, and reading ends there until it is
    told where to go on; the batches around it are read."""
    rows: list[Parts] = [(n, None, b"v%d" % n, []) for n in range(5)]
    good, bad, after = batch(rows), batch(rows, codec, 5), batch(rows, 0, 10)
    position = data.draw(st.integers(21, len(bad) - 1))
    bad[position] ^= 1 << data.draw(st.integers(0, 7))
    records, found = taken(good + bad + after)
    assert records == plain(rows)
    assert taken(after, 10) == (plain(rows, 10), [])
    assert all(one.place == PLACE and one.reason == "checksum" for one in found)
    # Where the batch contradicts itself about its length, no more than one offset is claimed.
    agrees = position not in {*range(23, 27), *range(57, 61)}
    assert [(one.first, one.last) for one in found] == [(5, 9 if agrees else 5)]


def test_a_header_key_may_be_any_bytes() -> None:
    """A key that is not UTF-8 is shown escaped; its record and its neighbours are read."""
    data = batch([(1, None, b"v", [("KEY", b"x")])])
    at = data.index(b"KEY")
    rows, _ = records_of(bytes(data[61:at] + b"\xff\xfeY" + data[at + 3 :]), 1, 1)
    assert rows == [Record(0, b"v", 1, (("\\xff\\xfeY", b"x"),))]


def test_log_append_time_stands_over_the_records_own() -> None:
    """On a topic with LogAppendTime every record of a batch has the broker's time."""
    data = bytes(batch([(5, None, b"a", []), (9, None, b"b", [])])[61:])
    assert [r.timestamp_ms for r in records_of(data, 2, 5)[0]] == [5, 9]
    assert [r.timestamp_ms for r in records_of(data, 2, 5, 777)[0]] == [777, 777]
    assert [r.appended for r in records_of(data, 2, 5)[0]] == [False, False]
    assert [r.appended for r in records_of(data, 2, 5, 777)[0]] == [True, True]


@pytest.mark.parametrize("codec", [1, 3, 4])
def test_a_bomb_is_not_unpacked(codec: int) -> None:
    """A batch that unpacks to more than the limit is refused, whatever it was packed with."""
    rows: list[Parts] = [(0, None, bytes(1_000_000), [])]
    packed = bytes(batch(rows, codec)[61:])
    assert len(packed) < 10_000
    with pytest.raises(Malformed, match="more than 100000 bytes"):
        unpack(codec, packed, 100_000)
    assert len(unpack(codec, packed, 2_000_000)) > 1_000_000


def test_an_unknown_codec_is_refused() -> None:
    """Codecs 5 to 7 do not exist yet."""
    with pytest.raises(Malformed, match="5"):
        unpack(5, gzip.compress(b"x"), 100)


def test_a_batch_is_read_slice_by_slice() -> None:
    """What a batch of many small records costs at a time does not depend on how many they are."""
    count = 3 * SLICE_RECORDS + 5
    data = bytes(batch([(n, None, b"", []) for n in range(count)])[61:])
    slices = read_records(data, count, 0, 0, None)
    assert [len(one.records) for one in slices] == [*[SLICE_RECORDS] * 3, 5]
    large = bytes(batch([(0, None, bytes(100_000), [])] * 9)[61:])
    parts = list(read_records(large, 9, 0, 0, None))
    assert [len(one.records) for one in parts] == [3, 3, 3]
    assert sum(one.size for one in parts) == len(large)
    assert max(one.size for one in parts) < SLICE_BYTES + 100_100


def test_no_more_is_taken_than_there_is_room_for() -> None:
    """A poll gets about as many bytes as it has room for, one record at least, and nothing is lost
    between two polls, whatever the batch unpacks to."""
    rows: list[Parts] = [(n, None, bytes(200_000), []) for n in range(40)]
    packed = batch(rows, 4)
    assert len(packed) < 4000
    room = Room(1_000_000)
    reader = TolerantRecords(0, PLACE, MemoryRecords(bytes(packed)), found=[], room=room)
    polls = []
    while reader.record_iterator is not None:
        room.left = 1_000_000
        polls.append([record.offset for record in reader.take(5000)])
        assert reader.record_iterator is None or reader.next_fetch_offset == polls[-1][-1] + 1
    assert [offset for one in polls for offset in one] == list(range(40))
    assert max(map(len, polls)) <= 7
    room.left = -5
    again = TolerantRecords(0, PLACE, MemoryRecords(bytes(packed)), found=[], room=room)
    assert [record.offset for record in again.take(5000)] == [0]


def test_bombs_in_a_row_are_unpacked_one_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reading ends at the first batch that is not read: a fetch can hold hundreds of them."""
    monkeypatch.setattr(kafka_batches, "UNPACKED_LIMIT", 100_000)
    bombs = bytearray()
    for n in range(3):
        bombs += batch([(0, None, bytes(1_000_000), [])], 4, n)
    assert taken(bombs) == (
        [],
        [Unreadable(PLACE, 0, 0, "unpacks to more than 100000 bytes")],
    )


def test_headers_beyond_a_thousand_are_left_alone() -> None:
    """A record that is nothing but headers costs no more than a record, and ends where it ends."""
    headers: list[tuple[str, bytes | None]] = [(f"h{n}", b"") for n in range(5 * HEADERS_LIMIT)]
    (first, second), found = taken(batch([(1, None, b"v", headers), (2, None, b"w", [])]))
    assert (first.value, second.value, found) == (b"v", b"w", [])
    assert [name for name, _ in first.headers] == [f"h{n}" for n in range(HEADERS_LIMIT)]
