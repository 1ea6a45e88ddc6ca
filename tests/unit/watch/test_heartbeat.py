"""The dead-man's heartbeat: it beats while all is well, and only then."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import pytest
from msgspec import structs

from monitor.config.secret import Secret
from monitor.http_client import HttpClient
from monitor.metrics import Metrics
from monitor.notify.loopback.server import Answer, LoopbackServer, Request
from monitor.watch.heartbeat import Heart
from monitor.watch.process import measure
from monitor.watch.settings import Heartbeat, Watch
from monitor.watch.state import State
from tests.making import T0


class Outside:
    """Somebody who waits for signs of life."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.status = 200

    def answer(self, request: Request) -> Answer:
        self.requests.append(request)
        return Answer(self.status, b"OK")


@pytest.fixture
def outside() -> Iterator[tuple[Outside, str]]:
    receiver = Outside()
    with LoopbackServer(receiver) as server:
        yield receiver, f"{server.url}/ping/8f1c"


def test_it_beats_each_minute_of_the_steady_clock(outside: tuple[Outside, str]) -> None:
    """However the wall jumps, and however often it is asked."""
    receiver, url = outside
    heart = Heart(Heartbeat(url=url), HttpClient())
    for second in range(0, 125, 5):
        heart.step(T0 - timedelta(hours=second), float(second), "")
        heart.settle(20)
    assert [request.path for request in receiver.requests] == ["/ping/8f1c"] * 3
    assert receiver.requests[0].method == "POST"
    assert heart.beat().sent_at is not None
    heart.close()


def test_one_that_is_lost_is_sent_again_soon(outside: tuple[Outside, str]) -> None:
    """The outside, which alarms after two minutes, misses nothing by one lost packet."""
    receiver, url = outside
    heart = Heart(Heartbeat(url=url), HttpClient())
    accepted = []
    for second in range(0, 250, 2):
        receiver.status = 500 if 60 <= second < 65 else 200
        before = heart.beat().sent_at
        heart.step(T0 + timedelta(seconds=second), float(second), "")
        if heart.settle(20).sent_at != before:
            accepted.append(second)
    assert accepted == [0, 70, 130, 190]
    heart.close()


def test_it_is_withheld_while_something_is_wrong(outside: tuple[Outside, str]) -> None:
    """The outside hears nothing, and alarms; when all is well again it hears at once."""
    receiver, url = outside
    heart = Heart(Heartbeat(url=url, method="GET"), HttpClient())
    for second in range(0, 300, 5):
        assert heart.step(T0, float(second), "decide stands still").withheld
    heart.settle(20)
    assert receiver.requests == []
    heart.step(T0, 301.0, "")
    heart.settle(20)
    assert [request.method for request in receiver.requests] == ["GET"]
    heart.close()


def test_a_heartbeat_that_is_refused_is_said_without_its_address(
    outside: tuple[Outside, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who knows the path can fake the sign, so the path is shown to nobody."""
    receiver, url = outside
    monkeypatch.setenv("TOCSIN_TEST_PING", url)
    receiver.status = 404
    heart = Heart(Heartbeat(url=Secret(env="TOCSIN_TEST_PING")), HttpClient())
    heart.step(T0, 0.0, "")
    beat = heart.settle(20)
    assert "404" in beat.problem
    assert beat.sent_at is None
    assert "8f1c" not in repr(beat)
    heart.close()


def test_silence_is_measured_from_the_first_that_was_due() -> None:
    """An address that never took one is as silent as one that no longer does; none is no alarm."""
    known = State(at=T0, started=T0, pid=1, host="h")
    shown = []
    for one in (
        known,
        structs.replace(known, heartbeat_since=T0),
        structs.replace(known, heartbeat_since=T0, heartbeat_at=T0 + timedelta(minutes=1)),
    ):
        measure(metrics := Metrics(), one)
        name = b"tocsin_watch_heartbeat_timestamp_seconds "
        (line,) = (text for text in metrics.render().splitlines() if text.startswith(name))
        shown.append(float(line.split()[1]))
    assert shown == [0.0, T0.timestamp(), T0.timestamp() + 60]


def test_an_outside_that_is_gone_delays_nothing() -> None:
    """The loop goes on; the next beat tries again."""
    heart = Heart(Heartbeat(url="http://127.0.0.1:9/ping"), HttpClient())
    heart.step(T0, 0.0, "")
    assert heart.settle(20).problem
    heart.close()


@pytest.mark.parametrize(
    "url",
    ["http://example.com/ping", "ftp://example.com", "https://user:word@example.com/"],
)
def test_an_address_that_gives_the_sign_away_is_refused(url: str) -> None:
    """Plain http leaves this machine for nobody."""
    with pytest.raises(ValueError, match=r"URL|http"):
        Heartbeat(url=url)


def test_spans_out_of_their_limits_are_refused() -> None:
    """With the limits in the message."""
    from runbooks.durations import Duration

    with pytest.raises(ValueError, match="10s to 10m"):
        Heartbeat(url="https://example.com/ping", every=Duration(seconds=5))
    with pytest.raises(ValueError, match="storage_down must be"):
        Watch(storage_down=Duration(seconds=1))
