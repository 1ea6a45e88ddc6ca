"""Tables at the width of the terminal they are read in."""

from __future__ import annotations

import io
import sys

import pytest

from tests.tui.conftest import Run


class Screen(io.StringIO):
    """Standard output that is a terminal."""

    def isatty(self) -> bool:
        return True


def test_the_list_keeps_to_the_terminal(tocsin: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """What and where are clipped to the terminal's width; a pipe gets all of it."""
    whole = tocsin("inc", "list")[1]
    screen = Screen()
    monkeypatch.setattr(sys, "stdout", screen)
    monkeypatch.setenv("COLUMNS", "85")
    monkeypatch.setenv("NO_COLOR", "1")
    assert tocsin("inc", "list")[0] == 0
    lines = screen.getvalue().splitlines()
    assert max(map(len, lines)) <= 85 < max(map(len, whole.splitlines()))
    assert [line.split()[2] for line in lines] == [line.split()[2] for line in whole.splitlines()]
