"""`tocsin inc` questions: list, show, watch, verify."""

from __future__ import annotations

import select
import sys
import time
from datetime import UTC, datetime, timedelta

import click

from tui.cli.command import Call, command
from tui.cli.output import (
    REFUSED,
    Cell,
    ExitError,
    show,
    table,
    terminal_width,
    to_json,
    write,
)
from tui.lines import report
from tui.lines.face import OVER, SEVERITY_ROLES, Face, age, state_word

REF = click.argument("ref", metavar="INC")


class Moment(click.ParamType[datetime]):
    """An RFC 3339 time, or a span before now (`90m`, `24h`, `7d`)."""

    name = "time"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> datetime:
        if isinstance(value, datetime):
            return value
        text = str(value).strip()
        units = {"m": "minutes", "h": "hours", "d": "days"}
        try:
            if text[:-1].isdecimal() and text[-1:] in units:
                return datetime.now(UTC) - timedelta(**{units[text[-1]]: int(text[:-1])})
            at = datetime.fromisoformat(text)
        except (ValueError, OverflowError):
            self.fail("write 2026-11-27T03:12:04Z, or 24h for a day ago", param, ctx)
        return at if at.tzinfo else at.replace(tzinfo=UTC)


class Span(click.ParamType[float]):
    """A duration in seconds: `30s`, `10m`, `1h`."""

    name = "duration"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        if isinstance(value, float):
            return value
        text = str(value).strip()
        units = {"s": 1, "m": 60, "h": 3600}
        if not text[:-1].isdecimal() or text[-1:] not in units:
            self.fail("write 30s, 10m or 1h", param, ctx)
        return float(int(text[:-1]) * units[text[-1]])


@command(
    "list",
    examples="""
    tocsin inc list
    tocsin inc list --state open --sev SEV1 --mine
    tocsin --store sqlite:///x.db inc list --json
    """,
)
@click.option("--state", default="", help="open, or one state; all when left out.")
@click.option("--sev", "severity", default="", help="SEV1 to SEV4.")
@click.option("--since", type=Moment(), default=None, help="2026-11-27T03:00Z, or 24h.")
@click.option("--mine", is_flag=True, help="Only those you command.")
@click.option("--limit", type=click.IntRange(1, 10_000), default=200, show_default=True)
def list_(
    call: Call, *, state: str, severity: str, since: datetime | None, mine: bool, limit: int
) -> None:
    """The incidents, newest first."""
    desk = call.desk()
    rows = desk.incidents(
        state=state, severity=severity.upper(), since=since, mine=mine, limit=limit
    )
    if call.flags.output == "id":
        call.ids([row.id for row in rows])
        return
    if call.flags.output == "json":
        write(to_json("incidents", rows))
        return
    if not rows:
        show([report.nothing("no incidents")], call.flags)
        return
    now = desk.overview().now
    face = call.face
    body: list[list[Cell]] = [
        [
            (row.severity, SEVERITY_ROLES.get(row.severity, "")),
            state_word(row),
            row.id,
            age(now - row.detected_at) if row.state not in OVER else face.stamp(row.detected_at),
            row.title,
            _spark(face, row.spark),
            face.dims(row.dimensions),
            row.owner or "-",
        ]
        for row in rows
    ]
    heads = ("SEV", "STATE", "ID", "AGE", "WHAT", "SIGNAL 60 MIN", "WHERE", "OWNER")
    width = terminal_width()
    show(table(heads, body, face, clip=("WHAT", "WHERE"), width=width), call.flags)


def _spark(face: Face, values: list[float | None]) -> str:
    width = 13
    if len(values) > width:
        per = len(values) / width
        groups = [values[int(i * per) : int((i + 1) * per)] for i in range(width)]
        values = [max((v for v in group if v is not None), default=None) for group in groups]
    return face.spark(values, width)


@command(
    "show",
    examples="""
    tocsin inc show INC-0142
    tocsin inc show latest --timeline --json
    """,
)
@REF
@click.option("--timeline", "with_timeline", is_flag=True, help="With the timeline.")
def show_(call: Call, ref: str, *, with_timeline: bool) -> None:
    """All about one incident."""
    desk = call.desk()
    view = desk.incident(ref)
    if call.flags.output == "id":
        call.ids([view.row.id])
        return
    entries = report.all_entries(desk, view.row.id) if with_timeline else []
    if call.flags.output == "json":
        data = {"incident": view, "timeline": entries} if with_timeline else view
        write(to_json("incident", data))
        return
    lines = report.incident(view, desk.overview().now, call.face)
    if with_timeline:
        lines.extend(report.timeline(entries, call.face))
    show(lines, call.flags)


@command(
    "watch",
    examples="""
    tocsin inc watch INC-0142
    tocsin inc watch latest --json
    """,
)
@REF
@click.option("--once", is_flag=True, help="What there is now, then end.")
@click.option("--every", type=click.FloatRange(0.2, 60), default=1.0, help="Seconds between looks.")
def watch(call: Call, ref: str, *, once: bool, every: float) -> None:
    """The timeline as plain lines, as they come: for a screen reader, a log or another program.

    With --json each line is one object. Ends when the incident is closed.
    """
    desk = call.desk()
    name = desk.incident(ref).row.id
    seen = 0
    while True:
        over = once or desk.incident(name).row.state in OVER
        for entry in report.all_entries(desk, name, after=seen):
            seen = entry.seq
            if call.flags.output == "json":
                write(to_json("timeline_entry", entry))
            else:
                show(report.timeline([entry], call.face), call.flags)
        sys.stdout.flush()
        if over or _reader_gone():
            return
        time.sleep(every)


def _reader_gone() -> bool:
    """Whether nobody reads standard output any more (`| head -1`); a quiet one never writes."""
    try:
        number = sys.stdout.fileno()
    except OSError:
        return False  # not a file: a test or a notebook captures it
    poll = select.poll()
    poll.register(number, 0)
    return any(event & (select.POLLERR | select.POLLHUP) for _, event in poll.poll(0))


@command(
    "verify",
    examples="""
    tocsin inc verify INC-0142
    tocsin inc verify INC-0142 --wait 10m
    """,
)
@REF
@click.option("--wait", type=Span(), default=0.0, help="Wait up to this long: 30s, 10m, 1h.")
def verify(call: Call, ref: str, *, wait: float) -> None:
    """Has a signal condition held after the last mitigation? Exit 0 if so, 5 if not.

    The signal itself is checked by the runbook's wait step, in the daemon; this asks how it went.
    """
    desk = call.desk()
    until = time.monotonic() + wait
    view = desk.incident(ref)
    while not view.verified and (left := until - time.monotonic()) > 0:
        time.sleep(min(1.0, left))
        view = desk.incident(ref)
    name = view.row.id
    if not view.verified:
        lacks = "; ".join(view.resolve_lacks) or "no signal condition has held yet"
        hint = "run the runbook's wait step, or resolve with --reason"
        raise ExitError(REFUSED, "refused", f"{name} is not verified: {lacks}", hint)
    data = {"incident": name, "verified": True}
    call.answer("verify", data, lambda: [report.said(f"{name} is verified")])
