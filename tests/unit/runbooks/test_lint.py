"""Weaknesses of valid runbooks, and the command that prints them."""

from __future__ import annotations

import subprocess
import sys
from datetime import date
from pathlib import Path

import pytest

from runbooks.__main__ import EXIT_PROBLEMS, main
from runbooks.allow import NOTHING
from runbooks.lint import check
from runbooks.load import load_with_places
from runbooks.problems import Problem, Problems, Severity, summary, visible

HEAD = """apiVersion: runbook/v1
id: x
version: 1
title: T
owner: team
reviewed_at: 2026-11-01
match: {signal: s}
"""
SOUND = """steps:
  - {id: look, type: manual, title: T, text: Look here,
     capture: {go: {type: enum, values: [a, b]}}}
  - {id: act, type: command, title: T, effect: reversible, argv: [ctl], if: "steps.look.go == 'a'",
     rollback: {type: manual, text: Back}}
  - {id: wait, type: wait_signal, title: T, signal: s, op: "<", value: 1, for: 1m, timeout: 9m}
"""
TODAY = date(2026, 11, 22)


def codes(text: str, head: str = HEAD, today: date | None = TODAY) -> list[str]:
    runbook, document = load_with_places(head + text, "r.yaml")
    found = check(runbook, document, today)
    assert all(problem.severity is Severity.WARNING for problem in found)
    return [f"{problem.line}:{problem.code}" for problem in found]


def test_a_sound_runbook_has_no_weakness() -> None:
    """Nothing is found where nothing is wrong."""
    assert codes(SOUND) == []


@pytest.mark.parametrize(
    ("old", "new", "code"),
    [
        ("== 'a'", "== 'z'", "11:unreachable"),
        ("steps.look.go == 'a'", "false", "11:unreachable"),
        ("steps.look.go == 'a'", "steps.look.go in ['y', 'z']", "11:unreachable"),
        ("steps.look.go == 'a'", "true and steps.look.go == 'c'", "11:unreachable"),
        (", timeout: 9m", "", "13:no-timeout"),
        (",\n     rollback: {type: manual, text: Back}", "", "11:no-rollback"),
        (", text: Look here", "", "9:bare-step"),
        ("argv: [ctl]", "argv: [bash, -c, x]", "11:shell"),
        ("argv: [ctl]", "argv: [/usr/bin/sudo, x]", "11:shell"),
        ("timeout: 9m", "timeout: 9m, verify: false", "11:no-verify"),
        ("effect: reversible", "effect: destructive", ""),
    ],
)
def test_each_weakness_is_found_at_its_place(old: str, new: str, code: str) -> None:
    """One change to the sound runbook gives exactly its issue."""
    assert codes(SOUND.replace(old, new)) == ([code] if code else [])


@pytest.mark.parametrize(
    ("old", "new", "code"),
    [
        ("owner: team\n", "", "1:no-owner"),
        ("match: {signal: s}\n", "", "1:no-match"),
        ("reviewed_at: 2026-11-01\n", "", "1:stale"),
        ("2026-11-01", "2026-08-01", "6:stale"),
        ("2026-11-01", "2026-12-01", "6:stale"),
        ("match:", "params: {p: {type: string}}\nmatch:", "7:unused"),
        ("match:", "secrets: {S: {from: env, name: X}}\nmatch:", "7:unused"),
    ],
)
def test_the_head_is_looked_at_too(old: str, new: str, code: str) -> None:
    """Owner, match, age and unused names are judged."""
    assert codes(SOUND, HEAD.replace(old, new)) == [code]


def test_age_is_judged_against_a_day_only() -> None:
    """Without a day a runbook cannot be stale."""
    assert codes(SOUND, HEAD.replace("2026-11-01", "2020-01-01"), today=None) == []


def test_what_the_allow_list_does_not_name_is_said_before_the_night() -> None:
    """With the operator's list every request is tried against it, rollbacks too."""
    text = SOUND.replace("{type: manual, text: Back}", "{type: command, argv: [ctl, back]}")
    runbook, document = load_with_places(HEAD + text, "r.yaml")
    found = check(runbook, document, TODAY, NOTHING)
    assert [problem.code for problem in found] == ["not-allowed", "not-allowed"]


def test_the_command_prints_everything_and_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Errors and warnings of all files, exit 3; a clean folder, exit 0."""
    (tmp_path / "good.yaml").write_text(HEAD.replace("2026-11-01", "2126-11-01") + SOUND)
    (tmp_path / "bad.yaml").write_text(HEAD + "steps: [{id: a, type: manual, titel: T}]\n")
    assert main(["check", str(tmp_path)]) == EXIT_PROBLEMS == 3
    out, err = capsys.readouterr()
    assert "bad.yaml:8:9: error[missing-key]: steps[0]: the key 'title' is missing" in out
    assert "did you mean 'title'?" in out
    assert "good.yaml:6:14: warning[stale]" in out
    assert err == "2 errors, 1 warning\n"
    assert main(["check", str(tmp_path / "none.yaml")]) == 3
    assert "cannot be read" in capsys.readouterr().out


def test_the_command_checks_against_an_allow_list(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A broken list is reported like a broken runbook."""
    runbook = tmp_path / "r.yaml"
    runbook.write_text(HEAD + SOUND)
    allow = tmp_path / "allow.yaml"
    allow.write_text("commands: [{path: ctl}]\n")
    assert main(["check", str(runbook), "--allow", str(allow)]) == 3
    assert "allow.yaml:1:19: error[value]" in capsys.readouterr().out
    allow.write_text("commands: [{path: /opt/ctl, max_effect: reversible}]\n")
    main(["check", str(runbook), "--allow", str(allow)])
    assert "not-allowed" not in capsys.readouterr().out


def test_the_module_runs_as_a_program() -> None:
    """`python -m runbooks check` works on the shipped library."""
    done = subprocess.run(
        [sys.executable, "-m", "runbooks", "check", "runbooks/library"],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert "error" not in done.stdout
    assert done.returncode in {0, 3}


def test_problems_print_their_place_and_hide_nothing() -> None:
    """One line and a hint line, hostile characters shown, sorted by place."""
    problem = Problem("f\x1b", 2, 3, "code", "a\u202eb\n[x]", "do\x07 this")
    assert str(problem) == "f\\x1b:2:3: error[code]: a\\u202eb\\x0a[x]\n  hint: do\\x07 this"
    earlier = Problem("f", 1, 9, "z", "t", severity=Severity.WARNING)
    assert Problems([problem, earlier, earlier]).problems == (earlier, problem)
    assert summary([problem, earlier]) == "1 error, 1 warning"
    assert visible("x" * 500).endswith("...[cut 100]")
    assert visible("\U000e0001") == "\\U000e0001"
