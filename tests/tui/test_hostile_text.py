from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from monitor.text import vis
from tests.tui.desk_server import serve
from tests.tui.hostile import ALL, FORBIDDEN, PAYLOADS
from tests.tui.stage import NARROW, SMALL, WIDE, stage
from tests.tui.story_desk import StoryDesk
from tests.tui.terminal import terminal

_CONTROL = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2066-\u2069\ufeff]")


def _dressed(payload: str) -> StoryDesk:
    return StoryDesk(dress=lambda text: f"{payload}{text}")


@pytest.mark.parametrize("size", [SMALL, WIDE, NARROW], ids=lambda s: f"{s[0]}x{s[1]}")
async def test_every_pane_shows_hostile_text_inert(size: tuple[int, int]) -> None:
    """All panes of both screens draw the whole corpus: nothing crashes, no control is drawn."""
    async with stage(_dressed(ALL), ref="", size=size) as on:
        for keys in (
            ("2",),
            ("1",),
            ("enter",),
            ("1",),
            ("3",),
            ("4",),
            ("2", "j"),
            ("w",),
            ("q",),
        ):
            await on.press(*keys)
            await on.pilot.pause(0.3)
            assert not _CONTROL.search(on.text.replace("\n", ""))
        for keys in (("question_mark",), ("q",), ("colon",), ("escape",), ("exclamation_mark",)):
            await on.press(*keys)
            await on.pilot.pause(0.1)
            assert not _CONTROL.search(on.text.replace("\n", ""))
        assert on.app.is_running
        assert on.desk.log == []


@pytest.mark.parametrize("payload", PAYLOADS, ids=lambda p: repr(vis(p))[1:30])
async def test_each_payload_is_drawn_as_text(payload: str) -> None:
    """A payload in front of every text is shown in its visible form."""
    async with stage(_dressed(payload), ref="INC-0142", size=(200, 60)) as on:
        await on.press("4")
        visible = vis(payload).split(" ")[0]
        await on.until(lambda: visible[:12] in on.text, what=visible)


async def test_clicking_on_markup_does_nothing() -> None:
    """A click on every cell of data that looks like an action runs none."""
    payload = "[@click=app.exit]x[/][@click=screen.ack]y[/]"
    async with stage(_dressed(payload), ref="", size=SMALL) as on:
        for y in range(3, 22):
            for x in (3, 12, 33, 40, 60):
                await on.pilot.click(offset=(x, y))
        assert on.app.is_running
        assert on.desk.log == []
        assert "[@click=app.exit]" in on.text


async def test_hostile_typing_stays_text() -> None:
    """What is typed or pasted into the bar is shown inert."""
    async with stage() as on:
        await on.press("n")
        await on.until(lambda: on.prompt.asking)
        on.prompt._set("\x1b]0;x\x07[@click=app.exit]y[/]", 5)
        await on.pilot.pause(0.1)
        assert not _CONTROL.search(on.text.replace("\n", ""))
        assert "[@click=app.exit]" in on.text


def _clean(raw: bytes) -> None:
    raw = raw.replace(b"\x1b]22;default\x07", b"")  # the toolkit's own: the pointer's shape
    for sign in FORBIDDEN:
        at = raw.find(sign)
        assert at < 0, (sign, raw[max(0, at - 60) : at + 60])


@pytest.mark.parametrize("env", [{}, {"NO_COLOR": "1"}], ids=["colour", "no colour"])
def test_a_real_terminal_gets_no_control_from_data(tmp_path: Path, env: dict[str, str]) -> None:
    """Through a pseudo-terminal: both screens on the corpus write no byte that steers it."""
    with serve(_dressed(ALL), tmp_path / "s") as path:
        words = ["--socket", str(path), "tui"]
        state = {"XDG_STATE_HOME": str(tmp_path)}
        with terminal(words, (120, 40), **state, **env) as on:
            on.until("INC-0142")
            on.press("\r")
            on.until("RUNBOOK")
            for key in "1342":
                on.press(key)
                on.read(0.3)
            on.until(r"\x1b]52;c;U1RPTEVO\x07")
            on.press("q")
            on.read(0.5)
            on.press("q")
            assert on.end() == 0
            _clean(bytes(on.raw))


READS = (
    ["inc", "list"],
    ["inc", "show", "latest", "--timeline"],
    ["inc", "watch", "latest", "--once"],
    ["signal", "list"],
    ["signal", "notes"],
    ["detect", "explain", "latest"],
    ["detect", "explain", "refusal_rate"],
    ["detect", "backtest", "refusal_rate"],
    ["budget"],
    ["tickets", "--days", "7"],
    ["rule", "list"],
    ["rule", "history"],
    ["change", "list"],
    ["runbook", "list", "latest"],
    ["runbook", "show", "refusal-spike"],
    ["quarantine", "list"],
    ["doctor"],
)


@pytest.mark.parametrize("words", READS, ids=" ".join)
def test_commands_write_no_control_from_data(tmp_path: Path, words: list[str]) -> None:
    """Each question, as text and as JSON, in a terminal: no byte of data steers it."""
    with serve(_dressed(ALL), tmp_path / "s") as path:
        for form in ("text", "json"):
            where = ["--socket", str(path), "-o", form]
            with terminal([*where, *words], (200, 50)) as on:
                assert on.end() in {0, 3}
                _clean(bytes(on.raw))
                if form == "json":
                    for line in bytes(on.raw).decode().splitlines():
                        assert "data" in json.loads(line)


def test_json_carries_the_data_unchanged(tmp_path: Path) -> None:
    """Escaping for the terminal changes no value: a program reads what the desk said."""
    words = ["--socket", str(tmp_path / "s"), "inc", "list", "--json"]
    with serve(_dressed(ALL), tmp_path / "s"), terminal(words, (200, 50)) as on:
        assert on.end() == 0
        rows = json.loads(bytes(on.raw))["data"]
    assert rows[0]["title"] == f"{ALL}Refusals 4.1x baseline"


def test_an_error_carries_no_control(tmp_path: Path) -> None:
    """What a person typed comes back inert in a refusal."""
    with serve(StoryDesk(), tmp_path / "s") as path:
        for form in ("text", "json"):
            words = ["--socket", str(path), "-o", form, "inc", "show", "\x1b]0;PWNED\x07"]
            with terminal(words) as on:
                assert on.end() == 4
                _clean(bytes(on.raw))
