from __future__ import annotations

import io
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.tui.desk_server import serve
from tests.tui.story_desk import StoryDesk
from tui.cli import main

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def desk() -> StoryDesk:
    """What `tocsin` speaks to."""
    return StoryDesk()


@pytest.fixture
def tocsin(
    desk: StoryDesk,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Run]:
    """Calls `tocsin` on a served desk: status, standard output, standard error."""
    monkeypatch.setattr(sys, "stdin", io.StringIO(""))
    for name in [name for name in os.environ if name.startswith("TOCSIN_")]:
        monkeypatch.delenv(name)
    with serve(desk, tmp_path / "desk.sock") as path:

        def call(*words: str) -> tuple[int, str, str]:
            monkeypatch.setenv("TOCSIN_SOCKET", str(path))
            status = main(words)
            out, err = capsys.readouterr()
            return status, out, err

        yield call
