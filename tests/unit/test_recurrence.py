"""What was over and fires again, and what a person opens again: who is rung, and from when on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from monitor.alerting.routes import Route
from monitor.config.settings import Settings, resolve
from monitor.config.shelf import Shelf
from monitor.decide import Decide
from monitor.desk.desk import Desk
from monitor.incidents.model import Incident, Rung, State
from monitor.metrics import Metrics
from monitor.notify.channel import Kind
from monitor.paging import Pager
from monitor.store.store import Store
from monitor.timers import Hands, run_timers
from monitor.views import Principal
from tests.making import T0, reading

ROUTE = Route(receivers=("oncall",))
SECOND, THIRD = Rung(900, ("second",)), Rung(1800, ("third",))


class World:
    """Readings come from the hand; the store, the decisions, the timers and the desk are real."""

    def __init__(self, folder: Path) -> None:
        made = resolve(Settings(store=f"sqlite:///{folder}/x.db", profile="loud"))
        policy = replace(made.policy, route=ROUTE, escalation=(SECOND, THIRD), capped=False)
        self.configured = replace(made, policy=policy)
        self.now = T0
        self.store = Store(made.settings.store)
        self.pager = Pager(policy)
        self.decide = Decide(self.store, made.plan, made.profile, self.pager, Metrics())
        self.hands = Hands(lambda: 0.0)

    def read(self, fires: bool, **changes: Any) -> None:
        fields: dict[str, Any] = {
            "severity": "SEV1",
            "firing": fires,
            "at": self.now,
            "onset_at": self.now - timedelta(minutes=3),
            **changes,
        }
        with self.store.write() as tx:
            self.decide._advance(tx, 1, [reading(**fields)], tx.incidents.firing(), self.now)

    def wait(self, hands: Hands | None = None, **length: float) -> None:
        self.now += timedelta(**length)
        with self.store.write() as tx:
            run_timers(tx, self.pager, self.now, hands=hands)

    def desk(self, name: str = "ada") -> Desk:
        who = Principal(name=name, role="responder")
        return Desk(self.store, self.configured, Shelf(), who, lambda: self.now)

    def one(self) -> Incident:
        with self.store.read() as tx:
            (found,) = tx.incidents.search()
        return found

    def told(self, *kinds: Kind) -> list[tuple[str, str]]:
        """(receiver, kind) of what is queued for the incident, in order; of these kinds only."""
        with self.store.read() as tx:
            queued = [page for one in tx.incidents.search() for page in _pages(tx, one)]
        return [
            (page.receiver, str(page.message.kind))
            for page in queued
            if not kinds or page.message.kind in kinds
        ]

    def rung(self) -> list[str]:
        """Whom triggers went to, in order."""
        return [receiver for receiver, _ in self.told(Kind.TRIGGER)]

    def said(self) -> list[str]:
        with self.store.read() as tx:
            return [item.entry.text for item in tx.incidents.timeline(self.one().uuid)]


def _pages(tx: Any, one: Incident) -> list[Any]:
    return list(tx.outbox.of_incident(one.uuid))


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    yield made
    made.store.close()


def over_and_taken(world: World) -> None:
    """Paged, acknowledged after five minutes, over after ten."""
    world.read(True)
    world.wait(minutes=5)
    world.desk().acknowledge("latest")
    world.wait(minutes=5)
    world.read(False)


def test_an_acknowledgement_ends_with_what_it_answered(world: World) -> None:
    """Days after it was over another alert joins: it rings anew, and its escalation runs."""
    over_and_taken(world)
    world.wait(days=3)
    world.read(True, signal="error_rate")
    one = world.one()
    assert (one.acknowledged_at, one.acknowledged_by, one.normal_at) == (None, None, None)
    assert (one.paged_at, one.state) == (world.now, State.TRIAGE)
    assert world.rung() == ["oncall", "oncall"]
    assert sum("acknowledgement by ada has lapsed" in text for text in world.said()) == 2
    for _ in range(40):
        world.wait(minutes=1)
    assert world.rung() == ["oncall", "oncall", "second", "third"]


def test_it_is_acknowledged_a_second_time(world: World) -> None:
    """Both acknowledgements stand on the timeline, and receivers hear of both."""
    over_and_taken(world)
    world.wait(days=3)
    world.read(True)
    world.wait(minutes=2)
    world.desk("bob").acknowledge("latest")
    assert world.one().acknowledged_by == "bob"
    assert world.told(Kind.ACKNOWLEDGE) == [("oncall", "acknowledge")] * 2
    with world.store.read() as tx:
        entries = [item.entry for item in tx.incidents.timeline(world.one().uuid)]
    assert [entry.actor for entry in entries if entry.kind == "ACK"] == ["ada", "bob"]
    world.wait(hours=2)
    assert world.rung() == ["oncall", "oncall"]


def test_flapping_stays_quiet_for_who_has_acknowledged(world: World) -> None:
    """Within ten minutes it is the same outage: an update, and no ring, however often."""
    over_and_taken(world)
    for _ in range(5):
        world.wait(minutes=9)
        world.read(True)
        world.wait(minutes=1)
        world.read(False)
    assert world.rung() == ["oncall"]
    assert world.one().acknowledged_by == "ada"
    assert world.told(Kind.RESOLVE) == []  # a provider that was told the end would ring anew
    assert len(world.told(Kind.UPDATE)) == 11  # it is quiet, it fires again, by turns
    world.wait(minutes=10)
    world.wait(minutes=10)
    assert world.told()[-1:] == world.told(Kind.RESOLVE) == [("oncall", "resolve")]


def test_who_was_told_the_end_is_rung_again(world: World) -> None:
    """Over, told so, and only then acknowledged: what fires a minute later rings."""
    world.read(True)
    world.wait(minutes=5)
    world.read(False)
    world.wait(minutes=1)
    world.desk().acknowledge("latest")
    world.wait(minutes=1)
    world.read(True)
    assert world.rung() == ["oncall", "oncall"]
    assert world.one().acknowledged_at is None


@pytest.mark.parametrize("late", [False, True])
def test_a_provider_hears_the_end_before_it_is_rung_anew(world: World, late: bool) -> None:
    """What it knows as acknowledged would ring nobody, also where no timer ran in between."""
    over_and_taken(world)
    world.now += timedelta(minutes=11)
    if late:
        world.wait()
    world.read(True)
    kinds = [kind for _, kind in world.told(Kind.TRIGGER, Kind.RESOLVE)]
    assert kinds == ["trigger", "resolve", "trigger"]


@pytest.mark.parametrize("taken", [True, False])
def test_what_is_given_up_for_want_of_traffic_is_not_told_as_normal(
    world: World, taken: bool
) -> None:
    """Nobody knows how it is: that is what receivers read, also where another alert is the last."""
    world.read(True)
    world.read(True, signal="error_rate")
    if taken:
        world.desk().acknowledge("latest")
    world.now += timedelta(minutes=1)
    world.read(False, blind=True)
    world.now += timedelta(hours=25)
    world.read(False, blind=True)
    world.read(False, signal="error_rate")
    with world.store.read() as tx:
        last = tx.outbox.of_incident(world.one().uuid)[-1].message
    assert last.kind is (Kind.UPDATE if taken else Kind.RESOLVE)
    assert last.news == "not judged for 24 h, for want of traffic: followed no longer"
    assert not [text for text in world.said() if text.startswith("signal normal")]


@pytest.mark.parametrize("over", [True, False])
def test_who_took_a_ticket_has_not_answered_its_first_page(world: World, over: bool) -> None:
    """A page joins what was taken before anybody was paged: its whole escalation runs."""
    world.read(True, tier="ticket")
    world.wait(minutes=1)
    world.desk().acknowledge("latest")
    if over:
        world.read(False, tier="ticket")
    world.wait(minutes=4)
    world.read(True, signal="error_rate")
    for _ in range(40):
        world.wait(minutes=1)
    assert world.rung() == ["oncall", "second", "third"]
    assert world.one().acknowledged_at is None
    assert "the acknowledgement by ada has lapsed: it was before the first page" in world.said()


def test_who_catches_up_knows_what_was_given_up(world: World) -> None:
    """Decided three days later by the clock of the wall, it is still not told as normal."""
    at = world.now
    world.now += timedelta(days=3)
    world.read(True, at=at)
    world.read(False, blind=True, at=at + timedelta(minutes=1))
    world.read(False, blind=True, at=at + timedelta(hours=26))
    assert not [text for text in world.said() if text.startswith("signal normal")]


def test_a_severity_that_rises_twice_rings_twice(world: World) -> None:
    """Raised, acknowledged, lowered, raised: the second rise has a key of its own, because the
    first is open and acknowledged at the provider. Every key hears the end."""
    world.read(True, severity="SEV2")
    desk = world.desk()
    for severity in ("SEV1", "SEV2", "SEV1"):
        world.wait(minutes=1)
        desk.set_severity("latest", severity=severity, reason="looked again")
    with world.store.read() as tx:
        pages = list(tx.outbox.of_incident(world.one().uuid))
    keys = [one.message.dedup_key for one in pages if one.message.kind is Kind.TRIGGER]
    assert len(set(keys)) == len(keys) == 3
    desk.resolve("latest", verdict="regression", reason="done")
    with world.store.read() as tx:
        pages = list(tx.outbox.of_incident(world.one().uuid))
    ended = [one.message.dedup_key for one in pages if one.message.kind is Kind.RESOLVE]
    assert ended == keys


def test_flapping_holds_no_escalation_back(world: World) -> None:
    """Nobody acknowledges what fires every five minutes: the rungs count from the first page."""
    for minute in range(40):
        world.read(minute % 5 < 2)
        world.wait(minutes=1)
    assert [one for one in world.rung() if one != "oncall"] == ["second", "third"]
    assert world.one().paged_at == T0


def test_what_fires_again_has_its_own_escalation(world: World) -> None:
    """Fifty quiet minutes later the first rung rings at once, the others in their own time."""
    world.read(True)
    for _ in range(20):
        world.wait(minutes=1)
    world.read(False)
    world.wait(minutes=50)
    world.read(True)
    world.wait(seconds=1)
    assert world.rung() == ["oncall", "second", "oncall"]
    world.wait(minutes=16)
    world.wait(minutes=16)
    assert world.rung() == ["oncall", "second", "oncall", "second", "third"]


@pytest.mark.parametrize("seen", [True, False])
@pytest.mark.parametrize("after", ["the first", "the second"])
def test_a_clock_put_back_loses_and_doubles_no_rung(world: World, seen: bool, after: str) -> None:
    """Which ring belongs to which outage is known although the later one is dated before it."""
    steady = [0.0]
    hands = Hands(lambda: steady[0])

    def wait(minutes: int) -> None:
        for _ in range(minutes * 6):
            steady[0] += 10
            world.wait(hands, seconds=10)

    world.read(True)
    wait(20)
    world.read(False)
    wait(15)
    if after == "the first":
        world.now -= timedelta(hours=3)
        hands = hands if seen else Hands(lambda: steady[0])
    world.read(True)
    wait(5)
    if after == "the second":
        world.now -= timedelta(hours=3)
        hands = hands if seen else Hands(lambda: steady[0])
    wait(40)
    assert world.rung() == ["oncall", "second", "oncall", "second", "third"]


def test_a_clock_put_back_keeps_no_acknowledgement(world: World) -> None:
    """Over in the clock's future is no flapping: better rung once too often than never."""
    over_and_taken(world)
    world.now -= timedelta(hours=3)
    world.read(True)
    assert world.rung() == ["oncall", "oncall"]


def test_a_ticket_rings_nobody_and_keeps_nothing_awake(world: World) -> None:
    """It joins what has paged: neither the escalation nor the acknowledgement knows of it."""
    over_and_taken(world)
    world.wait(hours=3)
    world.read(True, signal="error_rate", tier="ticket")
    assert world.rung() == ["oncall"]
    assert world.one().acknowledged_by == "ada"
    world.wait(hours=3)
    world.read(True)
    assert world.rung() == ["oncall", "oncall"]
    world.read(False)
    assert world.one().normal_at == world.now
    world.read(False, signal="error_rate", tier="ticket")
    assert len(world.told(Kind.RESOLVE)) == 2


def test_a_ticket_revives_no_escalation(world: World) -> None:
    """What has paged is over, and nobody acknowledged: a ticket that joins wakes no second."""
    world.read(True)
    world.wait(minutes=5)
    world.read(False)
    world.wait(minutes=5)
    world.read(True, signal="error_rate", tier="ticket")
    world.wait(minutes=30)
    assert world.rung() == ["oncall"]


def test_what_is_opened_again_stays_open(world: World) -> None:
    """It closed itself; who opens it again has taken it, everybody hears, nobody is rung."""
    world.read(True)
    world.wait(minutes=1)
    world.read(False)
    world.wait(minutes=61)
    assert world.one().state is State.CLOSED
    world.wait(minutes=5)
    world.desk().reopen("latest", reason="it was real")
    assert world.told()[-2:] == [("oncall", "acknowledge"), ("oncall", "update")]
    world.wait(hours=3)
    one = world.one()
    assert (one.state, one.acknowledged_by) == (State.ACTIVE, "ada")
    assert world.rung() == ["oncall"]


def test_what_is_opened_again_and_forgotten_hides_nothing(world: World) -> None:
    """Nothing of it fires; a day later something does: it rings, as after any end."""
    world.read(True)
    world.wait(minutes=5)
    world.desk().resolve("latest", verdict="attack", reason="x")
    world.read(False)
    world.wait(hours=3)
    world.desk().reopen("latest", reason="look again")
    for _ in range(3):
        world.wait(seconds=1)
    assert world.rung() == ["oncall"]
    assert world.one().normal_at == world.now - timedelta(seconds=3)
    world.wait(hours=20)
    world.read(True)
    world.wait(minutes=16)
    assert world.rung() == ["oncall", "oncall", "second"]


def test_what_is_opened_again_while_it_fires_is_not_normal(world: World) -> None:
    """Its end is still to come, and is told."""
    world.read(True)
    world.desk().resolve("latest", verdict="attack", reason="x")
    world.wait(minutes=1)
    world.desk().reopen("latest", reason="not yet")
    assert world.one().normal_at is None
    world.wait(minutes=20)
    assert world.rung() == ["oncall"]
    world.read(False)
    assert world.told()[-1] == ("oncall", "resolve")


def test_each_end_is_told(world: World) -> None:
    """Catching up, several buckets are decided at one `now`: who was rung hears the last end."""
    for fires in (True, False, True, False):
        world.read(fires)
    assert world.told() == [("oncall", "trigger"), ("oncall", "resolve")] * 2
    world.wait(minutes=90)
    assert world.one().state is State.CLOSED
    assert len(world.told()) == 4


def test_who_was_rung_after_the_end_hears_that_it_is_closed(world: World) -> None:
    """Somebody escalated what was over already; when it closes itself, they are told, once."""
    world.read(True)
    world.wait(minutes=1)
    world.read(False)
    world.desk().escalate("latest")
    world.wait(minutes=61)
    assert world.one().state is State.CLOSED
    assert world.told(Kind.RESOLVE) == [
        ("oncall", "resolve"),
        ("oncall", "resolve"),
        ("second", "resolve"),
    ]


def test_tickets_that_a_person_escalated_are_over_with_the_last(world: World) -> None:
    """Where nothing of it may page its tickets are what it is about."""
    for signal in ("refusal_rate", "error_rate"):
        world.read(True, signal=signal, tier="ticket")
    world.desk().escalate("latest")
    world.read(False, tier="ticket")
    assert world.one().normal_at is None
    world.read(False, signal="error_rate", tier="ticket")
    assert world.one().normal_at == world.now


def test_an_hour_that_is_caught_up_with_is_no_flapping(world: World) -> None:
    """Decided at one moment, what was over for forty minutes of the events' time rings anew."""
    world.read(True)
    world.wait(minutes=5)
    world.desk().acknowledge("latest")
    world.wait(hours=1)
    world.read(False, at=T0 + timedelta(minutes=15))
    world.read(True, at=T0 + timedelta(minutes=55), onset_at=T0 + timedelta(minutes=52))
    assert world.rung() == ["oncall", "oncall"]
    assert world.one().acknowledged_at is None
