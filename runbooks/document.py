"""Plain data read from a file, with the place of every value in it."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from runbooks.problems import Problem, Severity

Path = tuple[str | int, ...]
"""Where a value is inside the data: keys and indices from the root."""
Place = tuple[int, int]
"""Line and column, both from 1."""

_STEP = re.compile(r"\.([^.\[\]]+)|\[(\d+)\]")


def path_of(text: str) -> Path:
    """The path that msgspec writes as `$.steps[2].argv`; parts it cannot name are left out.

    >>> path_of("$.steps[2].argv")
    ('steps', 2, 'argv')
    """
    return tuple(int(index) if index else key for key, index in _STEP.findall(text))


def suggest(word: str, known: Iterable[str]) -> str | None:
    """The known word that was probably meant, or None when nothing is near.

    >>> suggest("recievers", ["receivers", "routes"])
    'receivers'
    """
    words = sorted(known)
    near = difflib.get_close_matches(
        word[:100].lower(), [w.lower() for w in words], n=1, cutoff=0.65
    )
    return next((w for w in words if w.lower() == near[0]), None) if near else None


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """A hint: the nearest known word, else the known words (at most twelve)."""
    words = sorted(known)
    near = suggest(word, words)
    if near is not None:
        return f"did you mean {near!r}?"
    if not words:
        return ""
    more = f" and {len(words) - 12} more" if len(words) > 12 else ""
    return f"known: {', '.join(words[:12])}{more}"


@dataclass(frozen=True, slots=True)
class Document:
    """One file's plain data (dicts, lists, text, numbers, bools, None), and where each part is."""

    file: str
    data: object
    values: Mapping[Path, Place] = field(default_factory=dict, repr=False)
    """Place of each value by its path."""
    keys: Mapping[Path, Place] = field(default_factory=dict, repr=False)
    """Place of each mapping key, by the path of its value."""
    files: Mapping[Path, str] = field(default_factory=dict, repr=False)
    """The file of each value (and what is in it) where the data comes from several."""

    def at(self, path: Path) -> object:
        """The value at `path`; None where there is none."""
        value = self.data
        for part in path:
            if isinstance(value, dict):
                value = value.get(part)
            elif isinstance(value, list) and isinstance(part, int) and part < len(value):
                value = value[part]
            else:
                return None
        return value

    def file_of(self, path: Path) -> str:
        """The file that `path` is in, or the nearest part above it; `file` where there is one."""
        for length in range(len(path), 0, -1):
            name = self.files.get(path[:length])
            if name is not None:
                return name
        return self.file

    def locate(self, path: Path | str, *, key: bool = False) -> Place:
        """Line and column of `path`, or of the nearest part above it that the file has.

        Args:
            path: keys and indices, or msgspec's text form (`$.steps[2].argv`).
            key: the place of the key rather than of its value.
        """
        parts = path_of(path) if isinstance(path, str) else path
        if key and parts in self.keys:
            return self.keys[parts]
        for length in range(len(parts), -1, -1):
            place = self.values.get(parts[:length])
            if place is not None:
                return place
        return (1, 1)

    def problem(
        self,
        path: Path | str,
        code: str,
        text: str,
        hint: str = "",
        *,
        key: bool = False,
        severity: Severity = Severity.ERROR,
    ) -> Problem:
        """A problem at the place of `path`."""
        parts = path_of(path) if isinstance(path, str) else path
        line, col = self.locate(parts, key=key)
        return Problem(self.file_of(parts), line, col, code, text, hint, severity)
