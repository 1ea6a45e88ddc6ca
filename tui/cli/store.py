"""`tocsin store`: look at the database, back it up, restore, upgrade, and give its roles rights."""

from __future__ import annotations

import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from monitor.config.options import RunOptions
from tui.cli.command import Call, command
from tui.cli.output import OK, PROBLEMS, REFUSED, USAGE, ExitError, to_json, write

if TYPE_CHECKING:
    from monitor.keeping import Copy, Kept

_FILE = click.Path(path_type=Path, dir_okay=False)


def _kept(call: Call) -> Kept:
    from monitor.keeping import kept
    from runbooks.problems import Problems

    try:
        return kept(RunOptions(config=call.flags.config, store=call.flags.store))
    except Problems as problems:
        first = str(problems.problems[0])
        raise ExitError(USAGE, "invalid", first, "see `tocsin config check`") from problems


def _progress(call: Call, what: str) -> Callable[[int, int], None]:
    """A line on a terminal that says how far it is; nothing elsewhere."""
    watched = sys.stderr.isatty() and not call.flags.quiet

    def tell(done: int, total: int) -> None:
        if watched:
            share = 100 * done // max(total, 1)
            end = "\n" if done == total else ""
            sys.stderr.write(f"\r{what}: {share:3} %{end}")
            sys.stderr.flush()

    return tell


@command("check", examples="tocsin store check --store sqlite:///tocsin.db")
def check(call: Call) -> int:
    """Is it whole? File, schema, every timeline's chain. Changes nothing; exit 3 when it is not."""
    from monitor.keeping import check as look
    from tui.lines.home import parts

    found = look(_kept(call), datetime.now(UTC))
    call.answer("store_check", found, lambda: parts(found, call.face))
    return PROBLEMS if any(part.state == "bad" for part in found) else OK


@command(
    "backup",
    examples="""
    tocsin store backup /backup/tocsin-2026-11-22.db
    tocsin store backup /backup/tocsin.db --json
    """,
)
@click.argument("file", type=_FILE)
def backup(call: Call, file: Path) -> None:
    """Copy a SQLite store to FILE, whole, while the daemon goes on. Never overwrites."""
    from monitor.keeping import back_up

    _tell(call, "backup", back_up(_kept(call), file, _progress(call, "backup")))


@command("restore", examples="tocsin store restore /backup/tocsin-2026-11-22.db")
@click.argument("file", type=_FILE)
def restore(call: Call, file: Path) -> None:
    """Put the backup FILE in the place of a SQLite store; what was there is kept beside it.

    The daemon must not run. The backup is checked first.
    """
    from monitor.keeping import restore as put_back

    call.writes()
    kept = _kept(call)
    if not call.confirm(f"replace the store with {file}? The old one is kept."):
        raise ExitError(REFUSED, "refused", "nothing was changed")
    _tell(call, "restore", put_back(kept, file, datetime.now(UTC), _progress(call, "restore")))


def _tell(call: Call, what: str, copy: Copy) -> None:
    if call.flags.output == "json":
        write(to_json(f"store_{what}", copy))
        return
    size = f"{copy.bytes / 1e6:,.1f} MB, schema {copy.schema}, {copy.incidents} incidents"
    write(call.face.say(f"{copy.path}: {size}", limit=None))
    if copy.aside is not None:
        write(call.face.say(f"the old store is kept at {copy.aside}", limit=None))
    if copy.key is not None:
        write(call.face.say(f"{copy.key}: its key, to be kept as safe", limit=None))


@command(
    "migrate",
    examples="""
    tocsin store migrate
    tocsin --store postgresql://tocsin_owner@db.example.com/tocsin store migrate
    """,
)
def migrate(call: Call) -> None:
    """Upgrade the schema to what this version needs. There is no way back: take a backup first.

    `tocsin run` does it by itself where its role may; on PostgreSQL that is the owner's work.
    """
    from monitor.keeping import migrate as upgrade

    call.writes()
    done = upgrade(_kept(call))
    if call.flags.output == "json":
        write(to_json("store_migrate", done))
    elif done.before == done.after:
        write(f"schema {done.after}: nothing to do")
    else:
        write(f"schema {done.after}, it was {done.before or 'empty'}")


@command(
    "roles",
    examples="""
    tocsin --store postgresql://tocsin_owner@db.example.com/tocsin store roles --apply
    tocsin store roles --daemon tocsin_prod --reader grafana > roles.sql
    """,
)
@click.option("--daemon", default="tocsin_daemon", show_default=True, help="Role of `tocsin run`.")
@click.option("--reader", default="tocsin_reader", show_default=True, help="Role that only reads.")
@click.option("--apply", is_flag=True, help="Run the SQL, in one transaction.")
def roles(call: Call, *, daemon: str, reader: str, apply: bool) -> None:
    """The SQL of PostgreSQL roles with the least rights. Again after each upgrade."""
    from monitor.keeping import grant

    if apply:
        call.writes()
    granted = grant(_kept(call), daemon, reader, apply=apply)
    if call.flags.output == "json":
        write(to_json("store_roles", granted))
        return
    for statement in granted.statements:
        write(call.face.say(f"{statement};", limit=None))
