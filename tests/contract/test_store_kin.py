"""Incidents beside their alerts, on each store: which may be joined, stand alone, or are over."""

from __future__ import annotations

from dataclasses import replace

from monitor.incidents.model import Incident, Origin, State
from monitor.store.store import Store
from tests.making import T0, alert, incident, minutes


def made(number: int, **changes: object) -> Incident:
    """One of several incidents."""
    return incident(uuid=f"{number:032x}", number=number, **changes)


def test_open_incidents_come_with_the_alerts_that_others_may_join_by(store: Store) -> None:
    """Oldest first, with what fires or cleared lately; none that no series opened, none over."""
    first, second = made(1), made(2, origin=Origin.NO_DATA)
    others = [
        made(3, origin=Origin.NEVER_EVENT),
        made(4, origin=Origin.ALERTMANAGER),
        made(5, state=State.RESOLVED),
    ]
    fires = alert(incident=first.uuid)
    lately = replace(fires, fingerprint="b", cleared_at=T0, detected_at=T0 + minutes(1))
    before = replace(fires, fingerprint="c", cleared_at=T0 - minutes(1))
    with store.write() as tx:
        for one in (second, *others, first):
            assert tx.incidents.add(one)
        for number, each in enumerate((lately, fires, before)):
            tx.incidents.save_alert(each)
            elsewhere = replace(each, incident=others[number].uuid, fingerprint=f"d{number}")
            tx.incidents.save_alert(elsewhere)
        assert tx.kin.joinable(T0) == [(first, [fires, lately]), (second, [])]


def test_what_stands_alone_is_found_at_once(store: Store) -> None:
    """Incidents by uuid, the open or ended one of a group, and alerts that outlive theirs."""
    group = frozenset({"alertmanager:x"})
    fires, over = made(1, groups=group), made(2, groups=group, state=State.CLOSED, closed_at=T0)
    both = made(3, groups=group | {"y"})
    kept = alert(incident=fires.uuid)
    forsaken = replace(kept, fingerprint="b", incident=over.uuid)
    with store.write() as tx:
        for one in (fires, over, both):
            tx.incidents.add(one)
        for each in (
            kept,
            forsaken,
            replace(forsaken, fingerprint="c", cleared_at=T0),
            replace(kept, fingerprint="d", incident=None),
        ):
            tx.incidents.save_alert(each)
        uuids = [f"{number:032x}" for number in range(1200)]
        assert tx.kin.of(uuids) == {one.uuid: one for one in (fires, over, both)}
        assert tx.kin.open_of("alertmanager:x") == fires
        assert tx.kin.open_of("y") is None
        assert tx.kin.ended_of("alertmanager:x", T0) == over
        assert tx.kin.ended_of("alertmanager:x", T0 + minutes(1)) is None
        assert tx.kin.forsaken() == [forsaken]


def test_pages_are_dated_anew_together(store: Store) -> None:
    """Only the time of the page changes, and only of those that are named."""
    one, other = made(1, paged_at=T0), made(2, paged_at=T0)
    with store.write() as tx:
        tx.incidents.add(one)
        tx.incidents.add(other)
        tx.incidents.date_pages({})
        tx.incidents.date_pages({one.uuid: T0 - minutes(60), "none": T0})
        assert tx.incidents.search() == [other, replace(one, paged_at=T0 - minutes(60))]
