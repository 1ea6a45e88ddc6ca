"""Pages that do not move are told by the emergency road, once, and only when nobody knows."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from monitor.alerting.routes import Route
from monitor.incidents.actions import acknowledge
from monitor.notify.channel import Sent
from monitor.paging import Pager, Policy
from monitor.store.outbox import LONGEST_WAIT
from monitor.store.store import Store, Tx
from monitor.watch.bypass import STUCK
from tests.integration.test_watch_ordinary import deliver
from tests.integration.watch_stage import Stage, secrets, sqlite, stage
from tests.making import incident
from tests.servers.faults import status

LATER = LONGEST_WAIT


def refused_everywhere(store: Store) -> None:
    """An incident whose only page no receiver takes; it waits as long as any can."""
    now = datetime.now(UTC)
    with store.write() as tx:
        made = incident(detected_at=now, impact_at=now)
        tx.incidents.save(made)
        Pager(Policy(route=Route(receivers=("slack",)))).page(tx, made, now, "a paging rule fires")
        put_off(tx, now)


def put_off(tx: Tx, now: datetime) -> None:
    """As if no receiver took what is due."""
    for page in tx.outbox.claim("test", now):
        tx.outbox.again(page, "test", now + LATER, "cannot connect")


@pytest.fixture
def on_stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stage]:
    for name, value in secrets().items():
        monkeypatch.setenv(name, value)
    with stage(sqlite(tmp_path), {}, ready=refused_everywhere) as made:
        made.tick(2)
        made.now += timedelta(seconds=60)
        made.tick(3)
        yield made


@pytest.fixture
def store(on_stage: Stage) -> Iterator[Store]:
    opened = Store(on_stage.configured.settings.store)
    yield opened
    opened.close()


def test_what_nobody_took_for_two_minutes_goes_round_the_outbox(
    on_stage: Stage, store: Store
) -> None:
    """One page for all that is stuck, under the key of the queued one; its end when it is over."""
    assert not on_stage.pagerduty.incidents
    ticks = on_stage.until(lambda: bool(on_stage.pagerduty.incidents))
    assert 40 <= ticks * 3 <= 90
    (page,) = on_stage.pagerduty.incidents
    assert "pages do not move" in page.summary
    assert "no receiver has accepted a page of INC-0007" in str(page.custom_details)
    on_stage.tick(40)
    (page,) = on_stage.pagerduty.incidents
    assert page.triggers == 1

    # Now the outbox moves: what was queued arrives late, and folds.
    with store.write() as tx:
        for queued in tx.outbox.claim("test", on_stage.now + LATER):
            channel = on_stage.auditor._road._channels[queued.receiver]
            assert isinstance(channel.send(queued.message, on_stage.now), Sent)
            tx.outbox.sent(queued, "test", {}, "", on_stage.now)
    on_stage.until(lambda: not on_stage.auditor._road.episodes)
    (page,) = [one for one in on_stage.pagerduty.incidents if "do not move" in one.summary]
    assert page.state == "resolved"
    assert page.triggers > 1
    assert len({one.dedup_key for one in on_stage.pagerduty.incidents}) == len(
        on_stage.pagerduty.incidents
    )
    assert not [e for e in on_stage.pagerduty.events if "again" in e.effect]
    with store.read() as tx:
        (filed,) = [i for i in tx.incidents.search() if f"watch:{STUCK}" in i.groups]
        kinds = [entry.entry.kind for entry in tx.incidents.timeline(filed.uuid)]
    assert {"PAGE", "SENT", "NORMAL", "CLOSED"} <= set(kinds)


def test_an_outbox_that_takes_nothing_is_told_round_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The page about the stuck ones cannot even be queued: what was found is told all the same."""
    for name, value in secrets().items():
        monkeypatch.setenv(name, value)

    def ready(store: Store) -> None:
        refused_everywhere(store)
        with store.write() as tx:
            refusal = "SELECT RAISE(ABORT, 'no more')"
            tx._c.exec_driver_sql(
                f"CREATE TRIGGER no_more BEFORE INSERT ON outbox BEGIN {refusal}; END"
            )

    with stage(sqlite(tmp_path), {}, ready=ready) as on_stage:
        on_stage.tick(2)
        on_stage.now += timedelta(seconds=60)
        on_stage.until(
            lambda: any("do not move" in one.summary for one in on_stage.pagerduty.incidents)
        )
        told = " ".join(str(one.custom_details) for one in on_stage.pagerduty.incidents)
    assert "no receiver has accepted a page of INC-0007" in told


def test_its_end_is_not_told_before_the_queued_page_has_rung(on_stage: Stage, store: Store) -> None:
    """The page that was stuck goes out first: the one about it would open in PagerDuty what the
    emergency road had resolved, and wake people a second time."""
    on_stage.until(lambda: bool(on_stage.pagerduty.incidents))
    (page,) = on_stage.pagerduty.incidents
    with store.write() as tx:
        for queued in tx.outbox.claim("test", on_stage.now + LATER):
            if (queued.receiver, queued.message.dedup_key) == ("pagerduty", page.dedup_key):
                tx.outbox.again(queued, "test", on_stage.now + LATER, "cannot connect")
            else:
                tx.outbox.sent(queued, "test", {}, "", on_stage.now)
    for _ in range(5):
        on_stage.tick(2)
        with store.write() as tx:
            deliver(tx, on_stage.now)
    assert not on_stage.auditor._found
    assert [one.state for one in on_stage.pagerduty.incidents] == ["triggered"]
    with store.write() as tx:
        deliver(tx, on_stage.now + LATER)
    on_stage.tick(6)
    assert not on_stage.auditor._road.running(STUCK)
    assert [one.state for one in on_stage.pagerduty.incidents] == ["resolved"]


def test_a_receiver_that_stays_down_does_not_keep_the_road_shut(
    on_stage: Stage, store: Store
) -> None:
    """Slack takes neither our page nor the queued one: when PagerDuty has both, it is over, and the
    next trouble is rung."""
    on_stage.slack.fail_next(status(503), times=10_000)
    on_stage.until(lambda: bool(on_stage.pagerduty.incidents))
    with store.write() as tx:
        (one,) = [found for found in tx.incidents.open() if found.number == 7]
        done = acknowledge(one, "ana", on_stage.now)
        tx.incidents.apply(done, on_stage.now)  # type: ignore[arg-type] # it is open
        put_off_slack(tx, on_stage.now)
    for _ in range(4):
        on_stage.tick(2)
        with store.write() as tx:
            put_off_slack(tx, on_stage.now)
    assert [one.state for one in on_stage.pagerduty.incidents] == ["resolved"]
    with store.write() as tx:
        page_another(tx, on_stage.now)
    on_stage.now += timedelta(seconds=65)
    on_stage.until(lambda: "triggered" in {one.state for one in on_stage.pagerduty.incidents}, 60)


def page_another(tx: Tx, now: datetime) -> None:
    """The next trouble, for Slack alone."""
    number = tx.incidents.next_number()
    again = incident(uuid="b" * 32, number=number, detected_at=now, impact_at=now)
    tx.incidents.save(again)
    pager = Pager(Policy(route=Route(receivers=("slack",))))
    pager.page(tx, again, now, "a paging rule fires")


def put_off_slack(tx: Tx, now: datetime) -> None:
    """As if PagerDuty took what is due, and Slack did not."""
    for page in tx.outbox.claim("test", now + LATER):
        if page.receiver == "slack":
            tx.outbox.again(page, "test", now + LATER, "cannot connect")
        else:
            tx.outbox.sent(page, "test", {}, "", now)


def test_a_page_that_somebody_took_needs_no_second_road(on_stage: Stage, store: Store) -> None:
    """Another receiver accepted the page about it: nobody is rung twice for one thing."""
    with store.write() as tx:
        deliver(tx, on_stage.now)
    on_stage.tick(60)
    assert on_stage.auditor._found
    assert not on_stage.auditor._road.episodes


def test_a_page_that_somebody_acknowledged_needs_no_second_road(
    on_stage: Stage, store: Store
) -> None:
    """They know."""
    with store.write() as tx:
        (own,) = tx.watch.own()
        done = acknowledge(own, "ana", on_stage.now)
        tx.incidents.apply(done, on_stage.now)  # type: ignore[arg-type] # it is open
        put_off(tx, on_stage.now)
    on_stage.tick(60)
    assert not on_stage.auditor._road.episodes


def test_an_acknowledgement_of_what_is_over_lapses(on_stage: Stage, store: Store) -> None:
    """Somebody had it in hand, and it was over; the same trouble later is paged by both roads."""
    with store.write() as tx:
        (own,) = tx.watch.own()
        done = acknowledge(own, "ana", on_stage.now)
        tx.incidents.apply(done, on_stage.now)  # type: ignore[arg-type] # it is open
        deliver(tx, on_stage.now)
        deliver(tx, on_stage.now + LATER)
    on_stage.tick(4)
    with store.write() as tx:
        deliver(tx, on_stage.now)
    on_stage.now += timedelta(minutes=11)
    with store.write() as tx:
        page_another(tx, on_stage.now)
        put_off(tx, on_stage.now)
    on_stage.now += timedelta(seconds=65)
    on_stage.tick(2)
    with store.read() as tx:
        (own,) = [one for one in tx.watch.own() if one.uuid == own.uuid]
        kinds = [entry.entry.kind for entry in tx.incidents.timeline(own.uuid)]
        assert tx.outbox.triggers(own.uuid)["slack"] == 2
    assert own.acknowledged_at is None
    assert "LAPSED" in kinds
    on_stage.until(lambda: bool(on_stage.pagerduty.incidents), 60)


def test_what_is_found_again_later_is_rung_again(on_stage: Stage, store: Store) -> None:
    """An acceptance counts until it was over: the same trouble an hour later rings by itself."""
    with store.write() as tx:
        deliver(tx, on_stage.now)
        deliver(tx, on_stage.now + LATER)
    on_stage.tick(4)
    with store.write() as tx:
        (own,) = tx.watch.own()
        assert own.normal_at is not None
        deliver(tx, on_stage.now)
        page_another(tx, on_stage.now)
        put_off(tx, on_stage.now)
    on_stage.now += timedelta(seconds=65)
    on_stage.until(lambda: bool(on_stage.pagerduty.incidents), 60)
