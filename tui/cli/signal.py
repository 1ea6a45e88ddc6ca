"""`tocsin signal`: the watched rates and where they stand."""

from __future__ import annotations

from datetime import datetime

import click

from monitor.views import SignalNow
from tui.cli.command import Call, command
from tui.cli.inc_read import Moment
from tui.cli.output import Cell, table
from tui.lines import report
from tui.lines.face import Face, ratio, share
from tui.lines.line import Line, Role

_ROLES: dict[str, Role] = {"firing": "bad", "warming": "dim", "quiet": "ok"}


def _table(rows: list[SignalNow], face: Face) -> list[Line]:
    if not rows:
        return [report.nothing("no series yet: nothing has been counted")]
    body: list[list[Cell]] = [
        [
            (row.state, _ROLES[row.state]),
            row.signal,
            face.pairs(row.dimensions),
            share(row.rate),
            share(row.baseline),
            ratio(row.rate, row.baseline),
            f"{row.score:.2f}/{row.threshold:.2f}",
            row.tier,
        ]
        for row in rows
    ]
    heads = ("STATE", "SIGNAL", "WHERE", "RATE", "BASE", "TIMES", "SCORE/LIMIT", "TIER")
    return table(heads, body, face)


@command("list", examples="tocsin signal list --json")
def list_(call: Call) -> None:
    """Each series, whatever its tier: rate, baseline, verdict."""
    rows = call.desk().signals()
    call.answer("signals", rows, lambda: _table(rows, call.face))


@command("notes", examples="tocsin signal notes --since 7d --json")
@click.option("--since", type=Moment(), default=None, help="2026-11-27T03:00Z, or 24h.")
def notes(call: Call, *, since: datetime | None) -> None:
    """Levels that changed for good and the change that fits; they page nobody."""
    rows = call.desk().notes(since=since)
    face = call.face
    lines = []
    for row in rows:
        lines.append(Line.of((face.stamp(row.onset_at), "dim"), f"  {face.say(row.text)}"))
        fits = row.fits or "no recorded change fits"
        noticed = f"noticed {face.stamp(row.at)}"
        lines.append(Line.of(f"  {face.say(fits)}", (f"  ({noticed})", "dim")))
    nothing = [report.nothing("no level has changed")]
    call.answer("notes", rows, lambda: lines or nothing)
