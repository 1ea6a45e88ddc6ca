"""A SQLite store that links lead to is one store by each of its names, with one daemon."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from monitor.config.options import socket_path, store_file
from monitor.config.settings import Settings
from monitor.processes.launch import digest_key
from monitor.store.backup import back_up, restore
from monitor.store.engine import file_of, parse
from monitor.store.store import Store, StoreError, owner, owner_lock
from monitor.views import DeskError
from monitor.watch.state import places
from tests.making import T0, incident
from tui.cli import main
from tui.desk_client import Place, connect

HOLD = """
import sys
from monitor.store.store import owner_lock
with owner_lock(sys.argv[1]):
    print("held", flush=True)
    sys.stdin.readline()
"""
WAYS = ("real/x.db", "file.db", "folder/x.db", "twice.db")


@pytest.fixture
def ways(tmp_path: Path) -> dict[str, str]:
    """URLs of one store: its own, by a link to the file, one to the folder, a link to a link."""
    (tmp_path / "real").mkdir()
    (tmp_path / "file.db").symlink_to("real/x.db")
    (tmp_path / "folder").symlink_to(tmp_path / "real")
    (tmp_path / "twice.db").symlink_to(tmp_path / "file.db")
    return {way: f"sqlite:///{tmp_path / way}" for way in WAYS}


@pytest.mark.parametrize("other", WAYS)
@pytest.mark.parametrize("first", WAYS)
def test_no_second_daemon_comes_in_by_a_link(ways: dict[str, str], first: str, other: str) -> None:
    """Whichever name the first one used, also before there is a file."""
    with owner_lock(ways[first]):
        with (
            pytest.raises(StoreError, match=rf"pid {os.getpid()}\) owns"),
            owner_lock(ways[other]),
        ):
            pytest.fail("held")
        assert owner(ways[other]) == str(os.getpid())
    assert owner(ways[other]) is None


@pytest.mark.parametrize("way", WAYS[1:])
def test_what_wants_no_daemon_sees_it_by_a_link(
    ways: dict[str, str], way: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Break-glass, restore and another start are refused, and touch nothing."""
    url, copy = ways["real/x.db"], tmp_path / "copy.db"
    Store(url).close()
    back_up(url, copy)
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, url], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as daemon:
        assert daemon.stdout is not None
        assert daemon.stdout.readline() == "held\n"
        there = (tmp_path / "real" / "x.db").stat()
        with pytest.raises(StoreError, match=rf"pid {daemon.pid}\) owns"):
            restore(ways[way], copy, T0)
        with pytest.raises(DeskError, match="owns this store"):
            connect(Place(store=ways[way]), warn=pytest.fail)
        assert main(["run", "--store", ways[way], "--source", "kafka://127.0.0.1:1/none"]) == 6
        assert f"another daemon (pid {daemon.pid}) owns" in capsys.readouterr().err
        assert (tmp_path / "real" / "x.db").stat() == there
        daemon.communicate("\n")


@pytest.mark.parametrize("way", WAYS)
def test_a_restore_by_a_link_replaces_the_store_and_not_the_link(
    ways: dict[str, str], way: str, tmp_path: Path
) -> None:
    """By each name the same incidents are there afterwards, and the links lead where they did."""
    store = Store(ways["real/x.db"])
    with store.write() as tx:
        tx.incidents.save(incident())
    store.close()
    copy, real = tmp_path / "copy.db", tmp_path / "real" / "x.db"
    back_up(ways[way], copy)
    real.unlink()
    Store(ways["real/x.db"]).close()
    done = restore(ways[way], copy, T0)
    assert Path(done.path) == real
    assert done.aside is not None
    assert Path(done.aside).parent == real.parent
    assert [(tmp_path / name).is_symlink() for name in ("file.db", "folder", "twice.db")] == [
        True,
        True,
        True,
    ]
    for url in ways.values():
        store = Store(url)
        with store.read() as tx:
            assert [one.uuid for one in tx.incidents.search(limit=9)] == [incident().uuid]
        store.close()


def test_what_lies_beside_a_store_is_the_same_by_each_name(
    ways: dict[str, str], tmp_path: Path
) -> None:
    """Socket, key, spool, the auditor's view and its reserve are beside the file itself."""
    real = tmp_path / "real" / "x.db"
    assert {store_file(url) for url in ways.values()} == {real}
    assert {file_of(parse(url)) for url in ways.values()} == {real}
    assert {socket_path(url, None, {}) for url in ways.values()} == {real.with_name("x.db.sock")}
    assert len({repr(places(url, None, {})) for url in ways.values()}) == 1
    assert places(ways["file.db"], None, {}).spool == real.with_name("x.db.spool")
    assert len({digest_key(Settings(store=url)) for url in ways.values()}) == 1
    assert {path.name for path in tmp_path.iterdir()} == {"real", "folder", "file.db", "twice.db"}


def test_links_in_a_circle_are_said(tmp_path: Path) -> None:
    """A link that leads nowhere ends a start with its reason, not with a traceback."""
    (tmp_path / "a.db").symlink_to(tmp_path / "b.db")
    (tmp_path / "b.db").symlink_to(tmp_path / "a.db")
    with pytest.raises(StoreError, match="cannot open the store"):
        Store(f"sqlite:///{tmp_path / 'a.db'}")


def test_a_path_without_links_stays_as_it_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """People read what they typed; a long path of a socket does not become longer."""
    monkeypatch.chdir(tmp_path)
    assert store_file("sqlite:///x.db") == Path("x.db")
    assert socket_path("sqlite:///x.db", None, {}) == Path("x.db.sock")
