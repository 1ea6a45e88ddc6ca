"""Keys that are taken once, and what has ended lately, on every store."""

from __future__ import annotations

import threading
from contextlib import suppress
from dataclasses import replace

from monitor.incidents.model import State
from monitor.store.received_rows import KEPT
from monitor.store.store import Store
from tests.making import T0, alert, incident, minutes


def test_a_key_is_taken_once(store: Store) -> None:
    """Within a transaction and in later ones; a transaction that failed has taken nothing."""
    with store.write() as tx:
        assert tx.received.first("k", "slack", T0)
        assert not tx.received.first("k", "slack", T0)
    with store.write() as tx:
        assert not tx.received.first("k", "pagerduty", T0 + minutes(1))
    with suppress(ZeroDivisionError), store.write() as tx:
        assert tx.received.first("other", "slack", T0)
        assert 1 / 0
    with store.write() as tx:
        assert tx.received.first("other", "slack", T0)
        assert tx.received.count("slack") == 2


def test_many_keys_are_taken_together(store: Store) -> None:
    """Those that are new are said, each once, in any number."""
    keys = [f"k{number}" for number in range(3000)]
    with store.write() as tx:
        assert tx.received.first_of([], "slack", T0) == set()
        assert tx.received.first_of(keys[:2000] * 2, "slack", T0) == set(keys[:2000])
        assert tx.received.first_of(keys, "slack", T0) == set(keys[2000:])
        assert tx.received.known([*keys, "other"]) == set(keys)
        assert tx.received.known([]) == set()


def test_old_keys_make_room(store: Store) -> None:
    """After the time that senders repeat in, a key counts as new."""
    with store.write() as tx:
        tx.received.first("old", "slack", T0)
        assert not tx.received.first("old", "slack", T0 + KEPT)
        assert tx.received.first("old", "slack", T0 + KEPT + minutes(1))
        assert tx.received.count("slack") == 1


def test_of_many_at_once_one_is_first(store: Store) -> None:
    """Two copies of a message that come at the same time: one of them is taken."""
    taken: list[bool] = []

    def take() -> None:
        with store.write() as tx:
            taken.append(tx.received.first("k", "slack", T0))

    threads = [threading.Thread(target=take) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(taken) == [False, False, False, True]


def test_what_ended_lately_is_found(store: Store) -> None:
    """Alerts by when they cleared; incidents that are open, or ended lately."""
    quiet = replace(incident(), uuid="a", number=1, normal_at=T0 + minutes(5))
    closed = replace(incident(), uuid="b", number=2, state=State.CLOSED, closed_at=T0 + minutes(6))
    before = incident(uuid="c", number=3, state=State.RESOLVED, resolved_at=T0 - minutes(1))
    fires = replace(incident(), uuid="d", number=4)
    with store.write() as tx:
        for one in (quiet, closed, before, fires):
            tx.incidents.save(one)
        for minute, feature in ((-1, "old"), (1, "new"), (2, "newer")):
            made = alert(dimensions={"feature": feature})
            tx.incidents.save_alert(replace(made, cleared_at=T0 + minutes(minute)))
        tx.incidents.save_alert(alert(dimensions={"feature": "fires"}))
    with store.read() as tx:
        assert [one.number for one in tx.kin.bare(T0)] == [1, 2, 4]
        found = [one.dimensions["feature"] for one in tx.incidents.cleared_since(T0)]
    assert found == ["newer", "new"]
