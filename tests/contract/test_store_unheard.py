"""Incidents without a future deadline are found on every kind of store, however many are open."""

from __future__ import annotations

import random
import time
from dataclasses import replace
from datetime import timedelta

import pytest

from monitor.incidents.model import Incident, Rung, State
from monitor.notify.channel import Kind, Message
from monitor.store import tables as t
from monitor.store import unheard
from monitor.store.store import Store, Tx
from monitor.store.watch_rows import NO_RINGS
from monitor.stream.signals import default_signals, plan
from monitor.watch import checks
from monitor.watch.checks import OVERDUE, Limits
from monitor.watch.facts import Facts, first_memory, gather
from tests.making import T0, incident

SILENT = Limits().unanswered
FIRST, SECOND = Rung(0, ("slack",)), Rung(600, ("pagerduty", "log"))
PLAN = plan(default_signals())
LONG_AGO = first_memory(T0 - timedelta(days=1))


def seconds(count: float) -> timedelta:
    return timedelta(seconds=count)


def made(number: int, paged_ago: float, *rungs: Rung, **changes: object) -> Incident:
    fields: dict[str, object] = {
        "uuid": f"{number:032}",
        "number": number,
        "paged_at": T0 - seconds(paged_ago),
        "escalation": rungs,
        **changes,
    }
    return incident(**fields)


def ring(tx: Tx, one: Incident, receiver: str, ago: float) -> None:
    """A trigger that was queued then."""
    at = T0 - seconds(ago)
    message = Message(
        id=f"{one.uuid}:{receiver}:{ago}",
        kind=Kind.TRIGGER,
        dedup_key=one.uuid,
        incident=one.name,
        title=one.title,
        severity=one.severity,
        state="firing",
        lines=(),
    )
    tx.outbox.put(one.uuid, receiver, message, at)


def accept_all(tx: Tx, *, but: int = 0) -> None:
    """The channels take every page but the last few claims."""
    taken = []
    while pages := tx.outbox.claim("test", T0):
        taken += pages
    for page in taken[: len(taken) - but]:
        tx.outbox.sent(page, "test", {}, "", T0)


def numbers(store: Store) -> list[int]:
    with store.read() as tx:
        return [one.number for one in tx.watch.unheard(T0, OVERDUE, SILENT).incidents]


def looked(tx: Tx) -> Facts:
    """As if the server's clock were the test's."""
    return replace(gather(tx, PLAN, T0, OVERDUE, SILENT), database_now=T0)


def test_an_incident_without_a_deadline_is_found_behind_a_storm(store: Store) -> None:
    """A thousand older ones whose next rung is to come do not hide it."""
    with store.write() as tx:
        for number in range(1, 1001):
            one = made(number, 120, FIRST, SECOND)
            tx.incidents.save(one)
            ring(tx, one, "slack", 120)
        lost = made(1001, 700, FIRST, SECOND)
        tx.incidents.save(lost)
        ring(tx, lost, "slack", 700)
        accept_all(tx)
    with store.read() as tx:
        facts = looked(tx)
    assert [one.number for one in facts.unheard] == [1001]
    assert checks.lost(facts, LONG_AGO, Limits()).overdue == (lost,)
    assert set(facts.rings) == {lost.uuid}


def test_a_storm_of_the_last_minute_is_searched_in_time(store: Store) -> None:
    """Ten thousand incidents without statistics of them: no plan goes through all pairs."""
    with store.write() as tx:
        pattern = made(1, 120, FIRST, SECOND)
        tx.incidents.save(pattern)
        ring(tx, pattern, "slack", 120)
        accept_all(tx)
    with store.engine.begin() as connection:
        (one,) = connection.execute(t.incidents.select()).mappings()
        (row,) = connection.execute(t.outbox.select()).mappings()
        numbers = range(2, 10_001)
        connection.execute(
            t.incidents.insert(), [{**one, "uuid": f"{n:032}", "number": n} for n in numbers]
        )
        page = {name: value for name, value in row.items() if name != "id"}
        connection.execute(
            t.outbox.insert(), [{**page, "incident": f"{n:032}", "key": str(n)} for n in numbers]
        )
    started = time.monotonic()
    with store.read() as tx:
        assert tx.watch.unheard(T0, OVERDUE, SILENT).count == 0
        assert tx.watch.unheard(T0 + seconds(600), OVERDUE, SILENT).count == 10_000
    assert time.monotonic() - started < 8


@pytest.mark.parametrize(
    "changes",
    [
        {"acknowledged_at": T0},
        {"normal_at": T0},
        {"state": State.RESOLVED},
        {"severity": "SEV3"},
        {"paged_at": None},
    ],
)
def test_what_waits_for_nobody_in_order_is_left_out(
    store: Store, changes: dict[str, object]
) -> None:
    """Answered, quiet, over, small, or never paged; `still` says so of one that was found."""
    lost = made(1, 700, FIRST, SECOND)
    with store.write() as tx:
        tx.incidents.save(lost)
    assert numbers(store) == [1]
    with store.write() as tx:
        assert tx.watch.still([lost.uuid, "gone"]) == {lost.uuid}
        tx.incidents.save(made(1, 700, FIRST, SECOND, **changes))
    assert numbers(store) == []
    with store.read() as tx:
        assert tx.watch.still([lost.uuid]) == set()


def test_rings_of_an_outage_before_do_not_count(store: Store) -> None:
    """It was over and was paged anew: its second rung is overdue although it rang for the first."""
    again = made(1, 700, FIRST, SECOND)
    with store.write() as tx:
        tx.incidents.save(again)
        for receiver, ago in (("slack", 5000.0), ("pagerduty", 4000.0), ("log", 4000.0)):
            ring(tx, again, receiver, ago)
        ring(tx, again, "slack", 700)
        accept_all(tx)
    assert numbers(store) == [1]
    with store.read() as tx:
        assert set(tx.watch.rings([again.uuid])[again.uuid].receivers) == {"slack"}


def test_rings_stay_on_their_side_of_a_page_that_is_dated_anew(store: Store) -> None:
    """The clock was put back over the page, or over what rang before it."""
    one = made(1, 100, FIRST, SECOND)
    with store.write() as tx:
        tx.incidents.save(one)
        for receiver, ago in (("log", 300.0), ("slack", 100.0), ("pagerduty", 900.0)):
            ring(tx, one, receiver, ago)
        assert tx.rings.astray() == {one.uuid}
        at = T0 - seconds(600)
        tx.rings.date_anew(one.uuid, one.paged_at, at)
        last = {name: rung.last_at for name, rung in tx.rings.of(one.uuid).items()}
        assert last == tx.rings.of_open()[one.uuid]
        assert last["log"] < at
        assert last["slack"] == T0 - seconds(100)
        assert last["pagerduty"] == at
        tx.rings.date_anew(one.uuid, None, at)
        assert all(rung.last_at < at for rung in tx.rings.of(one.uuid).values())


def test_a_list_that_is_cut_says_how_many_there_are(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The longest neglected are read; who was rung meanwhile comes after the others."""
    with store.write() as tx:
        for number in range(1, unheard.MOST + 31):
            tx.incidents.save(made(number, 3000 - number, FIRST))
        again = made(1, 2999, FIRST)
        ring(tx, again, "log", 90)
    with store.read() as tx:
        found = tx.watch.unheard(T0, OVERDUE, SILENT)
    assert found.count == unheard.MOST + 30
    assert [one.number for one in found.incidents] == list(range(2, unheard.MOST + 2))


def test_more_policies_than_conditions_hide_nothing(store: Store) -> None:
    """Whoever has the hundred-and-first escalation is looked at, though it may be in order."""
    with store.write() as tx:
        for number in range(1, unheard.POLICIES + 6):
            one = made(number, 120, FIRST, Rung(600 + number, ("pagerduty",)))
            tx.incidents.save(one)
            ring(tx, one, "slack", 120)
        accept_all(tx)
    assert len(numbers(store)) == 5


def test_the_database_finds_what_the_checks_find(store: Store) -> None:
    """On six hundred incidents of all kinds the two agree, one by one."""
    chance = random.Random(12)
    receivers = ("slack", "pagerduty", "log", "o'brien")
    policies = [
        tuple(
            Rung(after, tuple(chance.sample(receivers, chance.randint(1, 3))))
            for after in sorted(chance.sample(range(0, 2400, 300), chance.randint(1, 3)))
        )
        for _ in range(8)
    ] + [()]
    with store.write() as tx:
        everybody = []
        for number in range(1, 601):
            ago = chance.choice([30, 60, 61, 359, 361, 660, 661, 1500, 2400, 4000])
            one = made(number, ago, *chance.choice(policies))
            tx.incidents.save(one)
            everybody.append(one)
            for receiver in chance.sample(receivers, chance.randint(0, 4)):
                ring(tx, one, receiver, chance.choice([30, 60, 61, ago, ago / 2]))
        accept_all(tx, but=250)
    with store.read() as tx:
        rings = tx.watch.rings(one.uuid for one in everybody)
        found = unheard.unheard(tx._c, T0, OVERDUE, SILENT, most=1000)
        whole = replace(looked(tx), unheard=tuple(everybody), rings=rings)
    lost = checks.lost(whole, LONG_AGO, Limits())
    wanted = {one.number for one in (*lost.overdue, *lost.exhausted)} | {
        one.number for one in everybody if checks._unreached(rings.get(one.uuid, NO_RINGS), one, T0)
    }
    assert {one.number for one in found.incidents} == wanted
    assert found.count == len(wanted)
    assert 100 < len(wanted) < 560
