"""What ages and what stays, on every store; on PostgreSQL with the daemon's own rights."""

from __future__ import annotations

import random
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from monitor.alerting.alerts import Alert
from monitor.evidence import AFTER_S, BEFORE_S
from monitor.incidents.model import Incident, State
from monitor.incidents.timeline import Entry
from monitor.notify.channel import Kind, Message
from monitor.review.facts import gather
from monitor.silence import VOLUME
from monitor.store import tables as t
from monitor.store.decision_rows import Point, Seen
from monitor.store.store import Store
from monitor.stream.cells import Emission, Occurrence, Progress
from tests.ageing import (
    BUCKET,
    CONFIGURED,
    HORIZON,
    NOW,
    aged,
    bucket,
    counted,
    decided,
    everything,
    rows,
)
from tests.making import T0, alert, incident, level_note, minutes, queued

CHAT, SEARCH, WHOLE = ("prod", "chat"), ("prod", "search"), ("prod",)
START = int(T0.timestamp())


def seen(signal: str, bucket: int, *series: tuple[str, ...]) -> Seen:
    """Points of these series."""
    return Seen(signal, bucket, [Point(dims, 3, 20, 0.1, 1.0, "q") for dims in series])


def over(number: int, at: datetime, lasted: timedelta, **changes: Any) -> Incident:
    """An incident that has ended."""
    made = incident(
        uuid=f"{number:032x}",
        number=number,
        detected_at=at,
        impact_at=at - minutes(5),
        normal_at=at + lasted,
        mitigated_at=at + lasted,
        resolved_at=at + lasted,
        state=State.RESOLVED,
        verdict="true",
    )
    return replace(made, **changes)


def entry(kind: str, at: datetime) -> Entry:
    """Something that was said."""
    return Entry(kind=kind, text="x", actor="ada", occurred_at=at)


def test_what_is_older_goes_and_what_is_younger_stays(store: Store) -> None:
    """Cells, late counts and points of the last weeks are as they were, all else is gone; another
    round finds nothing, and what it says of rows is what went."""
    old = [START - BUCKET, START, HORIZON - BUCKET]
    young = [HORIZON, HORIZON + BUCKET, int(NOW.timestamp()) - BUCKET]
    pipeline = decided(store, NOW)
    counted(store, pipeline, old + young)
    with store.write() as tx:
        tx.decisions.save_points([seen("refusal_rate", at, CHAT) for at in old + young])
    metrics = aged(store)
    for table in (t.cells, t.late, t.points):
        at = list(table.columns).index(table.c.bucket)
        assert sorted({row[at] for row in rows(store, table)}) == young  # type: ignore[type-var] # whole numbers
    gone = {name: metrics.value("tocsin_aged_rows_total", table=name) for name in ("cells", "late")}
    assert gone == {"cells": 3.0, "late": 3.0}
    before = everything(store)
    assert aged(store).value("tocsin_aged_rows_total", table="points") == 0
    assert everything(store) == before


def test_nothing_ages_before_it_is_decided(store: Store) -> None:
    """A stream that is behind keeps its counts, however old they are; a clock that was set ahead,
    or events that are dated after today, take nothing away."""
    pipeline = decided(store, T0)
    counted(store, pipeline, [START - BUCKET, START, START + BUCKET])
    before = rows(store, t.cells)
    aged(store, NOW + timedelta(days=3650))
    assert rows(store, t.cells) == before
    decided(store, NOW + timedelta(days=3650))
    aged(store, T0 + timedelta(days=30))
    assert rows(store, t.cells) == before


@pytest.mark.parametrize("seed", range(4))
def test_what_ages_is_told_by_a_rule_of_one_line(store: Store, seed: int) -> None:
    """Whatever was counted and whatever happened: of what is older there are only the series of
    incidents in their time, and the late counts of that time."""
    rng = random.Random(seed)
    pipeline = decided(store, NOW)
    buckets = sorted(rng.sample(range(START // 60, HORIZON // 60 + 500), 60))
    starts = [60 * bucket for bucket in buckets]
    counted(store, pipeline, starts)
    signals = {"refusal_rate": (CHAT, SEARCH, WHOLE), "error_rate": (CHAT, SEARCH)}
    points = [seen(name, at, *dims) for at in starts for name, dims in signals.items()]
    incidents = []
    for number in range(1, rng.randrange(2, 9)):
        made = over(number, T0 + minutes(rng.randrange(5 * 1440)), minutes(rng.randrange(2000)))
        feature = rng.choice(["chat", "search"])
        place = {"environment": "prod", "feature": feature}
        open_ = rng.random() < 0.15
        ended = None if open_ else made.resolved_at
        name = rng.choice([*signals, None])
        incidents.append(replace(made, signal=name, dimensions=place, resolved_at=ended))
    with store.write() as tx:
        tx.decisions.save_points(points)
        for made in incidents:
            tx.incidents.save(made)

    def holds(one: Incident, at: int) -> bool:
        began = min(one.detected_at, one.impact_at or one.detected_at).timestamp()
        ended = one.resolved_at.timestamp() if one.resolved_at else float("inf")
        return began - BEFORE_S <= at < ended + AFTER_S

    aged(store)
    with store.read() as tx:
        for name, dims in signals.items():
            expected = {}
            for at in starts:
                held = {
                    tuple(i.dimensions.values())
                    for i in incidents
                    if i.signal == name and holds(i, at)
                }
                kept = [one for one in dims if at >= HORIZON or one in held]
                if kept:
                    expected[at] = kept
            found = tx.decisions.points(name, 0, HORIZON * 2)
            assert {at: [point.dims for point in each] for at, each in found.items()} == expected
    late = {at for at in starts if at >= HORIZON or any(holds(one, at) for one in incidents)}
    assert {row[1] for row in rows(store, t.late)} == late
    assert {row[1] for row in rows(store, t.cells)} == {at for at in starts if at >= HORIZON}


def test_an_old_incident_reads_as_before(store: Store) -> None:
    """Its review, chart and sums are the same before and after everything around it has aged: of
    one of a rate, of a silence, of an open one, of one that was declared."""
    pipeline = decided(store, NOW)
    end = T0 + timedelta(hours=3)
    starts = list(range(START - 8 * 3600, int(end.timestamp()) + 3600, BUCKET))
    counted(store, pipeline, starts[::7])
    place = {"environment": "prod", "feature": "chat"}
    found = [
        over(1, T0, timedelta(hours=3)),
        over(2, T0, timedelta(hours=1), signal="no_data", dimensions=place),
        over(3, T0, timedelta(hours=1), resolved_at=None, mitigated_at=None, state=State.ACTIVE),
        over(4, T0, timedelta(hours=1), signal=None, impact_at=None),
    ]
    points = [seen(n, at, CHAT, SEARCH) for at in starts for n in ("refusal_rate", VOLUME)]
    with store.write() as tx:
        tx.decisions.save_points(points)
        tx.notes.add(level_note())
        for one in found:
            tx.incidents.save(one)
            tx.incidents.save_alert(alert(incident=one.uuid, at=one.detected_at))
            tx.incidents.append(one.uuid, [entry("DETECT", one.detected_at)], T0)
    with store.read() as tx:
        before = [gather(tx, CONFIGURED, one, NOW) for one in found]
    assert before[0].impact is not None
    assert before[0].late > 0
    assert sum(point.n for point in before[1].chart.points) > 0
    metrics = aged(store)
    assert metrics.value("tocsin_aged_rows_total", table="points") > 0
    with store.read() as tx:
        assert [gather(tx, CONFIGURED, one, NOW) for one in found] == before


def test_points_of_a_signal_that_is_no_more_stay_whole(store: Store) -> None:
    """Nobody can say any more which series the incident was about: none of them goes."""
    decided(store, NOW)
    made = over(1, T0, timedelta(hours=1), signal="grievances")
    with store.write() as tx:
        tx.decisions.save_points([seen("grievances", START, CHAT, SEARCH)])
        tx.incidents.save(made)
    before = rows(store, t.points)
    aged(store)
    assert rows(store, t.points) == before


def _shadow(number: int, cleared: datetime | None, **changes: Any) -> Alert:
    made = alert(dimensions={"feature": f"f{number}"}, tier="shadow", at=T0 + minutes(number))
    return replace(made, cleared_at=cleared, **changes)


def test_alerts_that_nobody_worked_on_age(store: Store) -> None:
    """Of no incident and cleared long ago; the newest stays, for a digest goes by numbers."""
    decided(store, NOW)
    alerts = {
        "old": _shadow(1, T0 + minutes(9)),
        "fires": _shadow(2, None),
        "of an incident": _shadow(3, T0 + minutes(9), incident="a" * 32),
        "young": _shadow(4, NOW - minutes(9)),
        "old and newest": _shadow(5, T0 + minutes(9)),
    }
    with store.write() as tx:
        for one in alerts.values():
            tx.incidents.save_alert(one)
    aged(store)
    with store.write() as tx:
        left = {one.fingerprint for one in tx.incidents.alerts_since(T0)}
        assert left == {one.fingerprint for name, one in alerts.items() if name != "old"}
        number = tx.incidents.newest_alert()
        tx.incidents.save_alert(_shadow(6, None))
        assert tx.incidents.newest_alert() == number + 1


def test_a_never_event_that_a_replay_tells_again_pages_no_more(store: Store) -> None:
    """Decided ones age, but not before the log is past them: the row is why it is told once."""
    pipeline = decided(store, NOW)

    def occurrence(offset: int) -> Occurrence:
        return Occurrence("denied", "s", START, offset, T0, {}, f"e{offset}")

    found = [occurrence(offset) for offset in (1, 2, 8, 9)]
    emission = Emission(Progress(low_water=8, hi=10), [], [], found, [])
    with store.write() as tx:
        tx.stream.save(pipeline, "t", 0, emission)
        for one in (found[0], found[2], found[3]):
            tx.stream.occurrence_handled("t", 0, one, T0)
    aged(store)
    assert {row[4] for row in rows(store, t.occurrences)} == {2, 8, 9}
    with store.write() as tx:
        tx.stream.save(pipeline, "t", 0, emission)
        assert [one.offset for _, _, one in tx.stream.open_occurrences()] == [1, 2]


def test_attempts_of_pages_that_are_done_with_age(store: Store) -> None:
    """What a page came to stays on the page; of one that waits every attempt stays."""
    decided(store, NOW)
    waiting, young = 3, 5
    with store.write() as tx:
        for number in range(1, 6):
            text = f"p{number}"
            message = replace(queued(number).message, id=text, dedup_key=text)
            made = NOW if number == young else T0
            assert tx.outbox.put("i" * 32, f"r{number}", message, made)
    with store.queue() as tx:
        for page in (*tx.outbox.claim("w", T0), queued(young)):
            tx.outbox.attempt(page, "accepted", "", 0.1, T0)
            if page.id != waiting:
                tx.outbox.sent(page, "w", {}, "ok", T0)
    before = rows(store, t.outbox)
    aged(store)
    assert {row[0] for row in rows(store, t.attempts)} == {waiting, young}
    assert rows(store, t.outbox) == before


def test_what_people_and_incidents_did_never_ages(store: Store) -> None:
    """Incidents, timelines, pages, runs, changes, notes, revisions, the audit: to the last row."""
    decided(store, NOW)
    message = Message(
        id="m",
        kind=Kind.TRIGGER,
        dedup_key="m",
        incident="INC-0007",
        severity="SEV1",
        state="triage",
        title="t",
        lines=(),
    )
    with store.write() as tx:
        tx.incidents.save(incident())
        tx.incidents.append(incident().uuid, [entry("NOTE", T0)], T0)
        tx.incidents.save_alert(alert(incident=incident().uuid))
        tx.incidents.add_change("deploy", "v2", T0, {}, "ci", T0)
        tx.outbox.put(incident().uuid, "r", message, T0)
        tx.notes.add(level_note())
    before = everything(store)
    aged(store)
    after = everything(store)
    for found in (before, after):
        del found["snapshots"]
    assert after == before


def test_the_oldest_rows_are_found_by_an_index(store: Store) -> None:
    """Neither database reads or sorts a table for the few rows of a transaction, and PostgreSQL
    not even where its statistics know nothing of them yet."""
    pipeline = decided(store, NOW)
    counted(store, pipeline, [START + 60 * number for number in range(50)])
    with store.write() as tx:
        tx.decisions.save_points([seen("refusal_rate", START + 60 * n, CHAT) for n in range(3000)])
    said, plans = "EXPLAIN" if store.shared else "EXPLAIN QUERY PLAN", list[str]()

    def explain(_conn: Any, cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        if statement.startswith("DELETE") and ("ctid" in statement or not store.shared):
            cursor.execute(f"{said} {statement}", parameters)
            plans.extend(" ".join(str(row[-1 if store.shared else 3]).split()) for row in cursor)

    sa.event.listen(store.engine, "before_cursor_execute", explain)
    aged(store)
    sa.event.remove(store.engine, "before_cursor_execute", explain)
    assert len(plans) > 8
    bad = ("SCAN ", "USE TEMP B-TREE", "-> Seq Scan", "-> Sort", "-> Bitmap Heap Scan")
    assert [plan for plan in plans if plan.startswith(bad)] == []


def test_what_comes_for_a_bucket_that_aged_is_counted_late(store: Store) -> None:
    """A partition that closed it counts it as late. One that was silent for weeks has it open: its
    cells stay, they grow behind the position, and what they grow by is late. Nothing judges it."""
    pipeline = decided(store, T0)
    key = ("prod", "chat", "m", "", "")

    def save(partition: int, hi: int, closed: int, count: int, late: int) -> None:
        buckets = [bucket(START, {key: count})] if count else []
        found = [(hi - 1, START)] * late
        progress = Progress(hi=hi, closed=closed)
        with store.write() as tx:
            tx.stream.save(pipeline, "t", partition, Emission(progress, buckets, found, [], []))

    silent, lively = 0, 1
    for partition, closed in ((silent, START), (lively, START + 60)):
        save(partition, 5, closed, 5, 0)
    decided(store, NOW)
    aged(store)
    assert {row[3] for row in rows(store, t.cells)} == {silent}
    save(silent, 6, START, 7, 0)  # what is there, and two more
    save(silent, 6, START, 7, 0)  # a replay
    save(lively, 6, START + 60, 0, 1)
    with store.read() as tx:
        assert tx.stream.late_by_bucket(pipeline, 0, START + 60) == {START: 3}
        assert tx.decisions.position(pipeline) == int(NOW.timestamp())
    save(silent, 7, START + 60, 0, 0)
    aged(store)
    assert rows(store, t.cells) == rows(store, t.late) == set()
