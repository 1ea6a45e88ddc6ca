"""`tocsin login` and what follows: the command line and the screen on a desk over TLS."""

from __future__ import annotations

import io
import json
import logging
import os
import stat
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from monitor.desk.token_form import id_of
from tests.servers.desk_stage import DeskStage, desk_stage
from tests.tui.desk_server import serve
from tests.tui.story_desk import StoryDesk
from tests.tui.terminal import terminal
from tui.cli import main
from tui.desks import Desks

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[DeskStage]:
    with desk_stage(tmp_path) as made:
        yield made


@pytest.fixture
def tocsin(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Run:
    """Calls `tocsin` with folders of its own: status, standard output, standard error."""
    for name in [name for name in os.environ if name.startswith("TOCSIN_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("TOCSIN_SOCKET", str(tmp_path / "nobody.sock"))

    def call(*words: str, stdin: str = "", **env: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "stdin", io.StringIO(stdin))
        with monkeypatch.context() as patch:
            for name, value in env.items():
                patch.setenv(name, value)
            status = main(words)
        out, err = capsys.readouterr()
        return status, out, err

    return call


@pytest.fixture
def logged_in(stage: DeskStage, tocsin: Run) -> str:
    """A login called prod; its token."""
    text = stage.token("ada")
    words = ("login", stage.url, "--name", "prod", "--ca-file", str(stage.ca_file))
    status, _, err = tocsin(*words, "--token-file", "-", stdin=text + "\n")
    assert (status, "tocsin --desk prod inc list" in err) == (0, True)
    return text


def desks_file(tmp_path: Path) -> Path:
    return tmp_path / "config" / "tocsin" / "desks.json"


@pytest.mark.usefixtures("logged_in")
def test_login_and_work(stage: DeskStage, tocsin: Run, tmp_path: Path) -> None:
    """After a login `--desk` and TOCSIN_DESK choose the desk, and every answer says which it is."""
    assert stat.S_IMODE(desks_file(tmp_path).stat().st_mode) == 0o600
    status, out, err = tocsin("--desk", "prod", "inc", "list")
    assert status == 0
    assert "INC-0007" in out
    assert err == f"desk prod ({stage.url})\n"
    assert tocsin("inc", "ack", "7", "--desk", "prod")[0] == 0
    status, out, err = tocsin("inc", "note", "7", "from afar", "--json", TOCSIN_DESK="prod")
    assert (status, err) == (0, "")
    assert json.loads(out)["data"]["incident"] == "INC-0007"
    status, out, _ = tocsin("--desk", stage.url, "whoami", "--json")
    who = json.loads(out)["data"]
    assert (who["name"], who["role"], who["via"]) == ("ada", "responder", "tls")
    with stage.store.read() as tx:
        uuid = tx.incidents.latest()
        assert uuid is not None
        entries = [item.entry for item in tx.incidents.timeline(uuid.uuid)]
    assert {(e.actor, e.data.get("via")) for e in entries} == {("ada", "tls")}


@pytest.mark.usefixtures("logged_in")
def test_the_local_desk_stays_the_default(tocsin: Run, tmp_path: Path) -> None:
    """A login changes nothing; a typed place goes before one of the environment."""
    assert tocsin("inc", "list")[0] == 6
    near = tmp_path / "near.sock"
    with serve(StoryDesk(), near):
        typed = ("--socket", str(near))
        assert "INC-0142" in tocsin("inc", "list", *typed, TOCSIN_DESK="prod")[1]
        assert "INC-0142" in tocsin(*typed, "inc", "list", TOCSIN_DESK="prod")[1]
        assert "INC-0142" in tocsin("inc", "list", "--desk", "local", TOCSIN_SOCKET=str(near))[1]
        for place in (("--desk", "prod"), ("--socket", "x", "--desk", "prod")):
            assert "INC-0007" in tocsin("inc", "list", *place, TOCSIN_SOCKET=str(near))[1]
    assert "INC-0007" in tocsin("inc", "list", TOCSIN_DESK="prod")[1]


def test_a_program_brings_its_token_in_the_environment(stage: DeskStage, tocsin: Run) -> None:
    """An address nobody logged in to takes token and authority from there; without them it says."""
    env = {"TOCSIN_TOKEN": stage.token("ci"), "TOCSIN_CA_FILE": str(stage.ca_file)}
    status, out, _ = tocsin("--desk", stage.url, "whoami", "--json", **env)
    assert (status, json.loads(out)["data"]["name"]) == (0, "ci")
    status, _, err = tocsin("--desk", stage.url, "whoami")
    assert (status, "tocsin login https://" in err) == (4, True)


def test_a_login_that_fails_keeps_nothing(stage: DeskStage, tocsin: Run, tmp_path: Path) -> None:
    """A wrong token, an untrusted desk, no token at all and a bad address leave no file."""
    good = stage.token()
    trusted = ("--ca-file", str(stage.ca_file))
    unknown = "tocsin_aaaaaaaa_" + "x" * 43
    for words, text, expected in (
        ((stage.url, *trusted, "--token-file", "-"), unknown, 5),
        ((stage.url, "--token-file", "-"), good, 6),
        ((stage.url, *trusted, "--token-file", "-"), "hunter2", 2),
        ((stage.url, *trusted, "--token-file", str(tmp_path / "none")), "", 2),
        ((stage.url, *trusted), "", 7),
        ((stage.url.replace("https", "http"), *trusted, "--token-file", "-"), good, 2),
        ((stage.url + "/desk", *trusted, "--token-file", "-"), good, 2),
        ((stage.url, "--name", "local", *trusted, "--token-file", "-"), good, 2),
        ((stage.url, "--ca-file", str(tmp_path / "none"), "--token-file", "-"), good, 2),
    ):
        status, out, err = tocsin("login", *words, stdin=text)
        assert (status, out) == (expected, ""), words
        assert "hunter2" not in err
        assert good not in err
    assert not desks_file(tmp_path).exists()


@pytest.mark.usefixtures("logged_in")
def test_a_file_that_others_can_read_is_refused(tocsin: Run, tmp_path: Path) -> None:
    """Its mode is looked at before its tokens are used; the hint is a command."""
    desks_file(tmp_path).chmod(0o640)
    status, _, err = tocsin("--desk", "prod", "inc", "list")
    assert (status, "chmod 600" in err) == (5, True)
    desks_file(tmp_path).chmod(0o600)
    desks_file(tmp_path).write_text("{")
    status, _, err = tocsin("--desk", "prod", "inc", "list")
    assert (status, "log in again" in err) == (2, True)


def test_logout(stage: DeskStage, tocsin: Run, logged_in: str, tmp_path: Path) -> None:
    """It forgets the login; with --revoke the token is ended at the desk too."""
    assert tocsin("logout", "stage")[0] == 4
    assert tocsin("logout", "prod")[0] == 0
    assert Desks(desks_file(tmp_path)).all() == ()
    assert tocsin("--desk", "prod", "whoami")[0] == 4
    again = ("login", stage.url, "--ca-file", str(stage.ca_file))
    assert tocsin(*again, TOCSIN_TOKEN=logged_in)[0] == 0
    assert tocsin("logout", "localhost", "--revoke")[0] == 0
    status, _, err = tocsin(*again, TOCSIN_TOKEN=logged_in)
    assert (status, "was revoked" in err) == (5, True)


def test_tokens_and_audit_from_afar(stage: DeskStage, tocsin: Run, tmp_path: Path) -> None:
    """An admin makes, lists and ends tokens, and reads who was turned away."""
    env = {"TOCSIN_TOKEN": stage.token("root2", "admin"), "TOCSIN_CA_FILE": str(stage.ca_file)}
    at = ("--desk", stage.url)
    status, out, err = tocsin(*at, "token", "create", "jo", "--expires", "2d", **env)
    assert (status, id_of(out.strip()) is not None) == (0, True)
    assert "for jo, responder, until" in err
    file = tmp_path / "token.txt"
    words = ("token", "create", "ci", "--role", "reader", "--out", str(file))
    status, out, _ = tocsin(*at, *words, "--json", **env)
    made = json.loads(out)["data"]
    assert (status, "token" in made, stat.S_IMODE(file.stat().st_mode)) == (0, False, 0o600)
    assert id_of(file.read_text().strip()) == made["id"]
    assert tocsin(*at, *words, **env)[0] == 1  # the file is there: no token was made for nothing
    none = tmp_path / "none.txt"
    assert (
        tocsin(*at, "token", "create", "ci", "--role", "admin", "--out", str(none), **env)[0] != 0
    )
    assert not none.exists()
    status, out, _ = tocsin(*at, "token", "list", **env)
    assert (status, out.count("\n")) == (0, 4)
    assert tocsin(*at, "token", "revoke", made["id"], **env)[0] == 0
    assert tocsin(*at, "token", "revoke", made["id"], **env)[0] == 5
    assert tocsin(*at, "token", "revoke", "nonsense", **env)[0] == 4
    for bad in ("--expires", "5y"), ("--expires", "2000d"), ("--role", "king"):
        assert tocsin(*at, "token", "create", "jo", *bad, **env)[0] == 2
    for name in ("Jo", "detector", "a b", "", "x" * 64):
        assert tocsin(*at, "token", "create", name, **env)[0] == 2
    status, out, _ = tocsin(*at, "audit", "list", "--json", **env)
    actions = [(line["action"], line["outcome"]) for line in json.loads(out)["data"]]
    assert actions == [
        ("revoke_token", "done"),
        ("create_token", "forbidden"),
        ("create_token", "done"),
        ("create_token", "done"),
    ]


def test_the_screen_says_which_desk_it_is_on(stage: DeskStage, tmp_path: Path) -> None:
    """A token typed without echo, then the screen over TLS with the name of the desk on top."""
    text = stage.token("ada")
    env = {"XDG_CONFIG_HOME": str(tmp_path / "config"), "XDG_STATE_HOME": str(tmp_path / "state")}
    words = ("login", stage.url, "--name", "prod", "--ca-file", str(stage.ca_file))
    with terminal(words, (100, 24), **env) as prompt:
        prompt.until("Token:", seconds=60)
        prompt.press(text + "\n")
        assert prompt.end(seconds=60) == 0
        assert text.encode() not in bytes(prompt.raw)
        assert "ada, responder" in prompt.text
    with terminal(("--desk", "prod", "open", "7"), (100, 24), **env) as screen:
        screen.until("ON prod", seconds=60)
        screen.until("INC-0007", seconds=60)
        screen.press("q")


def test_a_token_is_written_nowhere(
    stage: DeskStage, tocsin: Run, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    """Good, expired or unknown: in no log, no audit, no byte of the store, only as a digest."""
    caplog.set_level(logging.DEBUG)
    good, made = stage.token("ada", "admin"), ""
    tokens = [good, good[:-1], good[:16] + "x" * 43, "tocsin_aaaaaaaa_" + "y" * 43]
    env = {"TOCSIN_CA_FILE": str(stage.ca_file)}
    said = ""
    for text in tokens:
        _, out, err = tocsin("--desk", stage.url, "-v", "inc", "list", TOCSIN_TOKEN=text, **env)
        said += out + err
        stage.post("whoami", None, authorization=f"Basic {text}")
        stage.post(f"whoami?token={text}", text, host=text.replace("_", "-"))
        stage.post(text, text)
    status, made, _ = tocsin("--desk", stage.url, "token", "create", "jo", TOCSIN_TOKEN=good, **env)
    assert status == 0
    tokens.append(made.strip())
    _, out, err = tocsin("--desk", stage.url, "audit", "list", TOCSIN_TOKEN=good, **env)
    said += out + err + caplog.text + stage.metrics.render().decode()
    with stage.store.write() as tx:
        tx.touch()
    files = b"".join(path.read_bytes() for path in sorted(tmp_path.glob("x.db*")))
    for text in tokens:
        secret = text[16:]
        assert secret not in said
        assert secret.encode() not in files
    assert len(stage.audited()) >= 8
