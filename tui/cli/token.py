"""`tocsin token` and `tocsin audit`: the ways in from other machines, for admins."""

from __future__ import annotations

import os
from pathlib import Path

import click

from monitor.views import AuditLine, DeskError, TokenRow
from runbooks.durations import Duration
from tui.cli.command import Call, command
from tui.cli.output import FAILED, Cell, ExitError, table, tell, to_json, write
from tui.lines import report
from tui.lines.face import Face
from tui.lines.line import Line, Role

_ROLES: dict[str, Role] = {"live": "ok", "expired": "dim", "revoked": "warn"}


class _Span(click.ParamType[Duration]):
    """A duration as people write it."""

    name = "duration"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> Duration:
        if isinstance(value, Duration):
            return value
        try:
            return Duration.from_text(str(value))
        except ValueError as problem:
            self.fail(str(problem), param, ctx)


@command(
    "create",
    examples="""
    tocsin token create ada
    tocsin token create ci-release --role responder --expires 90d --out token.txt
    """,
)
@click.argument("name")
@click.option(
    "--role",
    type=click.Choice(["reader", "responder", "admin"]),
    default="responder",
    show_default=True,
    help="What it may do. One of an admin is made on the desk's own machine only.",
)
@click.option(
    "--expires", type=_Span(), default="30d", show_default=True, help="Good for so long; 365d."
)
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    help="A new file for the token, readable by you only, instead of standard output.",
)
def create(call: Call, name: str, *, role: str, expires: Duration, out: Path | None) -> None:
    """Make a token for the person or program NAME; it is shown once and stored nowhere.

    NAME is who the timeline names. The other machine gives it to `tocsin login`.
    """
    desk = call.writing_desk()
    file = None if out is None else _new(out)
    try:
        made = desk.create_token(name=name, role=role, seconds=int(expires.total_seconds()))
    except DeskError:
        if out is not None:
            out.unlink(missing_ok=True)  # else the next try would find it there
        raise
    if file is not None:
        with os.fdopen(file, "w") as stream:
            stream.write(made.token + "\n")
    if call.flags.output == "json":
        hidden = {"id": made.id, "expires_at": made.expires_at, "path": str(out)}
        write(to_json("create_token", made if out is None else hidden))
        return
    tell(made.text, call.flags)
    write(call.face.say(made.token if out is None else str(out), limit=None))


def _new(path: Path) -> int:
    """A file that was not there, readable by its owner only; before a token is made for it."""
    try:
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        raise ExitError(FAILED, "failed", f"cannot make {path}: {error.strerror}") from error


@command("list", examples="tocsin token list --json")
@click.option("--limit", type=click.IntRange(1, 1000), default=100, show_default=True)
def list_(call: Call, *, limit: int) -> None:
    """The tokens, newest first; those that ended stay for 90 days."""
    rows = call.desk().tokens(limit=limit)
    if call.flags.output == "id":
        call.ids([row.id for row in rows])
        return
    call.answer("tokens", rows, lambda: _tokens(rows, call.face))


def _tokens(rows: list[TokenRow], face: Face) -> list[Line]:
    if not rows:
        return [report.nothing("no tokens: only this machine comes in")]
    body: list[list[Cell]] = [
        [
            row.id,
            row.name,
            row.role,
            (row.state, _ROLES[row.state]),
            face.stamp(row.expires_at),
            face.stamp(row.used_at),
            row.created_by,
        ]
        for row in rows
    ]
    return table(("ID", "NAME", "ROLE", "STATE", "EXPIRES", "LAST USED", "MADE BY"), body, face)


@command("revoke", examples="tocsin token revoke a2b3c4d5")
@click.argument("token", metavar="ID")
def revoke(call: Call, token: str) -> None:
    """End token ID at once and for good."""
    call.done("revoke_token", call.writing_desk().revoke_token(token))


@command(
    "list",
    examples="""
    tocsin audit list
    tocsin audit list --limit 1000 --json
    """,
)
@click.option("--limit", type=click.IntRange(1, 10_000), default=100, show_default=True)
def audit_list(call: Call, *, limit: int) -> None:
    """Whom the desk turned away and why, and changes of tokens, newest first."""
    rows = call.desk().audit(limit=limit)
    call.answer("audit", rows, lambda: _audit(rows, call.face))


def _audit(rows: list[AuditLine], face: Face) -> list[Line]:
    if not rows:
        return [report.nothing("nobody was turned away")]
    body: list[list[Cell]] = [
        [
            face.stamp(row.at),
            (row.outcome, "" if row.outcome == "done" else "warn"),
            row.who,
            row.via,
            row.action,
            row.detail or "-",
        ]
        for row in rows
    ]
    return table(("AT", "OUTCOME", "WHO", "VIA", "ACTION", "DETAIL"), body, face)
