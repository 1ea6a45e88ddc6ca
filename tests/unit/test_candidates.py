"""Placing new alerts among thousands of open incidents."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from monitor.alerting.alerts import Reading
from monitor.config.settings import Settings, resolve
from monitor.decide import Decide
from monitor.incidents.model import Incident, State
from monitor.metrics import Metrics
from monitor.paging import Pager
from monitor.store.store import Store
from tests.making import T0, alert, incident, minutes, reading
from tests.statements import asked

HERE = {"environment": "prod", "feature": "chat"}


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    made = Store(f"sqlite:///{tmp_path / 'x.db'}")
    yield made
    made.close()


def decide(store: Store) -> Decide:
    """Its owner, who pages at once."""
    configured = resolve(Settings(profile="loud"))
    pager = Pager(configured.policy)
    return Decide(store, configured.plan, configured.profile, pager, Metrics())


def advance(store: Store, *readings: Reading) -> None:
    """One bucket."""
    with store.write() as tx:
        decide(store)._advance(tx, 1, readings, tx.incidents.firing(), T0)


def fill(store: Store, numbers: range) -> None:
    """Open incidents, each with an alert that fires."""
    with store.write() as tx:
        for number in numbers:
            where = {"environment": "prod", "feature": f"f{number}"}
            groups = frozenset({f"of {number}"})
            one = incident(uuid=f"{number:032x}", number=number, groups=groups, dimensions=where)
            tx.incidents.save(one)
            old = {"onset_at": T0 - minutes(300), "at": T0 - minutes(290)}
            tx.incidents.save_alert(alert(incident=one.uuid, dimensions=where, **old))


def placed(store: Store) -> dict[str, Incident]:
    """The incidents of the alerts, by feature."""
    with store.read() as tx:
        found = {}
        for one in tx.incidents.firing().values():
            assert one.incident is not None
            made = tx.incidents.get(one.incident)
            assert made is not None
            found[one.dimensions["feature"]] = made
        return found


def test_new_alerts_cost_the_same_however_many_incidents_are_open(store: Store) -> None:
    """The candidates are read once a bucket: ten alerts ask the same of 500 incidents as of 5."""
    costs = []
    for few, signal in ((range(1, 6), "error_rate"), (range(1000, 1500), "tool_failures")):
        fill(store, few)
        new = [
            reading(
                signal=signal,
                dimensions={"environment": "prod", "feature": f"new {number}"},
                onset_at=T0 - minutes(40 * number),
            )
            for number in range(10)
        ]
        with asked(store) as found:
            advance(store, *new)
        costs.append(found.statements)
    assert costs[1] <= costs[0] + 10
    assert costs[1] < 60 * 10


def test_what_one_alert_of_a_bucket_opens_the_next_one_joins(store: Store) -> None:
    """Siblings of one minute are one incident, and what joins it is kin to the third."""
    fill(store, range(1, 4))
    features = ("a", "b", "c")
    advance(store, *(reading(dimensions={**HERE, "feature": one}) for one in features))
    found = placed(store)
    assert found["a"] == found["b"] == found["c"]
    assert len(found["a"].groups) == 3
    assert found["a"] not in (found["f1"], found["f2"], found["f3"])


def test_an_alert_that_is_long_over_says_whether_another_is_news(store: Store) -> None:
    """Its incident's group takes the parent in without its own group, however long ago it was."""
    mine = incident(groups=frozenset({'{environment="prod", feature=""}'}))
    over = replace(
        alert(incident=mine.uuid, onset_at=T0 - minutes(600), at=T0 - minutes(590)),
        cleared_at=T0 - minutes(580),
    )
    with store.write() as tx:
        tx.incidents.save(replace(mine, paged_at=T0 - minutes(590)))
        tx.incidents.save_alert(over)
    advance(store, reading(dimensions={"environment": "prod"}))
    with store.read() as tx:
        told = [queued.message.kind for queued in tx.outbox.of_incident(mine.uuid)]
        assert len(tx.incidents.alerts_of(mine.uuid)) == 2
    assert told == []


def test_a_finding_that_comes_again_leaves_its_incident_alone(store: Store) -> None:
    """The same series at the same time is no other incident, and what a person said of it stays."""
    advance(store, reading())
    with store.write() as tx:
        (opened,) = tx.incidents.search()
        ended = replace(opened, state=State.RESOLVED, verdict="attack", resolved_at=T0)
        tx.incidents.save(ended)
        (one,) = tx.incidents.firing().values()
        tx.incidents.save_alert(replace(one, cleared_at=T0))
    advance(store, reading())
    with store.read() as tx:
        assert tx.incidents.search() == [ended]
