from __future__ import annotations

import pytest

from tests.tui.stage import NARROW, SMALL, WIDE, stage
from tests.tui.story_desk import StoryDesk
from tui.lines.face import Face


@pytest.mark.parametrize("size", [SMALL, WIDE, NARROW], ids=lambda s: f"{s[0]}x{s[1]}")
async def test_the_list_shows_what_is_owed(size: tuple[int, int]) -> None:
    """Each incident has its severity, state, id and age; the unacknowledged one shouts."""
    async with stage(ref="", size=size) as on:
        await on.sees("OPEN ! INC-0142")
        for words in ("1 unacked", "ACK    INC-0141", "MITIG  INC-0139", "RESLV  INC-0137"):
            assert words in on.text


async def test_enter_opens_and_escape_comes_back() -> None:
    """Enter opens the incident under the cursor; the list is as it was left."""
    async with stage(ref="") as on:
        await on.press("j", "enter")
        await on.sees("INC-0141 SEV3 ACK")
        await on.press("escape")
        await on.sees("filter:")
        assert on.pane("incidents").key == "INC-0141"


async def test_a_new_incident_moves_no_cursor() -> None:
    """The cursor stays on its incident when another one comes in above it."""
    async with stage(ref="") as on:
        await on.press("j")
        on.desk.declare(title="leak", severity="SEV1")
        await on.sees("INC-0143")
        assert on.pane("incidents").key == "INC-0141"


async def test_filter_narrows_while_typing() -> None:
    """`/` and a word keep what matches; Esc shows all again; closed ones are found by the word."""
    async with stage(ref="", size=WIDE) as on:
        on.desk.close("INC-0137")
        await on.until(lambda: "INC-0137" not in on.text)
        await on.press("slash")
        await on.type("closed")
        await on.sees("INC-0137")
        assert "INC-0141" not in on.text
        await on.press("escape")
        await on.sees("INC-0141")


async def test_no_incident_says_what_to_do() -> None:
    """An empty list says that all is well, how far verdicts reach, and what `d` does."""
    async with stage(ref="", size=WIDE) as on:
        for row in list(on.desk.rows):
            on.desk.close(row.id)
        await on.sees("No incident is open")
        await on.sees("Verdicts up to 03:15:50")
        await on.sees("d declares one")


async def test_declare_opens_the_new_incident() -> None:
    """`d` asks title, severity and feature, and opens what was declared."""
    async with stage(ref="") as on:
        await on.press("d")
        for text in ("users see others' mail", "SEV1", "chat"):
            await on.answer(text)
        await on.sees("INC-0143 SEV1")
        declared = await on.did("declare")
        assert declared == {
            "title": "users see others' mail",
            "severity": "SEV1",
            "feature": "chat",
        }


async def test_leaving_with_an_incident_of_yours_asks() -> None:
    """`q` on the list wants a `y` while you own something open."""
    async with stage(ref="") as on:
        await on.press("q")
        await on.sees("you own 1 open")
        await on.press("escape")
        assert on.app.is_running
        await on.press("q")
        await on.until(lambda: on.prompt.asking)
        await on.press("y")
        await on.until(lambda: on.app._exit)


async def test_signals_and_parts_have_their_pane() -> None:
    """`2` shows the paging series with their verdict, also where there is no room beside."""
    async with stage(ref="") as on:
        assert "ALARM" not in on.text
        await on.press("2")
        await on.sees("ALARM")
        await on.sees("WARN 1 of 12 warming")
        await on.press("tab")
        await on.until(lambda: "ALARM" not in on.text)


@pytest.mark.parametrize("size", [(59, 24), (80, 19), (20, 5)])
async def test_too_small_names_the_command(size: tuple[int, int]) -> None:
    """Below 60x20 a line says so and gives the command that does the same."""
    async with stage(ref="", size=size) as on:
        await on.sees("Too small")
        await on.sees("tocsin inc")


async def test_ascii_mode_is_ascii_only() -> None:
    """With `--ascii` not one character beyond ASCII is drawn, in text of ours or of data."""
    desk = StoryDesk(dress=lambda text: f"{text} é漢")
    async with stage(desk, ref="", size=WIDE, face=Face(ascii=True)) as on:
        assert on.text.isascii()
        assert "\\u6f22" in on.text
        await on.press("enter")
        await on.sees("Roll back")
        assert on.text.isascii()


async def test_a_desk_that_is_away_at_the_start_is_waited_for() -> None:
    """The application starts without its desk, says so, and shows it when it comes."""
    desk = StoryDesk()
    desk.lost = True
    async with stage(desk, ref="") as on:
        await on.sees("trying again")
        desk.lost = False
        await on.sees("INC-0142")
