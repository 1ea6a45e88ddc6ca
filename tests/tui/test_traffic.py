"""What the screen costs on a slow link, measured in a pseudo-terminal (bytes of this process)."""

from __future__ import annotations

import threading
import time
from pathlib import Path

from tests.tui.desk_server import serve
from tests.tui.story_desk import StoryDesk
from tests.tui.terminal import Terminal, terminal


def _bytes_of(on: Terminal, keys: str, seconds: float = 0.4) -> int:
    before = len(on.raw)
    on.press(keys)
    on.read(seconds)
    on.read(0.1)
    return len(on.raw) - before


def test_a_live_screen_and_a_key_are_cheap(tmp_path: Path) -> None:
    """At 80x24 a live screen stays under 4 kB/s; a key costs a few hundred bytes."""
    desk = StoryDesk()
    stop = threading.Event()

    def live() -> None:
        number = 0
        while not stop.wait(0.05):
            number += 1
            desk.tick(0.05)
            desk._set_step("INC-0142", 1, state="running", output=f"line {number}")
            desk.revision += 1

    with serve(desk, tmp_path / "s") as path:
        words = ["--socket", str(path), "open", "INC-0142"]
        with terminal(words, XDG_STATE_HOME=str(tmp_path)) as on:
            on.until("Roll back")
            on.read(1.0)
            assert _bytes_of(on, "j") < 1500
            opened = _bytes_of(on, "n")
            typed = _bytes_of(on, "x")
            closed = _bytes_of(on, "\x1b")
            assert typed < 600
            assert max(opened, closed) < 4000
            thread = threading.Thread(target=live)
            thread.start()
            try:
                began, before = time.monotonic(), len(on.raw)
                while time.monotonic() < began + 4:
                    on.read(0.5)
                rate = (len(on.raw) - before) / (time.monotonic() - began)
            finally:
                stop.set()
                thread.join()
    print(f"open {opened} B, typed {typed} B, close {closed} B, live {rate:.0f} B/s")
    assert rate < 4000
