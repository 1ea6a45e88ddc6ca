from __future__ import annotations

import csv
import gzip
import io
import json
import os
import random
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from tests.unit.detectors.traffic import counts
from tui.cli import main

HEAD = "series,bucket,k,n"
Capture = pytest.CaptureFixture[str]


def lines(*, minutes: int = 700, moved_from: int = 600, to: float = 0.6) -> list[str]:
    """A steady series and one whose rate goes from 10 % to another, time by time."""
    found = []
    for seed, name in enumerate(("steady", "moved")):
        rate = np.full(minutes, 0.1)
        if name == "moved":
            rate[moved_from:] = to
        k, n = counts(rate, 40, seed=seed)
        found.append([f"{name},{at},{k[at]},{n[at]}" for at in range(minutes)])
    return [row for pair in zip(*found, strict=True) for row in pair]


def scored(folder: Path, rows: list[str], *words: str) -> dict[tuple[str, str], tuple[float, str]]:
    """Run the command on these rows; score and state by series and bucket."""
    (folder / "in.csv").write_text("\n".join([HEAD, *rows]) + "\n")
    out = folder / "out.csv"
    assert (
        main(["detect", "score", "--counts", str(folder / "in.csv"), "--out", str(out), *words])
        == 0
    )
    with out.open(newline="") as stream:
        heads, *found = csv.reader(stream)
    assert heads == ["series", "bucket", "score", "state"]
    assert [row[:2] for row in found] == [row.split(",")[:2] for row in rows]
    return {(name, bucket): (float(score), state) for name, bucket, score, state in found}


def test_a_move_fires_and_a_steady_series_does_not(tmp_path: Path) -> None:
    """Each row is answered, in the order of the file: warming, quiet, then firing."""
    found = scored(tmp_path, lines())
    assert found["moved", "5"] == (0.0, "warming")
    assert found["moved", "599"][1] == "quiet"
    assert {found["moved", str(at)][1] for at in range(610, 700)} == {"firing"}
    assert found["moved", "610"][0] > max(found["steady", str(at)][0] for at in range(700))
    assert "firing" not in {state for (name, _), (_, state) in found.items() if name == "steady"}


def test_a_shuffled_file_says_the_same(tmp_path: Path) -> None:
    """Rows may stand in any order; the answer stands in the same."""
    rows = lines()
    mixed = rows.copy()
    random.Random(4).shuffle(mixed)
    assert scored(tmp_path, mixed) == scored(tmp_path, rows)
    by_series = sorted(rows, key=lambda row: row.split(",")[0])
    assert scored(tmp_path, by_series) == scored(tmp_path, rows)


def test_a_prefix_of_the_file_says_the_same(tmp_path: Path) -> None:
    """What was said of a bucket does not wait for the next."""
    rows = lines()
    whole, part = scored(tmp_path, rows), scored(tmp_path, rows[:1_250])
    assert part == {place: whole[place] for place in part}


def test_buckets_may_be_times(tmp_path: Path) -> None:
    """From a Monday on, times and numbers are the same buckets; times come back as written."""
    rows = lines()
    timed = []
    for row in rows:
        name, at, k, n = row.split(",")
        days, minute = divmod(int(at), 1_440)
        when = f"2026-01-{5 + days:02}T{minute // 60:02}:{minute % 60:02}:00Z"
        timed.append(f"{name},{when},{k},{n}")
    numbers, times = scored(tmp_path, rows), scored(tmp_path, timed)
    assert list(numbers.values()) == list(times.values())


def test_buckets_of_ten_seconds(tmp_path: Path) -> None:
    """Shorter buckets are scored by the same rules, sooner."""
    found = scored(tmp_path, lines(minutes=2_400, moved_from=2_300), "--bucket-s", "10")
    firing = [int(at) for (name, at), (_, state) in found.items() if state == "firing"]
    assert firing
    assert 2_300 <= min(firing) <= 2_330


def test_a_smaller_budget_wants_more(tmp_path: Path) -> None:
    """The state follows the budget: a move to twice as much is waited for longer."""
    rows = lines(to=0.2)

    def first(budget: str) -> int:
        found = scored(tmp_path, rows, "--budget", budget)
        return min(int(at) for (_, at), (_, state) in found.items() if state == "firing")

    assert 600 <= first("1.0") < first("0.1") < first("0.001")


def test_falls_are_seen_where_they_are_watched(tmp_path: Path) -> None:
    """By default rises only; a rate that drops to nothing fires with `down` and with `both`."""
    rows = lines(to=0.0)
    for watch, state in (("up", "quiet"), ("down", "firing"), ("both", "firing")):
        assert scored(tmp_path, rows, "--watch", watch)["moved", "630"][1] == state
    assert scored(tmp_path, lines(), "--watch", "down")["moved", "630"][1] == "quiet"


BUCKETS = ["007", "8.0", " 9", "10", "00011", "12."]


@pytest.mark.parametrize("name", ["a", '"a,b"', '"a\rb"'])
@pytest.mark.parametrize(
    "form", ["{}", "2026-01-05T00:{:02}:00+00:00", " 2026-01-05t00:{:02}:00z "]
)
def test_buckets_come_back_as_they_were_written(tmp_path: Path, name: str, form: str) -> None:
    """Letter for letter, so that the output joins with the input; they mean the same as plain."""
    times = [form.format(at) for at in range(7, 13)]
    rows = [f"{name},{at},0,5" for at in (BUCKETS if form == "{}" else times)]
    (tmp_path / "in.csv").write_bytes("\n".join([HEAD, *rows]).encode())
    out = tmp_path / "out.csv"
    words = ["detect", "score", "--counts", str(tmp_path / "in.csv"), "--out", str(out)]
    assert main(words) == 0
    with out.open(newline="") as stream:
        found = [row[:2] for row in list(csv.reader(stream))[1:]]
    assert found == [row[:2] for row in csv.reader(io.StringIO("\n".join(rows), newline=""))]
    (tmp_path / "in.csv").write_text("\n".join([HEAD, "a,7,0,5", "a,007,0,5"]) + "\n")
    assert main(words) == 2


def test_gzip_goes_in_and_comes_out_where_it_is_called_so(tmp_path: Path, capsys: Capture) -> None:
    """What begins as gzip does is unpacked; an output called .gz is packed; half a file is not."""
    rows = lines(minutes=30)
    plain = scored(tmp_path, rows)
    packed = gzip.compress((tmp_path / "in.csv").read_bytes())
    (tmp_path / "in.csv.gz").write_bytes(packed)
    out = tmp_path / "out.csv.gz"
    words = ["detect", "score", "--counts", str(tmp_path / "in.csv.gz"), "--out", str(out)]
    assert main(words) == 0
    assert gzip.decompress(out.read_bytes()) == (tmp_path / "out.csv").read_bytes()
    assert len(plain) == 60
    (tmp_path / "in.csv.gz").write_bytes(packed[: len(packed) // 2])
    assert main(words) == 2
    assert "its gzip is cut or damaged" in capsys.readouterr().err


def test_json_says_what_was_done(tmp_path: Path, capsys: Capture) -> None:
    """One object on standard output, with counts that add up."""
    scored(tmp_path, lines(), "--json")
    said = json.loads(capsys.readouterr().out)
    assert said["schema"] == "tocsin.detect_score/1"
    data = said["data"]
    assert data["rows"] == data["warming"] + data["quiet"] + data["firing"] == 1_400
    assert (data["series"], data["buckets"], data["episodes"]) == (2, 700, 1)


def test_from_standard_input_to_standard_output(
    capsysbinary: pytest.CaptureFixture[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """`-` on both sides is a filter; names with commas come back in their quotes."""
    text = HEAD + '\n"a,b",1,0,5\nc,1,0,5\n'
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(text.encode())))
    assert main(["detect", "score", "--counts", "-", "--out", "-", "-q"]) == 0
    want = b'series,bucket,score,state\n"a,b",1,0.0000,warming\nc,1,0.0000,warming\n'
    assert capsysbinary.readouterr().out == want


BAD = [
    ("a,1,3,2", "in.csv:2:5: k is 3 and n is 2"),
    ("a,1,0,2\nb,1,0,2\na,1,1,3", "in.csv:4:1: series 'a' has this bucket in line 2 already"),
    ("\x1b[31m,1,0,-2", "in.csv:2:11: n is -2"),
]


@pytest.mark.parametrize(("rows", "said"), BAD)
def test_a_bad_file_leaves_everything_as_it_was(
    tmp_path: Path, capsys: Capture, rows: str, said: str
) -> None:
    """Exit 2 with the place; the old output stands, and nothing half-written lies beside it."""
    (tmp_path / "in.csv").write_text(f"{HEAD}\n{rows}\n")
    (tmp_path / "out.csv").write_text("old")
    words = ["--counts", str(tmp_path / "in.csv"), "--out", str(tmp_path / "out.csv")]
    assert main(["detect", "score", *words]) == 2
    err = capsys.readouterr().err
    assert said in err
    assert "\x1b" not in err
    assert (tmp_path / "out.csv").read_text() == "old"
    assert sorted(one.name for one in tmp_path.iterdir()) == ["in.csv", "out.csv"]
    assert main(["detect", "score", *words, "--json"]) == 2
    assert said in json.loads(capsys.readouterr().out)["error"]["message"]


def test_what_cannot_be_read_or_written_is_named(tmp_path: Path, capsys: Capture) -> None:
    """A missing file is 4, an output that cannot be written 1."""
    (tmp_path / "in.csv").write_text(f"{HEAD}\na,1,0,2\n")
    out, no = str(tmp_path / "out.csv"), str(tmp_path / "no" / "out.csv")
    assert main(["detect", "score", "--counts", str(tmp_path / "x"), "--out", out]) == 4
    assert "cannot read" in capsys.readouterr().err
    assert main(["detect", "score", "--counts", str(tmp_path / "in.csv"), "--out", no]) == 1
    assert "cannot write" in capsys.readouterr().err
    assert main(["detect", "score", "--counts", str(tmp_path), "--out", out]) == 2
    assert "cannot read" in capsys.readouterr().err
    assert [one.name for one in tmp_path.iterdir()] == ["in.csv"]


def test_an_interrupt_leaves_nothing_behind(tmp_path: Path) -> None:
    """Ctrl-C while it reads: exit 130, and no file."""
    words = [sys.executable, "-m", "tui.cli", "detect", "score", "--counts", "-", "--out"]
    began = subprocess.Popen([*words, str(tmp_path / "out.csv")], stdin=subprocess.PIPE)
    deadline = time.monotonic() + 60
    while not list(tmp_path.iterdir()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    began.send_signal(signal.SIGINT)
    assert began.wait(timeout=60) == 130
    assert began.stdin is not None
    began.stdin.close()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "words",
    [["--bucket-s", "7"], ["--bucket-s", "0"], ["--budget", "0"], ["--out", "-", "--json"]],
)
def test_settings_that_make_no_sense_are_refused(tmp_path: Path, words: list[str]) -> None:
    """Wrong usage is 2, before anything is read."""
    assert main(["detect", "score", "--counts", "-", "--out", str(tmp_path / "o"), *words]) == 2
    assert list(tmp_path.iterdir()) == []


def test_the_output_keeps_its_mode_and_its_link_and_a_device_is_not_replaced(
    tmp_path: Path,
) -> None:
    """The file that a link names is replaced, not the link; /dev/null stays a device."""
    (tmp_path / "real.csv").write_text("old")
    (tmp_path / "real.csv").chmod(0o640)
    (tmp_path / "link.csv").symlink_to("real.csv")
    (tmp_path / "in.csv").write_text(f"{HEAD}\na,1,0,2\n")
    for out in (str(tmp_path / "link.csv"), os.devnull):
        assert main(["detect", "score", "--counts", str(tmp_path / "in.csv"), "--out", out]) == 0
    assert (tmp_path / "link.csv").is_symlink()
    assert (tmp_path / "real.csv").read_text().endswith("a,1,0.0000,warming\n")
    assert stat.S_IMODE((tmp_path / "real.csv").stat().st_mode) == 0o640
    assert stat.S_ISCHR(Path(os.devnull).stat().st_mode)
