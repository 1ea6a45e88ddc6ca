from __future__ import annotations

import inspect
import os
import re
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import msgspec
import pytest

from monitor.config.options import socket_path, store_file
from monitor.desk.port import DeskPort
from monitor.store.store import Store, owner_lock
from monitor.views import DeskError
from tests.tui.desk_server import serve
from tests.tui.story_desk import NOW, StoryDesk
from tui.desk_client import Place, SocketDesk, connect

QUESTIONS: tuple[Callable[[DeskPort], object], ...] = (
    lambda desk: desk.whoami(),
    lambda desk: desk.overview(),
    lambda desk: desk.incidents(state="open", since=NOW - timedelta(minutes=30)),
    lambda desk: desk.incident("latest"),
    lambda desk: desk.timeline("142", after=1),
    lambda desk: desk.chart("142", minutes=30),
    lambda desk: desk.signals(),
    lambda desk: desk.changes(since=NOW - timedelta(hours=1)),
    lambda desk: desk.quarantine(limit=2),
    lambda desk: desk.runbooks("142"),
    lambda desk: desk.runbook_text("refusal-spike"),
    lambda desk: desk.review("142", form="json"),
    lambda desk: desk.tokens(limit=5),
    lambda desk: desk.audit(),
    lambda desk: desk.config_history(limit=3),
    lambda desk: desk.config_revision(number=2),
)

COMMANDS: tuple[Callable[[DeskPort], object], ...] = (
    lambda desk: desk.take("142"),
    lambda desk: desk.acknowledge("142"),
    lambda desk: desk.note("142", text="n"),
    lambda desk: desk.start_run("142", runbook="refusal-spike", params={"a": 1, "b": True}),
    lambda desk: desk.step("142", number=1, action="run"),
    lambda desk: desk.set_severity("142", severity="SEV1", reason="r"),
    lambda desk: desk.escalate("142", reason="r"),
    lambda desk: desk.mitigate("142"),
    lambda desk: desk.resolve("142", verdict="attack", reason="r"),
    lambda desk: desk.reopen("142", reason="r"),
    lambda desk: desk.abort_run("142", reason="r"),
    lambda desk: desk.close("142"),
    lambda desk: desk.declare(title="t", severity="SEV2"),
    lambda desk: desk.add_change(kind="flag", title="t", at=NOW, dimensions={"a": "b"}),
    lambda desk: desk.create_token(name="jo", role="reader", seconds=60),
    lambda desk: desk.revoke_token("a2b3c4d5"),
    lambda desk: desk.reload_config(),
)


def test_every_question_comes_back_the_same(tmp_path: Path) -> None:
    """Over the socket each question has the desk's own answer, of its own type."""
    desk = StoryDesk()
    with serve(desk, tmp_path / "s") as path:
        for ask in QUESTIONS:
            assert ask(SocketDesk(path)) == ask(desk)


def test_every_command_arrives_as_it_was_given(tmp_path: Path) -> None:
    """Over the socket each command reaches the desk with the same arguments."""
    near, far = StoryDesk(), StoryDesk()
    with serve(far, tmp_path / "s") as path:
        for command in COMMANDS:
            assert command(SocketDesk(path)) == command(near)
    assert far.log == near.log


def test_the_client_has_every_method_of_the_port() -> None:
    """A method added to the port is missed here, with its parameters."""
    for name, method in inspect.getmembers(DeskPort, inspect.isfunction):
        if not name.startswith("_"):
            assert inspect.signature(getattr(SocketDesk, name)) == inspect.signature(method)


def test_errors_keep_their_code_and_hint(tmp_path: Path) -> None:
    """What the desk refuses, it refuses with the same words over the socket."""
    with serve(StoryDesk(), tmp_path / "s") as path, pytest.raises(DeskError) as caught:
        SocketDesk(path).incident("9")
    assert (caught.value.code, caught.value.hint) == ("not_found", "see `tocsin inc list`")


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
        b"HTTP/1.1 500 X\r\nContent-Length: 4\r\n\r\noops",
        b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{",
        b"\x00\xff\r\n\r\n",
    ],
)
def test_what_is_not_a_desk_is_unavailable(tmp_path: Path, answer: bytes) -> None:
    """Anything but a desk's answer is `unavailable`, never a crash and never a value."""
    path = tmp_path / "s"
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen(1)

    def speak() -> None:
        peer, _ = listener.accept()
        peer.recv(65536)
        peer.sendall(answer)
        peer.close()

    thread = threading.Thread(target=speak)
    thread.start()
    try:
        with pytest.raises(DeskError) as caught:
            SocketDesk(path).overview()
    finally:
        thread.join()
        listener.close()
    assert caught.value.code == "unavailable"


def test_a_dead_socket_is_unavailable(tmp_path: Path) -> None:
    """A socket file nobody listens at, and a silent one, end in `unavailable` in time."""
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        with pytest.raises(DeskError, match="no answer"):
            SocketDesk(path).overview()
        listener.listen(1)
        with pytest.raises(DeskError, match="no answer"):
            SocketDesk(path, timeout_s=0.2).overview()


def test_connect_finds_the_socket_beside_the_store(tmp_path: Path) -> None:
    """With only a store named, the daemon's socket beside it is used, and nothing is warned of."""
    warned: list[str] = []
    with serve(StoryDesk(), tmp_path / "x.db.sock"):
        place = Place(store=f"sqlite:///{tmp_path}/x.db")
        assert connect(place, warn=warned.append).whoami().name == "mira"
    assert warned == []


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """A store without a daemon; its socket would be `x.db.sock`."""
    store = f"sqlite:///{tmp_path}/x.db"
    Store(store).close()
    return Place(store=store)


def test_connect_goes_direct_where_nobody_listens(place: Place, tmp_path: Path) -> None:
    """Without a socket, and with one that a dead daemon left, the store is opened, and said."""
    warned: list[str] = []
    assert connect(place, warn=warned.append).whoami().via == "direct"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "x.db.sock"))
    assert connect(place, warn=warned.append).whoami().via == "direct"
    assert warned == ["no daemon is running: using the store directly"] * 2


def test_connect_reads_the_configuration_where_nobody_listens(place: Place, tmp_path: Path) -> None:
    """Its teams are there; one with mistakes is named and left out, and the door stays open."""
    warned: list[str] = []
    file = tmp_path / "tocsin.yaml"
    file.write_text("paging: {budget: {teams: [{name: pay, matchers: ['feature=\"pay\"']}]}}\n")
    desk = connect(replace(place, config=file), warn=warned.append)
    assert [one.team for one in desk.budget()] == ["default", "pay"]
    assert len(warned) == 1
    file.write_text("paging: {budgets: {}}\n")
    desk = connect(replace(place, config=file), warn=warned.append)
    assert [one.team for one in desk.budget()] == ["default"]
    assert f"{file} is left out, it has mistakes: " in warned[1]
    assert f"tocsin config check {file}" in warned[1]


def test_connect_does_not_go_round_a_daemon(place: Place, tmp_path: Path) -> None:
    """Where a daemon owns the store, a socket that is not there or refuses is an error."""
    store = Store(str(place.store))
    with owner_lock(store.engine):
        with pytest.raises(DeskError, match=rf"pid {os.getpid()}\) owns this store"):
            connect(place, warn=pytest.fail)
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(tmp_path / "x.db.sock"))
        with pytest.raises(DeskError, match="owns this store") as caught:
            connect(place, warn=pytest.fail)
    store.close()
    assert caught.value.code == "unavailable"


def test_connect_does_not_go_round_a_slow_daemon(place: Place, tmp_path: Path) -> None:
    """A socket that takes the question and does not answer in time is an error."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "x.db.sock"))
        listener.listen(1)
        with pytest.raises(DeskError, match="no answer") as caught:
            connect(place, warn=pytest.fail, timeout_s=0.2)
    assert caught.value.code == "unavailable"


@pytest.fixture
def shut(place: Place, tmp_path: Path) -> Iterator[Place]:
    """The store in a folder that may not be entered; root gives its power away for that."""
    user = os.geteuid()
    tmp_path.chmod(0)
    if user == 0:
        os.seteuid(65534)
    yield place
    os.seteuid(user)
    tmp_path.chmod(0o700)


def test_connect_does_not_go_round_a_refusal(shut: Place) -> None:
    """A socket that we may not use is an error that says so."""
    with pytest.raises(DeskError, match="may not be used: Permission denied") as caught:
        connect(shut, warn=pytest.fail)
    assert caught.value.code == "unavailable"


def test_connect_without_anything_is_unavailable(tmp_path: Path) -> None:
    """A named socket that is not there is an error, not a reason to look elsewhere."""
    with pytest.raises(DeskError) as caught:
        connect(Place(socket=tmp_path / "s"), warn=print)
    assert caught.value.code == "unavailable"


def test_connect_goes_direct_where_the_usual_socket_is_dead(place: Place, tmp_path: Path) -> None:
    """A socket of the configuration leaves the door to its store open; one that is typed does not,
    and a daemon that owns the store is not gone round either way."""
    warned: list[str] = []
    usual = replace(place, socket=tmp_path / "desk", usual=True)
    assert connect(usual, warn=warned.append).whoami().via == "direct"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "desk"))
    assert connect(usual, warn=warned.append).whoami().via == "direct"
    assert warned == ["no daemon is running: using the store directly"] * 2
    with pytest.raises(DeskError, match="no answer"):
        connect(replace(usual, usual=False), warn=pytest.fail)
    with owner_lock(str(place.store)), pytest.raises(DeskError, match="owns this store"):
        connect(usual, warn=pytest.fail)


def test_places() -> None:
    """Store files and sockets by the rules of the daemon and its clients."""
    assert store_file("sqlite:///x.db") == Path("x.db")
    assert store_file("sqlite:////var/x.db?mode=ro") == Path("/var/x.db")
    assert store_file("sqlite:///:memory:") is None
    assert store_file("postgresql://h/db") is None
    assert socket_path("sqlite:////var/x.db", None, {}) == Path("/var/x.db.sock")
    assert socket_path("sqlite:////var/x.db", Path("/s"), {}) == Path("/s")
    state = {"HOME": os.sep + "home"}
    assert socket_path(None, None, state) == Path("/home/.local/state/tocsin/tocsin.sock")


def server_socket(store: str) -> Path:
    """Where the desk of a server's store is, for somebody with a runtime directory."""
    return socket_path(store, None, {"XDG_RUNTIME_DIR": "/run/user/7"})


def test_each_server_store_has_a_socket_of_its_own() -> None:
    """Host, user, database and options tell stores apart, and the name tells nothing of them."""
    stores = (
        "postgresql://h/db",
        "postgresql://h/db2",
        "postgresql://h2/db",
        "postgresql://h:5433/db",
        "postgresql://ada@h/db",
        "postgresql:///db?host=/run/one",
        "postgresql:///db?host=/run/two",
    )
    found = {server_socket(store) for store in stores}
    assert len(found) == len(stores)
    assert all(re.fullmatch(r"/run/user/7/tocsin-[0-9a-f]{12}\.sock", str(one)) for one in found)


@pytest.mark.parametrize(
    "written",
    [
        "postgresql://ada@h/db?sslmode=require&connect_timeout=3",
        "postgresql+psycopg://ada@h/db?sslmode=require&connect_timeout=3",
        "postgres://ada@h:5432/db?connect_timeout=3&sslmode=require",
        "postgresql://ada:secret@H/db?connect_timeout=3&sslmode=require",
        "postgresql://ada:s%40cret@h/db?connect_timeout=3&password=x&sslmode=require",
    ],
)
def test_a_store_written_in_another_way_has_the_same_socket(written: str) -> None:
    """Neither password nor order, driver or the usual port make another store of it."""
    assert server_socket(written) == server_socket(
        "postgresql://ada@h/db?connect_timeout=3&sslmode=require"
    )


def test_a_socket_is_beside_the_file_itself(tmp_path: Path) -> None:
    """By a link to a store's file or folder a client looks where the daemon of the file listens."""
    (tmp_path / "real").mkdir()
    (tmp_path / "file.db").symlink_to(tmp_path / "real" / "x.db")
    (tmp_path / "folder").symlink_to(tmp_path / "real")
    for way in ("real/x.db", "file.db", "folder/x.db"):
        found = socket_path(f"sqlite:///{tmp_path / way}", None, {})
        assert found == tmp_path / "real" / "x.db.sock"


def test_views_travel_as_json() -> None:
    """The view of an incident is the same after a journey as JSON."""
    view = StoryDesk().incident("142")
    assert msgspec.json.decode(msgspec.json.encode(view), type=type(view)) == view


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda desk: desk.declare(title="all refused", severity="SEV1"), "look before again"),
        (lambda desk: desk.overview(), "is `tocsin run` running?"),
    ],
)
def test_a_command_whose_answer_is_lost_may_have_been_done(
    tmp_path: Path, call: Callable[[SocketDesk], object], said: str
) -> None:
    """The daemon had it and died: typed again at once it could page twice. A question may be."""
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen(1)

        def die() -> None:
            peer, _ = listener.accept()
            peer.recv(65536)
            peer.close()

        thread = threading.Thread(target=die)
        thread.start()
        with pytest.raises(DeskError) as caught:
            call(SocketDesk(path))
        thread.join()
    assert (caught.value.code, said in caught.value.hint) == ("unavailable", True)


def test_a_command_that_never_left_was_not_done(tmp_path: Path) -> None:
    """Nobody listened: the hint is how to start one."""
    with pytest.raises(DeskError) as caught:
        SocketDesk(tmp_path / "s").declare(title="all refused", severity="SEV1")
    assert "is `tocsin run` running?" in caught.value.hint


def test_words_in_another_encoding_arrive(tmp_path: Path) -> None:
    """A shell hands over bytes that are no UTF-8 as lone surrogates: they are shown."""
    store = Store(f"sqlite:///{tmp_path / 'x.db'}")
    store.close()
    desk = connect(Place(store=f"sqlite:///{tmp_path / 'x.db'}"), warn=lambda _: None)
    desk.declare(title="caf\udce9", severity="SEV2", feature="\udcff")
    desk.add_change(kind="k", title="t", dimensions={"feature": "\udcff"})
    assert desk.incident("1").row.title == "caf\\udce9"
    assert desk.changes()[0].dimensions == {"feature": "\\udcff"}


def test_without_a_daemon_arguments_are_checked_as_a_daemon_does(tmp_path: Path) -> None:
    """A time that has no zone is refused, and not taken for one."""
    Store(f"sqlite:///{tmp_path / 'x.db'}").close()
    desk = connect(Place(store=f"sqlite:///{tmp_path / 'x.db'}"), warn=lambda _: None)
    with pytest.raises(DeskError, match="no UTC time") as caught:
        desk.incidents(since=datetime(2026, 1, 1))  # noqa: DTZ001 - none is what is tried
    assert caught.value.code == "invalid"
