from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from textual.events import Paste

from monitor import views
from tests.tui.stage import NARROW, SMALL, WIDE, stage
from tests.tui.story_desk import StoryDesk
from tui.drafts import Drafts
from tui.lines.face import Face

SIZES = pytest.mark.parametrize("size", [SMALL, WIDE, NARROW], ids=lambda s: f"{s[0]}x{s[1]}")


@SIZES
async def test_two_keys_run_the_first_step(size: tuple[int, int]) -> None:
    """From the opened incident, `c` and Enter take command and run the first check."""
    async with stage(size=size) as on:
        await on.sees("Is it a deploy")
        await on.press("c", "enter")
        step = await on.did("step")
        assert [name for name, _ in on.desk.log] == ["take", "step"]
        assert (step["number"], step["action"], step["confirm"]) == (1, "run", "")


async def test_enter_goes_on_after_a_check() -> None:
    """Enter on a finished check moves on, but does not tick a manual step unread."""
    async with stage() as on:
        await on.press("enter")
        await on.did("step")
        on.desk.finish("INC-0142", 1)
        await on.sees("[x] 1")
        await on.press("enter")
        await on.sees("step 2 is yours to do")
        assert len(on.desk.log) == 1
        await on.press("enter")
        await on.until(lambda: len(on.desk.log) == 2)
        assert (await on.did("step"))["action"] == "done"


def _to_step(desk: StoryDesk, number: int) -> None:
    for done in range(1, number):
        desk._set_step("INC-0142", done, state="succeeded")
    desk.revision += 1


async def test_a_reversible_step_wants_y() -> None:
    """Enter shows the exact command and runs nothing until `y`."""
    async with stage() as on:
        _to_step(on.desk, 3)
        await on.sees("next: 3")
        await on.press("enter")
        await on.sees("y runs step 3")
        assert "safetyctl prompt rollback" in on.prompt.text
        await on.press("enter")
        assert on.desk.log == []
        on.seconds += 1
        await on.press("y")
        assert (await on.did("step"))["confirm"] == "y"


async def test_a_key_within_the_guard_time_confirms_nothing() -> None:
    """A `y` that arrives less than 300 ms after the question is not an answer to it."""
    async with stage() as on:
        _to_step(on.desk, 3)
        await on.sees("next: 3")
        await on.press("enter")
        await on.sees("y runs step 3")
        await on.press("y")
        assert on.prompt.asking
        assert on.desk.log == []


async def test_a_destructive_step_wants_the_id_typed() -> None:
    """A wrong word is refused in the bar, Esc leaves, the right word runs it."""
    async with stage() as on:
        _to_step(on.desk, 4)
        await on.sees("next: 4")
        await on.press("enter")
        await on.answer("y")
        await on.sees("not INC-0142")
        assert on.desk.log == []
        await on.press("escape")
        await on.until(lambda: not on.prompt.asking)
        await on.press("enter")
        await on.answer("INC-0142")
        assert (await on.did("step"))["confirm"] == "INC-0142"


async def test_a_confirmation_cannot_be_pasted() -> None:
    """Pasted text does not reach a dangerous question."""
    async with stage() as on:
        _to_step(on.desk, 4)
        await on.sees("next: 4")
        await on.press("enter")
        await on.until(lambda: on.prompt.asking)
        on.seconds += 1
        on.prompt.post_message(Paste("INC-0142"))
        await on.press("enter")
        await on.sees("not INC-0142")
        assert on.desk.log == []


async def test_a_note_is_kept_on_escape() -> None:
    """Esc leaves a half-written note; `n` finds it again; Enter writes it into the timeline."""
    async with stage(size=WIDE) as on:
        await on.press("n")
        await on.type("v41 adds")
        await on.press("escape")
        assert on.desk.log == []
        await on.press("n")
        await on.sees("v41 adds")
        await on.answer(" refusals")
        assert (await on.did("note"))["text"] == "v41 adds refusals"
        await on.sees("mira: v41 adds refusals")
        await on.press("n")
        await on.until(lambda: on.prompt.asking)
        assert "v41" not in on.prompt.text


async def test_a_draft_survives_the_process(tmp_path: Path) -> None:
    """What was being typed when the terminal hung up is there at the next start."""
    path = tmp_path / "state" / "drafts.json"
    async with stage(drafts=Drafts(path)) as on:
        await on.press("n")
        await on.type("half a")
    async with stage(drafts=Drafts(path)) as on:
        await on.press("n")
        await on.sees("half a")
    assert path.stat().st_mode & 0o077 == 0


async def test_a_draft_stays_with_its_store(tmp_path: Path) -> None:
    """Another store's incident of the same number is offered nothing; the same one is."""
    here, there = StoryDesk(), StoryDesk()
    for desk, name in ((here, "aa"), (there, "bb")):
        desk.rows = [msgspec.structs.replace(row, uuid=name + row.id) for row in desk.rows]
    path = tmp_path / "drafts.json"
    async with stage(here, drafts=Drafts(path)) as on:
        await on.press("M")
        await on.type("rolled back")
    for desk, offered in ((there, False), (here, True)):
        async with stage(desk, drafts=Drafts(path)) as on:
            await on.press("M")
            await on.sees("INC-0142 mitigated; how")
            assert ("rolled back" in on.prompt.text) is offered


async def test_without_a_daemon_nothing_is_called_live() -> None:
    """The header says that no daemon runs."""
    desk = StoryDesk()
    desk.daemon = False
    async with stage(desk, size=WIDE) as on:
        await on.sees("no daemon")
        assert "LIVE" not in on.text


async def test_a_refused_note_is_not_lost() -> None:
    """The text of a note that the desk refused is offered again."""
    async with stage() as on:
        on.desk.role = "reader"
        await on.press("n")
        await on.answer("important")
        await on.sees("readers change nothing")
        await on.press("n")
        await on.sees("important")


async def test_resolve_without_verification_asks_why() -> None:
    """`R` asks for the verdict, says what lacks, and sends the reason."""
    async with stage() as on:
        await on.press("R")
        await on.answer("a")
        await on.until(lambda: "Why safe:" in on.prompt.text)
        await on.press("enter")
        assert on.desk.log == []
        await on.answer("checked by hand")
        done = await on.did("resolve")
        assert (done["verdict"], done["reason"]) == ("attack", "checked by hand")
        await on.sees("RESLV")


async def test_resolve_after_verification_asks_only_the_verdict() -> None:
    """A verified incident is resolved with a digit for the verdict."""
    async with stage() as on:
        on.desk.verified = True
        await on.press("R")
        await on.answer("6")
        assert (await on.did("resolve"))["verdict"] == "regression"


async def test_an_ambiguous_verdict_is_not_guessed() -> None:
    """`t` could be two verdicts: the bar says what it wants."""
    async with stage() as on:
        await on.press("R")
        await on.answer("t")
        await on.sees("first letters")
        assert on.desk.log == []


@pytest.mark.parametrize(
    ("key", "answers", "command"),
    [
        ("a", [], "acknowledge"),
        ("E", ["need the model team"], "escalate"),
        ("S", ["1", "three tenants"], "set_severity"),
        ("M", ["rolled back"], "mitigate"),
        ("O", ["again"], "reopen"),
        ("C", [""], "close"),
        ("B", ["wrong one"], "abort_run"),
        ("s", ["no access"], "step"),
        ("d", ["leak", "2", "chat"], "declare"),
    ],
)
async def test_each_key_tells_the_desk(key: str, answers: list[str], command: str) -> None:
    """A key asks what it needs and then gives exactly its command."""
    async with stage() as on:
        await on.sees("Is it a deploy")
        await on.press(key)
        for text in answers:
            await on.answer(text)
        await on.did(command)
        assert [name for name, _ in on.desk.log] == [command]


async def test_undo_asks_and_runs_the_rollback() -> None:
    """`u` on a step that succeeded shows its rollback and wants `y`."""
    async with stage() as on:
        _to_step(on.desk, 4)
        await on.sees("next: 4")
        on.pane("runbook").go("rollback")
        await on.press("u")
        await on.until(lambda: "rollout --to v41" in on.prompt.text)
        on.seconds += 1
        await on.press("y")
        assert (await on.did("step"))["action"] == "undo"


async def test_enter_starts_the_suggested_runbook() -> None:
    """Without a run, Enter asks what nobody has set, starts it and runs its first check."""
    async with stage(StoryDesk(with_run=False)) as on:
        await on.sees("suggested")
        await on.press("enter")
        await on.sees("refusal-spike window (minutes)")
        await on.answer("x")
        await on.sees("a whole number")
        await on.press("backspace")
        await on.answer("10")
        await on.did("step")
        assert [name for name, _ in on.desk.log] == ["start_run", "step"]
        assert on.desk.log[0][1]["params"] == {"window": 10}
        on.desk.finish("INC-0142", 1)
        await on.sees("next: 2")
        await on.press("enter")
        await on.sees("step 2 is yours to do")


async def test_live_data_moves_no_cursor() -> None:
    """New entries, new incidents and a finished step leave cursor and focus where they are."""
    async with stage(size=WIDE) as on:
        await on.press("4", "k")
        entry = on.pane("timeline").key
        focused = on.app.focused
        for number in range(40):
            on.desk._say("INC-0142", "STEP", f"line {number}", "tocsin")
        on.desk.finish("INC-0142", 1)
        on.desk.declare(title="another", severity="SEV2")
        await on.sees("INC-0143")
        assert on.pane("timeline").key == entry
        assert on.app.focused is focused
        assert on.pane("runbook").key == "deploys"


async def test_a_timeline_at_its_end_follows() -> None:
    """Somebody who reads the newest entry keeps seeing the newest."""
    async with stage(size=SMALL) as on:
        for number in range(40):
            on.desk._say("INC-0142", "STEP", f"line {number}", "tocsin")
        await on.sees("line 39")


async def test_read_only_changes_nothing() -> None:
    """In read-only mode a command is refused before it is asked for, and the header says so."""
    async with stage(read_only=True, size=WIDE) as on:
        await on.sees("READ-ONLY")
        for key in ("a", "c", "enter", "M", "R", "d"):
            await on.press(key)
        await on.sees("read-only: start without")
        assert on.desk.log == []


async def test_a_lost_desk_is_said_and_found_again() -> None:
    """A banner names the loss; facts stay; when the desk is back, so are the screens."""
    async with stage(size=WIDE) as on:
        on.desk.lost = True
        await on.sees("DESK LOST")
        await on.sees("trying again")
        assert "Roll back safety prompt" in on.text
        await on.press("a")
        await on.sees("unavailable")
        on.desk.lost = False
        await on.until(lambda: "DESK LOST" not in on.text)


async def test_pause_holds_the_screen() -> None:
    """`p` keeps what is shown; `p` again catches up."""
    async with stage(size=WIDE) as on:
        await on.press("p")
        await on.sees("PAUSED")
        on.desk._say("INC-0142", "NOTE", "while you looked", "jo")
        before = on.app.overview
        await on.until(lambda: on.app.overview is not before)
        assert "while you looked" not in on.text
        await on.press("p")
        await on.sees("while you looked")


@SIZES
async def test_every_pane_is_reached_by_its_digit(size: tuple[int, int]) -> None:
    """`1` to `4` and Tab show list, runbook, chart and timeline at every size."""
    async with stage(size=size) as on:
        for key, words in (("1", "INC-0139"), ("2", "Roll back"), ("3", "02:16"), ("4", "PAGE")):
            await on.press(key)
            await on.sees(words)
        await on.press("tab")
        await on.sees("INC-0139")


async def test_zoom_and_back() -> None:
    """`+` gives a pane the whole screen, Esc takes it back, Esc again leaves."""
    async with stage() as on:
        await on.press("4", "plus")
        await on.until(lambda: "Roll back" not in on.text)
        await on.press("escape")
        await on.sees("Roll back")
        await on.press("escape", "escape")
        await on.sees("filter:")


async def test_the_timeline_can_be_searched() -> None:
    """`/` narrows the timeline while typing; Esc shows all again."""
    async with stage(size=WIDE) as on:
        await on.press("slash")
        await on.type("pager")
        await on.until(lambda: len(on.pane("timeline").items) == 1)
        await on.press("escape")
        await on.until(lambda: len(on.pane("timeline").items) == 2)


async def test_the_palette_shows_the_twin_command_and_runs_it() -> None:
    """`:` finds an action by a word, names its command, and Enter does it."""
    async with stage(size=WIDE) as on:
        await on.press("colon")
        await on.sees("tocsin inc take INC-0142")
        await on.press(*"escal")
        await on.sees("tocsin inc escalate INC-0142")
        await on.press("enter")
        await on.answer("help")
        await on.did("escalate")


async def test_help_log_copy_clock_and_runbook_text() -> None:
    """The quiet keys show what they promise."""
    async with stage(size=WIDE, face=Face()) as on:
        await on.press("question_mark")
        await on.sees("keys of incident")
        await on.press("q", "w")
        await on.sees("version: 7")
        await on.press("q", "y")
        await on.sees("copied, if your terminal allows")
        await on.press("t")
        await on.sees("timeline local")
        await on.press("exclamation_mark")
        await on.sees("messages, newest first")
        assert "times in local" in on.text


async def test_the_review_is_exported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`X` writes the review where it is told."""
    monkeypatch.chdir(tmp_path)
    async with stage() as on:
        await on.press("X")
        await on.answer("")
        await on.sees("review written")
    assert (tmp_path / "INC-0142.md").read_text() == "# INC-0142\n"


async def test_verify_says_what_lacks() -> None:
    """`v` without a wait step to run names what the verification lacks."""
    async with stage(size=WIDE) as on:
        await on.press("v")
        await on.sees("not verified: no signal condition has held")


async def test_ticking_asks_what_the_runbook_wants_to_keep() -> None:
    """A manual step with captures asks each, by number or first letters, and sends the answers."""
    desk = StoryDesk()
    causes = ["release", "threshold", "traffic", "attack", "unclear"]
    asks = [
        views.Param(name="cause", type="enum", values=causes),
        views.Param(name="evidence", type="string", required=False),
    ]
    desk._set_step("INC-0142", 1, state="succeeded")
    desk._set_step("INC-0142", 2, id="compare", asks=asks)
    async with stage(desk, size=WIDE) as on:
        await on.sees("next: 2")
        on.pane("runbook").go("compare")
        await on.press("enter")
        await on.sees("1 release 2 threshold")
        await on.answer("t")
        await on.sees("first letters")
        await on.press("backspace")
        await on.answer("1")
        await on.until(lambda: "evidence" in on.prompt.text)
        await on.answer("41 %")
        captured = (await on.did("step"))["captured"]
        assert captured == {"cause": "release", "evidence": "41 %"}
