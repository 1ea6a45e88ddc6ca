"""What can be wrong with the store."""

from __future__ import annotations


class StoreError(Exception):
    """The store cannot be used; the message says what to do, and never holds a password."""


class StoreUnknown(StoreError):
    """What names the store names none that we could open: a mistake of who wrote it."""


class StoreUnavailable(StoreError):
    """The store does not answer now, and nothing was written: try again."""


class StoreBusy(StoreUnavailable):
    """Others write, and our turn did not come; nothing was written."""


class StoreDenied(StoreUnavailable):
    """Our role lacks a right; nothing was written, and only the store's owner can change that."""


class StoreUncertain(StoreUnavailable):
    """The connection broke while the answer to a COMMIT was under way: nobody knows what holds.

    What is written again must be told by a key or by its position; a person is to look first.
    """
