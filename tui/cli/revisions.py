"""`tocsin config diff`, `reload` and `history`: the configuration of a daemon over time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click
import msgspec

from tui.cli.command import Call, command
from tui.cli.output import OK, USAGE, Cell, ExitError, plain_json, show, table, tell, to_json, write
from tui.lines import report
from tui.lines.line import Line

if TYPE_CHECKING:
    from monitor.config.effective import Difference


def number_of(text: str) -> int:
    """The number of a revision, written `7` or `r7`.

    Raises:
        ExitError: it is neither.
    """
    digits = text.removeprefix("r")
    if not (digits.isascii() and digits.isdigit() and len(digits) < 10 and int(digits)):
        raise ExitError(USAGE, "invalid", f"{text!r} is no revision: write r7, or 7")
    return int(digits)


@command(
    "diff",
    examples="""
    tocsin config diff
    tocsin config diff r7
    tocsin config diff -c /etc/tocsin/conf.d --json
    """,
)
@click.argument("revision", required=False)
def diff(call: Call, revision: str | None) -> None:
    """What the daemon (or REVISION) has in force against the files: - before, + after a reload."""
    from monitor.config.effective import differences
    from monitor.config.reloadable import takes
    from tui.cli.config import of_the_files

    before = call.desk().config_revision(number=number_of(revision) if revision else 0)
    found = differences(msgspec.json.decode(before.body), of_the_files(call))
    data = [
        {"key": d.key, "before": d.before, "after": d.after, "reload": takes(d.key)} for d in found
    ]
    same = [report.nothing("no difference")]
    call.answer(
        "config_diff",
        {"revision": before.number, "differences": data},
        lambda: [line for d in found for line in _lines(call, d, takes(d.key))] or same,
    )


def _lines(call: Call, found: Difference, taken: bool) -> list[Line]:
    say = call.face.say
    late = "" if taken else "  a start takes it"
    lines = [Line.of((say(found.key, limit=None), "bold"), (late, "warn"))]
    if found.before is not None:
        lines.append(Line.of((say(f"- {plain_json(found.before)}", limit=None), "bad")))
    if found.after is not None:
        lines.append(Line.of((say(f"+ {plain_json(found.after)}", limit=None), "ok")))
    return lines


@command(
    "history",
    examples="""
    tocsin config history
    tocsin config history --limit 5 --json
    """,
)
@click.option("--limit", type=click.IntRange(1, 1000), default=50, help="At most so many.")
def history(call: Call, *, limit: int) -> None:
    """Every configuration that was in force, newest first: since when, by whom, which keys."""
    rows = call.desk().config_history(limit=limit)
    if call.flags.output == "id":
        call.ids([f"r{row.number}" for row in rows])
        return
    face = call.face
    body: list[list[Cell]] = [
        [f"r{row.number}", face.stamp(row.at), row.who, row.via, row.note] for row in rows
    ]
    heads = ("REVISION", "AT", "BY", "VIA", "CHANGED")
    nothing = [report.nothing("no daemon has run on this store")]
    call.answer("config_history", rows, lambda: table(heads, body, face) if rows else nothing)


@command(
    "reload",
    examples="""
    tocsin config check && tocsin config reload
    tocsin config reload --json
    """,
)
def reload(call: Call) -> int:
    """Let the daemon take its files as they are now, whole or not at all; exit 2 if not."""
    from runbooks.problems import Problem, Severity
    from tui.cli.problems import problem_lines

    done = call.writing_desk().reload_config()
    if call.flags.output == "json":
        write(to_json("reload_config", done))
        return OK if done.taken else USAGE
    if done.taken:
        write(call.face.say(done.text, limit=2000))
        return OK
    for each in done.problems:
        problem = Problem(
            each.file, each.line, each.col, each.code, each.text, each.hint, Severity(each.severity)
        )
        show(problem_lines(call, problem), call.flags)
    tell(done.text, call.flags)
    return USAGE
