"""What the auditor calls wrong, and what it does not."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from monitor.incidents.model import Incident, Rung
from monitor.store.lease_rows import Lease
from monitor.store.watch_rows import Rings
from monitor.watch import checks
from monitor.watch.checks import CHECKS, Finding, Limits
from monitor.watch.facts import Facts, Memory, first_memory, remember
from tests.making import T0, incident
from tests.unit.watch.looks import IDLE, facts, part

STARTED = T0 - timedelta(hours=1)
LIMITS = Limits()


def seconds(count: float) -> timedelta:
    return timedelta(seconds=count)


def memory(*looks: Facts, started: datetime = STARTED) -> Memory:
    known = first_memory(started)
    for look in looks:
        known = remember(known, look)
    return known


def found(look: Facts, *before: Facts, driven: dict[str, datetime] | None = None) -> list[Finding]:
    return checks.audit(look, memory(*before, look), LIMITS, driven or {})


def keys(look: Facts, *before: Facts, driven: dict[str, datetime] | None = None) -> set[str]:
    return {finding.key for finding in found(look, *before, driven=driven)}


def paged(ago: timedelta, *rungs: Rung) -> Incident:
    return incident(paged_at=T0 - ago, escalation=rungs)


def rings(*receivers: str, sent: int = 1, waiting: int = 0, ago: timedelta) -> Rings:
    return Rings(
        receivers=dict.fromkeys(receivers, 1),
        waiting=waiting,
        sent=sent,
        first_at=T0 - ago,
        last_at=T0 - ago,
    )


def test_an_installation_in_order_has_no_finding() -> None:
    """Read to the end, decided, nothing queued."""
    assert found(facts()) == []


FIRST, SECOND = Rung(0, ("slack",)), Rung(600, ("pagerduty",))


@pytest.mark.parametrize(
    ("ago", "overdue"), [(seconds(599), False), (seconds(650), False), (seconds(661), True)]
)
def test_a_rung_that_was_due_for_a_minute_is_lost(ago: timedelta, overdue: bool) -> None:
    """A future deadline is no finding; neither is one that is merely late."""
    one = paged(ago, FIRST, SECOND)
    look = facts(unheard=(one,), rings={one.uuid: rings("slack", ago=ago)})
    assert (checks.lost(look, memory(look), LIMITS).overdue == (one,)) is overdue


def test_a_clock_that_is_not_to_be_trusted_rings_nobody() -> None:
    """Hours beside the database's, whose times are another machine's, or set within the last
    minute, before decide has dated anew what waits; a finding about the clock is told."""
    late = replace(paged(seconds(4000), FIRST, SECOND), uuid="a" * 32)
    silent = replace(paged(seconds(4000), FIRST), uuid="b" * 32)
    rang = {one.uuid: rings("slack", ago=seconds(4000)) for one in (late, silent)}
    look = facts(unheard=(late, silent), rings=rang)
    assert checks.lost(look, memory(look), LIMITS) == checks.Lost((late,), (silent,))
    just_set = memory(look, started=T0 - seconds(60))
    assert checks.lost(look, just_set, LIMITS) == checks.Lost((), ())
    ahead = replace(look, database_now=T0 - timedelta(hours=3))
    assert checks.lost(ahead, memory(ahead), LIMITS) == checks.Lost((), ())
    assert keys(ahead, driven=dict.fromkeys(rang, T0)) == {"clock:skew"}


def test_a_lost_escalation_alarms_only_after_it_was_rung_once() -> None:
    """The auditor mends before it alarms."""
    ago = seconds(700)
    one = paged(ago, FIRST, SECOND)
    look = facts(unheard=(one,), rings={one.uuid: rings("slack", ago=ago)})
    assert keys(look) == set()
    assert keys(look, driven={one.uuid: T0}) == {"escalation"}


def test_an_incident_that_everybody_ignores_is_rung_again_and_then_alarmed() -> None:
    """Nobody is left: half an hour after the last ring it is lost."""
    one = paged(seconds(2400), FIRST)
    quiet = facts(unheard=(one,), rings={one.uuid: rings("slack", ago=seconds(1700))})
    assert checks.lost(quiet, memory(quiet), LIMITS).exhausted == ()
    look = facts(unheard=(one,), rings={one.uuid: rings("slack", ago=seconds(1801))})
    assert checks.lost(look, memory(look), LIMITS).exhausted == (one,)
    assert keys(look) == set()
    assert keys(look, driven={one.uuid: T0}) == {"unanswered"}


def test_a_page_that_no_receiver_took_in_a_minute_is_bad() -> None:
    """All channels are down, or the route names nobody."""
    one = paged(seconds(90), FIRST)
    down = rings("slack", sent=0, waiting=1, ago=seconds(90))
    (finding,) = found(facts(unheard=(one,), rings={one.uuid: down}))
    assert (finding.key, finding.level, finding.severity) == ("unreached", "bad", "SEV1")
    assert one.name in finding.text
    assert keys(facts(unheard=(one,))) == {"unreached"}
    half = rings("slack", "pagerduty", sent=1, waiting=1, ago=seconds(90))
    assert keys(facts(unheard=(one,), rings={one.uuid: half})) == set()


def test_many_incidents_are_one_finding() -> None:
    """A storm makes a sentence, not a storm of pages."""
    many = [replace(paged(seconds(90), FIRST), uuid=str(n), number=n) for n in range(50)]
    (finding,) = found(facts(unheard=many))
    assert "and 47 more" in finding.text
    assert len(finding.about) == 50


def test_a_list_that_was_cut_is_said() -> None:
    """The incidents that were not read are counted, and somebody is paged about them."""
    one = paged(seconds(700), FIRST, SECOND)
    rang = {one.uuid: rings("slack", ago=seconds(700))}
    assert keys(facts(unheard=(one,), unheard_count=1, rings=rang)) == set()
    (finding,) = found(facts(unheard=(one,), unheard_count=301, rings=rang))
    assert (finding.key, finding.level, finding.pages) == ("escalation:many", "bad", True)
    assert "nobody hears of 301 incidents" in finding.text
    assert "300 wait for their turn" in finding.text


def test_pages_that_nobody_sends_are_bad() -> None:
    """Due for over a minute, or claimed by a process that is gone."""
    since = T0 - seconds(61)
    assert keys(facts(queue=replace(IDLE, due=3, due_since=since))) == {"outbox"}
    assert keys(facts(queue=replace(IDLE, lapsed=1, lapsed_since=since))) == {"claims"}
    assert keys(facts(queue=replace(IDLE, due=3, due_since=T0 - seconds(59)))) == set()


def test_nothing_from_before_the_start_is_held_against_anybody() -> None:
    """A daemon that was down for a day has a minute to begin."""
    look = facts(queue=replace(IDLE, due=3, due_since=T0 - timedelta(days=1)))
    assert checks.audit(look, memory(look, started=T0 - seconds(30)), LIMITS, {}) == []


def test_a_refused_page_is_shown_and_pages_nobody() -> None:
    """Deliver has rung the fallback already."""
    (finding,) = found(facts(queue=replace(IDLE, refused=1)))
    assert (finding.key, finding.level, finding.pages) == ("refused", "warn", False)


def test_a_stream_that_nobody_reads_is_bad() -> None:
    """No sign of ingest for longer than the limit; a new installation has five minutes."""
    old = T0 - seconds(91)
    assert keys(facts(parts=(part(seen_at=old), part(1, seen_at=old)))) == {"ingest"}
    empty = facts(parts=())
    fresh = memory(empty, started=T0 - seconds(299))
    assert checks.audit(empty, fresh, LIMITS, {}) == []
    assert keys(empty) == {"ingest"}


def test_a_partition_that_nobody_reads_is_named() -> None:
    """The others are read: the consumer group gave it to somebody who hangs."""
    (finding,) = found(facts(parts=(part(), part(1, seen_at=T0 - seconds(91)))))
    assert finding.key == "sources"
    assert "events-1" in finding.text


def test_records_that_wait_while_nothing_is_read_are_bad() -> None:
    """The position stands still although somebody says that he reads."""
    before = facts(T0 - seconds(100), parts=(part(end=200, seen_at=T0 - seconds(100)),))
    stuck = facts(parts=(part(end=900),))
    assert keys(stuck, before) == {"stream"}
    moving = facts(parts=(part(position=150, end=900),))
    assert keys(moving, before) == set()


def test_lag_that_decide_has_paged_for_is_not_paged_twice() -> None:
    """It still withholds the heartbeat."""
    before = facts(T0 - seconds(100), parts=(part(end=200),))
    (finding,) = found(facts(parts=(part(end=900),), told=frozenset({"lag"})), before)
    assert (finding.level, finding.pages) == ("bad", False)


def test_complete_buckets_that_nobody_judges_are_bad() -> None:
    """Ingest closes buckets, decide's position stands still."""
    ahead = part(closed=int(T0.timestamp()) + 600)
    before = facts(T0 - seconds(100), parts=(ahead,))
    assert keys(facts(parts=(ahead,)), before) == {"decide"}
    moved = facts(parts=(ahead,), decided=int(T0.timestamp()))
    assert keys(moved, before) == set()


def test_a_partition_that_holds_the_others_up_is_named() -> None:
    """One closes its buckets, the other does not, and nothing is judged: whichever loop is at
    fault, nobody else would say so. A recording that has ended waits for nobody."""
    held = (part(closed=int(T0.timestamp())), part(1, seen_at=T0 - seconds(40)))
    before = facts(T0 - seconds(100), parts=held)
    (finding,) = found(facts(parts=held), before)
    assert finding.key == "decide"
    assert finding.text == (
        "no bucket is complete for 1 min 40 s, for want of events-1: 1 min of events are counted "
        "and not judged"
    )
    back = facts(T0 - seconds(3600), parts=held)
    assert keys(back, replace(before, now=T0 - seconds(3700))) == {"decide"}, "a clock put back"
    over = tuple(replace(one, finished=True) for one in held)
    assert keys(facts(parts=over), replace(before, parts=over)) == set()


def test_a_partition_whose_sources_disagree_about_the_time_is_named_later() -> None:
    """All of it is read: that settles itself in minutes, and what would help is another cure."""
    held = (part(closed=int(T0.timestamp())), part(1, caught_up_at=T0 - seconds(5)))
    before = facts(T0 - seconds(700), parts=held)
    early = facts(
        T0 - seconds(300), parts=tuple(replace(p, seen_at=T0 - seconds(300)) for p in held)
    )
    assert keys(early, before) == set()
    (finding,) = found(facts(parts=held), before)
    assert "for want of a time in events-1" in finding.text
    assert "LogAppendTime" in finding.cure
    unread = (held[0], replace(held[1], seen_at=T0 - seconds(40)))
    assert keys(facts(parts=unread), facts(T0 - seconds(100), parts=held)) == {"decide"}, "unread"
    other = (held[0], replace(held[1], outrun=True))
    assert keys(facts(parts=other), facts(T0 - seconds(100), parts=held)) == {"decide"}, "signals"


def test_the_first_event_after_a_quiet_hour_alarms_nobody() -> None:
    """Decide has stood still for as long as there was nothing to decide: that is no fault."""
    ahead = facts(parts=(part(closed=int(T0.timestamp()) + 600),))
    assert keys(ahead, facts(T0 - seconds(3600)), facts(T0 - seconds(5))) == set()


def lease(until: datetime, since: datetime = STARTED) -> Lease:
    return Lease("decide", "host:1", 3, until, since)


def test_a_job_without_an_owner_is_bad_once_it_had_one() -> None:
    """A lease that ran out is missed; one that was let go, or was never seen to run, is not."""
    running = facts(T0 - seconds(100), leases=(lease(T0 - seconds(90)),))
    lapsed = facts(leases=(lease(T0 - seconds(90)),))
    assert keys(lapsed, running) == {"lease:decide"}
    assert keys(lapsed) == set()
    given_back = facts(leases=(lease(STARTED, STARTED),))
    assert keys(given_back, running) == set()


@pytest.mark.parametrize(("by", "told"), [(-3600, True), (31, True), (29, False), (0, False)])
def test_a_clock_that_jumps_is_told(by: int, told: bool) -> None:
    """The wall moved other than the steady clock."""
    jump = checks.jumped((T0, 100.0), (T0 + seconds(15 + by), 115.0))
    assert (jump is not None) is told
    if jump is not None:
        (finding,) = checks.jumps(jump, jump.at)
        assert f"{by:+d} s" in finding.text
        assert list(checks.jumps(jump, jump.at + timedelta(minutes=11))) == []


def test_a_database_with_another_time_is_bad() -> None:
    """Leases run on its clock, deadlines on ours."""
    assert keys(facts(database_now=T0 + seconds(40))) == {"clock:skew"}
    assert keys(facts(database_now=T0 - seconds(20))) == set()


def test_every_finding_has_a_name_of_the_closed_list() -> None:
    """The metric's labels come from it."""
    old = facts(
        queue=replace(IDLE, due=1, due_since=STARTED, lapsed=1, lapsed_since=STARTED, refused=1),
        database_now=T0 + seconds(40),
        unheard=(paged(seconds(90), FIRST),),
        parts=(),
    )
    assert {finding.check for finding in found(old)} <= set(CHECKS)


@pytest.mark.parametrize(
    ("length", "text"),
    [(0, "0 s"), (59, "59 s"), (250, "4 min 10 s"), (3600, "1 h"), (3661, "1 h 1 min")],
)
def test_a_span_is_told_as_people_say_it(length: int, text: str) -> None:
    """Two units at most."""
    assert checks.span(seconds(length)) == text
