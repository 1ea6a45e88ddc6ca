"""One daemon owns a SQLite store; on PostgreSQL leases say who does what (`LeaseRows`)."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import sqlalchemy as sa

from monitor.store.engine import file_of, parse
from monitor.store.errors import StoreError
from monitor.store.mounts import refuse_network


def _lock_of(path: Path) -> Path:
    return path.with_name(path.name + ".lock")


def _pid_in(descriptor: int) -> str:
    return os.pread(descriptor, 32, 0).decode("ascii", "replace").strip() or "unknown"


def owner(url: str) -> str | None:
    """The pid (or `unknown`) of the living daemon that owns the store at `url`; None without one.

    Neither the store nor the lock is made or changed. A server's store has no owner.

    Raises:
        StoreError: not a store URL, or the lock may not be looked at.
    """
    path = file_of(parse(url))
    return None if path is None else owner_of(path)


def owner_of(path: Path) -> str | None:
    """The same for the file of a SQLite store.

    Raises:
        StoreError: the lock may not be looked at.
    """
    try:
        descriptor = os.open(_lock_of(path), os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    except OSError as problem:
        raise StoreError(f"cannot tell whether a daemon owns {path}: {problem}") from problem
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return _pid_in(descriptor)
    finally:
        os.close(descriptor)
    return None


@contextmanager
def owner_lock(where: sa.Engine | str) -> Iterator[int | None]:
    """Hold the store as its one daemon; before it is opened, so that only one migrates it.

    Gives the descriptor of the lock, None for a server's store. A process that inherits it holds
    the lock too: the store stays owned until the last of them is gone.

    Args:
        where: the store's URL, or an engine on it.

    Raises:
        StoreError: another daemon holds it, or it cannot be held there.
    """
    path = file_of(parse(where) if isinstance(where, str) else where.url)
    if path is None:
        yield None
        return
    refuse_network(path)
    try:
        descriptor = os.open(_lock_of(path), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as problem:
        raise StoreError(f"cannot hold the store at {path}: {problem}") from problem
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise StoreError(
                f"another daemon (pid {_pid_in(descriptor)}) owns {path};"
                " stop it first, or use another --store"
            ) from None
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, str(os.getpid()).encode(), 0)
        yield descriptor
    finally:
        os.close(descriptor)
