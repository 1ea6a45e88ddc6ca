"""A COMMIT whose answer is lost on a real PostgreSQL: nobody says that nothing was written."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator

import pytest

from monitor.config.settings import Settings, resolve
from monitor.config.shelf import Shelf
from monitor.desk.base import UNCERTAIN
from monitor.desk.desk import Desk
from monitor.store.store import Store, StoreUncertain
from monitor.views import DeskError, Principal
from tests.making import T0, incident
from tests.servers.postgres_server import DAEMON, PostgresServer


class HangsUp:
    """Passes all between clients and a server; hangs up at a word, before or after it passes."""

    def __init__(self, port: int) -> None:
        """Args: `port` of the server on 127.0.0.1."""
        self._to = port
        self.word = b""
        self.passes = False
        """Whether the server still gets the word."""
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near = self._listener.accept()[0]
                far = socket.create_connection(("127.0.0.1", self._to))
                threading.Thread(target=self._up, args=(near, far), daemon=True).start()
                threading.Thread(target=self._down, args=(far, near), daemon=True).start()

    def _up(self, near: socket.socket, far: socket.socket) -> None:
        with contextlib.suppress(OSError), far:
            while part := near.recv(65536):
                if self.word and self.word in part and not self.passes:
                    near.shutdown(socket.SHUT_RDWR)
                    return
                far.sendall(part)

    def _down(self, far: socket.socket, near: socket.socket) -> None:
        with contextlib.suppress(OSError), near:
            while part := far.recv(65536):
                # The first word of the answer to it: it is done, and the caller hears nothing.
                if self.word and self.passes and self.word in part:
                    near.shutdown(socket.SHUT_RDWR)
                    return
                near.sendall(part)


@pytest.fixture
def cable(postgres_server: PostgresServer) -> Iterator[HangsUp]:
    """What a store's URL leads through."""
    made = HangsUp(postgres_server.port)
    yield made
    made.close()


@pytest.fixture
def store(
    cable: HangsUp, postgres_server: PostgresServer, postgres_database: str
) -> Iterator[Store]:
    """A store behind the cable, as the daemon has it."""
    url = postgres_server.url(postgres_database, DAEMON)
    opened = Store(url.replace(f":{postgres_server.port}/", f":{cable.port}/"))
    yield opened
    opened.close()


@pytest.fixture
def desk(store: Store) -> Desk:
    """A responder's desk."""
    ada = Principal(name="ada", role="responder")
    return Desk(store, resolve(Settings()), Shelf(), ada, lambda: T0)


def titles(store: Store) -> list[str]:
    with store.read() as tx:
        return [one.title for one in tx.incidents.search()]


def test_a_commit_whose_answer_is_lost_is_not_said_to_be_undone(
    store: Store, cable: HangsUp
) -> None:
    """It was done here: whoever writes learns that nobody knows."""
    cable.word, cable.passes = b"COMMIT", True
    with pytest.raises(StoreUncertain), store.write() as tx:
        tx.incidents.save(incident())
    cable.word = b""
    assert titles(store) == [incident().title]


@pytest.mark.parametrize("passes", [True, False])
def test_who_declares_is_told_to_look_first(
    desk: Desk, store: Store, cable: HangsUp, passes: bool
) -> None:
    """Declared again at once it would be two incidents, and two pages."""
    cable.word, cable.passes = b"COMMIT", passes
    with pytest.raises(DeskError) as caught:
        desk.declare(title="all refused", severity="SEV1")
    assert (caught.value.code, caught.value.hint) == ("unavailable", UNCERTAIN)
    cable.word = b""
    assert titles(store) == ["all refused"] * passes


def test_a_connection_that_breaks_before_the_commit_wrote_nothing(
    desk: Desk, store: Store, cable: HangsUp
) -> None:
    """That is known, and said: it may be done again without a look."""
    cable.word = b"INSERT INTO timeline"
    with pytest.raises(DeskError) as caught:
        desk.declare(title="all refused", severity="SEV1")
    assert (caught.value.code, caught.value.hint) == (
        "unavailable",
        "nothing was written; try again",
    )
    cable.word = b""
    assert titles(store) == []
