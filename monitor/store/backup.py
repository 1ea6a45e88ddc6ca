"""Backup and restore of a SQLite store; for PostgreSQL the commands of its own tools."""

from __future__ import annotations

import shlex
import sqlite3
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

import sqlalchemy as sa

from monitor.store.checkup import Finding, check_store
from monitor.store.engine import file_of, parse
from monitor.store.errors import StoreError
from monitor.store.keyfile import key_beside, read_key, write_key
from monitor.store.ownership import owner_lock
from monitor.store.snapshot import Progress, copy_sqlite, silent, sync


@dataclass(frozen=True, slots=True)
class Copy:
    """What was copied."""

    path: str
    bytes: int
    schema: str
    incidents: int
    aside: str | None = None
    """Where the store went that was replaced."""
    key: str | None = None
    """Where the key of its digests lies; None where the configuration names it."""


class NotOurs(StoreError):
    """The store is a server's: its own tools back it up."""

    def __init__(self, commands: tuple[str, ...]) -> None:
        super().__init__("PostgreSQL is backed up and restored with its own tools")
        self.commands = commands


def back_up(url: str, target: Path, progress: Progress = silent) -> Copy:
    """Write one moment of a SQLite store to `target`, its key beside it, while its daemon goes on.

    Raises:
        NotOurs: it is on PostgreSQL.
        StoreError: it is not there, or the target is, or another key beside that.
    """
    path = _file(parse(url), dump_commands(url, target))
    if not path.exists():
        raise StoreError(f"there is no store at {path}")
    key = read_key(path)
    if key is not None and read_key(target) not in {None, key}:
        raise StoreError(f"{key_beside(target)} is there already; name another file")
    copy_sqlite(path, target, progress=progress)
    if key is None:
        return _described(target)
    try:
        kept = write_key(target, key)
    except StoreError:
        with suppress(OSError):
            target.unlink()
        raise
    return replace(_described(target), key=str(kept))


def restore(url: str, source: Path, now: datetime, progress: Progress = silent) -> Copy:
    """Put a backup in the place of a SQLite store; what was there is kept beside it, its key too.

    The backup is looked at first, as `tocsin store check` does. No daemon may run.

    Args:
        url: of the store.
        source: the backup.
        now: names what is kept.
        progress: told how far the copy is.

    Raises:
        NotOurs: it is on PostgreSQL.
        StoreError: a daemon runs, or the backup is damaged, of a newer Tocsin or no store at all.
    """
    path = _file(parse(url), restore_commands(url, source))
    if not source.is_file():
        raise StoreError(f"there is no backup at {source}")
    if path.exists() and source.samefile(path):
        raise StoreError("the backup is the store itself")
    key = read_key(source)
    with owner_lock(url):
        fresh = path.with_name(f"{path.name}.restored")
        # A copy of the copy: the backup may be on a read-only disk, and it stays as it is.
        copy_sqlite(source, fresh, replace=True, progress=progress)
        try:
            _look(fresh, now)
            aside = _aside(path, now)
            kept = None if key is None else str(write_key(path, key, aside))
            there = _set_aside(path, aside)
            fresh.replace(path)
            sync(path.parent)
        finally:
            with suppress(OSError):
                fresh.unlink()
        described = _described(path)
    return replace(described, aside=str(aside) if there else None, key=kept)


def _look(copy: Path, now: datetime) -> None:
    found = check_store(f"sqlite:///{copy}", now)
    bad: list[Finding] = [one for one in found if one.state == "bad"]
    if bad:
        raise StoreError(f"the backup is not restored: {bad[0].name}: {bad[0].text}")
    if not any(one.name == "timelines" for one in found):
        raise StoreError("the backup is not restored: it is not a store of Tocsin")


def _aside(path: Path, now: datetime) -> Path:
    aside = path.with_name(f"{path.name}.replaced-{now:%Y%m%dT%H%M%SZ}")
    if path.exists() and aside.exists():
        raise StoreError(f"{aside} is there already; try again in a second")
    return aside


def _set_aside(path: Path, aside: Path) -> bool:
    """Give the old store another name, with its log, whether it can still be opened or not.

    False where there is none.
    """
    if not path.exists():
        return False
    # With all of the log in the file itself it does not matter where this is interrupted.
    with suppress(sqlite3.Error), closing(sqlite3.connect(path, timeout=5.0)) as old:
        old.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    for suffix in ("-wal", "-shm", ""):
        part = path.with_name(path.name + suffix)
        if part.exists():
            part.rename(aside.with_name(aside.name + suffix))
    return True


def _described(path: Path) -> Copy:
    """What is in a file that we have written ourselves."""
    uri = path.resolve().as_uri() + "?mode=ro&immutable=1"
    with closing(sqlite3.connect(uri, uri=True)) as copy:
        try:
            (schema,) = copy.execute("SELECT version_num FROM alembic_version").fetchone()
            (incidents,) = copy.execute("SELECT count(*) FROM incidents").fetchone()
        except sqlite3.Error as problem:
            raise StoreError(f"{path} is not a store of Tocsin: {problem}") from problem
    return Copy(str(path), path.stat().st_size, schema, incidents)


def _file(url: sa.URL, commands: tuple[str, ...]) -> Path:
    path = file_of(url)
    if path is None:
        raise NotOurs(commands)
    return path


# -- PostgreSQL -------------------------------------------------------------------------------


def dump_commands(url: str, target: Path) -> tuple[str, ...]:
    """What writes the whole store to a file; run as the database's owner."""
    return (
        f"pg_dump --format=custom --no-privileges --file={_quoted(target)} --dbname={_libpq(url)}",
    )


def restore_commands(url: str, source: Path) -> tuple[str, ...]:
    """What brings such a file back into an empty database; run as its owner, without daemons."""
    parsed = parse(url)
    server = "".join(_options(parsed))
    database = shlex.quote(parsed.database or "tocsin")
    return (
        f"createdb{server} {database}",
        f"pg_restore --single-transaction --no-owner --no-privileges --dbname={_libpq(url)} "
        f"{_quoted(source)}",
        f"tocsin --store {_libpq(url)} store roles --apply",
        f"tocsin --store {_libpq(url)} store check",
    )


def _options(url: sa.URL) -> Iterator[str]:
    for name, value in (("host", url.host), ("port", url.port), ("username", url.username)):
        if value:
            yield f" --{name}={shlex.quote(str(value))}"


def _libpq(url: str) -> str:
    """The URL as libpq reads it, for a shell; without the password, which `ps` would show."""
    parsed = parse(url).set(drivername="postgresql")
    bare = sa.URL.create(
        "postgresql",
        username=parsed.username,
        host=parsed.host,
        port=parsed.port,
        database=parsed.database,
        query={name: value for name, value in parsed.query.items() if "password" not in name},
    )
    return shlex.quote(bare.render_as_string())


def _quoted(path: Path) -> str:
    return shlex.quote(str(path))
