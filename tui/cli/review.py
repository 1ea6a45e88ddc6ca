"""`tocsin review`: the document after an incident."""

from __future__ import annotations

from pathlib import Path

import click

from tui.cli.command import Call, command
from tui.cli.inc_read import REF
from tui.cli.output import FAILED, ExitError, to_json, write
from tui.drafts import write_private


@command(
    "export",
    examples="""
    tocsin review export INC-0142 -f md
    tocsin review export latest -f json -d reviews/
    """,
)
@REF
@click.option(
    "-f", "--format", "form", type=click.Choice(["md", "json"]), default="md", show_default=True
)
@click.option(
    "-d",
    "--dir",
    "folder",
    type=click.Path(path_type=Path, file_okay=False),
    help="Write INC.md or INC.json there instead of standard output.",
)
def export(call: Call, ref: str, *, form: str, folder: Path | None) -> None:
    """Facts, timeline, times, chart and verdict, as Markdown or JSON."""
    desk = call.desk()
    name = desk.incident(ref).row.id
    text = desk.review(name, form=form)
    if folder is None:
        if call.flags.output == "json":
            write(to_json("review", {"incident": name, "format": form, "text": text}))
            return
        for line in text.splitlines():
            write(call.face.say(line, limit=None))
        return
    path = folder / f"{name}.{form}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_private(path, text)
    except OSError as error:
        raise ExitError(FAILED, "failed", f"cannot write {path}: {error.strerror}") from error
    if call.flags.output == "json":
        write(to_json("review", {"incident": name, "format": form, "path": str(path)}))
    else:
        write(call.face.say(str(path), limit=None))
