"""The key of the quarantine's digests that lies beside a SQLite store; a copy of one has the other.

With another key a daemon makes other digests: what it quarantined before is not recognised again.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from monitor.store.errors import StoreError
from monitor.store.snapshot import keep_as, sync


def key_beside(store: Path) -> Path:
    """Where the key of the store in this file is."""
    return store.with_name(f"{store.name}.key")


def read_key(store: Path) -> bytes | None:
    """The key beside a store; None where there is none, as with a `digest_key` in a configuration.

    Raises:
        StoreError: it cannot be read.
    """
    path = key_beside(store)
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as problem:
        raise StoreError(f"cannot read the key {path}: {problem.strerror}") from problem


def write_key(store: Path, key: bytes, aside: Path | None = None) -> Path:
    """Lay a key beside a store, for its owner alone, on the disk; where.

    Args:
        store: the file.
        key: is written.
        aside: the store that gets the key which is there, if it is another one.

    Raises:
        StoreError: another one is there and not to be put aside, or it cannot be written.
    """
    path = key_beside(store)
    known = read_key(store)
    if known == key:
        return path
    if known is not None and (aside is None or key_beside(aside).exists()):
        raise StoreError(f"{path} is another key; move it away first")
    partial = path.with_name(f"{path.name}.partial")
    try:
        with suppress(FileNotFoundError):
            partial.unlink()
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        with os.fdopen(os.open(partial, flags, 0o600), "wb") as file:
            file.write(key)
        sync(partial)
        if known is not None and aside is not None:
            keep_as(path, key_beside(aside))
        partial.rename(path)
        sync(path.parent)
    except OSError as problem:
        raise StoreError(f"cannot write the key {path}: {problem.strerror}") from problem
    return path
