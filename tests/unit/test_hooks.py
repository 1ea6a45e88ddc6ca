"""Inbound hooks: what a caller sees, whatever the hook, the store or the body does."""

from __future__ import annotations

import http.client
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from datetime import datetime

import pytest

from monitor.http.app import Server, listen_tcp
from monitor.inbound.hooks import (
    AT_ONCE,
    FAILURES,
    LARGE_AT_ONCE,
    MAX_BODY,
    MAX_SKIPPED,
    READ_EACH,
    Answer,
    LargeHook,
    hooks_app,
)
from monitor.metrics import Metrics
from monitor.store.store import StoreUnavailable
from tests.making import T0


class Stage:
    """Some hooks on a served address."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self.inside = threading.Semaphore(0)
        self.seen: list[tuple[bytes, Mapping[str, str], datetime]] = []
        self.metrics = Metrics()
        hooks = {"echo": self.echo, "slow": self.slow, "down": self.down}
        hooks["large"] = LargeHook(self.echo, self.door)
        hooks["large-slow"] = LargeHook(self.slow, self.door)
        listener = listen_tcp("127.0.0.1:0")
        self.port = int(listener.getsockname()[1])
        self.server = Server(hooks_app(hooks, lambda: T0, self.metrics), listener)
        self.server.start()

    def echo(self, body: bytes, headers: Mapping[str, str], now: datetime) -> Answer:
        self.seen.append((body, headers, now))
        return Answer(202, b'{"ok":true}', "application/json")

    def door(self, headers: Mapping[str, str]) -> Answer | None:
        return None if headers.get("x-thing") == "Y" else Answer.of(401, "who are you?")

    def slow(self, _body: bytes, _headers: Mapping[str, str], _now: datetime) -> Answer:
        self.inside.release()
        assert self.go.wait(60)
        return Answer.of(200)

    def down(self, _body: bytes, _headers: Mapping[str, str], _now: datetime) -> Answer:
        raise StoreUnavailable("locked by /secret/path")

    def call(
        self,
        name: str,
        body: bytes = b"",
        method: str = "POST",
        *,
        source: str = "127.0.0.1",
        thing: str = "Y",
    ) -> tuple[int, bytes]:
        """Status and body of the answer."""
        client = http.client.HTTPConnection(
            "127.0.0.1", self.port, timeout=60, source_address=(source, 0)
        )
        try:
            client.request(method, f"/{name}", body, {"X-Thing": thing})
            answer = client.getresponse()
            return answer.status, answer.read()
        finally:
            client.close()


@pytest.fixture
def stage() -> Iterator[Stage]:
    """Served hooks."""
    made = Stage()
    yield made
    made.go.set()
    made.server.close()


def test_a_hook_gets_body_headers_and_time(stage: Stage) -> None:
    """The raw body, headers by lower-case name, the clock's time; its answer goes back as it is."""
    assert stage.call("echo", b"\x00raw\xff") == (202, b'{"ok":true}')
    ((body, headers, now),) = stage.seen
    assert (body, headers["x-thing"], now) == (b"\x00raw\xff", "Y", T0)
    count = stage.metrics.registry.get_sample_value
    assert count("tocsin_hook_calls_total", {"hook": "echo", "status": "202"}) == 1


def test_unknown_hooks_and_methods_make_no_series(stage: Stage) -> None:
    """404 and 405; a stranger cannot grow the metrics."""
    assert stage.call("x" * 100)[0] == 404
    assert stage.call("echo", method="GET")[0] == 405
    assert b"x" * 100 not in stage.metrics.render()


def test_a_store_that_is_away_is_503_without_details(stage: Stage) -> None:
    """The caller comes again, and is told nothing of us."""
    status, body = stage.call("down")
    assert status == 503
    assert b"secret" not in body


def test_a_body_has_a_bound(stage: Stage) -> None:
    """The largest goes through; one byte more is 413, whether its length was said or not."""
    assert stage.call("echo", b"x" * MAX_BODY)[0] == 202
    assert stage.call("echo", b"x" * (MAX_BODY + 1))[0] == 413
    with socket.create_connection(("127.0.0.1", stage.port), timeout=60) as raw:
        raw.sendall(b"POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
        half = b"x" * (MAX_BODY // 2)
        for _ in range(3):
            raw.sendall(b"%x\r\n%s\r\n" % (len(half), half))
        raw.sendall(b"0\r\n\r\n")
        assert raw.recv(100).startswith(b"HTTP/1.1 413")
    assert len(stage.seen) == 1


def test_a_storm_is_taken_of_a_known_caller(stage: Stage) -> None:
    """Where a hook takes them, large bodies go through up to their bound; a stranger hears why not.

    A length that is not said is one of the usual bound.
    """
    assert stage.call("large", b"x" * MAX_SKIPPED)[0] == 202
    assert len(stage.seen[0][0]) == MAX_SKIPPED
    assert stage.call("large", b"x" * (MAX_SKIPPED + 1))[0] == 413
    assert stage.call("large", b"x" * (MAX_BODY + 1), thing="N") == (401, b"who are you?\n")
    with socket.create_connection(("127.0.0.1", stage.port), timeout=60) as raw:
        raw.sendall(b"POST /large HTTP/1.1\r\nX-Thing: Y\r\nTransfer-Encoding: chunked\r\n\r\n")
        raw.sendall(b"%x\r\n%s\r\n0\r\n\r\n" % (MAX_BODY + 1, b"x" * (MAX_BODY + 1)))
        assert raw.recv(100).startswith(b"HTTP/1.1 4")
    assert len(stage.seen) == 1


def test_large_bodies_are_few_at_a_time(stage: Stage) -> None:
    """Memory has a bound: one more than fits comes again, and a small one goes through beside."""
    body = b"x" * (MAX_BODY + 1)
    threads = [
        threading.Thread(target=stage.call, args=("large-slow", body)) for _ in range(LARGE_AT_ONCE)
    ]
    for thread in threads:
        thread.start()
    for _ in threads:
        assert stage.inside.acquire(timeout=60)
    assert stage.call("large", body)[0] == 503
    assert stage.call("large", b"x")[0] == 202
    stage.go.set()
    for thread in threads:
        thread.join(60)
    assert stage.call("large", body)[0] == 202


def test_failures_are_counted_from_nought(stage: Stage) -> None:
    """An alert on their increase sees the first one, too."""
    count = stage.metrics.registry.get_sample_value
    for status in FAILURES:
        assert count("tocsin_hook_calls_total", {"hook": "echo", "status": status}) == 0


def test_more_than_can_be_worked_on_come_again(stage: Stage) -> None:
    """Never 429: who drops what is answered with 4xx would lose it."""
    threads = [threading.Thread(target=stage.call, args=("slow",)) for _ in range(AT_ONCE)]
    for thread in threads:
        thread.start()
    for _ in threads:
        assert stage.inside.acquire(timeout=60)
    assert stage.call("echo")[0] == 503
    stage.go.set()
    for thread in threads:
        thread.join(60)
    assert stage.call("echo")[0] == 202


def test_who_dawdles_holds_up_only_himself(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bodies that never come fill the room of their own address; others are heard at once."""
    monkeypatch.setattr("monitor.inbound.hooks.READ_S", 300.0)
    with ExitStack() as slow:
        for _ in range(READ_EACH):
            raw = slow.enter_context(socket.create_connection(("127.0.0.1", stage.port), 60))
            raw.sendall(b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nab")
        deadline = time.monotonic() + 60
        while stage.call("echo")[0] != 503:
            assert time.monotonic() < deadline
        assert stage.call("echo", source="127.0.0.2")[0] == 202
    while stage.call("echo")[0] != 202:
        assert time.monotonic() < deadline
