"""A copy of a SQLite store as one file, also while a daemon writes."""

from __future__ import annotations

import errno
import os
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path

from monitor.store.absence import primary_code
from monitor.store.errors import StoreError, StoreUnavailable

PAGES = 2_048
"""Copied at a time: 8 MB."""

Progress = Callable[[int, int], None]
"""Told (pages copied, pages in all)."""


def silent(_done: int, _total: int) -> None:
    """Nobody watches."""


def copy_sqlite(
    path: Path, target: Path, *, replace: bool = False, progress: Progress = silent
) -> None:
    """Write one moment of the store at `path` to `target`: whole and on the disk, or not there.

    Args:
        path: of the store; it may be in use.
        target: the copy; only its owner may read it.
        replace: put it in the place of what is there.
        progress: told how far it is.

    Raises:
        StoreError: the target is there already, or something cannot be read or written;
            `StoreUnavailable` where there is no room.
    """
    partial = target.with_name(f"{target.name}.partial")
    if target.exists() and not replace:
        raise StoreError(f"{target} is there already; name another file")
    try:
        _make(partial)
        _copy(path, partial, progress)
        sync(partial)
        if replace:
            partial.replace(target)
        else:
            _put(partial, target)
        sync(target.parent)
    except (OSError, sqlite3.Error) as problem:
        kind = StoreUnavailable if _full(problem) else StoreError
        raise kind(f"cannot copy the store to {target}: {problem}") from problem
    finally:
        with suppress(OSError):
            partial.unlink()


def _full(problem: OSError | sqlite3.Error) -> bool:
    if isinstance(problem, OSError):
        return problem.errno in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
    return primary_code(problem) == sqlite3.SQLITE_FULL


def _make(path: Path) -> None:
    """A new file for its owner alone; what a copy that was killed left behind goes."""
    with suppress(FileNotFoundError):
        path.unlink()
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    os.close(os.open(path, flags, 0o600))


def _copy(path: Path, partial: Path, progress: Progress) -> None:
    # Not "ro": who only reads leaves an empty log behind where no daemon runs.
    uri = path.resolve().as_uri() + "?mode=rw"
    with (
        closing(sqlite3.connect(uri, uri=True, isolation_level=None, timeout=5.0)) as source,
        closing(sqlite3.connect(partial, isolation_level=None)) as target,
    ):
        # Within one reading transaction: else each write to the source would start it anew.
        source.execute("BEGIN")
        source.execute("SELECT count(*) FROM sqlite_master").fetchone()
        source.backup(
            target, pages=PAGES, progress=lambda _status, left, total: progress(total - left, total)
        )
        # One file, without a log beside it.
        target.execute("PRAGMA journal_mode=DELETE")
        found = target.execute("PRAGMA quick_check").fetchone()[0]
        if found != "ok":
            raise sqlite3.DatabaseError(f"the copy is damaged: {found}")


def _put(partial: Path, target: Path) -> None:
    """Give the file its name, unless somebody has taken it meanwhile."""
    try:
        os.link(partial, target)
    except FileExistsError:
        raise
    except OSError:
        # A file system without hard links; the name was free a moment ago.
        partial.rename(target)


def keep_as(path: Path, other: Path) -> None:
    """Give a file a second name, so that the first may then be given to another without a gap.

    Where a file system has no hard links the other name is a copy's.

    Raises:
        OSError: the name is taken, or something cannot be read or written.
    """
    try:
        os.link(path, other)
    except FileExistsError:
        raise
    except OSError:
        partial = other.with_name(f"{other.name}.partial")
        shutil.copy2(path, partial)
        sync(partial)
        partial.rename(other)


def sync(path: Path) -> None:
    """Have a file, or the names in a folder, on the disk."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
