"""`python -m runbooks check PATH...`: every problem of runbook files, for a terminal and for CI."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime
from pathlib import Path

from runbooks import lint
from runbooks.allow import AllowList
from runbooks.load import load_with_places
from runbooks.problems import Problem, Problems, Severity, summary
from runbooks.yaml import MAX_BYTES, convert, load_yaml

EXIT_PROBLEMS = 3
"""As promtool: the check ran, and found something."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; gives the exit code: 0 clean, 2 wrong usage, 3 problems found."""
    parser = argparse.ArgumentParser(prog="python -m runbooks", description=__doc__)
    commands = parser.add_subparsers(required=True)
    check = commands.add_parser("check", help="print every problem of runbook files")
    check.add_argument("paths", nargs="+", type=Path, metavar="PATH", help="a file or a folder")
    check.add_argument("--allow", type=Path, metavar="FILE", help="the operator's allow-list")
    options = parser.parse_args(arguments)
    today = datetime.now(UTC).date()
    try:
        allow = None if options.allow is None else read_allow(options.allow)
        found = [p for path in files(options.paths) for p in problems_of(path, today, allow)]
    except Problems as refused:
        found = list(refused.problems)
    for problem in found:
        sys.stdout.write(f"{problem}\n")
    sys.stderr.write(f"{summary(found)}\n")
    return EXIT_PROBLEMS if found else 0


def files(paths: Sequence[Path]) -> Iterator[Path]:
    """The files meant: those named, and the .yaml files of folders."""
    for path in paths:
        if path.is_dir():
            yield from sorted(path.glob("*.yaml"))
        else:
            yield path


def read_allow(path: Path) -> AllowList:
    """The operator's allow-list.

    Raises:
        Problems: it cannot be read.
    """
    return convert(load_yaml(_bytes(path), str(path)), AllowList)


def problems_of(path: Path, today: date, allow: AllowList | None) -> list[Problem]:
    """Errors of one file, or its weaknesses when it has none."""
    try:
        runbook, document = load_with_places(_bytes(path), str(path))
    except Problems as refused:
        return list(refused.problems)
    return lint.check(runbook, document, today, allow)


def _bytes(path: Path) -> bytes:
    """The file's content, at most what the loader reads and one byte.

    Raises:
        Problems: it cannot be opened.
    """
    try:
        with path.open("rb") as file:
            return file.read(MAX_BYTES + 1)
    except OSError as error:
        text = f"cannot be read: {error.strerror or error}"
        raise Problems([Problem(str(path), 0, 0, "file", text, severity=Severity.ERROR)]) from None


if __name__ == "__main__":
    sys.exit(main())
