"""What can be wrong with the store."""

from __future__ import annotations


class StoreError(Exception):
    """The store cannot be used; the message says what to do, and never holds a password."""


class StoreUnavailable(StoreError):
    """The store does not answer now; try again.

    Nothing was written, save when the connection broke while the answer to a COMMIT was under way:
    then nobody knows, so what is written again must be told by a key or by its position.
    """
