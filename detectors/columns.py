"""A growing table of numpy columns, one row per series, that stores itself as plain arrays.

Rows are the last axis, so that the rows of a matrix column (a ring, a set of hours) are contiguous.
Stored as npz with a JSON header; never pickle, because reading a pickle runs what it holds.
"""

from __future__ import annotations

import io
import json
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
Kind = tuple[str, int]
"""Of a snapshot: the name of its format, and the version."""

_FIRST_ROWS = 8
_PARTS = slice(-12, -10)  # of a zip without a comment: where it says how many parts it has
_DAMAGED = (OSError, EOFError, KeyError, RuntimeError, ValueError, zipfile.BadZipFile, zlib.error)
"""What reading a broken archive raises; a wrong bit may ask for a password, which is a
`RuntimeError`, or for a way to pack that nobody has."""


@dataclass(frozen=True, slots=True)
class Column:
    """The leading shape, the type and the first value of a column."""

    lead: tuple[int, ...] = ()
    dtype: str = "f8"
    fill: float = 0


class Columns:
    """Named arrays of shape `lead + (rows,)` that grow together.

    >>> table = Columns({"level": Column(), "hours": Column(lead=(24,))})
    >>> table.append(3)
    >>> table["hours"].shape
    (24, 3)
    """

    def __init__(self, spec: Mapping[str, Column]) -> None:
        self._spec = dict(spec)
        self._rows = 0
        self._full = {name: self._blank(column, _FIRST_ROWS) for name, column in spec.items()}
        self._views: dict[str, NDArray[Any]] = {}
        self._cut()

    @staticmethod
    def _blank(column: Column, rows: int) -> NDArray[Any]:
        return np.full((*column.lead, rows), column.fill, dtype=column.dtype)

    def _cut(self) -> None:
        self._views = {name: full[..., : self._rows] for name, full in self._full.items()}

    def __len__(self) -> int:
        return self._rows

    def __getitem__(self, name: str) -> NDArray[Any]:
        """A view of the column: write into it, do not replace it."""
        return self._views[name]

    def append(self, rows: int) -> None:
        """Add `rows` rows with the first values of their columns."""
        need = self._rows + rows
        for name, full in self._full.items():
            room = full.shape[-1]
            if need > room:
                more = self._blank(self._spec[name], max(need, 2 * room) - room)
                self._full[name] = np.concatenate((full, more), axis=-1)
        self._rows = need
        self._cut()

    def keep(self, rows: Ints) -> None:
        """Keep these rows, in this order, and drop the others."""
        self._full = {name: view[..., rows].copy() for name, view in self._views.items()}
        self._rows = len(rows)
        self._cut()

    def dump(self) -> dict[str, NDArray[Any]]:
        """The columns by name, without spare room."""
        return dict(self._views)

    def load(self, arrays: Mapping[str, NDArray[Any]], rows: int) -> None:
        """Replace everything by `arrays`.

        Raises:
            ValueError: a column is missing, unknown, or has another shape or type.
        """
        if set(arrays) != set(self._spec):
            raise ValueError(f"snapshot columns differ: {sorted(set(arrays) ^ set(self._spec))}")
        for name, column in self._spec.items():
            got = arrays[name]
            if got.shape != (*column.lead, rows) or got.dtype != np.dtype(column.dtype):
                raise ValueError(f"snapshot column {name} is {got.dtype}{list(got.shape)}")
        self._full = {name: np.array(arrays[name]) for name in self._spec}
        self._rows = rows
        self._cut()


def pack(kind: Kind, header: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> bytes:
    """`header` (JSON values) and `arrays` as one compressed npz. The same input, the same bytes."""
    name, version = kind
    named = {"format": name, "version": version, **header}
    text = json.dumps(named, sort_keys=True, allow_nan=False).encode()
    out = io.BytesIO()
    np.savez_compressed(out, allow_pickle=False, header=np.frombuffer(text, np.uint8), **arrays)
    return out.getvalue()


def unpack(kind: Kind, data: bytes) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """The inverse of `pack`.

    Raises:
        ValueError: `data` is not what `pack` made, or of another kind or version.
    """
    try:
        # Each part is read to its end, and so held to its checksum, before numpy believes it.
        with zipfile.ZipFile(io.BytesIO(data)) as stored:
            parts = {name.removesuffix(".npy"): stored.read(name) for name in stored.namelist()}
        if len(parts) != int.from_bytes(data[_PARTS], "little"):
            raise ValueError("a part is missing")  # its entry taken for the comment of another
        arrays = {
            name: np.lib.format.read_array(io.BytesIO(part), allow_pickle=False)
            for name, part in parts.items()
        }
        header = json.loads(arrays.pop("header").tobytes())
    except _DAMAGED as error:
        raise ValueError(f"not a detector snapshot: {error}") from error
    if not isinstance(header, dict):
        raise ValueError("not a detector snapshot: its header is no object")  # noqa: TRY004 - bad data, not a bad argument
    found = (header.pop("format", None), header.pop("version", None))
    if found != kind:
        raise ValueError(f"a snapshot of {kind[0]} {kind[1]} is needed, not {found[0]} {found[1]}")
    return header, arrays
