"""The delivery loop on a real store: what one page comes to, and what becomes of the others."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from monitor.alerting.routes import Route
from monitor.config.secret import Secret
from monitor.config.settings import Settings, resolve
from monitor.deliver import OURS_S, Deliver
from monitor.http_client import HttpClient
from monitor.metrics import Metrics
from monitor.notify.channel import Channel, Kind, Message, Outcome, Retry, Sent, Unknown
from monitor.notify.pagerduty import PagerDutyChannel
from monitor.notify.settings import PagerDutySettings
from monitor.paging import Pager
from monitor.store.store import Store
from monitor.watch.emergency import Road
from monitor.watch.spool import Spool
from tests.making import T0, incident
from tests.servers.pagerduty_server import ROUTING_KEY, PagerDutyServer

POLICY = replace(resolve(Settings()).policy, route=Route(receivers=("pd",)))
SAID = "Refusals 4x baseline: the page's own words"


class Phone:
    """A channel that does as it is told, and remembers what it took."""

    kind = "log"

    def __init__(self, name: str, answer: Callable[[Message], Outcome] = lambda _: Sent()) -> None:
        self.name = name
        self.answer = answer
        self.taken: list[str] = []

    def send(self, message: Message, now: object) -> Outcome:
        outcome = self.answer(message)
        self.taken.append(message.incident)
        return outcome

    def close(self) -> None:
        """Nothing is held."""


class Bench:
    """A store with a delivery loop on a clock that a test moves."""

    def __init__(self, path: Path, channels: dict[str, Channel], fallback: str) -> None:
        self.now = T0
        self.store = Store(f"sqlite:///{path}")
        pager = Pager(POLICY)
        self.deliver = Deliver(
            self.store, channels, pager, Metrics(), lambda: self.now, fallback=fallback
        )

    def page(self, receiver: str, number: int = 1) -> None:
        made = replace(incident(), uuid=f"i{number}", number=number)
        message = Message(
            f"m{number}:{receiver}",
            Kind.TRIGGER,
            f"k{number}",
            made.name,
            "SEV1",
            "triage",
            SAID,
            (),
        )
        with self.store.write() as tx:
            tx.incidents.save(made)
            tx.outbox.put(made.uuid, receiver, message, self.now)

    def step(self, after_s: float = 0.0) -> None:
        self.now += timedelta(seconds=after_s)
        self.deliver.step(self.now)
        self.deliver.settle()

    def states(self) -> list[tuple[str, str]]:
        with self.store.read() as tx:
            uuids = [one.uuid for one in tx.incidents.search(limit=100)]
            pages = [page for uuid in uuids for page in tx.outbox.of_incident(uuid)]
        return sorted((page.receiver, page.state) for page in pages)

    def told(self, kind: str) -> list[str]:
        with self.store.read() as tx:
            chain = tx.incidents.timeline("i1")
        return [item.entry.text for item in chain if item.entry.kind == kind]


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Callable[..., Bench]]:
    """A bench with these channels."""
    made: list[Bench] = []

    def build(*channels: Channel, fallback: str = "") -> Bench:
        made.append(Bench(tmp_path / "x.db", {one.name: one for one in channels}, fallback))
        return made[-1]

    yield build
    for each in made:
        each.deliver.close()
        each.store.close()


@pytest.fixture
def pagerduty() -> Iterator[PagerDutyServer]:
    with PagerDutyServer() as server:
        yield server


def _channel(server: PagerDutyServer, key: Path) -> PagerDutyChannel:
    settings = PagerDutySettings(name="pd", routing_key=Secret(file=str(key)), base_url=server.url)
    return PagerDutyChannel(settings, HttpClient())


def test_a_page_goes_out_as_soon_as_its_secret_is_back(
    bench: Callable[..., Bench], pagerduty: PagerDutyServer, tmp_path: Path
) -> None:
    """Hours without it make no page wait longer, and the fallback is rung once, at the start."""
    key, spare = tmp_path / "key", Phone("spare")
    loop = bench(_channel(pagerduty, key), spare, fallback="spare")
    loop.page("pd")
    for _ in range(30):
        loop.step(600)
    assert loop.states() == [("pd", "new"), ("spare", "sent")]
    assert len(spare.taken) == 1
    assert len(loop.told("WAITS")) == 1
    assert str(key) in loop.told("WAITS")[0]
    key.write_text(ROUTING_KEY)
    loop.step(OURS_S)
    assert ("pd", "sent") in loop.states()
    assert len(pagerduty.incidents) == 1


def test_a_page_that_never_gets_its_secret_is_given_up_like_any_other(
    bench: Callable[..., Bench], pagerduty: PagerDutyServer, tmp_path: Path
) -> None:
    """After a day it is dead, which is said."""
    loop = bench(_channel(pagerduty, tmp_path / "key"))
    loop.page("pd")
    for _ in range(300):
        loop.step(OURS_S)
    assert loop.states() == [("pd", "new")]
    loop.step(24 * 3600)
    assert loop.states() == [("pd", "dead")]
    assert loop.told("DEAD")


def test_what_answered_before_decides_how_long_a_page_waits(
    bench: Callable[..., Bench],
) -> None:
    """A provider's refusals space its attempts out; what we lacked between them does not."""
    answers: list[Outcome] = [*[Retry("lack", ours=True)] * 20, *[Retry("503")] * 2, Sent()]
    phone = Phone("pd", lambda _: answers.pop(0))
    loop = bench(phone)
    loop.page("pd")
    for _ in range(21):
        loop.step(OURS_S)
    assert [len(answers), *loop.states()] == [2, ("pd", "new")]
    loop.step(1)
    assert len(answers) == 1
    loop.step(1)
    assert len(answers) == 1
    loop.step(1)
    assert loop.states() == [("pd", "sent")]


def test_a_page_whose_sending_raises_stops_no_other(
    bench: Callable[..., Bench], caplog: pytest.LogCaptureFixture
) -> None:
    """The others of its batch go out; it is tried again, and the log has no word of it."""

    def answer(message: Message) -> Outcome:
        if message.incident == "INC-0001":
            raise LookupError(message.title) from ValueError(message.title)
        return Sent()

    phone = Phone("r", answer)
    loop = bench(phone)
    for number in range(1, 6):
        loop.page("r", number)
    with caplog.at_level(logging.INFO):
        loop.step()
    assert sorted(phone.taken) == [f"INC-000{number}" for number in range(2, 6)]
    text = "\n".join(logging.Formatter().format(record) for record in caplog.records)
    assert "LookupError" in text
    assert "test_deliver.py" in text
    assert SAID not in text
    with loop.store.read() as tx:
        (page,) = tx.outbox.of_incident("i1")
    assert page.state == "new"
    assert "LookupError" in page.detail
    assert SAID not in page.detail
    phone.answer = lambda _: Sent()
    loop.step(2)
    assert phone.taken[-1] == "INC-0001"


@pytest.mark.parametrize("lasts", [1, 50])
def test_the_emergency_road_sends_when_the_secret_is_back(
    pagerduty: PagerDutyServer, tmp_path: Path, lasts: int
) -> None:
    """It looks every second however long the secret was away, and needs no new trouble for it."""
    key = tmp_path / "key"
    road = Road(Spool(tmp_path / "spool"), {"pd": _channel(pagerduty, key)}, ("pd",))
    road.open("storage", "storage", "down", ("a", "cure"), T0, T0, where="h")
    for second in range(lasts):
        road.step(T0, float(second))
        road.settle(20)
    assert road.unsent() == 1
    key.write_text(ROUTING_KEY)
    road.step(T0, float(lasts))
    road.settle(20)
    assert road.unsent() == 0
    assert len(pagerduty.incidents) == 1
    road.close_channels()


def test_the_emergency_road_survives_what_no_channel_should_do(tmp_path: Path) -> None:
    """A channel that raises has an unknown outcome, and is tried again."""

    def raises(_: Message) -> Outcome:
        raise LookupError

    phone = Phone("r", raises)
    road = Road(Spool(tmp_path / "spool"), {"r": phone}, ("r",))
    episode = road.open("storage", "storage", "down", ("a", "cure"), T0, T0, where="h")
    road.step(T0, 0.0)
    road.settle(20)
    (message,) = episode.owed()
    assert road.episodes[episode.id].outcome(message.id) == "unknown"
    phone.answer = lambda _: Unknown("no answer")
    road.step(T0, 2.0)
    road.settle(20)
    phone.answer = lambda _: Sent()
    road.step(T0, 10.0)
    road.settle(20)
    assert road.unsent() == 0
    road.close_channels()
