"""The bytes of a file that a command is given to read, unpacked where they are packed."""

from __future__ import annotations

import gzip
import io
import sys
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, cast

from tui.cli.output import NOT_FOUND, USAGE, ExitError

_GZIP = b"\x1f\x8b"


@contextmanager
def input_file(name: str) -> Iterator[tuple[BinaryIO, int]]:
    """The stream of `name`, and how many bytes it holds, 0 where that is not known.

    `-` is standard input. What begins as gzip does is unpacked, whatever it is called.

    Raises:
        ExitError: it cannot be read; also while it is read.
    """
    try:
        if name == "-":
            with _unpacked(sys.stdin.buffer) as (stream, _):
                yield stream, 0
            return
        with Path(name).open("rb") as opened, _unpacked(opened) as (stream, packed):
            yield stream, 0 if packed else Path(name).stat().st_size
    except (EOFError, zlib.error) as error:
        what = f"cannot read {name}: its gzip is cut or damaged"
        raise ExitError(USAGE, "unreadable", what, "copy it again, or unpack what is whole") from (
            error
        )
    except OSError as error:
        status = NOT_FOUND if isinstance(error, FileNotFoundError) else USAGE
        what = f"cannot read {name}: {error.strerror or error}"
        raise ExitError(status, "unreadable", what) from error


@contextmanager
def _unpacked(stream: BinaryIO) -> Iterator[tuple[BinaryIO, bool]]:
    """The stream, and whether it was packed."""
    ahead = io.BufferedReader(cast("io.RawIOBase", stream))
    try:
        packed = ahead.peek(len(_GZIP)).startswith(_GZIP)
        yield cast("BinaryIO", gzip.GzipFile(fileobj=ahead) if packed else ahead), packed
    finally:
        ahead.detach()
