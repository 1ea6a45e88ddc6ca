"""`tocsin runbook`: what could be worked, and whether a file is right."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import click

from tui.cli.command import Call, command
from tui.cli.output import Cell, table, to_json, write
from tui.cli.problems import say_problems
from tui.lines import report


@command(
    "list",
    examples="""
    tocsin runbook list
    tocsin runbook list INC-0142 --json
    """,
)
@click.argument("ref", metavar="[INC]", default="")
def list_(call: Call, ref: str) -> None:
    """The known runbooks; with INC those that match it first."""
    rows = call.desk().runbooks(ref)
    if call.flags.output == "id":
        call.ids([row.id for row in rows])
        return
    body: list[list[Cell]] = [
        [
            row.id,
            f"v{row.version}",
            ("suggested", "accent") if row.suggested else "-",
            row.title,
            ", ".join(param.name for param in row.params) or "-",
        ]
        for row in rows
    ]
    heads = ("ID", "VERSION", "FITS", "TITLE", "PARAMETERS")
    nothing = [report.nothing("no runbooks")]
    call.answer("runbooks", rows, lambda: table(heads, body, call.face) if rows else nothing)


@command("show", examples="tocsin runbook show refusal-spike")
@click.argument("name")
def show_(call: Call, name: str) -> None:
    """The text of runbook NAME."""
    text = call.desk().runbook_text(name)
    if call.flags.output == "json":
        write(to_json("runbook_text", {"id": name, "text": text}))
        return
    for line in text.splitlines():
        write(call.face.say(line, limit=None))


@command(
    "check",
    examples="""
    tocsin runbook check runbooks/
    tocsin runbook check mine.yaml --allow allow.yaml --json
    """,
)
@click.argument("paths", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--allow", type=click.Path(path_type=Path), help="The allow-list commands are judged by."
)
def check(call: Call, paths: tuple[Path, ...], *, allow: Path | None) -> int:
    """Every problem of runbook files, or of the .yaml files of folders. Exit 3 if any."""
    from runbooks.__main__ import files, problems_of, read_allow
    from runbooks.problems import Problems

    today = datetime.now(UTC).date()
    try:
        allowed = None if allow is None else read_allow(allow)
        found = [problem for path in files(paths) for problem in problems_of(path, today, allowed)]
    except Problems as refused:
        found = list(refused.problems)
    return say_problems(call, "runbook_check", found)


@command("schema", examples="tocsin runbook schema > runbook.schema.json")
def schema(call: Call) -> None:
    """The JSON Schema of a runbook file, for editors."""
    from runbooks.load import schema as made
    from tui.cli.config import write_schema

    write_schema(call, made())
