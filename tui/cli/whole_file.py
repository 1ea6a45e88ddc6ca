"""A file that appears whole, under its name, or not at all."""

from __future__ import annotations

import os
import stat
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from tui.cli.output import FAILED, ExitError


@contextmanager
def whole_file(name: str) -> Iterator[BinaryIO]:
    """What is written takes the place of `name` at the end; after an error nothing has changed.

    `-` is standard output. A device or pipe is written as it goes: it has nothing to put in place.

    Raises:
        ExitError: it cannot be written.
    """
    if name == "-":
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    path = Path(name).resolve()
    try:
        if path.exists() and not stat.S_ISREG(path.stat().st_mode):
            with path.open("wb") as stream:
                yield stream
            return
        with _beside(path) as stream:
            yield stream
    except OSError as error:
        what = f"cannot write {name}: {error.strerror or error}"
        raise ExitError(FAILED, "unwritable", what, "name a file in a folder you own") from error


@contextmanager
def _beside(path: Path) -> Iterator[BinaryIO]:
    number, fresh = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(number, "wb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        Path(fresh).chmod(_mode(path))
        Path(fresh).replace(path)
    except BaseException:
        Path(fresh).unlink(missing_ok=True)
        raise


def _mode(path: Path) -> int:
    """What the file had, else what the process gives a new one."""
    if path.exists():
        return stat.S_IMODE(path.stat().st_mode)
    mask = os.umask(0)
    os.umask(mask)
    return 0o666 & ~mask
