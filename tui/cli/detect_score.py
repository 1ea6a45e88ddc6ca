"""`tocsin detect score`: a file of counts in, a score and a state for each row out."""

from __future__ import annotations

import csv
import gzip
import io
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from typing import BinaryIO, cast

import click
import numpy as np

from detectors.calibration import config_for
from detectors.columns import Ints
from detectors.counts import STATES, Counts, Scored, by_time, repeated, score
from detectors.model import Watch
from tui.cli.command import Call, command
from tui.cli.counts_file import MONDAY_S, BadCountsError, CountsFile, read
from tui.cli.input_file import input_file
from tui.cli.output import USAGE, ExitError, tell, to_json, write
from tui.cli.whole_file import whole_file

_BLOCK = 100_000
Told = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class _Summary:
    """What was scored, for `--json`."""

    file: str
    out: str
    rows: int
    series: int
    buckets: int
    bucket_s: int
    budget: float
    watch: str
    threshold: float
    """From this score on a series fires at once; floors and duration may hold it back."""
    warming: int
    quiet: int
    firing: int
    episodes: int
    """How often a series began to fire."""
    read_s: float
    score_s: float
    write_s: float


@command(
    "score",
    examples="""
    tocsin detect score --counts counts.csv --out scores.csv
    tocsin detect score --counts counts.csv --out scores.csv --bucket-s 10 --budget 0.008 --json
    tocsin detect score --counts counts.csv.gz --out - | grep ',firing$'
    """,
)
@click.option(
    "--counts",
    "file",
    required=True,
    metavar="IN.csv",
    help="Columns series, bucket, k, n, in any order, gzip or not; `-` is standard input.",
)
@click.option(
    "--out",
    required=True,
    metavar="OUT.csv",
    help="series, bucket, score, state for each row, in their order, as gzip where it is called "
    "*.gz; `-` is standard output.",
)
@click.option(
    "--bucket-s",
    type=click.IntRange(1, 3600),
    default=60,
    show_default=True,
    help="Seconds of a bucket; a whole number of them is an hour.",
)
@click.option(
    "--budget",
    type=click.FloatRange(1e-4, 10.0),
    default=0.1,
    show_default=True,
    help="False pages for each series and week that `state` may cost.",
)
@click.option(
    "--watch",
    type=click.Choice(["up", "down", "both"]),
    default="up",
    show_default=True,
    help="Which moves count: rises, falls, or both; the budget was measured on rises.",
)
def score_(call: Call, *, file: str, out: str, bucket_s: int, budget: float, watch: Watch) -> None:
    """How far each rate k / n has risen or fallen (--watch), bucket by bucket, and if it fires.

    A bucket is a whole number of buckets since a Monday 00:00 UTC, or an RFC 3339 time. A row that
    is missing is no data, n = 0 is no traffic. A score knows only the past of its own series.

    Compare scores of one --budget only. Its threshold is ln(10080 / budget): a score ends at about
    twice that, and rows with much evidence for a move are not learned from.
    """
    if 3600 % bucket_s:
        raise ExitError(USAGE, "usage", f"--bucket-s {bucket_s}: an hour is no multiple of it")
    if out == "-" and call.flags.output == "json":
        raise ExitError(USAGE, "usage", "--json and --out - both want standard output")
    config = config_for(budget, bucket_s)
    config = replace(config, alarm=replace(config.alarm, watch=watch))
    with whole_file(out) as stream, _packed(stream, out) as body:
        times = [time.perf_counter()]
        found, order = _read(call, file, bucket_s)
        times.append(time.perf_counter())
        with _bar(call, "judging", len(order)) as told:
            scored = score(found.counts, config, bucket_s=bucket_s, order=order, told=told)
        times.append(time.perf_counter())
        with _bar(call, "writing", len(order)) as told:
            _write(body, found, scored, bucket_s, told)
        times.append(time.perf_counter())
    states = np.bincount(scored.state, minlength=len(STATES)).tolist()
    read_s, score_s, write_s = np.diff(times).round(3).tolist()
    summary = _Summary(
        file=file,
        out=out,
        rows=len(order),
        series=len(found.names),
        buckets=len(np.unique(found.counts.bucket)),
        bucket_s=bucket_s,
        budget=budget,
        watch=watch,
        threshold=round(config.alarm.threshold, 4),
        **dict(zip(STATES, states, strict=True)),
        episodes=_episodes(found.counts, scored),
        read_s=read_s,
        score_s=score_s,
        write_s=write_s,
    )
    _say(call, summary)


def _say(call: Call, summary: _Summary) -> None:
    if call.flags.output == "json":
        write(to_json("detect_score", asdict(summary)))
        return
    tell(
        f"{summary.rows} rows of {summary.series} series: {summary.warming} warming, "
        f"{summary.firing} firing in {summary.episodes} episodes",
        call.flags,
    )


def _read(call: Call, file: str, bucket_s: int) -> tuple[CountsFile, Ints]:
    try:
        with input_file(file) as (stream, size), _bar(call, "reading", size) as told:
            found = read(stream, file, bucket_s, told)
    except BadCountsError as error:
        raise ExitError(USAGE, "invalid", str(error)) from error
    order = by_time(found.counts)
    twice = repeated(found.counts, order)
    if twice is not None:
        first, second = (int(found.line[row]) for row in twice)
        name = found.names[found.counts.series[twice[1]]]
        what = f"{file}:{second}:1: series {name!r} has this bucket in line {first} already"
        raise ExitError(USAGE, "invalid", what, "one row for each series and bucket: add them up")
    return found, order


@contextmanager
def _packed(stream: BinaryIO, name: str) -> Iterator[BinaryIO]:
    if not name.endswith(".gz"):
        yield stream
        return
    with gzip.GzipFile("", "wb", 6, stream, mtime=0) as packed:
        yield cast("BinaryIO", packed)


@contextmanager
def _bar(call: Call, label: str, length: int) -> Iterator[Told]:
    hidden = call.flags.quiet or not length or not sys.stderr.isatty()
    with click.progressbar(
        length=max(length, 1), label=label, file=sys.stderr, hidden=hidden
    ) as bar:
        yield bar.update


def _write(stream: BinaryIO, found: CountsFile, scored: Scored, bucket_s: int, told: Told) -> None:
    names, texts = ([_cell(one) for one in some] for some in (found.names, found.texts))
    states = [state.value for state in STATES]
    stream.write(b"series,bucket,score,state\n")
    for begin in range(0, len(found.line), _BLOCK):
        block = slice(begin, begin + _BLOCK)
        when = (found.counts.bucket[block] - MONDAY_S // bucket_s).tolist()
        if texts:
            places = found.text[block].tolist()
            when = [n if at < 0 else texts[at] for n, at in zip(when, places, strict=True)]
        rows = zip(
            found.counts.series[block].tolist(),
            when,
            scored.score[block].tolist(),
            scored.state[block].tolist(),
            strict=True,
        )
        text = "".join([f"{names[s]},{b},{x:.4f},{states[z]}\n" for s, b, x, z in rows])
        stream.write(text.encode())
        told(len(found.line[block]))


def _cell(name: str) -> str:
    text = io.StringIO()
    csv.writer(text).writerow([name])
    return text.getvalue().removesuffix("\r\n")


def _episodes(counts: Counts, scored: Scored) -> int:
    order = np.lexsort((counts.bucket, counts.series))
    firing = scored.state[order] == STATES.index("firing")
    new = np.diff(counts.series[order], prepend=-1) != 0
    return int((firing & (new | ~np.roll(firing, 1))).sum())
