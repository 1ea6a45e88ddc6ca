"""The screens as text, for a reviewer's eye: `UPDATE_GOLDEN=1` writes them anew."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.tui.stage import NARROW, SMALL, WIDE, stage
from tui.lines.face import Face

FOLDER = Path(__file__).parent / "golden"

CASES = [
    (name, ref, size, ascii_only)
    for name, ref in (("home", ""), ("incident", "INC-0142"))
    for size in (SMALL, WIDE, NARROW)
    for ascii_only in (False, True)
]


@pytest.mark.parametrize(
    ("name", "ref", "size", "ascii_only"),
    CASES,
    ids=[f"{n}-{s[0]}x{s[1]}-{'ascii' if a else 'unicode'}" for n, _, s, a in CASES],
)
async def test_screens_look_as_agreed(
    name: str, ref: str, size: tuple[int, int], ascii_only: bool
) -> None:
    """Each screen at each size is, character for character, the picture in `golden/`."""
    letters = "ascii" if ascii_only else "unicode"
    path = FOLDER / f"{name}-{size[0]}x{size[1]}-{letters}.txt"
    async with stage(ref=ref, size=size, face=Face(ascii=ascii_only)) as on:
        await on.sees("firing" if size != NARROW or not ref else "Roll back")
        await on.pilot.pause(0.2)
        shown = on.text + "\n"
    if os.environ.get("UPDATE_GOLDEN"):
        path.parent.mkdir(exist_ok=True)
        path.write_text(shown, encoding="utf-8")
    assert shown == path.read_text(encoding="utf-8")
