"""The files of a configuration: one, or all `*.yaml` of a folder, as one document with places.

Mappings of different files merge key by key; anything else may be given once only, and a second one
is an error that names both places. So no file silently wins over another, and the order of the
names decides nothing but the order of the keys. `version` alone may stand in each file.
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from pathlib import Path

from runbooks.document import Document, Place
from runbooks.document import Path as Way
from runbooks.problems import Problem, Problems, Severity
from runbooks.yaml import load_yaml

MAX_CONFIG = 256 * 1024
"""Bytes of all files together; a fleet's configuration is a tenth of it."""
MAX_FILES = 64


@dataclass(frozen=True, slots=True)
class Read:
    """What could be read, and what could not."""

    document: Document | None
    """All good files as one; None where there is none."""
    problems: tuple[Problem, ...]
    complete: bool
    """Every file is in the document, so that what is not there is missing."""


def read(path: Path) -> Read:
    """Read a file or a folder.

    Raises:
        OSError: the file or the folder cannot be read.
    """
    if not path.is_dir():
        try:
            return Read(load_yaml(_bytes(path, MAX_CONFIG), str(path)), (), complete=True)
        except Problems as found:
            return Read(None, found.problems, complete=False)
    return _folder(path)


def _folder(folder: Path) -> Read:
    names, problems = _names(folder)
    documents: list[Document] = []
    left = MAX_CONFIG
    for name in names:
        try:
            source = _bytes(name, left)
            left -= len(source)
            documents.append(load_yaml(source, str(name)))
        except Problems as found:
            problems += found.problems
        except OSError as error:
            text = f"cannot be read: {error.strerror or error}"
            problems.append(Problem(str(name), 0, 0, "file", text))
    complete = not any(problem.severity is Severity.ERROR for problem in problems)
    if not names and complete:
        text = "the folder has no *.yaml file"
        problems.append(Problem(str(folder), 0, 0, "empty", text))
    for document in documents:
        if not isinstance(document.data, dict):
            text = "a file of a folder holds a mapping"
            problems.append(document.problem((), "type", text))
    mappings = [document for document in documents if isinstance(document.data, dict)]
    if not mappings:
        return Read(None, tuple(problems), complete=False)
    whole = _Whole(str(folder))
    for document in mappings:
        whole.add(document)
    return Read(whole.document(), (*problems, *whole.problems), complete and not whole.problems)


def _names(folder: Path) -> tuple[list[Path], list[Problem]]:
    """The files to read, by name; hidden ones are an editor's or a volume's own."""
    seen = sorted(entry for entry in folder.iterdir() if not entry.name.startswith("."))
    problems = [
        Problem(
            str(entry),
            0,
            0,
            "ignored",
            "not read: a folder is read as its *.yaml files",
            f"rename it to {entry.stem}.yaml, or move it away",
            Severity.WARNING,
        )
        for entry in seen
        if entry.suffix == ".yml"
    ]
    names = [entry for entry in seen if entry.suffix == ".yaml" and entry.is_file()]
    problems += [
        Problem(str(entry), 0, 0, "file", "cannot be read: it is no file, or leads nowhere")
        for entry in seen
        if entry.suffix == ".yaml" and entry not in names
    ]
    if len(names) > MAX_FILES:
        text = f"{len(names)} files; at most {MAX_FILES} are read"
        problems.append(Problem(str(folder), 0, 0, "too-many", text))
        names = []
    return names, problems


def _bytes(path: Path, limit: int) -> bytes:
    """The content of a file.

    A pipe is read where it is named itself (`-c <(...)`); a named pipe nobody writes to would stop
    a daemon for ever, so the open does not wait.

    Raises:
        Problems: it is longer than `limit`.
        OSError: it cannot be read, or is no file.
    """
    with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:  # noqa: PTH123 - of a descriptor
        kind = os.fstat(file.fileno()).st_mode
        if stat.S_ISFIFO(kind):
            os.set_blocking(file.fileno(), True)
        source = file.read(limit + 1)
    if len(source) > limit:
        text = f"more than {MAX_CONFIG} bytes of configuration"
        raise Problems([Problem(str(path), 0, 0, "too-large", text)])
    return source


class _Whole:
    """Several documents growing into one."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._data: dict[str, object] = {}
        self._values: dict[Way, Place] = {}
        self._keys: dict[Way, Place] = {}
        self._files: dict[Way, str] = {}
        self.problems: list[Problem] = []

    def add(self, document: Document) -> None:
        """Merge one file in."""
        assert isinstance(document.data, dict)
        self._files.setdefault((), document.file)
        self._values.setdefault((), document.locate(()))
        self._merge(self._data, document.data, document, ())

    def document(self) -> Document:
        """All of it."""
        return Document(self._files[()], self._data, self._values, self._keys, self._files)

    def _merge(
        self, into: dict[str, object], data: dict[str, object], document: Document, way: Way
    ) -> None:
        for key, value in data.items():
            here = (*way, key)
            if key not in into:
                into[key] = value
                self._place(value, document, here)
                continue
            there = into[key]
            if isinstance(there, dict) and isinstance(value, dict):
                self._merge(there, value, document, here)
            elif here != ("version",) or there != value:
                self.problems.append(self._twice(document, here))

    def _twice(self, document: Document, way: Way) -> Problem:
        line, col = self._keys[way]
        name = ".".join(map(str, way))
        text = f"{name} is given twice; the first is at {self._files[way]}:{line}:{col}"
        hint = "files merge key by key: lists and values are given in one of them"
        return document.problem(way, "duplicate-key", text, hint, key=True)

    def _place(self, value: object, document: Document, way: Way) -> None:
        """Remember where `value` and all that is in it stands."""
        waiting: list[tuple[Way, object]] = [(way, value)]
        while waiting:
            here, node = waiting.pop()
            self._values[here] = document.locate(here)
            self._keys[here] = document.locate(here, key=True)
            self._files[here] = document.file
            if isinstance(node, dict):
                waiting += [((*here, key), each) for key, each in node.items()]
            elif isinstance(node, list):
                waiting += [((*here, index), each) for index, each in enumerate(node)]
