"""The runbooks of this installation: the shipped ones and the operator's own."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from importlib import resources
from pathlib import Path

from runbooks.load import library, load_runbook, match
from runbooks.model import Runbook
from runbooks.problems import Problem, Problems


class Shelf:
    """Runbooks by id; one of the operator's replaces a shipped one of the same id."""

    def __init__(self, folders: Iterable[Path] = ()) -> None:
        """Load everything.

        Raises:
            Problems: everything wrong in all files.
            OSError: a folder cannot be read.
        """
        self._books: dict[str, Runbook] = {}
        self._sources: dict[str, bytes] = {}
        shipped = resources.files("runbooks") / "library"
        for book in library():
            self._put(book, (shipped / Path(book.file).name).read_bytes())
        problems: list[Problem] = []
        for folder in folders:
            for path in sorted(folder.glob("*.yaml")):
                source = path.read_bytes()
                try:
                    self._put(load_runbook(source, str(path)), source)
                except Problems as found:
                    problems += found.problems
        if problems:
            raise Problems(problems)

    def _put(self, book: Runbook, source: bytes) -> None:
        self._books[book.id] = book
        self._sources[book.id] = source

    def all(self) -> list[Runbook]:
        """By id."""
        return [self._books[name] for name in sorted(self._books)]

    def get(self, name: str) -> Runbook | None:
        """One runbook."""
        return self._books.get(name)

    def source(self, name: str) -> str:
        """The text of its file.

        Raises:
            KeyError: no such runbook.
        """
        return self._sources[name].decode()

    def matching(self, labels: Mapping[str, str]) -> list[Runbook]:
        """Those that fit an incident, best first."""
        return match(self._books.values(), labels)
