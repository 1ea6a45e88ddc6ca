"""Checks that every link in the documents leads somewhere: files, headings, make targets.

python -m tests.links README.md ARCHITECTURE.md
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

MAKEFILE = Path(__file__).parents[1] / "Makefile"
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#+\s+(.*)$", re.MULTILINE)
_CODE = re.compile(r"```.*?```", re.DOTALL)
_TARGET = re.compile(r"`make ([a-z-]+)")


def anchors(text: str) -> set[str]:
    """The anchors that a renderer makes of the headings."""
    found = set()
    for heading in _HEADING.findall(_CODE.sub("", text)):
        plain = re.sub(r"[^\w\- ]", "", heading.lower()).strip()
        found.add(plain.replace(" ", "-"))
    return found


def problems(path: Path) -> list[str]:
    """What is wrong with one document."""
    text = path.read_text("utf-8")
    makefile = MAKEFILE.read_text("utf-8")
    wrong = []
    for link in _LINK.findall(_CODE.sub("", text)):
        if link.startswith(("http://", "https://", "mailto:")):
            continue
        file, _, anchor = link.partition("#")
        target = path if not file else path.parent / file
        if not target.exists():
            wrong.append(f"{path}: {link}: no such file")
        elif anchor and anchor not in anchors(target.read_text("utf-8")):
            wrong.append(f"{path}: {link}: no such heading")
    unknown = [
        name
        for name in _TARGET.findall(text)
        if not re.search(rf"^{name}:", makefile, re.MULTILINE)
    ]
    return wrong + [f"{path}: no make target {name!r}" for name in unknown]


def main() -> int:
    """Print every problem; the exit status."""
    wrong = [line for name in sys.argv[1:] for line in problems(Path(name))]
    for line in wrong:
        print(line)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
