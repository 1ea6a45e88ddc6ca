"""`tocsin quarantine`: what was wrong with records, by rule and place."""

from __future__ import annotations

from collections import Counter

import click

from monitor.views import QuarantineRow
from tui.cli.command import Call, command
from tui.cli.output import Cell, table
from tui.lines import report
from tui.lines.face import Face
from tui.lines.line import Line


def _table(rows: list[QuarantineRow], face: Face, *, cut: bool) -> list[Line]:
    if not rows:
        return [report.nothing("the quarantine is empty")]
    counts = Counter(row.rule for row in rows).most_common()
    by_rule = ", ".join(f"{face.say(rule)} {count}" for rule, count in counts)
    total = f"the newest {len(rows)}" if cut else f"{len(rows)}"
    body: list[list[Cell]] = [
        [
            face.stamp(row.at),
            row.rule,
            row.path or "-",
            str(row.length),
            f"{row.topic}[{row.partition}]@{row.offset}",
            row.digest,
        ]
        for row in rows
    ]
    heads = ("AT", "RULE", "PATH", "LENGTH", "RECORD", "DIGEST")
    return [report.said(f"{total}: {by_rule}"), *table(heads, body, face)]


@command(
    "list",
    examples="""
    tocsin quarantine list
    tocsin quarantine list --limit 10 --json
    """,
)
@click.option("--limit", type=click.IntRange(1, 10_000), default=100, show_default=True)
def list_(call: Call, *, limit: int) -> None:
    """The findings, newest first: rule, path in the event, length and record; never content."""
    rows = call.desk().quarantine(limit=limit)
    cut = len(rows) == limit
    call.answer("quarantine", rows, lambda: _table(rows, call.face, cut=cut))
