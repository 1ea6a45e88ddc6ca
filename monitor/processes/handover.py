"""The configuration that a daemon's processes get when they start: of its start, or of a reload.

A reload has two places to change, the revisions in the store and the file from which children that
start later, and the auditor, take their settings. The store decides: the settings are staged within
the transaction that keeps their revision, and put in place after its commit. What a reload that
died midway has left is settled by the next control process, by whether its revision is there.
"""

from __future__ import annotations

import logging
import pickle
from contextlib import suppress
from pathlib import Path

from monitor.config.effective import digest, plain
from monitor.config.settings import Settings
from monitor.store.store import Store

logger = logging.getLogger(__name__)


class Handover:
    """The file of one daemon, in its private folder.

    Args:
        path: of the settings that are in place; None where no other process is ever started.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path

    def in_force(self, start: Settings) -> Settings:
        """The settings of the last reload, or of the start."""
        found = None if self._path is None else _read(self._path)
        return start if found is None else found[1]

    def stage(self, settings: Settings, number: int) -> None:
        """Put `settings` by, of the revision `number` that is about to be committed.

        Raises:
            OSError: it cannot be written; nothing has changed.
        """
        if self._path is not None:
            fresh = self._path.with_name(self._path.name + ".new")
            fresh.write_bytes(pickle.dumps((number, settings)))
            fresh.replace(_staged(self._path))

    def adopt(self) -> None:
        """What was staged is in force: processes that start from now on have it.

        Raises:
            OSError: they have the one before; the next control process tries again.
        """
        if self._path is not None:
            _staged(self._path).replace(self._path)

    def drop(self) -> None:
        """What was staged never was in force."""
        if self._path is not None:
            with suppress(OSError):
                _staged(self._path).unlink(missing_ok=True)

    def settle(self, store: Store) -> None:
        """Finish or undo what a reload that died has left.

        Raises:
            StoreUnavailable: nobody knows yet which of the two.
            OSError: it cannot be put in place.
        """
        found = None if self._path is None else _read(_staged(self._path))
        if found is None:
            return
        number, settings = found
        with store.read() as tx:
            revision = tx.revisions.get(number)
        if revision is None or revision.digest != digest(plain(settings)):
            self.drop()
            logger.warning("a reload died before its revision was written: it is as before")
            return
        self.adopt()
        who = revision.who
        logger.warning("recovered: a reload died after r%d of %s was written", number, who)


def _staged(path: Path) -> Path:
    return path.with_name(path.name + ".staged")


def _read(path: Path) -> tuple[int, Settings] | None:
    """The number of a revision and its settings; None where there is no such file."""
    try:
        number, settings = pickle.loads(path.read_bytes())  # noqa: S301 - in our private folder
    except FileNotFoundError:
        return None
    assert isinstance(settings, Settings)
    return number, settings
