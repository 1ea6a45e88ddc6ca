"""Backup and restore of a SQLite store."""

from __future__ import annotations

import glob
import sqlite3
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from monitor.store.checkup import Finding, check_store
from monitor.store.dumps import Step, dump_steps, owner_of_tables, restore_steps
from monitor.store.engine import Password, file_of, parse
from monitor.store.errors import StoreError
from monitor.store.keyfile import key_beside, read_key, write_key
from monitor.store.ownership import owner_lock
from monitor.store.snapshot import Progress, copy_sqlite, keep_as, silent, sync


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

    def __init__(self, steps: tuple[Step, ...]) -> None:
        super().__init__("PostgreSQL is backed up and restored with its own tools")
        self.steps = steps


def back_up(
    url: str, target: Path, progress: Progress = silent, password: Password | None = None
) -> Copy:
    """Write one moment of a SQLite store to `target`, its key beside it, while its daemon goes on.

    Args:
        url: of the store.
        target: the copy.
        progress: told how far it is.
        password: with which a server is asked who owns its tables.

    Raises:
        NotOurs: it is on PostgreSQL.
        StoreError: it is not there, or the target is, or another key beside that.
    """
    path = _file(url, lambda owner: dump_steps(url, target, owner), password)
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


def restore(
    url: str,
    source: Path,
    now: datetime,
    progress: Progress = silent,
    password: Password | None = None,
) -> Copy:
    """Put a backup in the place of a SQLite store; what was there is kept beside it, its key too.

    The backup is looked at first, as `tocsin store check` does. No daemon may run. Killed anywhere,
    it leaves the old store or the new one, never none: a start would make an empty one, and page
    nobody.

    Args:
        url: of the store.
        source: the backup.
        now: names what is kept.
        progress: told how far the copy is.
        password: with which a server is asked who owns its tables.

    Raises:
        NotOurs: it is on PostgreSQL.
        StoreError: a daemon runs, or the backup is damaged, of a newer Tocsin or no store at all.
    """
    path = _file(url, lambda owner: restore_steps(url, source, owner), password)
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
        except OSError as problem:
            raise StoreError(f"cannot restore {path}: {problem}") from problem
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

    It keeps its own until the backup takes that over: killed anywhere, there is a store, the old
    one or the new. False where there is none.

    Raises:
        StoreError: somebody reads it.
    """
    if not path.exists():
        return False
    for other in path.parent.glob(f"{glob.escape(path.name)}.replaced-*"):
        if other.samefile(path):
            # A restore before us was killed: nobody is to open one store under two names.
            other.unlink()
    if _read_by_others(path):
        raise StoreError(f"somebody reads {path}: try again when they have ended")
    # What is left here has no place in the file itself: the store is damaged.
    logs = [log for end in ("-wal", "-shm") if (log := path.with_name(path.name + end)).exists()]
    for part in (path, *logs):
        keep_as(part, aside.with_name(aside.name + part.name.removeprefix(path.name)))
    sync(path.parent)
    for log in logs:
        log.unlink()
    return True


def _read_by_others(path: Path) -> bool:
    """Put all of the log into the file itself; whether a reader is in the way of that."""
    with suppress(sqlite3.Error), closing(sqlite3.connect(path, timeout=5.0)) as old:
        busy, _, _ = old.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        return bool(busy)
    return False


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


def _file(url: str, steps: Callable[[str], tuple[Step, ...]], password: Password | None) -> Path:
    """The file of a SQLite store.

    Raises:
        NotOurs: it is a server's; `steps` makes the commands for it, from its owner's name.
    """
    path = file_of(parse(url))
    if path is None:
        raise NotOurs(steps(owner_of_tables(url, password)))
    return path
