"""What a person was typing, kept where a hang-up cannot take it.

One small JSON file in the state folder, replaced as a whole, readable by its owner only. Drafts
that cannot be saved are kept in memory; typing never fails for a full disk.
"""

from __future__ import annotations

import os
import tempfile
from contextlib import suppress
from pathlib import Path

import msgspec

_MAX_DRAFTS = 100
"""Drafts kept; the oldest go first."""


def write_private(path: Path, text: str) -> None:
    """Replace `path` by `text` in one step, readable by its owner only.

    Raises:
        OSError: the folder is not there or not writable, or the disk is full.
    """
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)
    except OSError:
        with suppress(OSError):
            Path(name).unlink()
        raise


class Drafts:
    """Drafts by key (incident and question).

    Args:
        path: the file; None keeps them in memory only.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._texts: dict[str, str] = {}
        if path is not None:
            with suppress(OSError, msgspec.MsgspecError):
                self._texts = msgspec.json.decode(path.read_bytes(), type=dict[str, str])

    def get(self, key: str) -> str:
        """The draft of `key`, or an empty text."""
        return self._texts.get(key, "")

    def keep(self, key: str, text: str) -> None:
        """Remember `text`; an empty one is forgotten."""
        if self._texts.get(key, "") == text:
            return
        self._texts.pop(key, None)
        if text:
            self._texts[key] = text
            while len(self._texts) > _MAX_DRAFTS:
                del self._texts[next(iter(self._texts))]
        if self._path is not None:
            with suppress(OSError):
                self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                write_private(self._path, msgspec.json.encode(self._texts).decode())
