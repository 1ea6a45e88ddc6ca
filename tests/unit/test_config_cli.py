"""`tocsin config`: check, show, diff, history and reload, for people and for programs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from monitor.config.settings import Settings
from monitor.desk.port import DeskPort
from monitor.store.store import Store
from monitor.views import ConfigProblem, ConfigReloaded
from runbooks.convert import convert
from runbooks.yaml import load_yaml
from tests.tui.desk_server import serve
from tests.tui.story_desk import StoryDesk
from tui.cli import main

CANARY = "canary-0123456789-canary"
GOOD = """version: 1
paging:
  receivers:
    - {type: slack, name: slack, channel: C0123, token: {env: CANARY_TOKEN}}
    - {type: log, name: spare}
  route: {receivers: [slack]}
"""


class Refusing(StoryDesk):
    """A desk whose daemon does not take the files."""

    def reload_config(self) -> ConfigReloaded:
        problem = ConfigProblem(
            file="c.yaml",
            line=3,
            col=7,
            severity="error",
            code="unknown",
            text="x\x1b[2J",
            hint="h",
        )
        text = "not reloaded, the old configuration stays: 1 error, 0 warnings"
        return ConfigReloaded(text=text, taken=False, number=0, changed=[], problems=[problem])


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A good configuration whose secret is a canary."""
    monkeypatch.setenv("CANARY_TOKEN", "xoxb-" + CANARY)
    monkeypatch.delenv("TOCSIN_CONFIG", raising=False)
    path = tmp_path / "tocsin.yaml"
    path.write_text(GOOD)
    return path


@pytest.fixture
def socket(tmp_path: Path) -> Iterator[Path]:
    """A daemon's socket with a story behind it."""
    with serve(StoryDesk(), tmp_path / "s") as path:
        yield path


def called(capsys: pytest.CaptureFixture[str], *words: str | Path) -> tuple[int, str, str]:
    """Status and both streams of one call."""
    status = main([str(word) for word in words])
    said = capsys.readouterr()
    assert CANARY not in said.out + said.err
    return status, said.out, said.err


def answered(capsys: pytest.CaptureFixture[str], *words: str | Path) -> tuple[int, object]:
    """Status and data of one call with --json."""
    status, out, _ = called(capsys, *words, "--json")
    return status, json.loads(out)["data"]


def test_a_warning_alone_is_no_failure(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It is told with its place; only --strict ends with 3."""
    status, out, err = called(capsys, "config", "check", file)
    assert (status, err) == (0, "0 errors, 1 warning\n")
    assert out.startswith(f"{file}:5:25: warning[unused]: the receiver 'spare' is never used\n")
    assert called(capsys, "config", "check", file, "--strict")[0] == 3


def test_the_hint_for_an_unused_receiver_is_one_that_works(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What can only ring is not sent to the digest, which would refuse it."""
    assert "or paging.digest" in called(capsys, "config", "check", file)[1]
    ringing = "type: pagerduty, routing_key: {env: CANARY_TOKEN}, name: spare"
    file.write_text(GOOD.replace("type: log, name: spare", ringing))
    assert "or paging.fallback\n" in called(capsys, "config", "check", file)[1]


def test_check_takes_files_and_folders(
    file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every problem of all of them, in one answer; -c names a folder too."""
    folder = tmp_path / "conf.d"
    folder.mkdir()
    (folder / "a.yaml").write_text("version: 1\nstor: x\n")
    (folder / "b.yaml").write_text("profile: lout\n")
    file.write_text("[")
    status, data = answered(capsys, "config", "check", file, folder)
    assert status == 3
    assert isinstance(data, list)
    assert {(Path(p["file"]).name, p["line"], p["code"]) for p in data} == {
        ("tocsin.yaml", 1, "syntax"),
        ("a.yaml", 2, "unknown-key"),
        ("b.yaml", 1, "value"),
    }
    assert called(capsys, "-c", folder, "config", "check")[0] == 3
    assert called(capsys, "-c", tmp_path / "none", "config", "check")[0] == 3


def test_show_is_a_configuration(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As YAML it loads to the same settings, as JSON it is data; secrets stay references."""
    status, out, _ = called(capsys, "-c", file, "config", "show")
    assert status == 0
    assert convert(load_yaml(out, "shown"), Settings) == convert(load_yaml(GOOD, "x"), Settings)
    assert "CANARY_TOKEN" in out
    _, data = answered(capsys, "-c", file, "config", "show")
    assert isinstance(data, dict)
    assert data["paging"]["receivers"][0]["token"] == {"env": "CANARY_TOKEN"}
    assert data["stream"]["bucket"] == "1m"


def test_a_literal_secret_is_shown_nowhere(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Written into the file by mistake, it is refused and in no message."""
    for value in (CANARY, "xoxb-0123456789-" + CANARY):
        file.write_text(GOOD.replace("{env: CANARY_TOKEN}", value))
        assert called(capsys, "config", "check", file)[0] == 3
        assert called(capsys, "-c", file, "config", "show")[0] == 2
    file.write_text(GOOD.replace("[slack]", f"[xoxb-0123456789-{CANARY}]"))
    assert called(capsys, "config", "check", file)[0] == 3


def test_diff_before_any_daemon_has_run(
    file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """There is nothing to compare with, and the answer is what to do."""
    url = f"sqlite:///{tmp_path / 'x.db'}"
    Store(url).close()
    status, _, err = called(capsys, "-c", file, "--store", url, "config", "diff")
    assert status == 4
    assert "no configuration has been in force here: start the daemon first" in err


def test_diff_says_what_a_reload_would_change(
    file: Path, socket: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each key with before and after, and whether a reload can take it."""
    words = ("-c", file, "--socket", socket, "config", "diff")
    status, data = answered(capsys, *words)
    assert status == 0
    assert isinstance(data, dict)
    assert data["revision"] == 7
    found = {each["key"]: each for each in data["differences"]}
    assert (found["profile"]["before"], found["profile"]["after"]) == ("page", "quiet")
    assert (found["profile"]["reload"], found["tiers"]["reload"]) == (False, True)
    out = called(capsys, *words)[1]
    assert 'profile  a start takes it\n- "page"\n+ "quiet"\n' in out
    assert called(capsys, *words, "r3")[0] == 0
    assert called(capsys, *words, "r9")[0] == 4
    assert called(capsys, *words, "nine")[0] == 2


def test_history_and_what_is_in_force(socket: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A line for each revision, newest first; any of them can be shown."""
    out = called(capsys, "--socket", socket, "config", "history")[1]
    assert out.splitlines()[0].split() == ["REVISION", "AT", "BY", "VIA", "CHANGED"]
    assert "r7" in out
    assert "paging.route.receivers" in out
    _, data = answered(capsys, "--socket", socket, "config", "show", "--running")
    assert data == {"version": 1, "profile": "page", "store": "sqlite:///t.db"}
    assert "profile: page" in called(capsys, "--socket", socket, "config", "show", "r2")[1]
    assert called(capsys, "--socket", socket, "config", "history", "-o", "id")[1] == "r7\n"


def test_reload_says_what_came_of_it(
    socket: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Taken: 0 and the keys. Not taken: 2 and every problem, safe for a terminal."""
    status, out, _ = called(capsys, "--socket", socket, "config", "reload")
    assert (status, out) == (0, "configuration r8 is in force: tiers.error_rate changed\n")
    refusing: DeskPort = Refusing()
    with serve(refusing, tmp_path / "r") as path:
        status, out, err = called(capsys, "--socket", path, "config", "reload")
        assert status == 2
        assert out == "c.yaml:3:7: error[unknown]: x\\x1b[2J\n  hint: h\n"
        assert err.startswith("not reloaded, the old configuration stays")
        status, data = answered(capsys, "--socket", path, "config", "reload")
        assert isinstance(data, dict)
        assert (status, data["taken"], data["problems"][0]["line"]) == (2, False, 3)
    assert called(capsys, "--socket", socket, "--read-only", "config", "reload")[0] == 5
