from __future__ import annotations

import io
import random
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from detectors.baseline import weekend
from tui.cli import counts_file
from tui.cli.counts_file import BadCountsError, CountsFile, read

HEAD = "series,bucket,k,n\n"


def read_text(text: str, bucket_s: int = 60) -> CountsFile:
    return read(io.BytesIO(text.encode()), "in.csv", bucket_s)


def rows(found: CountsFile) -> list[tuple[str, int, int, int]]:
    """Name, bucket, k and n of each row."""
    c = found.counts
    columns = (c.bucket.tolist(), c.k.tolist(), c.n.tolist())
    return list(zip([found.names[one] for one in c.series.tolist()], *columns, strict=True))


def test_rows_come_in_the_order_of_the_file_with_columns_found_by_name() -> None:
    """Columns may stand in any order beside others; a series may come and go."""
    found = read_text("n,extra,series,k,bucket\n9,x,b,1,7\n8,y,a,0,7\n7,z,b,2,3\n")
    monday = 4 * 1440
    assert rows(found) == [
        ("b", monday + 7, 1, 9),
        ("a", monday + 7, 0, 8),
        ("b", monday + 3, 2, 7),
    ]
    assert found.line.tolist() == [2, 3, 4]


@pytest.mark.parametrize("bucket_s", [10, 60, 3600])
def test_bucket_nought_is_a_monday_at_midnight(bucket_s: int) -> None:
    """The fifth day after bucket 0 is the first of a weekend, as the detectors place it."""
    day = 86_400 // bucket_s
    text = HEAD + "".join(f"a,{at},0,1\n" for at in (0, 5 * day - 1, 5 * day, 7 * day - 1, 7 * day))
    starts = (read_text(text, bucket_s).counts.bucket * bucket_s).tolist()
    assert datetime.fromtimestamp(starts[0], UTC).strftime("%a %H:%M") == "Mon 00:00"
    assert [weekend(one) for one in starts] == [0, 0, 1, 1, 0]


def test_a_time_and_a_number_of_the_same_hour_of_the_week_are_placed_alike() -> None:
    """2026-01-05 is a Monday: times of that week and numbers differ by whole weeks."""
    times = HEAD + "a,2026-01-05T00:00:00Z,0,1\na,2026-01-10T01:00:00+01:00,0,1\n"
    numbers = HEAD + f"a,0,0,1\na,{5 * 1440},0,1\n"
    apart = read_text(times).counts.bucket - read_text(numbers).counts.bucket
    assert (apart % (7 * 1440)).tolist() == [0, 0]
    assert read_text(times).texts[1] == "2026-01-10T01:00:00+01:00"


TEXTS = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\n\r"), min_size=1, max_size=9
)
NAMES = st.one_of(st.sampled_from(["a", "b", "chat web", "c,d", 'say "no"', "é"]), TEXTS)
START = datetime(2026, 1, 5, tzinfo=UTC)


@st.composite
def files(draw: st.DrawFn) -> tuple[str, list[tuple[str, int, int, int]]]:
    """A file in one of the manners of writing CSV, and its rows."""
    quote = draw(st.sampled_from(["never", "names", "all"]))
    as_time, end = draw(st.booleans()), draw(st.sampled_from(["\n", "\r\n", "\n\n"]))
    lines, want = ["series,bucket,k,n"], []
    for _ in range(draw(st.integers(0, 12))):
        name, bucket, n = draw(NAMES), draw(st.integers(0, 10**6)), draw(st.integers(0, 10**12))
        k = draw(st.integers(0, n))
        when = f"{START + timedelta(minutes=bucket):%Y-%m-%dT%H:%M:%SZ}" if as_time else str(bucket)
        special = quote != "never" or '"' in name or "," in name
        cells = ['"' + name.replace('"', '""') + '"' if special else name, when, str(k), str(n)]
        if quote == "all":
            cells[1:] = [f'"{one}"' for one in cells[1:]]
        lines.append(",".join(cells))
        want.append((name, bucket, k, n))
    whole = end.join(lines) + draw(st.sampled_from(["", end]))
    return whole, want


@settings(max_examples=150, deadline=None)
@given(files(), st.sampled_from([96, 200, 1 << 22]))
@example((HEAD + '"a\u2028b",0,0,0\n', [("a\u2028b", 0, 0, 0)]), 96)
def test_every_manner_of_writing_csv_gives_the_rows_that_were_meant(
    file: tuple[str, list[tuple[str, int, int, int]]], block: int
) -> None:
    """Quotes, line ends, forms of the bucket, and where a block happens to end change no row."""
    text, want = file
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(counts_file, "_BLOCK", block)
        found = read_text(text)
    got = rows(found)
    origin = int(START.timestamp()) // 60 if found.texts else 4 * 1440
    assert [(name, bucket - origin, k, n) for name, bucket, k, n in got] == want


@settings(max_examples=100, deadline=None)
@given(st.text(st.sampled_from('a,"1\n 2.-'), max_size=60))
def test_the_quick_way_reads_what_the_careful_way_reads(text: str) -> None:
    """Whatever stands in a file, both ways give the same rows or the same refusal."""

    def outcome(*, careful: bool) -> object:
        with pytest.MonkeyPatch.context() as patch:
            if careful:
                patch.setattr(counts_file._Reader, "_take_plain", lambda _self, _block: False)
            try:
                found = read_text(HEAD + "a,1,1,1\n" + text)
            except BadCountsError as error:
                return str(error)
            return rows(found), found.line.tolist()

    assert outcome(careful=False) == outcome(careful=True)


MINUTE = "a,2026-01-05T00:00:00Z,1,2\n"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "in.csv:1:1: it is empty: the first line must name the columns series, bucket, k, n"),
        ("series,bucket,n\na,1,2\n", "in.csv:1:1: no column 'k'"),
        ("series;bucket;k;n\n", "in.csv:1:1: no column 'series'"),
        ("series,bucket,k,n,k\n", "in.csv:1:1: more than one column 'k'"),
        (HEAD + "a,1,2\n", "in.csv:2:6: 3 columns where the header names 4"),
        (HEAD + "a,1,2,3,4\n", "in.csv:2:9: 5 columns where the header names 4"),
        (HEAD + "a,1,3,2\n", "in.csv:2:5: k is 3 and n is 2: k counts within n"),
        (HEAD + "a,1,1,2\n\na,2,x,2\n", "in.csv:4:5: k is 'x': a count is a whole number"),
        (HEAD + "a,1,-1,2\n", "in.csv:2:5: k is -1: a count is 0 or more"),
        (HEAD + "a,1,1,\n", "in.csv:2:7: n is empty: leave the row out where there is no data"),
        (HEAD + "a,1,1,1.5\n", "in.csv:2:7: n is '1.5'"),
        (HEAD + "a,1,1,nan\n", "in.csv:2:7: n is 'nan'"),
        (HEAD + "a,1,1,99999999999999999999\n", "in.csv:2:7: n is '99999999999999999999'"),
        (HEAD + ",1,1,2\n", "in.csv:2:1: series is empty"),
        (HEAD + '"a,b",-1,1,2\n', "in.csv:2:7: bucket '-1'"),
        (HEAD + "a,1,1,2\na,x,1,2\n", "in.csv:3:3: bucket 'x' is no whole number of buckets"),
        (HEAD + "a,1,1,2\n" + MINUTE, "in.csv:3:3: bucket is a time where those before are whole"),
        (
            HEAD + MINUTE + "a,1,1,2\n",
            "in.csv:3:3: bucket is a number where those before are times",
        ),
        (HEAD + "a,2026-01-05T00:00:00,1,2\n", "the time has no zone: append Z"),
        (HEAD + "a,2026-01-05T00:00:30Z,1,2\n", "not the start of a bucket of 60 s"),
        (
            HEAD + "a,2026-02-30T00:00:00Z,1,2\n",
            "in.csv:2:3: bucket '2026-02-30T00:00:00Z': no such",
        ),
        (HEAD + "a,1969-01-05T00:00:00Z,1,2\n", "the time is before 1970"),
        (HEAD + f"a,{10**14},1,2\n", "is beyond the year 9999"),
        (HEAD + f"a,1,1,2\na,{'9' * 5000},1,2\n", "it is beyond the year 9999"),
        (HEAD + '"a,1,1,2\nb",1,1,2\n', "in.csv:2:1: not CSV: a quote is opened here and not"),
        (HEAD + 'a,"1,1,2\n', "in.csv:2:3: not CSV: a quote is opened here and not closed"),
        (HEAD + '"a\nb",1,1,2\n', "a row is one line, so no name has a line break"),
        (HEAD + '"a",1,1,2\n"b,1,1,2\nc",1,1,2\n', "in.csv:3:1: not CSV"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(text: str, said: str) -> None:
    """file:line:col, what is there, and what should be."""
    with pytest.raises(BadCountsError) as refused:
        read_text(text)
    assert said in str(refused.value)


def test_the_place_is_right_beyond_the_first_block(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lines are counted through blocks that were read the quick way."""
    monkeypatch.setattr(counts_file, "_BLOCK", 256)
    lines = [f"a,{at},1,2\n" for at in range(1000)]
    lines[900] = "a,900,5,2\n"
    with pytest.raises(BadCountsError, match=r"in\.csv:902:7: k is 5"):
        read_text(HEAD + "".join(lines))


def test_bytes_that_are_not_utf_8_are_refused() -> None:
    """The line and the letter are named, on both ways."""
    for before in (b"", b"a,1,1,2\n"):
        with pytest.raises(BadCountsError, match="not UTF-8"):
            read(io.BytesIO(HEAD.encode() + before + b"\xff,2,1,2\n"), "in.csv", 60)


def test_a_file_that_is_one_endless_line_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is not taken into memory to the end."""
    monkeypatch.setattr(counts_file, "_BLOCK", 64)
    with pytest.raises(BadCountsError, match="no CSV"):
        read(io.BytesIO(b"x" * 10_000), "in.csv", 60)


def test_a_header_alone_is_a_file_without_rows() -> None:
    """Nothing was counted: no error."""
    for text in (HEAD, HEAD.strip(), "\ufeff" + HEAD):
        assert rows(read_text(text)) == []
    assert np.asarray(read_text(HEAD).counts.k).dtype == np.int64


def test_a_shuffled_file_has_the_same_rows() -> None:
    """Nothing depends on the order but the order."""
    lines = [f"s{at % 7},{at // 7},{at % 3},9\n" for at in range(300)]
    mixed = lines.copy()
    random.Random(3).shuffle(mixed)
    whole, other = read_text(HEAD + "".join(lines)), read_text(HEAD + "".join(mixed))
    assert sorted(rows(whole)) == sorted(rows(other))
