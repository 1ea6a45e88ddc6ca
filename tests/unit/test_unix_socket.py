"""The desk's Unix socket: one daemon at a time has it, whatever the store."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest

from monitor import held
from monitor.http.unix import DeskTaken, desk_held, listen_unix, listening
from monitor.processes.launch import Unreachable
from monitor.processes.launch import desk_held as desk_held_for_a_start

OURSELVES = str(os.getpid())


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Of a socket, in a folder that is not there yet."""
    return tmp_path / "run" / "desk"


def answers(path: Path) -> bool:
    """Whether somebody listens there."""
    with socket.socket(socket.AF_UNIX) as caller:
        try:
            caller.connect(str(path))
        except OSError:
            return False
        return True


def test_a_dead_socket_is_replaced(path: Path) -> None:
    """What a killed daemon left behind does not stop the next one."""
    listen_unix(path).close()
    assert path.exists()
    listen_unix(path).close()


def test_what_is_no_socket_is_not_replaced(tmp_path: Path) -> None:
    """A wrong `desk.socket` costs nobody a file, nor what a link leads to."""
    file, link = tmp_path / "notes", tmp_path / "link"
    file.write_text("mine")
    link.symlink_to(file)
    for path in (file, link):
        with pytest.raises(OSError, match="not a socket"):
            listen_unix(path)
        with pytest.raises(OSError, match="not a socket"), desk_held(path):
            pytest.fail("held")
    assert (file.read_text(), link.is_symlink()) == ("mine", True)


def test_a_path_without_room_in_an_address_is_refused_with_the_cure(tmp_path: Path) -> None:
    """107 bytes fit, and one more is told how to go on, before anything is made."""
    room = 107 - len(os.fsencode(tmp_path)) - 1
    listen_unix(tmp_path / ("x" * room)).close()
    long = tmp_path / "run" / ("ä" * (room // 2))
    cure = r"at most 107 bytes.*--socket PATH"
    with pytest.raises(Unreachable, match=cure), desk_held_for_a_start(long):
        pytest.fail("held")
    with pytest.raises(OSError, match="at most 107 bytes"):
        listen_unix(long)
    assert not long.parent.exists()


def test_a_living_socket_is_left_to_who_listens(path: Path) -> None:
    """Also where whoever listens holds no lock, and has no time to answer."""
    with listen_unix(path) as listener:
        for _ in range(2):
            with pytest.raises(DeskTaken, match=rf"pid {OURSELVES}\)"):
                listen_unix(path)
            with pytest.raises(DeskTaken) as caught, desk_held(path, patience_s=60):
                pytest.fail("held")
            assert caught.value.pid == OURSELVES
            assert answers(path)
        listener.listen(0)
        with ExitStack() as stack:
            for _ in range(70):
                caller = stack.enter_context(socket.socket(socket.AF_UNIX))
                caller.setblocking(False)
                caller.connect_ex(str(path))
            with pytest.raises(DeskTaken, match="pid unknown"):
                listen_unix(path)
    assert path.exists()


def test_a_socket_of_another_kind_is_not_replaced(tmp_path: Path) -> None:
    """`desk.socket: /dev/log` costs nobody the system's log."""
    path = tmp_path / "log"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as other:
        other.bind(str(path))
        with pytest.raises(OSError, match="wrong type"):
            listen_unix(path)
    assert path.exists()


def test_one_at_a_time_holds_the_desk(path: Path) -> None:
    """The second is told who has it and what to do; after the first it is free."""
    with desk_held(path), listening(path):
        with pytest.raises(Unreachable) as refused, desk_held_for_a_start(path):
            pytest.fail("held")
        assert f"another daemon (pid {OURSELVES}) serves its desk at {path}" in str(refused.value)
        assert "--socket" in str(refused.value)
        assert answers(path)
    assert not path.exists()
    with desk_held(path), listening(path):
        assert answers(path)


def test_only_our_own_socket_is_taken_away(path: Path) -> None:
    """On its way out a daemon leaves alone what another one has put there."""
    with listening(path):
        path.unlink()
        another = listen_unix(path)
    assert answers(path)
    another.close()


def test_what_a_killed_daemon_left_is_waited_for(path: Path) -> None:
    """Its supervisor is gone, a child still listens: the next start waits until it has left."""
    path.parent.mkdir()
    listen = (
        "import os, socket, sys, time\n"
        "s = socket.socket(socket.AF_UNIX); s.bind(sys.argv[1]); s.listen()\n"
        "if os.fork() == 0:\n"
        "    os.close(1); time.sleep(1.5)\n"
    )
    subprocess.run([sys.executable, "-c", listen, str(path)], check=True, stdout=subprocess.PIPE)
    with pytest.raises(DeskTaken), desk_held(path):
        pytest.fail("held while somebody listens")
    began = time.monotonic()
    with desk_held(path, patience_s=30), listening(path):
        assert answers(path)
    assert time.monotonic() - began < 20


def test_of_many_starts_at_once_one_has_the_desk(path: Path) -> None:
    """Whatever their order, there is always one that has it, and never two."""
    path.parent.mkdir()
    start = (
        "import sys, time\nfrom pathlib import Path\n"
        "from monitor.http.unix import DeskTaken, desk_held, listening\n"
        "path = Path(sys.argv[1]); print('ready', flush=True); sys.stdin.readline()\n"
        "try:\n"
        "    with desk_held(path), listening(path):\n"
        "        print('has it', flush=True); sys.stdin.readline()\n"
        "except DeskTaken as other:\n"
        "    print('taken by', other.pid, flush=True); sys.stdin.readline()\n"
    )
    with ExitStack() as stack:
        starts = []
        for _ in range(6):
            one = subprocess.Popen(
                [sys.executable, "-c", start, str(path)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            starts.append(stack.enter_context(one))
            stack.callback(one.kill)

        def said(one: subprocess.Popen[str]) -> str:
            assert one.stdout is not None
            return one.stdout.readline().strip()

        def go(one: subprocess.Popen[str]) -> None:
            assert one.stdin is not None
            one.stdin.write("\n")
            one.stdin.flush()

        assert [said(one) for one in starts] == ["ready"] * 6
        with ThreadPoolExecutor(6) as pool:
            list(pool.map(go, starts))
        found = [said(one) for one in starts]
        (winner,) = [one for one, text in zip(starts, found, strict=True) if text == "has it"]
        assert sorted(found) == ["has it", *[f"taken by {winner.pid}"] * 5]
        assert answers(path)
        for one in starts:
            go(one)
    assert not path.exists()


def test_a_lock_is_no_way_through_a_link(path: Path, tmp_path: Path) -> None:
    """Who may write in the socket's folder has no file overwritten by it."""
    path.parent.mkdir()
    (tmp_path / "precious").write_text("mine")
    path.with_name("desk.lock").symlink_to(tmp_path / "precious")
    with pytest.raises(OSError, match="symbolic links"), desk_held(path):
        pytest.fail("held")
    assert (tmp_path / "precious").read_text() == "mine"


def test_a_look_at_a_lock_refuses_no_start(tmp_path: Path) -> None:
    """Who asks for the owner holds the lock for an instant, which a start waits for."""
    lock = tmp_path / "x.lock"
    with held.hold(lock):
        assert held.holder(lock) == OURSELVES
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(lambda: [held.holder(lock) for _ in range(20_000)])
        for _ in range(200):
            with held.hold(lock):
                pass
        assert set(asked.result()) <= {None, "unknown", OURSELVES}


def test_who_is_gone(tmp_path: Path) -> None:
    """A pid that nobody has, and one that only waits to be asked how it ended; we are not gone."""
    with subprocess.Popen([sys.executable, "-c", ""], stdout=subprocess.PIPE) as ended:
        assert ended.stdout is not None
        ended.stdout.read()
        for _ in range(200):
            if held.is_gone(str(ended.pid)):
                break
            time.sleep(0.05)
        assert held.is_gone(str(ended.pid))
    assert held.is_gone(str(ended.pid))
    assert not held.is_gone(OURSELVES)
    assert not held.is_gone("unknown")
