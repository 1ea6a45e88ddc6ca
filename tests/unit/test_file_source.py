"""Files as a source: lines, offsets, packing, damage, size, and standard input."""

from __future__ import annotations

import gzip
import os
import random
import threading
import time
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from monitor.stream.sources.files import LINE_LIMIT, FileSource
from monitor.stream.sources.lines import Gunzip, LineSplitter
from monitor.stream.sources.source import (
    Assigned,
    Chunk,
    Gap,
    Partition,
    SourceCorrupt,
    SourceUnavailable,
)


def begin(source: FileSource, offset: int | None = None) -> list[Partition]:
    [event] = source.poll(0.1)
    assert isinstance(event, Assigned)
    for partition in event.partitions:
        source.start(partition, offset)
    return list(event.partitions)


def lines(source: FileSource, number: int = 0) -> dict[int, bytes]:
    """Everything there is of one partition, by offset."""
    found: dict[int, bytes] = {}
    deadline = time.monotonic() + 20
    while not source.exhausted:
        assert time.monotonic() < deadline
        for event in source.poll(0.01):
            assert isinstance(event, Chunk)
            if event.partition.number == number:
                found |= {r.offset: r.value or b"" for r in event.records}
    return found


def whole(path: Path, offset: int | None = None) -> dict[int, bytes]:
    source = FileSource([str(path)])
    begin(source, offset)
    try:
        return lines(source)
    finally:
        source.close()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.lists(st.binary(max_size=50).map(lambda line: line.replace(b"\n", b"")), max_size=30))
def test_offsets_are_line_numbers(tmp_path: Path, written: list[bytes]) -> None:
    """Offset n is line n from 0, empty lines counted and left out; packed or not is the same."""
    plain, packed = tmp_path / "a.ndjson", tmp_path / "b"
    data = b"\n".join(written)
    plain.write_bytes(data)
    packed.write_bytes(gzip.compress(data))
    kept = data.removeprefix(b"\xef\xbb\xbf").split(b"\n") if data else []
    expected = {n: line for n, line in enumerate(kept) if line.strip(b" \t\r\n\x0b\x0c")}
    # A file that happens to begin as gzip does is gzip.
    if not data.startswith(b"\x1f\x8b"):
        assert whole(plain) == expected
    assert whole(packed) == expected


@given(st.lists(st.binary(max_size=40), max_size=20), st.integers(1, 30))
def test_cutting_does_not_depend_on_blocks(blocks: list[bytes], limit: int) -> None:
    """Lines come out the same whatever blocks they came in, and never longer than limit + 1."""
    splitter, whole_splitter = LineSplitter(limit), LineSplitter(limit)
    found = [line for block in blocks for line in splitter.feed(block)] + [splitter.end()]
    data = b"".join(blocks)
    assert found == [*whole_splitter.feed(data), whole_splitter.end()]
    assert found == [line[: limit + 1] for line in data.split(b"\n")]


@settings(deadline=None)
@given(st.binary(min_size=1, max_size=5000), st.integers(1, 64), st.data())
def test_what_lies_before_a_damage_is_salvaged(
    data: bytes, block: int, pick: st.DataObject
) -> None:
    """A gzip stream that was cut anywhere gives a beginning of its content, and says so."""
    packed = gzip.compress(data)
    cut = pick.draw(st.integers(1, len(packed) - 1))
    gunzip, found = Gunzip(), b""
    for at in range(0, cut, block):
        gunzip.feed(packed[at : min(at + block, cut)])
        while piece := gunzip.read(100):
            found += piece
    gunzip.end()
    assert data.startswith(found)
    assert "ends early" in gunzip.damage


def test_several_members_are_one_stream(tmp_path: Path) -> None:
    """Packed files that were appended to each other, with padding, are read to the end."""
    path = tmp_path / "x.gz"
    path.write_bytes(gzip.compress(b"1\n2\n") + bytes(7) + gzip.compress(b"3\n4"))
    assert list(whole(path).values()) == [b"1", b"2", b"3", b"4"]


@pytest.mark.parametrize("damage", ["cut", "flip", "tail"])
def test_a_damaged_file_is_read_to_its_damage(tmp_path: Path, damage: str) -> None:
    """Readable lines come first, then one error with its place; other files are read on."""
    noise = random.Random(7)
    written = [
        b'{"n": %d, "noise": "%s"}' % (n, noise.randbytes(20).hex().encode()) for n in range(9000)
    ]
    packed = bytearray(gzip.compress(b"\n".join(written)))
    half = len(packed) // 2
    if damage == "cut":
        del packed[half:]
    elif damage == "flip":
        packed[half : half + 64] = bytes(64)
    else:
        packed[-8] ^= 1
    bad, good = tmp_path / "bad.gz", tmp_path / "good"
    bad.write_bytes(packed)
    good.write_bytes(b"a\nb\n")
    source = FileSource([str(bad), str(good)], max_records=100)
    begin(source)
    found, problems, neighbours, following = [], [], 0, 0
    while not source.exhausted:
        try:
            for event in source.poll(0.0):
                assert isinstance(event, Chunk)
                if event.partition.number == 0:
                    found += [record.value for record in event.records]
                    following = event.next_offset
                neighbours += len(event.records) if event.partition.number else 0
        except SourceCorrupt as error:
            problems.append(error)
    source.close()
    [problem] = problems
    assert problem.file == str(bad)
    assert problem.line == following + 1
    assert str(problem.line) in str(problem)
    assert neighbours == 2
    if damage == "cut":
        assert found == written[: len(found)]
        assert 4000 < len(found) < 5000
        assert problem.byte == half
    elif damage == "flip":
        assert len(found) > 4000
        assert found[:4000] == written[:4000]
    else:
        assert len(found) >= len(written) - 1


def test_a_long_line_is_cut_and_costs_no_memory(tmp_path: Path) -> None:
    """A line of 40 MiB comes as one byte more than the limit, its neighbours are whole."""
    path = tmp_path / "x"
    with path.open("wb") as file:
        file.write(b"before\n")
        for _ in range(40):
            file.write(b"x" * 2**20)
        file.write(b"\nafter\n")
    tracemalloc.start()
    found = whole(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert [len(line) for line in found.values()] == [6, LINE_LIMIT + 1, 5]
    assert peak < 8 * 2**20


def test_memory_is_bounded_by_the_chunk(tmp_path: Path) -> None:
    """Reading 60 MB, packed a hundredfold, holds a chunk of it at a time."""
    path = tmp_path / "x.gz"
    with gzip.open(path, "wb", compresslevel=1) as file:
        for n in range(60_000):
            file.write(b'{"n": %d, "x": "%s"}\n' % (n, b"y" * 1000))
    source = FileSource([str(path)], max_records=1000)
    begin(source)
    tracemalloc.start()
    count = 0
    while not source.exhausted:
        count += sum(len(e.records) for e in source.poll(0.0) if isinstance(e, Chunk))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    source.close()
    assert count == 60_000
    assert peak < 6 * 2**20


def test_another_file_under_the_same_name_is_another_topic(tmp_path: Path) -> None:
    """A replaced file is not continued at the old position; a file that grew is the same one."""
    path = tmp_path / "x"

    def identity() -> str:
        source = FileSource([str(path)])
        try:
            return source.topology().topic_id
        finally:
            source.close()

    path.write_bytes(b"first\nsecond\n")
    first = identity()
    with path.open("ab") as file:
        file.write(b"third\n")
    assert identity() == first
    fresh = tmp_path / "y"
    fresh.write_bytes(b"first\nsecond\n")
    fresh.rename(path)
    assert identity() != first
    path.write_bytes(b"other\n")
    assert identity() != first


def test_files_are_read_side_by_side(tmp_path: Path) -> None:
    """Chunks alternate between files, so that none runs far ahead of the others in time."""
    names = []
    for n in range(3):
        path = tmp_path / str(n)
        path.write_bytes(b"x" * 60_000 + b"\n" + b"y\n" * 40)
        names.append(str(path))
    source = FileSource(names, max_records=1)
    begin(source)
    turns = [e.partition.number for _ in range(6) for e in source.poll(0) if isinstance(e, Chunk)]
    source.close()
    assert turns[:3] == [0, 1, 2]


def test_bad_names_are_refused(tmp_path: Path) -> None:
    """No file, the same twice, a folder, and what is not there, are errors at once."""
    with pytest.raises(ValueError, match="at least one"):
        FileSource([])
    with pytest.raises(ValueError, match="each once"):
        FileSource(["a", "a"])
    with pytest.raises(IsADirectoryError):
        FileSource([str(tmp_path)])
    with pytest.raises(FileNotFoundError):
        FileSource([str(tmp_path / "nothing")])


def test_an_empty_file_is_exhausted(tmp_path: Path) -> None:
    """It has a partition, no record, and an end."""
    path = tmp_path / "empty"
    path.touch()
    assert whole(path) == {}


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    """Reading and writing end, closed at the end if they still are open."""
    reading, writing = os.pipe()
    yield reading, writing
    for end in (reading, writing):
        try:
            os.close(end)
        except OSError:
            continue


def test_standard_input_is_waited_for(pipe: tuple[int, int]) -> None:
    """Until something comes there is nothing; a poll waits no longer than it may."""
    reading, writing = pipe
    source = FileSource(["-"], standard_input=reading)
    with pytest.raises(SourceUnavailable):
        source.topology()
    began = time.monotonic()
    assert source.poll(0.1) == []
    assert 0.09 < time.monotonic() - began < 1.0
    os.write(writing, b"one\ntw")
    begin(source)
    assert source.topology().partitions == (0,)
    [event] = source.poll(0.1)
    assert isinstance(event, Chunk)
    assert [record.value for record in event.records] == [b"one"]
    assert source.poll(0.05) == []
    assert not source.exhausted
    os.write(writing, b"o\nthree")
    os.close(writing)
    assert lines(source) == {1: b"two", 2: b"three"}
    source.close()


@pytest.mark.parametrize("packed", [False, True])
def test_standard_input_is_skipped_to_its_position(pipe: tuple[int, int], packed: bool) -> None:
    """It cannot be sought in: what lies before the position is read and thrown away."""
    reading, writing = pipe
    data = b"".join(b"%d\n" % n for n in range(1000))

    def write() -> None:
        with os.fdopen(os.dup(writing), "wb") as file:
            file.write(gzip.compress(data) if packed else data)
        os.close(writing)

    thread = threading.Thread(target=write)
    thread.start()
    source = FileSource(["-"], standard_input=reading)
    [partition] = begin(source, 990)
    assert lines(source) == {n: b"%d" % n for n in range(990, 1000)}
    with pytest.raises(ValueError, match="only once"):
        source.start(partition, 5)
    thread.join()
    source.close()


def test_a_position_behind_the_end_is_said(tmp_path: Path) -> None:
    """A file that got shorter gives the missing range, and is not exhausted before an answer."""
    path = tmp_path / "x"
    path.write_bytes(b"a\nb\n")
    source = FileSource([str(path)])
    [partition] = begin(source, 7)
    assert source.poll(0.0) == [Gap(partition, 2, 6, "truncated")]
    assert not source.exhausted
    source.start(partition, 2)
    assert lines(source) == {}
    source.close()


def test_one_poll_is_bounded_in_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Long lines come few at a time, however many were asked for, and each comes once."""
    monkeypatch.setattr("monitor.stream.sources.reading._MOST_BYTES", 300_000)
    path = tmp_path / "x.ndjson"
    path.write_bytes(b"".join(b"%d" % n + b"x" * 100_000 + b"\n" for n in range(20)))
    source = FileSource([str(path)])
    begin(source)
    sizes, offsets = [], []
    while not source.exhausted:
        for event in source.poll(0.01):
            assert isinstance(event, Chunk)
            sizes.append(sum(len(record.value or b"") for record in event.records))
            offsets += [record.offset for record in event.records]
    source.close()
    assert offsets == list(range(20))
    assert max(sizes) <= 500_000
