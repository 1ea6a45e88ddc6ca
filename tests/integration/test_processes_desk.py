"""The desks of daemons on real PostgreSQL that share a machine and a user: each has its own."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from monitor.config.options import socket_path
from monitor.views import DeskError
from tests.integration.process_stage import Tree, wait_for
from tests.integration.test_processes import settings
from tests.servers.postgres_server import PostgresServer
from tui.desk_client import SocketDesk

Made = Callable[..., Tree]


@pytest.fixture
def daemon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Made]:
    """Makes a daemon of our own user; not started. Its Kafka does not answer."""
    key, runtime = tmp_path / "key", tmp_path / "run"
    key.write_text("k" * 32)
    key.chmod(0o600)
    runtime.mkdir()
    env = {"XDG_RUNTIME_DIR": str(runtime), "XDG_STATE_HOME": str(tmp_path / "state")}
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    with ExitStack() as stack:

        def make(name: str, store: str, *flags: str) -> Tree:
            config = settings(tmp_path, "127.0.0.1:1", "none", store=store)
            config["digest_key"] = {"file": str(key)}
            tree = Tree(tmp_path / name, config, flags, env)
            stack.callback(tree.close)
            return tree

        yield make


def through_the_desk(tree: Tree, title: str = "it burns") -> bool:
    """Whether what a person at this machine declares goes to a daemon of its store."""
    desk = SocketDesk(socket_path(tree.settings["store"], None, os.environ))
    try:
        return desk.declare(title=title, severity="SEV2").incident is not None
    except DeskError:
        return False


def up(tree: Tree) -> None:
    """Until it is ready."""
    tree.start()
    wait_for(lambda: tree.working() and "ready: owner" in tree.health("/readyz"), "it is ready")


def served_at(tree: Tree) -> str:
    """The address of its health."""
    return str(re.findall(r"health at ([0-9.:]+)", tree.said())[-1])


def refused(tree: Tree) -> str:
    """What a start says that ends with 6."""
    before = len(tree.said())
    tree.start()
    assert tree.process is not None
    assert tree.process.wait(60) == 6, tree.said()[-3000:]
    return (tree.folder / "out").read_text() + tree.said()[before:]


def test_a_second_start_leaves_the_desk_to_the_first(daemon: Made, postgres_store_url: str) -> None:
    """It is told who is there and what to do, and commands reach the first one as before. With a
    socket of its own it stands by; when it ends, or stops at a port that is taken, it takes away
    no other."""
    first, second = (daemon(name, postgres_store_url) for name in ("first", "second"))
    up(first)
    assert through_the_desk(first)
    said = refused(second)
    assert f"another daemon (pid {first.pid}) serves its desk at" in said
    assert "--socket" in said
    assert "desk.socket" in said
    assert through_the_desk(first)

    other = first.folder / "other"
    standby = daemon("standby", postgres_store_url, "--socket", str(other))
    port, standby.settings["http"] = standby.settings["http"], served_at(first)
    assert "cannot listen on 127.0.0.1:" in refused(standby)
    assert not other.exists()
    assert through_the_desk(first)

    standby.settings["http"] = port
    standby.start()
    wait_for(lambda: "ready: standby" in standby.health("/readyz"), "it stands by")
    assert standby.end() == 0
    assert not other.exists()
    assert through_the_desk(first)
    assert first.end() == 0
    assert not through_the_desk(first)


def test_a_start_after_a_kill_waits_for_what_is_left(daemon: Made, postgres_store_url: str) -> None:
    """The supervisor is killed, its children still answer at the desk: the next start waits until
    they have left, and then the desk is its own, with the same port for health."""
    first = daemon("first", postgres_store_url)
    up(first)
    first.settings["http"] = served_at(first)
    os.kill(first.pid, signal.SIGKILL)
    second = daemon("second", postgres_store_url)
    second.settings = first.settings
    up(second)
    assert first.children() == {}
    assert through_the_desk(second)


def test_two_stores_on_one_machine_have_two_desks(
    daemon: Made, postgres_store_url: str, postgres_server: PostgresServer
) -> None:
    """Two installations of one user: neither keeps the other from starting, and a command reaches
    the one whose configuration it has."""
    other = postgres_server.url(postgres_server.create_database())
    one, two = daemon("one", postgres_store_url), daemon("two", other)
    up(one)
    up(two)
    for tree in (one, two):
        assert through_the_desk(tree, tree.folder.name)
    for tree in (one, two):
        config = str(tree.folder / "tocsin.yaml")
        command = [sys.executable, "-m", "tui.cli", "-c", config, "inc", "list", "--json"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
        assert done.stderr == ""
        assert [row["title"] for row in json.loads(done.stdout)["data"]] == [tree.folder.name]
    assert one.end() == 0
    assert through_the_desk(two)
