"""The delivery loop on a real store: what one page comes to, and what becomes of the others."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from monitor.alerting.routes import Route
from monitor.config.secret import Secret
from monitor.config.settings import Settings, resolve
from monitor.config.shelf import Shelf
from monitor.deliver import LONGEST_RETRY_S, OURS_S, Deliver
from monitor.desk.desk import Desk
from monitor.http_client import HttpClient
from monitor.incidents.model import Incident, State
from monitor.metrics import Metrics
from monitor.notify.channel import Channel, Kind, Message, Outcome, Refused, Retry, Sent, Unknown
from monitor.notify.pagerduty import PagerDutyChannel
from monitor.notify.settings import PagerDutySettings
from monitor.paging import Pager, rung_for
from monitor.store import tables as t
from monitor.store.store import Store, StoreUnavailable
from monitor.views import Principal
from monitor.watch.checks import OVERDUE
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
        self.kinds: list[Kind] = []

    def send(self, message: Message, now: object) -> Outcome:
        outcome = self.answer(message)
        self.taken.append(message.incident)
        self.kinds.append(message.kind)
        return outcome

    def close(self) -> None:
        """Nothing is held."""


class Bench:
    """A store with a delivery loop on a clock that a test moves."""

    def __init__(self, path: Path, channels: dict[str, Channel], fallback: str) -> None:
        self.now = T0
        self.steady_s = 0.0
        self.store = Store(f"sqlite:///{path}")
        self.pager = Pager(POLICY)
        self.deliver = Deliver(
            self.store,
            channels,
            self.pager,
            Metrics(),
            lambda: self.now,
            fallback=fallback,
            steady=lambda: self.steady_s,
        )

    def page(self, receiver: str, number: int = 1, severity: str = "SEV2") -> None:
        made = replace(incident(), uuid=f"i{number}", number=number, severity=severity)
        message = Message(
            f"m{number}:{receiver}",
            Kind.TRIGGER,
            f"k{number}",
            made.name,
            severity,
            "triage",
            SAID,
            (),
        )
        with self.store.write() as tx:
            tx.incidents.save(made)
            tx.outbox.put(made.uuid, receiver, message, self.now)

    def change(self, number: int = 1, **changes: Any) -> Incident:
        """The incident as it is from now on."""
        with self.store.write() as tx:
            known = tx.incidents.get(f"i{number}")
            assert known is not None
            tx.incidents.save(made := replace(known, **changes))
        return made

    def take(self, at: datetime) -> None:
        """Somebody acknowledges the first incident at a desk whose clock says so."""
        who = Principal(name="ada", role="responder")
        desk = Desk(self.store, resolve(Settings()), Shelf(), who, lambda: at)
        desk.acknowledge("INC-0001")

    def end(self, number: int = 1) -> None:
        """A person resolves it, and all who were rung are to hear so."""
        ended = self.change(number, state=State.RESOLVED, resolved_at=self.now)
        with self.store.write() as tx:
            self.pager.tell(tx, ended, Kind.RESOLVE, self.now, "resolved")

    def step(self, after_s: float = 0.0) -> None:
        self.now += timedelta(seconds=after_s)
        self.steady_s += after_s
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


def test_an_answer_from_on_the_way_rings_the_fallback_once_and_ends_nothing(
    bench: Callable[..., Bench],
) -> None:
    """A login page in the way is said, the fallback is rung, and the page goes out afterwards."""
    pd, spare = Phone("pd", lambda _: Retry("PagerDuty answers 302", astray=True)), Phone("spare")
    loop = bench(pd, spare, fallback="spare")
    loop.page("pd")
    for _ in range(5):
        loop.step(10)
    assert spare.kinds == [Kind.TRIGGER]
    assert len(loop.told("WAITS")) == 1
    assert "302" in loop.told("WAITS")[0]
    pd.answer = lambda _: Sent()
    loop.step(LONGEST_RETRY_S)
    assert loop.states() == [("pd", "sent"), ("spare", "sent")]


def test_an_end_that_is_held_up_keeps_no_fallback_from_the_page_behind_it(
    bench: Callable[..., Bench],
) -> None:
    """The next outage pages a receiver that cannot be reached even to hear of the last one's end:
    the fallback is rung once, though that page is not tried."""
    pd, spare = Phone("pd"), Phone("spare")
    loop = bench(pd, spare, fallback="spare")
    loop.page("pd")
    loop.step()
    pd.answer = lambda _: Retry("PagerDuty answers 302", astray=True)
    again = loop.change(paged_at=None)
    with loop.store.write() as tx:
        loop.pager.page(tx, again, loop.now, "fires again")
    for _ in range(5):
        loop.step(10)
    assert pd.kinds == [Kind.TRIGGER, *[Kind.RESOLVE] * (len(pd.kinds) - 1)]
    assert spare.kinds == [Kind.TRIGGER]


def test_a_backlog_that_is_held_up_rings_the_fallback_once(bench: Callable[..., Bench]) -> None:
    """Six outages wait for a receiver that then cannot be reached: one ring tells how it is now,
    also where one of them cannot be read."""
    answers: list[Outcome] = [Retry("503")]
    pd, spare = Phone("pd", lambda _: answers[0]), Phone("spare")
    loop = bench(pd, spare, fallback="spare")
    loop.page("pd")
    loop.step()
    for turn in range(6):
        with loop.store.write() as tx:
            again = tx.incidents.get("i1")
            assert again is not None
            loop.pager.tell_over(tx, again, loop.now)
            loop.pager.page(tx, replace(again, paged_at=None), loop.now, "fires again")
            if turn == 3:
                last = sa.select(sa.func.max(t.outbox.c.id)).scalar_subquery()
                tx.outbox._c.execute(
                    t.outbox.update().where(t.outbox.c.id == last).values(body="{")
                )
    answers[0] = Retry("PagerDuty answers 302", astray=True)
    for _ in range(10):
        loop.step(10)
    assert spare.kinds == [Kind.TRIGGER]
    assert len(loop.told("WAITS")) == 6


def test_a_fallback_in_place_of_two_is_rung_under_one_key(bench: Callable[..., Bench]) -> None:
    """Two receivers of an incident cannot be reached: PagerDuty as their fallback opens one."""
    lost = Retry("a proxy answers 302", astray=True)
    loop = bench(
        Phone("pd", lambda _: lost),
        Phone("slack", lambda _: lost),
        Phone("spare"),
        fallback="spare",
    )
    loop.page("pd")
    loop.page("slack")
    for _ in range(3):
        loop.step(10)
    with loop.store.read() as tx:
        keys = [
            page.message.dedup_key
            for page in tx.outbox.of_incident("i1")
            if page.receiver == "spare"
        ]
        assert len(keys) == 2
        assert len(set(keys)) == 1
        assert not tx.outbox.is_to_ring(keys[0], ["spare"])
        assert not tx.outbox.is_to_ring("k1", ["spare"])
        assert tx.outbox.is_to_ring("k1", ["pd"])
        assert tx.outbox.is_to_ring("k", ["pd"]) is False


@pytest.mark.parametrize("over", ["ended", "acknowledged"])
def test_the_fallback_is_not_woken_for_what_is_over(bench: Callable[..., Bench], over: str) -> None:
    """A page that is given up rings nobody else once somebody has it, or it has ended, though the
    desk's clock is behind."""
    answers: list[Outcome] = [Unknown("no answer"), Refused("gone")]
    spare = Phone("spare")
    loop = bench(
        Phone("pd", lambda _: answers.pop(0) if answers else Sent()), spare, fallback="spare"
    )
    loop.page("pd")
    loop.step()
    if over == "ended":
        loop.change(state=State.RESOLVED, resolved_at=loop.now)
    else:
        loop.take(loop.now - timedelta(seconds=5))
    for _ in range(2):
        loop.step(600)
    assert ("pd", "dead") in loop.states()
    assert loop.told("DEAD")
    assert spare.taken == []


@pytest.mark.parametrize(
    "answer", [Refused("gone"), Retry("302", astray=True), Retry("no secret", ours=True)]
)
@pytest.mark.parametrize("ahead", [timedelta(hours=-1), timedelta(seconds=5)])
def test_an_acknowledgement_from_before_a_ring_answers_it_not(
    bench: Callable[..., Bench], answer: Outcome, ahead: timedelta
) -> None:
    """What is rung though somebody has it (its severity rose, it was escalated) has a fallback,
    also where the desk's clock was ahead."""
    spare = Phone("spare")
    phone = Phone("pd", lambda message: answer if message.severity == "SEV1" else Sent())
    loop = bench(phone, spare, fallback="spare")
    loop.page("pd", severity="SEV2")
    loop.step()
    loop.take(loop.now + ahead)
    loop.step(1)
    with loop.store.write() as tx:
        rises = tx.incidents.get("i1")
        assert rises is not None
        loop.pager.page(tx, replace(rises, severity="SEV1"), loop.now, "severity raised to SEV1")
    for _ in range(10):
        loop.step(1)
    assert spare.kinds == [Kind.TRIGGER]


def test_a_machine_whose_clock_is_behind_rings_the_fallback_for_this_outage(
    bench: Callable[..., Bench],
) -> None:
    """It goes out at once and counts as rung since the page: nobody is told that none was heard."""
    spare = Phone("spare")
    loop = bench(Phone("pd", lambda _: Refused("gone")), spare, fallback="spare")
    loop.page("pd")
    paged_at = loop.now + timedelta(seconds=20)
    paged = loop.change(paged_at=paged_at)
    for _ in range(2):
        loop.step()
    assert spare.kinds == [Kind.TRIGGER]
    with loop.store.read() as tx:
        assert rung_for(tx.rings.of("i1"), paged) == {"spare"}
        assert not tx.watch.unheard(paged_at + 2 * OVERDUE, OVERDUE, timedelta(hours=1)).count


def test_an_outcome_that_the_store_refuses_is_said_by_the_next_step(
    bench: Callable[..., Bench],
) -> None:
    """Whoever turns the loop hears that the store does not work, though pages can be claimed."""
    loop = bench(Phone("pd"))
    with loop.store.engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE attempts RENAME TO gone")
    loop.page("pd")
    loop.step()
    with pytest.raises(StoreUnavailable):
        loop.step()
    loop.step()


def test_the_fallback_hears_the_end_of_what_is_normal_already(
    bench: Callable[..., Bench],
) -> None:
    """The end went out before it was rung: it gets its own."""
    answers: list[Outcome] = [Unknown("no answer"), Refused("gone")]
    spare = Phone("spare")
    loop = bench(Phone("pd", lambda _: answers.pop(0)), spare, fallback="spare")
    loop.page("pd")
    loop.step()
    loop.change(normal_at=loop.now)
    for _ in range(3):
        loop.step(600)
    assert spare.kinds == [Kind.TRIGGER, Kind.RESOLVE]


def test_nobody_is_rung_for_what_ended_before_it_could_be_said(
    bench: Callable[..., Bench],
) -> None:
    """A provider that is back after hours is told neither page nor end, and the timeline says so
    once; what it lacked is no different from what we did."""
    answers: list[Outcome] = [Retry("503"), Retry("no secret", ours=True), Retry("503")]
    phone = Phone("pd", lambda _: answers.pop(0) if answers else Sent())
    loop = bench(phone)
    loop.page("pd")
    for _ in range(3):
        loop.step(60)
    loop.end()
    for _ in range(3):
        loop.step(3600)
    assert len(phone.taken) == 3
    assert loop.states() == [("pd", "overtaken")] * 2
    (said,) = loop.told("OVERTAKEN")
    assert "pd" in said


@pytest.mark.parametrize("unsure", ["no answer", "killed"])
def test_what_may_have_rung_hears_its_end(bench: Callable[..., Bench], unsure: str) -> None:
    """An attempt whose outcome nobody knows is made again after the end, for the end's sake."""
    phone = Phone("pd", lambda _: Unknown("no answer"))
    loop = bench(phone)
    loop.page("pd")
    if unsure == "killed":
        with loop.store.write() as tx:
            tx.outbox.claim("dead", loop.now)
    else:
        loop.step()
    phone.answer = lambda _: Retry("503")
    loop.step(60)
    loop.end()
    phone.answer = lambda _: Sent()
    for _ in range(3):
        loop.step(600)
    assert phone.kinds[-2:] == [Kind.TRIGGER, Kind.RESOLVE]
    assert loop.states() == [("pd", "sent")] * 2


def test_a_key_that_rang_hears_its_end_though_its_repeat_is_overtaken(
    bench: Callable[..., Bench],
) -> None:
    """Only the second ring is left out."""
    phone = Phone("pd")
    loop = bench(phone)
    loop.page("pd")
    loop.step()
    with loop.store.write() as tx:
        (first,) = tx.outbox.of_incident("i1")
        tx.outbox.put("i1", "pd", replace(first.message, id="again"), loop.now)
    phone.answer = lambda _: Retry("503")
    loop.step(1)
    loop.end()
    phone.answer = lambda _: Sent()
    for _ in range(3):
        loop.step(600)
    assert phone.kinds == [Kind.TRIGGER, Kind.TRIGGER, Kind.RESOLVE]
    assert sorted(state for _, state in loop.states()) == ["overtaken", "sent", "sent"]


def test_what_is_opened_again_rings(bench: Callable[..., Bench]) -> None:
    """An incident that ended and was reopened while its provider was away is no past."""
    phone = Phone("pd", lambda _: Retry("503"))
    loop = bench(phone)
    loop.page("pd")
    loop.step()
    loop.end()
    loop.change(state=State.ACTIVE, resolved_at=None)
    phone.answer = lambda _: Sent()
    loop.step(60)
    assert ("pd", "sent") in loop.states()


def test_a_provider_that_asks_for_silence_gets_it(bench: Callable[..., Bench]) -> None:
    """However many pages wait, one call is made in its time, the most urgent goes first
    afterwards, and what was held back is no attempt."""
    phone = Phone("pd", lambda _: Retry("429", after_s=30.0))
    loop = bench(phone)
    for number in range(1, 51):
        loop.page("pd", number, "SEV3")
    loop.step()
    loop.page("pd", 99, "SEV1")
    for _ in range(29):
        loop.step(1)
    assert len(phone.taken) == 1
    phone.answer = lambda _: Sent()
    while loop.states() != [("pd", "sent")] * 51:
        loop.step(1)
    assert phone.taken[1] == "INC-0099"
    with loop.store.read() as tx:
        (held,) = tx.outbox.of_incident("i50")
    assert held.attempts == 1


def test_an_end_in_order_hands_back_what_it_did_not_try(bench: Callable[..., Bench]) -> None:
    """The rest of a batch is as if nobody had claimed it: it is due at once, and surely unheard."""
    enders: list[threading.Thread] = []

    def answer(_: Message) -> Outcome:
        enders.append(threading.Thread(target=loop.deliver.close))
        enders[-1].start()
        assert loop.deliver._closing.wait(30)
        return Sent()

    loop = bench(Phone("pd", answer))
    for number in range(1, 4):
        loop.page("pd", number)
    loop.step()
    enders.pop().join(30)
    assert not enders
    assert loop.states() == [("pd", "new"), ("pd", "new"), ("pd", "sent")]
    with loop.store.write() as tx:
        left = tx.outbox.claim("next", loop.now)
    assert [(page.attempts, page.message.fresh) for page in left] == [(1, True)] * 2


def test_no_wish_for_silence_holds_a_page_beyond_the_longest_wait(
    bench: Callable[..., Bench],
) -> None:
    """A receiver that asks for silence each time hears each page once in five minutes all the
    same."""
    phone = Phone("pd", lambda _: Retry("429", after_s=1e9))
    loop = bench(phone)
    for number in range(1, 4):
        loop.page("pd", number)
    for _ in range(31):
        loop.step(10)
    assert set(phone.taken) == {"INC-0001", "INC-0002", "INC-0003"}


def test_silence_of_a_receiver_delays_no_fallback_of_a_top_page(
    bench: Callable[..., Bench],
) -> None:
    """Whether a SEV1 needs the fallback is known by its first attempt, which waits for nothing."""
    answers: list[Outcome] = [Retry("429", after_s=300.0), Refused("gone")]
    spare = Phone("spare")
    loop = bench(Phone("pd", lambda _: answers.pop(0)), spare, fallback="spare")
    loop.page("pd", 1, "SEV2")
    loop.step()
    loop.page("pd", 2, "SEV1")
    for _ in range(3):
        loop.step(1)
    assert spare.taken == ["INC-0002"]


def test_an_attempt_that_surely_rang_nobody_makes_the_next_no_repeat(
    bench: Callable[..., Bench],
) -> None:
    """After a 429 a page is as fresh as before it; after no answer it never is again."""
    seen: list[tuple[int, bool]] = []
    answers: list[Outcome] = [
        Retry("429"),
        Retry("no secret", ours=True),
        Unknown("no answer"),
        Retry("429"),
        Sent(),
    ]

    def answer(message: Message) -> Outcome:
        seen.append((message.attempt, message.fresh))
        return answers.pop(0)

    loop = bench(Phone("pd", answer))
    loop.page("pd")
    for _ in range(5):
        loop.step(60)
    assert seen == [(1, True), (2, True), (3, True), (4, False), (5, False)]
    assert "possible repeat" in loop.told("SENT")[0]


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


def _hears(road: Road, answer: Outcome, phone: Phone, seconds: range, hop: timedelta) -> None:
    phone.answer = lambda _: answer
    for second in seconds:
        road.step(T0 + hop + timedelta(seconds=second), float(second))
        road.settle(20)


def test_the_emergency_road_comes_back_to_who_refused(tmp_path: Path) -> None:
    """While the trouble lasts a page stays owed, a minute apart; an end may be refused for good."""
    phone = Phone("r")
    road = Road(Spool(tmp_path / "spool"), {"r": phone}, ("r",))
    road.open("storage", "storage", "down", ("a", "cure"), T0, T0, where="h")
    _hears(road, Refused("a portal's 403"), phone, range(600), timedelta())
    assert 9 <= len(phone.taken) <= 10
    assert road.unsent() == 1
    _hears(road, Sent(), phone, range(600, 700), timedelta())
    assert road.unsent() == 0
    road.close("storage", "back", T0)
    _hears(road, Refused("gone"), phone, range(700, 703), timedelta())
    assert road.unsent() == 0
    assert phone.kinds[-2:] == [Kind.TRIGGER, Kind.RESOLVE]
    road.close_channels()


def test_the_emergency_road_gives_up_by_a_clock_that_never_jumps(tmp_path: Path) -> None:
    """A wall clock that is put right by two days ends nothing, neither a page nor an end; after a
    day of attempts an end is given up."""
    phone = Phone("r")
    road = Road(Spool(tmp_path / "spool"), {"r": phone}, ("r",))
    road.open("storage", "storage", "down", ("a", "cure"), T0, T0, where="h")
    away, days = Retry("no network"), timedelta(days=2)
    _hears(road, away, phone, range(4), timedelta())
    _hears(road, away, phone, range(4, 200), days)
    assert road.unsent() == 1
    road.close("storage", "back", T0)
    _hears(road, away, phone, range(200, 400), 2 * days)
    assert road.unsent() == 1
    _hears(road, away, phone, range(90_000, 90_001), 2 * days)
    assert road.unsent() == 0
    road.close_channels()


def test_the_emergency_road_knows_what_surely_rang_nobody(tmp_path: Path) -> None:
    """After a refusal for now a page is fresh; after no answer, or a kill, it is not."""
    seen: list[bool] = []
    answers: list[Outcome] = [Retry("429"), Unknown("no answer"), Retry("429")]

    def answer(message: Message) -> Outcome:
        seen.append(message.fresh)
        return answers.pop(0)

    for second in (0.0, 100.0):
        road = Road(spool := Spool(tmp_path / "spool"), {"r": Phone("r", answer)}, ("r",))
        road.open("storage", "storage", "down", ("a", "cure"), T0, T0, where="h")
        for later in (0.0, 10.0):
            if answers:
                road.step(T0, second + later)
                road.settle(20)
        spool.close()
    assert seen == [True, True, False]
