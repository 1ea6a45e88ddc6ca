"""While the store works, what the auditor finds is an incident like any other."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from monitor.alerting.routes import Route
from monitor.incidents.actions import acknowledge
from monitor.incidents.model import Incident, Origin, Rung
from monitor.notify.loopback.server import Answer, LoopbackServer, Request
from monitor.paging import Pager, Policy
from monitor.store.store import Store, Tx
from monitor.views import Health
from monitor.watch.checks import Lost
from monitor.watch.episodes import fold
from monitor.watch.ordinary import drive, file
from monitor.watch.settings import Heartbeat
from monitor.watch.state import one_line, save
from runbooks.durations import Duration
from tests.integration.watch_stage import Stage, secrets, sqlite, stage, wait_for
from tests.making import incident
from tests.unit.watch.test_episodes import CLOSED, tried
from tests.unit.watch.test_spool import opened

SECOND, THIRD = Rung(600, ("pagerduty",)), Rung(1200, ("log",))


@pytest.fixture
def secret_values(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in secrets().items():
        monkeypatch.setenv(name, value)


def paged(ago: timedelta, *rungs: Rung) -> Callable[[Store], None]:
    """An incident that was paged to Slack then, and nothing since."""

    def ready(store: Store) -> None:
        at = datetime.now(UTC) - ago
        pager = Pager(Policy(route=Route(receivers=("slack",)), escalation=rungs))
        with store.write() as tx:
            made = incident(detected_at=at, impact_at=at)
            tx.incidents.save(made)
            pager.page(tx, made, at, "a paging rule fires")
            deliver(tx, at)

    return ready


def deliver(tx: Tx, at: datetime) -> None:
    """As if the channels took everything."""
    for page in tx.outbox.claim("test", at):
        tx.outbox.sent(page, "test", {}, "", at)


@pytest.fixture
def on_stage(tmp_path: Path, secret_values: None) -> Iterator[Stage]:
    with stage(
        sqlite(tmp_path),
        {},
        ready=paged(timedelta(seconds=700), Rung(0, ("slack",)), SECOND, THIRD),
    ) as made:
        yield made


def own(store: Store) -> list[Incident]:
    with store.read() as tx:
        return tx.watch.own()


def test_a_lost_escalation_is_rung_once_and_then_alarmed(on_stage: Stage) -> None:
    """The auditor rings the overdue rung itself; when the next one is lost too, it pages."""
    store = Store(on_stage.configured.settings.store)
    on_stage.tick(2)
    with store.read() as tx:
        (one,) = tx.incidents.open()
        assert set(tx.outbox.triggers(one.uuid)) == {"slack"}, "decide has a minute to begin"
    on_stage.now += timedelta(seconds=60)
    on_stage.tick(2)
    with store.read() as tx:
        assert set(tx.outbox.triggers(one.uuid)) == {"slack", "pagerduty"}
        said = [entry.entry.text for entry in tx.incidents.timeline(one.uuid)]
    assert any("the auditor rang pagerduty" in text for text in said)
    assert own(store) == []
    with store.write() as tx:
        deliver(tx, on_stage.now)
    on_stage.now += timedelta(seconds=600)
    on_stage.tick(3)
    (alarm,) = [one for one in own(store) if "watch:escalation" in one.groups]
    with store.read() as tx:
        assert set(tx.outbox.triggers(alarm.uuid)) == {"slack", "pagerduty"}
        (page, *_) = tx.outbox.of_incident(alarm.uuid)
    assert one.name in page.message.lines[0]
    store.close()


def storm(store: Store) -> None:
    """Three hundred incidents whose next rung is to come, and then one whose is lost."""
    now = datetime.now(UTC)
    pager = Pager(
        Policy(route=Route(receivers=("slack",)), escalation=(Rung(0, ("slack",)), SECOND))
    )
    with store.write() as tx:
        for number in range(1, 302):
            at = now - (timedelta(seconds=700) if number == 301 else timedelta(seconds=60))
            made = incident(uuid=f"{number:032}", number=number, detected_at=at, impact_at=at)
            tx.incidents.save(made)
            pager.page(tx, made, at, "a paging rule fires")
        while pages := tx.outbox.claim("test", now):
            for page in pages:
                tx.outbox.sent(page, "test", {}, "", now)


def test_a_lost_escalation_is_found_behind_a_storm(tmp_path: Path, secret_values: None) -> None:
    """However many older incidents wait in order for their next rung."""
    with stage(sqlite(tmp_path), {}, ready=storm) as on_stage:
        on_stage.now += timedelta(seconds=60)
        state = on_stage.tick(2)
        store = Store(on_stage.configured.settings.store)
        with store.read() as tx:
            rung = {one.number: set(tx.outbox.triggers(one.uuid)) for one in tx.incidents.open()}
        store.close()
    assert rung.pop(301) == {"slack", "pagerduty"}
    assert set(map(frozenset, rung.values())) == {frozenset({"slack"})}
    assert not [one for one in state.findings if one.check == "escalation"]


def test_a_finding_that_clears_ends_its_incident(on_stage: Stage) -> None:
    """Pages that nobody sends are an incident; when they are sent, its end is told."""
    store = Store(on_stage.configured.settings.store)
    on_stage.now += timedelta(seconds=60)
    on_stage.tick(1)
    on_stage.now += timedelta(seconds=70)
    on_stage.tick(3)
    (alarm,) = [one for one in own(store) if "watch:outbox" in one.groups]
    assert alarm.origin is Origin.TOCSIN
    with store.write() as tx:
        for _ in range(3):
            deliver(tx, on_stage.now)
    on_stage.tick(3)
    with store.read() as tx:
        ended = tx.incidents.get(alarm.uuid)
        assert ended is not None
        assert ended.normal_at is not None
        assert {str(p.message.kind) for p in tx.outbox.of_incident(alarm.uuid)} == {
            "trigger",
            "resolve",
        }
    store.close()


def test_one_finding_is_one_incident_however_often_it_is_found(on_stage: Stage) -> None:
    """Found at each audit, and after a restart of the auditor: one incident, one page each."""
    store = Store(on_stage.configured.settings.store)
    on_stage.now += timedelta(seconds=60)
    on_stage.tick(1)
    on_stage.now += timedelta(seconds=70)
    on_stage.tick(5)
    before = [one.uuid for one in own(store) if "watch:outbox" in one.groups]
    on_stage.restart()
    on_stage.now += timedelta(seconds=70)
    on_stage.tick(5)
    after = [one.uuid for one in own(store) if "watch:outbox" in one.groups]
    assert len(before) == 1
    assert after == before
    with store.read() as tx:
        assert set(tx.outbox.triggers(before[0]).values()) == {1}
    store.close()


def test_somebody_who_acknowledges_ends_the_search_for_others(
    tmp_path: Path, secret_values: None
) -> None:
    """An incident that has an owner owes nobody a ring."""

    def ready(store: Store) -> None:
        paged(timedelta(hours=2), Rung(0, ("slack",)), SECOND)(store)
        with store.write() as tx:
            (one,) = tx.incidents.open()
            done = acknowledge(one, "ana", datetime.now(UTC))
            tx.incidents.apply(done, datetime.now(UTC))  # type: ignore[arg-type] # it is open

    with stage(sqlite(tmp_path), {}, ready=ready) as made:
        made.tick(3)
        store = Store(made.configured.settings.store)
        with store.read() as tx:
            (one,) = tx.incidents.open()
            assert set(tx.outbox.triggers(one.uuid)) == {"slack"}
        store.close()


def test_who_answers_while_the_auditor_looks_is_not_rung_over(on_stage: Stage) -> None:
    """Between the look and the ring somebody acknowledges: the ring does not happen."""
    store = Store(on_stage.configured.settings.store)
    pager = Pager(on_stage.configured.policy)
    with store.read() as tx:
        (one,) = tx.incidents.open()
    for found in (Lost((one,), ()), Lost((), (one,))):
        with store.write() as tx:
            done = acknowledge(one, "ana", on_stage.now)
            tx.incidents.apply(done, on_stage.now)  # type: ignore[arg-type] # it is open
            assert drive(tx, pager, found, {}, on_stage.now) == {}
            assert tx.outbox.triggers(one.uuid) == {"slack": 1}
    store.close()


def test_a_clock_put_forward_rings_nobody_early(tmp_path: Path, secret_values: None) -> None:
    """Every rung seems overdue at once: decide dates them anew first, and nobody is rung."""
    ready = paged(timedelta(seconds=60), Rung(0, ("slack",)), SECOND)
    with stage(sqlite(tmp_path), {}, ready=ready) as on_stage:
        on_stage.now += timedelta(seconds=70)
        on_stage.tick(2)
        steady = on_stage.now.timestamp()
        on_stage.now += timedelta(hours=1)
        for number in range(1, 5):
            on_stage.now += timedelta(seconds=3)
            on_stage.auditor.step(on_stage.now, steady + 3 * number)
        store = Store(on_stage.configured.settings.store)
        with store.read() as tx:
            (one,) = [found for found in tx.incidents.open() if found.number == 7]
            assert set(tx.outbox.triggers(one.uuid)) == {"slack"}
        store.close()


def test_an_episode_is_filed_once(tmp_path: Path) -> None:
    """Killed between the store's commit and the spool's note, it is filed again: the same rows."""
    store = Store(sqlite(tmp_path))
    (episode,) = fold([opened(), tried("slack", "trigger", "sent"), CLOSED]).values()
    for _ in range(2):
        with store.write() as tx:
            file(tx, episode, CLOSED.at)
    with store.read() as tx:
        (one,) = tx.incidents.search()
        entries = tx.incidents.timeline(one.uuid)
    assert len(entries) == len({entry.entry.key for entry in entries}) == 5
    assert replace(one, number=1).closed_at == CLOSED.at
    store.close()


class Outside:
    """Somebody who waits for signs of life."""

    def __init__(self) -> None:
        self.count = 0

    def answer(self, request: Request) -> Answer:
        self.count += 1
        return Answer(200)


def test_with_all_channels_down_the_heartbeat_is_withheld(
    tmp_path: Path, secret_values: None
) -> None:
    """A page that nobody takes for a minute: the outside hears nothing any more, and alarms."""

    def ready(store: Store) -> None:
        with store.write() as tx:
            made = incident(detected_at=datetime.now(UTC))
            tx.incidents.save(made)
            Pager(Policy(route=Route(receivers=("slack",)))).page(
                tx, made, datetime.now(UTC), "a paging rule fires"
            )
            for page in tx.outbox.claim("test", datetime.now(UTC)):
                later = datetime.now(UTC) + timedelta(minutes=5)
                tx.outbox.again(page, "test", later, "cannot connect")

    receiver = Outside()
    with LoopbackServer(receiver) as server:
        beat = Heartbeat(url=f"{server.url}/ping", every=Duration(seconds=10))
        with stage(sqlite(tmp_path), {}, ready=ready, heartbeat=beat) as made:
            made.tick(5)
            wait_for(lambda: receiver.count >= 1)
            made.now += timedelta(seconds=60)
            state = made.tick(3)
            assert "no receiver has accepted a page of INC-0007" in state.withheld
            assert made.auditor._heart is not None
            made.auditor._heart.settle(20)
            heard = receiver.count
            made.tick(20)
            made.auditor._heart.settle(20)
            assert receiver.count == heard
            assert one_line_of(made).state == "bad"


def one_line_of(made: Stage) -> Health:
    """What `/statusz` and the overview show."""
    save(made.places.state, made.auditor.state(made.now))
    return one_line(made.places.state, made.now)
