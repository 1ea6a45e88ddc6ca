"""`tocsin change`: what people and pipelines changed, so that an incident can name it."""

from __future__ import annotations

from datetime import datetime

import click

from tui.cli.command import Call, command
from tui.cli.inc_read import Moment
from tui.cli.output import USAGE, Cell, ExitError, table
from tui.lines import report


@command(
    "add",
    examples="""
    tocsin change add --kind release --title 'safety-prompt v41' --dim model=v41
    tocsin change add --kind flag --title 'tools on for free tier' --at 2026-11-27T03:02:00Z
    """,
)
@click.option("--kind", required=True, help="release, flag, threshold, prompt ...")
@click.option("--title", required=True)
@click.option("--at", type=Moment(), default=None, help="When; now when left out.")
@click.option("--dim", "dims", multiple=True, metavar="NAME=VALUE", help="Where it applies.")
def add(call: Call, *, kind: str, title: str, at: datetime | None, dims: tuple[str, ...]) -> None:
    """Record a change."""
    made = {}
    for item in dims:
        name, equals, value = item.partition("=")
        if not equals or not name:
            raise ExitError(USAGE, "invalid", f"{item!r} is not NAME=VALUE")
        made[name] = value
    desk = call.writing_desk()
    call.done("add_change", desk.add_change(kind=kind, title=title, at=at, dimensions=made or None))


@command("list", examples="tocsin change list --since 24h --json")
@click.option("--since", type=Moment(), default=None, help="2026-11-27T03:00Z, or 24h.")
def list_(call: Call, *, since: datetime | None) -> None:
    """The recorded changes."""
    rows = call.desk().changes(since=since)
    if call.flags.output == "id":
        call.ids([row.id for row in rows])
        return
    face = call.face
    body: list[list[Cell]] = [
        [face.stamp(row.at), row.kind, row.title, face.pairs(row.dimensions), row.actor, row.id]
        for row in rows
    ]
    heads = ("AT", "KIND", "WHAT", "WHERE", "BY", "ID")
    nothing = [report.nothing("no changes recorded")]
    call.answer("changes", rows, lambda: table(heads, body, face) if rows else nothing)
