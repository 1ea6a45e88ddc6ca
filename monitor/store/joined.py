"""A transaction that others join: what they would write in theirs goes into the one that is open.

The desk opens a transaction for each command. Where a command must be one with something else (the
key that keeps a repeat out), the desk gets this in place of the store.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

from monitor.store.store import Tx


class Transactions(Protocol):
    """What a desk needs of a store."""

    def write(self) -> AbstractContextManager[Tx]:
        """A writing transaction."""
        ...

    def read(self) -> AbstractContextManager[Tx]:
        """A consistent view."""
        ...


class Joined:
    """Implements `Transactions` with one that is open; its owner commits it."""

    def __init__(self, tx: Tx) -> None:
        self._tx = tx

    @contextmanager
    def write(self) -> Iterator[Tx]:
        """The open transaction."""
        yield self._tx

    @contextmanager
    def read(self) -> Iterator[Tx]:
        """The open transaction."""
        yield self._tx
