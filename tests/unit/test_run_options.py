"""`tocsin run` before anything runs: flags, what `--check` tries, and how a start is refused."""

from __future__ import annotations

import json
import logging
import resource
import signal
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from monitor.config.options import RunOptions
from monitor.config.settings import FileSource, KafkaSource, Settings, SimulatedSource
from monitor.logs import configure_logs
from monitor.processes.launch import (
    Unreachable,
    UsageError,
    digest_key,
    parse_source,
    settings_for,
)
from monitor.profiles import PROFILES
from tui.cli import main

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def tocsin(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Run]:
    """Run a command in an empty folder: status, standard output, standard error."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    signals = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}

    def run(*words: str) -> tuple[int, str, str]:
        status = main(words)
        return status, *capsys.readouterr()

    yield run
    root.handlers[:] = handlers
    root.setLevel(level)
    for number, handler in signals.items():
        signal.signal(number, handler)


@pytest.fixture
def events(tmp_path: Path) -> str:
    """A source: a recording with nothing in it that could be decoded."""
    (tmp_path / "events.ndjson").write_text("{}\n")
    return "file:events.ndjson"


def checked(out: str) -> dict[str, str]:
    """State of each part that `run --check --json` names."""
    answer: dict[str, Any] = json.loads(out)
    assert answer["schema"] == "tocsin.run_check/1"
    return {part["name"]: part["state"] for part in answer["data"]}


def test_sources_by_name() -> None:
    """Each form that the help names is taken, and Kafka may have several brokers."""
    assert parse_source("-", None) == FileSource(path="-")
    assert parse_source("file:a.gz", None) == FileSource(path="a.gz")
    assert parse_source("simulate:s1", None) == SimulatedSource(scenario="s1")
    assert parse_source("kafka://a:1,b:2/topic", "earliest") == KafkaSource(
        bootstrap=("a:1", "b:2"), topic="topic", start="earliest"
    )


@pytest.mark.parametrize("text", ["", "file:", "kafka:topic", "kafka://a:1", "kafka:///t", "x:y"])
def test_no_source(text: str) -> None:
    """Anything else is refused with all forms."""
    with pytest.raises(UsageError, match="kafka://HOST:PORT/TOPIC"):
        parse_source(text, None)


def test_flags_go_over_the_configuration(tmp_path: Path) -> None:
    """A flag wins; what no flag names stays as the file says."""
    file = tmp_path / "x.yaml"
    file.write_text("profile: page\nhttp: 127.0.0.1:1\nstore: sqlite:///a.db\n")
    settings = settings_for(RunOptions(config=file, profile="loud", http="[::1]:0"), {})
    assert (settings.profile, settings.http, settings.store) == (
        "loud",
        "[::1]:0",
        "sqlite:///a.db",
    )


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--profile", "lod"), "lod"),
        (("--http", "99:99:99"), "'99:99:99' is not HOST:PORT"),
        (("--source", "kafka:topic"), "kafka://HOST:PORT/TOPIC"),
        (("--source", "kafka://a:1/t", "--from", "yesterday"), "yesterday"),
        (("--source", "file:gone"), "cannot open gone"),
        (("--source", "simulate:S99"), "no scenario 'S99'"),
        ((), "no source"),
        (("-c", "gone.yaml"), "cannot read gone.yaml"),
    ],
)
def test_a_wrong_flag_is_wrong_usage(tocsin: Run, words: tuple[str, ...], said: str) -> None:
    """Exit 2 and a sentence, as text and as JSON."""
    status, _, err = tocsin("run", *words)
    assert (status, said in err) == (2, True)
    status, out, _ = tocsin("run", *words, "--json")
    assert (status, said in json.loads(out)["error"]["message"]) == (2, True)


@pytest.mark.parametrize("store", ["bogus://x", "sqlite+bogus:///x.db", "mysql://u:hidden@h/d"])
def test_a_store_of_no_known_kind(tocsin: Run, events: str, store: str) -> None:
    """Wrong usage, exit 2, for each command alike, saying the kind and never the password."""
    for words in (("run", "--source", events), ("store", "check"), ("inc", "list")):
        status, _, err = tocsin(*words, "--store", store)
        assert (status, "not a kind of store" in err, "hidden" in err) == (2, True, False)
    status, out, _ = tocsin("run", "--source", events, "--store", store, "--json")
    assert (status, json.loads(out)["error"]["code"]) == (2, "invalid")


@pytest.mark.parametrize("store", ["nonsense", "mysql://h/d"])
def test_a_store_that_is_none_wants_no_key(tocsin: Run, events: str, store: str) -> None:
    """The check names the mistake alone, not a key for a server that nobody has."""
    status, out, _ = tocsin("run", "--check", "--source", events, "--store", store, "--json")
    assert (status, checked(out)) == (
        3,
        {"config": "ok", "receiver": "ok", "source": "ok", "store": "bad"},
    )


def test_a_file_that_lies_there_is_not_read_beside_a_store(
    tocsin: Run, events: str, tmp_path: Path
) -> None:
    """As for the other commands only one that is named is; the check names the file it used."""
    (tmp_path / "tocsin.yaml").write_text("profile: page\n")
    words = ("run", "--check", "--source", events)
    store = ("--store", "sqlite:///x.db")
    for more, used, said in (
        ((), "tocsin.yaml, profile page", False),
        (store, "no file, profile quiet", True),
        ((*store, "-c", "tocsin.yaml"), "tocsin.yaml, profile page", False),
    ):
        status, out, err = tocsin(*words, *more)
        assert (status, f"config     ok   {used}, 23 signals" in out) == (0, True)
        assert ("tocsin.yaml is not read beside --store" in err) == said
    _, out, _ = tocsin(*store, "config", "paths", "--json")
    assert json.loads(out)["data"]["config"] is None
    status, _, err = tocsin(*store, "config", "check")
    assert (status, "name it with -c" in err) == (4, True)
    assert tocsin("config", "check")[0] == 0


def test_a_read_only_call_starts_no_daemon(tocsin: Run, events: str, tmp_path: Path) -> None:
    """With --read-only only the check of `run` runs, and no store is made."""
    words = ("run", "--source", events, "--store", "sqlite:///x.db")
    status, _, err = tocsin(*words, "--until-end", "--read-only")
    assert (status, "this call is read-only" in err) == (5, True)
    assert tocsin(*words, "--check", "--read-only")[0] == 0
    assert not (tmp_path / "x.db").exists()


def test_an_address_that_is_taken(tocsin: Run, events: str) -> None:
    """Exit 6 and the address, as text and as JSON."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        words = ("run", "--source", events, "--http", address)
        status, _, err = tocsin(*words)
        assert (status, f"cannot listen on {address}" in err) == (6, True)
        status, out, _ = tocsin(*words, "--json")
        assert (status, address in json.loads(out)["error"]["message"]) == (6, True)


def test_a_configuration_with_mistakes(tocsin: Run, tmp_path: Path) -> None:
    """Exit 3 with every problem, on standard error as text and on standard output as JSON."""
    (tmp_path / "tocsin.yaml").write_text("profil: quiet\ndisable: [nothing]\n")
    status, out, err = tocsin("run")
    assert (status, out) == (3, "")
    assert "tocsin.yaml:1:1" in err
    assert "no signal 'nothing'" in err
    status, out, _ = tocsin("run", "--check", "--json")
    assert (status, len(json.loads(out)["data"])) == (3, 2)


def test_the_check_finds_all_in_place(tocsin: Run, events: str) -> None:
    """Exit 0 with a line for each part that was tried."""
    status, out, _ = tocsin("run", "--check", "--source", events, "--json")
    assert status == 0
    assert checked(out) == dict.fromkeys(("config", "receiver", "key", "source", "store"), "ok")
    status, out, _ = tocsin("run", "--check", "--source", events)
    assert (status, "events.ndjson, 1 partition" in out) == (0, True)


SECRETIVE = """
source: {type: file, path: events.ndjson}
paging:
  receivers:
    - {type: slack, name: chat, channel: C0123456789, token: {env: TOCSIN_TEST_TOKEN}}
"""


def test_the_check_reads_the_secrets(
    tocsin: Run, events: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A secret that is not there is exit 3; one that is there is named and never shown."""
    assert events
    (tmp_path / "tocsin.yaml").write_text(SECRETIVE)
    monkeypatch.delenv("TOCSIN_TEST_TOKEN", raising=False)
    status, out, _ = tocsin("run", "--check")
    assert (status, "env TOCSIN_TEST_TOKEN is missing" in out) == (3, True)
    monkeypatch.setenv("TOCSIN_TEST_TOKEN", "xoxb-hidden")
    status, out, _ = tocsin("run", "--check")
    assert (status, "env TOCSIN_TEST_TOKEN" in out, "hidden" in out) == (0, True, False)


def test_the_check_says_what_does_not_answer(tocsin: Run, tmp_path: Path) -> None:
    """No broker is exit 6 with the reason; a missing secret for it is exit 3."""
    with socket.create_server(("127.0.0.1", 0)) as once:
        port = once.getsockname()[1]
    status, out, _ = tocsin("run", "--check", "--source", f"kafka://127.0.0.1:{port}/t", "--json")
    assert status == 6
    assert checked(out)["source"] == "bad"
    assert "no broker answers" in out
    (tmp_path / "tocsin.yaml").write_text(
        f"source: {{type: kafka, bootstrap: ['127.0.0.1:{port}'], topic: t, "
        "sasl_password: {file: gone}}\n"
    )
    status, out, _ = tocsin("run", "--check")
    assert (status, "cannot read the secret in file gone" in out) == (3, True)
    status, _, err = tocsin("run")
    assert (status, "cannot read the secret in file gone" in err) == (3, True)


def test_the_check_looks_at_the_store(tocsin: Run, events: str, tmp_path: Path) -> None:
    """A store that cannot be made or opened is exit 6, and the rest is told all the same."""
    status, out, _ = tocsin("run", "--check", "--source", events, "--store", "bogus://x", "--json")
    parts = checked(out)
    assert (status, parts["store"], parts["source"]) == (3, "bad", "ok")  # it has no key either
    (tmp_path / "file").touch()
    nowhere = f"sqlite:///{tmp_path / 'file' / 'x.db'}"
    status, out, _ = tocsin("run", "--check", "--source", events, "--store", nowhere, "--json")
    assert (status, checked(out)["store"]) == (6, "bad")


def test_the_help_names_every_profile(tocsin: Run) -> None:
    """The choice in the help is the set of profiles there is."""
    status, out, _ = tocsin("run", "--help")
    assert status == 0
    assert f"[{'|'.join(PROFILES)}]" in out


@pytest.mark.usefixtures("tocsin")
def test_a_dead_broker_does_not_flood_the_log() -> None:
    """What kafka-python has to say is left to our own line, short of a crash."""
    configure_logs()
    assert not logging.getLogger("kafka.net").isEnabledFor(logging.WARNING)
    assert logging.getLogger("kafka.net").isEnabledFor(logging.CRITICAL)


def test_a_key_is_made_whole_or_not_at_all(tmp_path: Path) -> None:
    """A full disk leaves no empty key behind, which would keep no secret; with room it is made."""
    settings = Settings(store=f"sqlite:///{tmp_path / 'x.db'}")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, before[1]))
    try:
        with pytest.raises(Unreachable, match="cannot make or read the key"):
            digest_key(settings)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert list(tmp_path.iterdir()) == []
    key = digest_key(settings)
    assert len(key) == 32
    assert digest_key(settings) == key
    (tmp_path / "x.db.key").write_bytes(b"")
    with pytest.raises(Unreachable, match="is empty: remove it"):
        digest_key(settings)
