from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import pytest

from monitor.metrics import Metrics
from monitor.store.store import Store
from monitor.stream.sources.scenario import names
from tests.tui.conftest import Run
from tests.tui.desk_server import serve
from tests.tui.story_desk import StoryDesk
from tests.tui.terminal import PROGRAM, terminal
from tui.cli import main, root


def test_list_as_text_and_json(tocsin: Run) -> None:
    """`inc list` is a table for people and one object for programs."""
    status, out, _ = tocsin("inc", "list")
    assert status == 0
    assert out.splitlines()[0].split() == [
        "SEV",
        "STATE",
        "ID",
        "AGE",
        "WHAT",
        "SIGNAL",
        "60",
        "MIN",
        "WHERE",
        "OWNER",
    ]
    assert "SEV2  OPEN !  INC-0142" in out
    status, out, _ = tocsin("inc", "list", "--json")
    body = json.loads(out)
    assert body["schema"] == "tocsin.incidents/1"
    assert body["data"][0]["detected_at"] == "2026-11-27T03:12:04Z"
    assert body["data"][0]["resolved_at"] is None
    assert {"id", "title", "state", "severity", "detected_at", "dimensions"} <= body["data"][
        0
    ].keys()


@pytest.mark.parametrize(
    "words",
    [
        ("--json", "inc", "list"),
        ("inc", "--json", "list"),
        ("inc", "list", "--json"),
        ("-o", "json", "inc", "list"),
        ("inc", "list", "-o", "json"),
        ("-o", "text", "inc", "list", "--json"),
    ],
)
def test_global_flags_work_before_and_after(tocsin: Run, words: tuple[str, ...]) -> None:
    """A global flag means the same wherever it stands; the last one wins."""
    status, out, _ = tocsin(*words)
    assert status == 0
    assert len(json.loads(out)["data"]) == 4


def test_environment_mirrors_flags(tocsin: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """`TOCSIN_OUTPUT` is `-o`; the flag is stronger."""
    monkeypatch.setenv("TOCSIN_OUTPUT", "id")
    assert tocsin("inc", "list")[1].split() == ["INC-0142", "INC-0141", "INC-0139", "INC-0137"]
    assert json.loads(tocsin("inc", "list", "--json")[1])


def test_filters_reach_the_desk(tocsin: Run) -> None:
    """State, severity and owner narrow the list."""
    assert tocsin("-o", "id", "inc", "list", "--state", "mitigated")[1] == "INC-0139\n"
    assert tocsin("-o", "id", "inc", "list", "--sev", "sev2")[1] == "INC-0142\n"
    assert tocsin("-o", "id", "inc", "list", "--mine")[1] == "INC-0139\nINC-0137\n"
    assert tocsin("-o", "id", "inc", "list", "--since", "2026-11-27T03:10:00Z")[1] == "INC-0142\n"
    for odd in ("\u00b2d", "99999999d", "soon"):
        status, _, err = tocsin("inc", "list", "--since", odd)
        assert (status, "24h for a day ago" in err) == (2, True)


@pytest.mark.parametrize(
    ("words", "command", "arguments"),
    [
        (["ack", "142"], "acknowledge", {"ref": "142"}),
        (["take", "latest"], "take", {"ref": "latest"}),
        (["note", "142", "seen"], "note", {"ref": "142", "text": "seen"}),
        (["run", "142", "-p", "feature=chat"], "start_run",
         {"ref": "142", "runbook": "refusal-spike", "params": {"feature": "chat"}}),
        (["step", "142", "1", "--run"], "step",
         {"ref": "142", "number": 1, "action": "run", "note": "", "confirm": ""}),
        (["step", "142", "1", "--skip", "--reason", "no"], "step",
         {"ref": "142", "number": 1, "action": "skip", "note": "no", "confirm": ""}),
        (["sev", "142", "sev1", "--reason", "r"], "set_severity",
         {"ref": "142", "severity": "SEV1", "reason": "r"}),
        (["escalate", "142"], "escalate", {"ref": "142", "reason": ""}),
        (["mitigate", "142"], "mitigate", {"ref": "142", "reason": ""}),
        (["resolve", "142", "--verdict", "attack", "--reason", "r"], "resolve",
         {"ref": "142", "verdict": "attack", "reason": "r"}),
        (["reopen", "142", "--reason", "r"], "reopen", {"ref": "142", "reason": "r"}),
        (["close", "142"], "close", {"ref": "142", "reason": ""}),
        (["abort", "142", "--reason", "r"], "abort_run", {"ref": "142", "reason": "r"}),
        (["declare", "--sev", "SEV2", "--title", "t"], "declare",
         {"title": "t", "severity": "SEV2", "feature": ""}),
    ],
)  # fmt: skip
def test_each_command_tells_the_desk(
    tocsin: Run, desk: StoryDesk, words: list[str], command: str, arguments: dict[str, Any]
) -> None:
    """A command is exactly one call of the desk, and says what happened on standard output."""
    status, out, err = tocsin("inc", *words)
    assert (status, err) == (0, "")
    assert out.strip()
    assert desk.log == [(command, arguments)]


def test_a_change_is_recorded(tocsin: Run, desk: StoryDesk) -> None:
    """`change add` records kind, title and dimensions; `change list` shows it."""
    assert tocsin("change", "add", "--kind", "flag", "--title", "x", "--dim", "a=b")[0] == 0
    assert desk.log[0][1]["dimensions"] == {"a": "b"}
    assert "flag" in tocsin("change", "list")[1]


def test_notes_say_what_changed_for_good_and_what_fits(tocsin: Run) -> None:
    """`signal notes` shows the level and the change beside it, or that there is none."""
    status, out, *_ = tocsin("signal", "notes")
    assert status == 0
    assert "level changed from 10.0 % to 21.0 %" in out
    assert "release safety-prompt v41 fits, 4 min before" in out
    assert "no level has changed" in tocsin("signal", "notes", "--since", "2026-11-27T03:00Z")[1]


def test_exit_codes(tocsin: Run, desk: StoryDesk) -> None:
    """Refused is 5, not found 4, usage 2, unreachable 6, confirmation without a terminal 7."""
    assert tocsin("inc", "resolve", "142", "--verdict", "attack")[0] == 5
    assert tocsin("inc", "verify", "142")[0] == 5
    assert tocsin("inc", "show", "9")[0] == 4
    assert tocsin("inc", "shw")[0] == 2
    assert tocsin("inc", "resolve", "142", "--verdict", "whim")[0] == 2
    desk._set_step("INC-0142", 1, state="succeeded")
    desk._set_step("INC-0142", 2, state="succeeded")
    assert tocsin("inc", "step", "142", "3", "--run")[0] == 7
    assert tocsin("open")[0] == 7
    assert tocsin("demo")[0] == 7
    assert tocsin("--read-only", "inc", "ack", "142")[0] == 5
    desk.lost = True
    assert tocsin("inc", "list")[0] == 6


def test_errors_as_json(tocsin: Run) -> None:
    """With `--json` an error is one object on standard output, of usage too."""
    for words in (["inc", "show", "9", "--json"], ["inc", "list", "--nope", "--json"]):
        status, out, err = tocsin(*words)
        body = json.loads(out)
        assert status in {2, 4}
        assert body["schema"] == "tocsin.error/1"
        assert set(body["error"]) == {"code", "message", "hint"}
        assert err == ""


def test_yes_confirms_a_reversible_step_only(tocsin: Run, desk: StoryDesk) -> None:
    """`--yes` runs a step that wants `y`; a destructive one still wants its target."""
    for number in (1, 2):
        desk._set_step("INC-0142", number, state="succeeded")
    assert tocsin("inc", "step", "142", "3", "--run", "--yes")[0] == 0
    desk._set_step("INC-0142", 3, state="succeeded")
    assert tocsin("inc", "step", "142", "4", "--run", "--yes")[0] == 7
    assert tocsin("inc", "step", "142", "4", "--run", "--confirm", "INC-0142")[0] == 0


def test_a_note_from_standard_input(
    tocsin: Run, desk: StoryDesk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`-` reads the note; an empty one is refused."""
    monkeypatch.setattr(sys, "stdin", io.StringIO("two\nlines\n"))
    assert tocsin("inc", "note", "142", "-")[0] == 0
    assert desk.log[0][1]["text"] == "two\nlines"
    assert tocsin("inc", "note", "142", " ")[0] == 2


def test_show_and_watch_and_explain(tocsin: Run) -> None:
    """The questions about one incident name its facts, its timeline and its reasons."""
    out = tocsin("inc", "show", "142", "--timeline")[1]
    for words in ("7463/18204", "62%", "safety-prompt v41", "DETECT", "Roll back"):
        assert words in out
    assert "PAGE" in tocsin("inc", "watch", "142", "--once")[1]
    lines = tocsin("inc", "watch", "142", "--once", "--json")[1].splitlines()
    assert [json.loads(line)["data"]["seq"] for line in lines] == [1, 2]
    assert "over 5 min" in tocsin("detect", "explain", "142")[1]


def test_review_into_a_folder(tocsin: Run, tmp_path: Path) -> None:
    """`review export -d` writes the file and says its path."""
    status, out, _ = tocsin("review", "export", "142", "-f", "json", "-d", str(tmp_path / "r"))
    assert status == 0
    assert out.strip() == str(tmp_path / "r" / "INC-0142.json")
    assert json.loads((tmp_path / "r" / "INC-0142.json").read_text()) == {"id": "INC-0142"}
    assert tocsin("review", "export", "142")[1] == "# INC-0142\n"


def test_the_quarantine_is_listed(tocsin: Run) -> None:
    """Counts by rule first, then the findings; the first line says when there may be more."""
    lines = tocsin("quarantine", "list")[1].splitlines()
    assert lines[0] == "3: unknown_key 2, secret 1"
    assert lines[1].split() == ["AT", "RULE", "PATH", "LENGTH", "RECORD", "DIGEST"]
    assert "unknown_key  $.data.prompt  812     ai-interactions[0]@9" in lines[2]
    assert tocsin("quarantine", "list", "--limit", "2")[1].startswith("the newest 2: ")
    body = json.loads(tocsin("quarantine", "list", "--limit", "1", "--json")[1])
    assert body["schema"] == "tocsin.quarantine/1"
    assert [row["offset"] for row in body["data"]] == [9]
    assert tocsin("quarantine", "list", "--limit", "0")[0] == 2


def test_without_a_daemon(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The doctor says so and shows the store's parts; a filter of no known word is refused."""
    monkeypatch.delenv("TOCSIN_SOCKET", raising=False)
    store = f"sqlite:///{tmp_path}/x.db"
    Store(store).close()
    assert main(["--store", store, "doctor", "--json"]) == 3
    out, err = capsys.readouterr()
    found = {part["name"]: part for part in json.loads(out)["data"]}
    assert found["daemon"]["state"] == "bad"
    assert (found["stream"]["text"], found["quarantine"]["text"]) == (
        "nothing was read yet",
        "empty",
    )
    assert err == ""
    assert main(["--store", store, "inc", "list", "--state", "foo"]) == 2
    assert "hint: open, triage, active, mitigated" in capsys.readouterr().err
    assert main(["--store", store, "inc", "list", "--sev", "SEV9"]) == 2
    assert "hint: SEV1, SEV2, SEV3, SEV4" in capsys.readouterr().err
    assert main(["--store", store, "quarantine", "list"]) == 0
    assert capsys.readouterr().out == "the quarantine is empty\n"


def _all_commands() -> list[tuple[str, ...]]:
    found: list[tuple[str, ...]] = []

    def walk(group: click.Group, path: tuple[str, ...]) -> None:
        ctx = click.Context(group)
        for name in group.list_commands(ctx):
            command = group.get_command(ctx, name)
            assert command is not None
            found.append((*path, name))
            if isinstance(command, click.Group):
                walk(command, (*path, name))

    walk(root, ())
    return found


@pytest.mark.parametrize("words", _all_commands(), ids=" ".join)
def test_every_help_has_examples(
    words: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    """`--help` of each command exists, and shows how the command is used."""
    assert main([*words, "--help"]) == 0
    out = capsys.readouterr().out
    assert "Examples:" in out
    assert f"tocsin {words[0]}" in out


def test_the_help_of_run_names_every_scenario(capsys: pytest.CaptureFixture[str]) -> None:
    """Who reads `simulate:SCENARIO` also reads which there are."""
    assert main(["run", "--help"]) == 0
    assert set(names()) <= set(re.findall(r"\w+", capsys.readouterr().out))


@pytest.mark.parametrize("kind", ["event", "signals", "config", "runbook"])
def test_schemas_are_printed(kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    """`config schema` prints a JSON Schema, bare for a file and enveloped with --json."""
    assert main(["config", "schema", kind]) == 0
    bare = json.loads(capsys.readouterr().out)
    assert main(["config", "schema", kind, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["data"] == bare
    assert isinstance(bare, dict)


def test_config_check_names_the_place(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A wrong key is reported with file, line and column, and the exit status is 3."""
    path = tmp_path / "tocsin.yaml"
    path.write_text("version: 1\nstor: sqlite:///x.db\n")
    assert main(["config", "check", str(path)]) == 3
    assert f"{path}:2:1: error[" in capsys.readouterr().out
    path.write_text("version: 1\n")
    assert main(["config", "check", str(path)]) == 0
    assert main(["config", "show", "-c", str(path), "--json"]) == 0


def test_runbook_check_names_the_place(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A broken runbook is reported with its place, and the exit status is 3."""
    path = tmp_path / "r.yaml"
    path.write_text("id: [\n")
    assert main(["runbook", "check", str(path), "--json"]) == 3
    assert json.loads(capsys.readouterr().out)["data"][0]["file"] == str(path)


def test_metrics_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    """`metrics list` names each metric with its type, by the name that Prometheus knows it by."""
    assert main(["metrics", "list", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["data"]
    served = Metrics().render().decode()
    assert {row["type"] for row in rows} >= {"counter", "gauge"}
    for row in rows:
        assert f"# TYPE {row['name']} {row['type']}\n" in served


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Each shell gets a script that calls tocsin."""
    assert main(["completion", shell]) == 0
    assert "_TOCSIN_COMPLETE" in capsys.readouterr().out


def test_the_configuration_names_store_and_socket(
    tocsin: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without flags the file is asked; a flag is stronger than it."""
    path = tmp_path / "tocsin.yaml"
    path.write_text(f"version: 1\nstore: sqlite:///{tmp_path}/a.db\n")
    monkeypatch.delenv("TOCSIN_SOCKET", raising=False)
    assert main(["-c", str(path), "config", "paths", "--json"]) == 0
    data = json.loads(capsys.readouterr().out)["data"]
    assert data["socket"] == f"{tmp_path}/a.db.sock"
    assert main(["-c", str(path), "--store", "postgresql://me:secret@db/t", "config", "paths"]) == 0
    out = capsys.readouterr().out
    assert "secret" not in out
    assert "postgresql://me:***@db/t" in out


def test_no_store_and_no_daemon_is_unreachable(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A store that is not there is not made by a question; the hint says what starts one."""
    monkeypatch.delenv("TOCSIN_SOCKET", raising=False)
    assert main(["--store", f"sqlite:///{tmp_path}/none.db", "inc", "list"]) == 6
    assert "tocsin run" in capsys.readouterr().err
    assert not (tmp_path / "none.db").exists()


def _subprocess(code: str, *words: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code, *words],
        env={**os.environ, **env},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


HEAVY = (
    "('textual', 'sqlalchemy', 'kafka', 'river', 'numpy', 'starlette', 'uvicorn', 'httpx', 'rich')"
)


@pytest.mark.parametrize(
    ("words", "forbidden"),
    [
        (["--help"], f"{HEAVY[:-1]}, 'msgspec')"),
        (["inc", "--help"], f"{HEAVY[:-1]}, 'msgspec')"),
        (["inc", "list"], HEAVY),
        (["inc", "ack", "142"], HEAVY),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_imports_stay_small(tmp_path: Path, words: list[str], forbidden: str) -> None:
    """A quick command loads no terminal toolkit, no store, no stream."""
    code = (
        "import sys; from tui.cli import main; status = main(sys.argv[1:]);"
        f"bad = [name for name in {forbidden} if name in sys.modules];"
        "print(bad, file=sys.stderr); sys.exit(bool(bad) or status)"
    )
    with serve(StoryDesk(), tmp_path / "s") as path:
        done = _subprocess(code, *words, "--ascii", TOCSIN_SOCKET=str(path))
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("env", [{"TERM": "dumb"}, {"TERM": ""}], ids=["dumb", "none"])
def test_a_dumb_terminal_is_refused(tmp_path: Path, env: dict[str, str]) -> None:
    """On a terminal that cannot draw, `tocsin tui` says what to use and writes no escape."""
    words = ["--socket", str(tmp_path / "s"), "tui"]
    with serve(StoryDesk(), tmp_path / "s"), terminal(words, **env) as on:
        assert on.end() == 7
        assert b"\x1b" not in bytes(on.raw)
        assert "inc list" in on.text


def test_a_pipe_is_refused(tmp_path: Path) -> None:
    """Without a terminal `tocsin open` ends with 7, writes nothing, and names the command."""
    with serve(StoryDesk(), tmp_path / "s") as path:
        done = _subprocess(PROGRAM[2], "--socket", str(path), "open", "INC-0142")
    assert done.returncode == 7
    assert done.stdout == ""
    assert "tocsin inc show INC-0142" in done.stderr


def test_no_color_writes_no_colour(tmp_path: Path) -> None:
    """With NO_COLOR the screen has bold and reverse at most; text is there and readable."""
    with serve(StoryDesk(), tmp_path / "s") as path:
        words = ["--socket", str(path), "open", "INC-0142"]
        with terminal(words, NO_COLOR="1", XDG_STATE_HOME=str(tmp_path)) as on:
            on.until("Roll back")
            raw = bytes(on.raw)
            assert b"38;2;" not in raw
            assert b"48;2;" not in raw
            assert b"38;5;" not in raw
            on.press("qq")
            on.until("you own 1 open")
            on.press("y")
            assert on.end() == 0


def test_colours_only_on_a_terminal(tmp_path: Path) -> None:
    """A table has colours on a terminal, none in a pipe or with --no-color."""
    with serve(StoryDesk(), tmp_path / "s") as path:
        words = ["--socket", str(path), "inc", "list"]
        with terminal(words) as on:
            assert on.end() == 0
            assert b"\x1b[" in bytes(on.raw)
        with terminal([*words, "--no-color"]) as on:
            assert on.end() == 0
            assert b"\x1b[" not in bytes(on.raw)
        done = _subprocess(PROGRAM[2], *words)
        assert "\x1b" not in done.stdout


def test_a_closed_pipe_is_not_an_error(tmp_path: Path) -> None:
    """`tocsin inc list | head -1` ends quietly."""
    with serve(StoryDesk(), tmp_path / "s") as path:
        program = f"{sys.executable} -c '{PROGRAM[2]}' --socket {path} inc watch 142 --every 0.2"
        done = subprocess.run(
            ["bash", "-c", f"{program} | head -1; exit ${{PIPESTATUS[0]}}"],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )
    assert "Traceback" not in done.stderr
    assert "DETECT" in done.stdout


def test_a_person_can_confirm_on_the_terminal(tmp_path: Path) -> None:
    """A destructive step from the command line wants its target typed."""
    desk = StoryDesk()
    for number in (1, 2, 3):
        desk._set_step("INC-0142", number, state="succeeded")
    with serve(desk, tmp_path / "s") as path:
        words = ["--socket", str(path), "inc", "step", "142", "4", "--run"]
        with terminal(words) as on:
            on.until("Type INC-0142")
            on.press("yes\r")
            assert on.end() == 5
        with terminal(words) as on:
            on.until("Type INC-0142")
            on.press("INC-0142\r")
            assert on.end() == 0
    assert [name for name, _ in desk.log] == ["step"]
