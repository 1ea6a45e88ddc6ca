"""`tocsin detect attribute`: which attribute values explain a moved rate in a file of counts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import click

from detectors.attribution import Explanation, explain_table
from tui.cli.cells_file import BadCellsError, CellsFile, moment_of, read
from tui.cli.command import Call, command
from tui.cli.input_file import input_file
from tui.cli.output import USAGE, Cell, ExitError, table, tell
from tui.lines import report
from tui.lines.face import Face, share
from tui.lines.line import Line

_BAR = 20
_DOUBTFUL = 0.05


@dataclass(frozen=True, slots=True)
class _Found:
    """One answer, for `--json`."""

    attributes: dict[str, str]
    """Empty: everywhere alike."""
    share: float
    """Of the excess, 0 to 1."""
    k: int
    n: int
    expected: float
    score: float
    chance: float
    """At most how likely chance alone shows as much in any combination looked at, 0 to 1."""

    @classmethod
    def of(cls, one: Explanation) -> _Found:
        figures = (round(one.share, 4), one.k, one.n, round(one.expected, 2), round(one.score, 2))
        return cls(dict(one.values), *figures, float(f"{one.chance:.3g}"))


@command(
    "attribute",
    examples="""
    tocsin detect attribute --cells cells.csv --at 1566397800 --time min --k value --n cnt
    tocsin detect attribute --cells cells.csv --at 2026-11-27T03:00:00Z --json
    tocsin detect attribute --cells cells.csv.gz --at 2026-11-27T03:00:00Z --top 1
    """,
)
@click.option(
    "--cells",
    "file",
    required=True,
    metavar="IN.csv",
    type=click.Path(allow_dash=True),
    help="A row for each bucket and combination of attributes, gzip or not; `-` is standard input.",
)
@click.option("--at", required=True, metavar="BUCKET", help="The bucket that moved.")
@click.option("--time", default="bucket", show_default=True, help="Column of the buckets.")
@click.option("--k", default="k", show_default=True, help="Column of what is counted.")
@click.option("--n", default="n", show_default=True, help="Column of what it is counted of.")
@click.option("--top", type=click.IntRange(1, 100), default=3, show_default=True, help="Answers.")
@click.option(
    "--rise/--fall", "rising", default=None, help="What to explain; left out: what there is."
)
def attribute(
    call: Call, *, file: str, at: str, time: str, k: str, n: str, top: int, rising: bool | None
) -> None:
    """Which 1-3 attribute values explain why k / n moved at BUCKET, likeliest first.

    All columns but those three are attributes. A bucket is a whole number, or an RFC 3339 time.
    Rows before BUCKET are what it is compared with, the calmer half of them; rows after it are
    passed over, broken ones too. A row whose bucket cannot be told is refused: it may be one of
    the past. Rows of one bucket and combination are added.

    CHANCE is at most how likely chance alone shows as much in any combination: in a bucket where
    nothing happened something still comes first, with a chance near 100%.
    """
    found = _read(file, at, (time, k, n))
    made = explain_table(found.table, found.table.at == found.moment, rising=rising, limit=top)
    if found.later:
        tell(f"{found.later} rows after {at} passed over", call.flags)
    answers = [_Found.of(one) for one in made]
    call.answer("detect_attribute", answers, lambda: _lines(answers, at, call.face))


def _read(file: str, at: str, columns: tuple[str, str, str]) -> CellsFile:
    try:
        moment_of(at)
    except ValueError as error:
        raise ExitError(USAGE, "usage", f"--at: {error}") from error
    try:
        with input_file(file) as (stream, _):
            return read(stream, file, *columns, at)
    except BadCellsError as error:
        raise ExitError(USAGE, "invalid", str(error)) from error


def _lines(answers: Sequence[_Found], at: str, face: Face) -> list[Line]:
    if not answers:
        return [report.nothing(f"nothing stands out at {face.say(at)}")]
    body: list[list[Cell]] = [
        [
            str(rank),
            (share(one.share), "bold"),
            (face.heavy * max(1, round(_BAR * one.share)), "accent"),
            face.pairs(one.attributes) or ("everywhere alike", "dim"),
            f"{one.k} of {one.n}",
            f"{one.expected:.0f}" if one.expected >= 10 else f"{one.expected:.1f}",
            "<1%" if one.chance < 0.01 else f"{100 * one.chance:.0f}%",
        ]
        for rank, one in enumerate(answers, 1)
    ]
    heads = ("", "SHARE", "", "WHAT", "COUNTED", "EXPECTED", "CHANCE")
    lines = table(heads, body, face)
    if answers[0].chance >= _DOUBTFUL:
        lines.append(report.nothing("chance alone may have done as much: this may be no cause"))
    return lines
