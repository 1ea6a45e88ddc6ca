"""One daemon owns a SQLite store; on PostgreSQL leases say who does what (`LeaseRows`)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import sqlalchemy as sa

from monitor.config.options import real_file
from monitor.held import Held, hold, holder
from monitor.store.engine import file_of, parse
from monitor.store.errors import StoreError
from monitor.store.mounts import refuse_network


def _lock_of(path: Path) -> Path:
    file = real_file(path)
    return file.with_name(file.name + ".lock")


def owner(url: str) -> str | None:
    """The pid (or `unknown`) of the living daemon that owns the store at `url`; None without one.

    Neither the store nor the lock is made or changed. A server's store has no owner.

    Raises:
        StoreError: not a store URL, or the lock may not be looked at.
    """
    path = file_of(parse(url))
    return None if path is None else owner_of(path)


def owner_of(path: Path) -> str | None:
    """The same for the file of a SQLite store, whichever links lead to it.

    Raises:
        StoreError: the lock may not be looked at.
    """
    try:
        return holder(_lock_of(path))
    except OSError as problem:
        raise StoreError(f"cannot tell whether a daemon owns {path}: {problem}") from problem


@contextmanager
def owner_lock(where: sa.Engine | str, patience_s: float = 0.0) -> Iterator[int | None]:
    """Hold the store as its one daemon; before it is opened, so that only one migrates it.

    Gives the descriptor of the lock, None for a server's store. A process that inherits it holds
    the lock too: the store stays owned until the last of them is gone.

    Args:
        where: the store's URL, or an engine on it.
        patience_s: what is left of a daemon that was killed has so long to leave.

    Raises:
        StoreError: another daemon holds it, or it cannot be held there.
    """
    path = file_of(parse(where) if isinstance(where, str) else where.url)
    if path is None:
        yield None
        return
    refuse_network(path)
    with ExitStack() as stack:
        try:
            descriptor = stack.enter_context(hold(_lock_of(path), patience_s))
        except Held as other:
            raise StoreError(
                f"another daemon (pid {other.pid}) owns {path};"
                " stop it first, or use another --store"
            ) from None
        except OSError as problem:
            raise StoreError(f"cannot hold the store at {path}: {problem}") from problem
        yield descriptor
