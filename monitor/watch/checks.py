"""What is wrong with Tocsin itself: pure decisions, each finding with its reason and its cure.

The auditor's first question is that of Grafana OnCall's: has every open incident that nobody has
answered a time at which somebody else is rung? The others ask whether each loop still moves.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from monitor import completeness
from monitor.incidents.model import Incident
from monitor.silence import LAG
from monitor.store.watch_rows import NO_RINGS, Rings
from monitor.watch.facts import Facts, Memory

CHECKS = (
    "storage",
    "disk",
    "escalation",
    "unreached",
    "unanswered",
    "outbox",
    "claims",
    "refused",
    "ingest",
    "sources",
    "stream",
    "decide",
    "lease",
    "clock",
    "time",
    "spool",
    "secret",
)
"""Every name that a finding may have: the metric's labels."""
OVERDUE = timedelta(seconds=60)
"""What is due for so long is not merely late."""
NEVER_READ = timedelta(minutes=5)
UNSETTLED = timedelta(minutes=10)
"""Sources that disagree about the time have it settled by then, or somebody has to."""
JUMP = timedelta(seconds=30)
JUMP_SHOWN = timedelta(minutes=10)
NAMED = 3
"""Incidents that a sentence names; the rest are counted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that is wrong."""

    check: str
    """One of `CHECKS`."""
    key: str
    """Stable for as long as it lasts."""
    level: Literal["warn", "bad"]
    """`bad` withholds the heartbeat, and pages."""
    severity: str
    since: datetime
    text: str
    cure: str
    pages: bool = True
    about: tuple[str, ...] = ()
    """Incidents it speaks of, by uuid."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How long is too long."""

    unanswered: timedelta = timedelta(minutes=30)
    lag: timedelta = timedelta(seconds=90)


def span(length: timedelta) -> str:
    """`4 min 10 s`: as people say it."""
    seconds = max(0, int(length.total_seconds()))
    hours, rest = divmod(seconds, 3600)
    parts = [(hours, "h"), (rest // 60, "min"), (rest % 60, "s")]
    told = [f"{count} {unit}" for count, unit in parts if count]
    return " ".join(told[:2]) or "0 s"


def audit(
    facts: Facts, memory: Memory, limits: Limits, driven: Mapping[str, datetime]
) -> list[Finding]:
    """Everything that is wrong now.

    Args:
        facts: the look.
        memory: that includes it.
        limits: how long is too long.
        driven: incidents whose lost escalation the auditor has rung once, and when.
    """
    return [
        *escalations(facts, memory, limits, driven),
        *outbox(facts, memory),
        *ingest(facts, memory, limits),
        *decide(facts, memory, limits),
        *leases(facts, memory),
        *skew(facts),
    ]


# -- incidents ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Lost:
    """Incidents that wait for nobody: what the auditor may ring once."""

    overdue: tuple[Incident, ...]
    """A rung of their escalation was due for over a minute and was not rung."""
    exhausted: tuple[Incident, ...]
    """Everybody was rung, nobody answered, and nothing more is to come."""


def next_rung(incident: Incident, rings: Rings) -> datetime | None:
    """When the first rung with somebody new is due; None when nobody is left."""
    if incident.paged_at is None:
        return None
    times = [
        incident.paged_at + timedelta(seconds=rung.after_s)
        for rung in incident.escalation
        if set(rung.receivers) - rings.receivers.keys()
    ]
    return min(times, default=None)


def lost(facts: Facts, memory: Memory, limits: Limits) -> Lost:
    """Incidents without a future deadline, as far as our clock can tell.

    One that was just set is given time: decide dates anew what waits. One that is not the
    database's says nothing of times that another machine has written.
    """
    if facts.now - memory.started <= OVERDUE or abs(facts.off) > JUMP:
        return Lost((), ())
    overdue, exhausted = [], []
    for incident in facts.unheard:
        rings = facts.rings.get(incident.uuid, NO_RINGS)
        due = next_rung(incident, rings)
        if due is not None and facts.now - due > OVERDUE:
            overdue.append(incident)
        elif due is None and _silent_for(rings, facts.now) > limits.unanswered:
            exhausted.append(incident)
    return Lost(tuple(overdue), tuple(exhausted))


def _silent_for(rings: Rings, now: datetime) -> timedelta:
    """Since the last ring, where all of them are accepted."""
    return timedelta() if rings.last_at is None or rings.waiting else now - rings.last_at


def escalations(
    facts: Facts, memory: Memory, limits: Limits, driven: Mapping[str, datetime]
) -> Iterator[Finding]:
    """Incidents that nobody will be rung for any more."""
    found = lost(facts, memory, limits)
    again = [incident for incident in found.overdue if incident.uuid in driven]
    if again:
        yield _about(
            again,
            "escalation",
            facts.now,
            "the escalation of {names} was due and did not happen, and did not when it was rung "
            "by the auditor",
            "ring somebody yourself (tocsin inc escalate); then see why decide does not move",
            "SEV1",
        )
    silent = [incident for incident in found.exhausted if incident.uuid in driven]
    if silent:
        yield _about(
            silent,
            "unanswered",
            facts.now,
            "nobody acknowledges {names}, everybody was rung twice, and nobody is left",
            "take it (tocsin inc ack), and give `paging.escalation` a last rung that answers",
            "SEV1",
        )
    unreached = [
        incident
        for incident in facts.unheard
        if _unreached(facts.rings.get(incident.uuid, NO_RINGS), incident, facts.now)
    ]
    if unreached:
        yield _about(
            unreached,
            "unreached",
            facts.now,
            "no receiver has accepted a page of {names}",
            "look at the receivers (tocsin doctor, attempts on the timeline); tell people yourself",
            "SEV1",
        )
    yield from _many(facts)


def _many(facts: Facts) -> Iterator[Finding]:
    """More incidents wait for nobody than one look reads."""
    looked = len(facts.unheard)
    if facts.unheard_count > looked:
        yield Finding(
            check="escalation",
            key="escalation:many",
            level="bad",
            severity="SEV1",
            since=facts.now,
            text=f"nobody hears of {facts.unheard_count} incidents; an audit looks at {looked}, "
            f"the longest neglected, and {facts.unheard_count - looked} wait for their turn",
            cure="tell people yourself (tocsin inc list); see why decide or deliver stands still",
        )


def _unreached(rings: Rings, incident: Incident, now: datetime) -> bool:
    first = rings.first_at or incident.paged_at or incident.detected_at
    return not rings.sent and now - first > OVERDUE


def _about(
    incidents: Sequence[Incident],
    check: str,
    now: datetime,
    text: str,
    cure: str,
    severity: str,
) -> Finding:
    names = ", ".join(incident.name for incident in incidents[:NAMED])
    more = f" and {len(incidents) - NAMED} more" if len(incidents) > NAMED else ""
    oldest = min((i.paged_at or i.detected_at for i in incidents), default=now)
    return Finding(
        check=check,
        key=check,
        level="bad",
        severity=severity,
        since=oldest,
        text=text.format(names=names + more),
        cure=cure,
        about=tuple(incident.uuid for incident in incidents),
    )


# -- loops ----------------------------------------------------------------------------------------


def outbox(facts: Facts, memory: Memory) -> Iterator[Finding]:
    """Whether pages move."""
    queue, now = facts.queue, facts.now
    due = _later(queue.due_since, memory.started)
    if due is not None and now - due > OVERDUE:
        yield Finding(
            check="outbox",
            key="outbox",
            level="bad",
            severity="SEV1",
            since=due,
            text=f"{queue.due} pages are due for {span(now - due)} and nobody sends them",
            cure="the deliver loop does not run: look at the daemon's log, restart it",
        )
    lapsed = _later(queue.lapsed_since, memory.started)
    if lapsed is not None and now - lapsed > OVERDUE:
        yield Finding(
            check="claims",
            key="claims",
            level="bad",
            severity="SEV1",
            since=lapsed,
            text=f"{queue.lapsed} pages were being sent by a process that is gone, for "
            f"{span(now - lapsed)}",
            cure="the deliver loop does not run: look at the daemon's log, restart it",
        )
    if queue.refused:
        yield Finding(
            check="refused",
            key="refused",
            level="warn",
            severity="SEV3",
            since=memory.started,
            text=f"{queue.refused} pages of open incidents were refused for good",
            cure="the timeline says why; mend the receiver, or name a `paging.fallback`",
            pages=False,
        )


def _later(at: datetime | None, started: datetime) -> datetime | None:
    return None if at is None else max(at, started)


def ingest(facts: Facts, memory: Memory, limits: Limits) -> Iterator[Finding]:
    """Whether the stream is read: by anybody, every partition of it, and onward."""
    now = facts.now
    seen = [part.seen_at for part in facts.parts if part.seen_at is not None]
    newest = max([*seen, memory.started])
    if now - newest > (limits.lag if seen else NEVER_READ):
        yield Finding(
            check="ingest",
            key="ingest",
            level="bad",
            severity="SEV1",
            since=newest,
            text=f"nobody has read the stream for {span(now - newest)}",
            cure="ingest does not run, or its source does not answer: see the daemon's log",
        )
        return
    gone = [
        part
        for part in facts.parts
        if now - max(part.seen_at or memory.started, memory.started) > limits.lag
    ]
    if gone:
        since = max(min(part.seen_at or memory.started for part in gone), memory.started)
        names = ", ".join(f"{part.topic}-{part.number}" for part in gone[:NAMED])
        yield Finding(
            check="sources",
            key="sources",
            level="bad",
            severity="SEV2",
            since=since,
            text=f"{len(gone)} of {len(facts.parts)} partitions are read by nobody: {names}",
            cure="look at the consumer group; a member that hangs keeps what it was given",
        )
    yield from _still(facts, memory, limits)


def _still(facts: Facts, memory: Memory, limits: Limits) -> Iterator[Finding]:
    """Partitions where records wait and nothing is read, though somebody holds them."""
    now = facts.now
    still = []
    for part in facts.parts:
        standing = memory.positions.get((part.topic_id, part.number))
        if part.end <= part.position or standing is None:
            continue
        if now - standing.since > limits.lag:
            still.append((part, standing.since))
    if not still:
        return
    left = sum(part.end - part.position for part, _ in still)
    since = min(at for _, at in still)
    yield Finding(
        check="stream",
        key="stream",
        level="bad",
        severity="SEV2",
        since=since,
        text=f"{left} records wait on {len(still)} partitions, and for {span(now - since)} none "
        "was read",
        cure="see the daemon's log: the source does not answer, or the store does not take cells",
        pages=LAG not in facts.told,
    )


def decide(facts: Facts, memory: Memory, limits: Limits) -> Iterator[Finding]:
    """Whether what is counted is judged, all partitions together or for those that hold it up."""
    since, beyond, decided = memory.unjudged.since, facts.beyond, facts.decided or 0
    waited_for = completeness.waited_for(facts.parts, facts.now)
    slow = [part for part in waited_for if (part.closed or 0) <= decided]
    read = bool(slow) and all(completeness.is_read(part, facts.now) for part in slow)
    if not beyond or facts.now - since <= (UNSETTLED if read else limits.lag):
        return
    lasted = span(facts.now - since)
    names = ", ".join(f"{part.topic}-{part.number}" for part in slow[:NAMED])
    text = f"decide stands still for {lasted}"
    cure = "the decide loop does not run: look at the daemon's log, restart it"
    if read:
        text = f"no bucket is complete for {lasted}, for want of a time in {names}"
        cure = (
            "its sources disagree about the time, or nothing in it is an event: see `tocsin doctor`"
            "; with message.timestamp.type=LogAppendTime on the topic the broker settles it"
        )
    elif slow:
        text = f"no bucket is complete for {lasted}, for want of {names}"
        cure = f"are all partitions read, and by processes with the same signals? else {cure}"
    left = f"{span(timedelta(seconds=beyond))} of events" if decided else "all events"
    yield Finding(
        check="decide",
        key="decide",
        level="bad",
        severity="SEV1",
        since=since,
        text=f"{text}: {left} are counted and not judged",
        cure=cure,
    )


def leases(facts: Facts, memory: Memory) -> Iterator[Finding]:
    """Jobs that had an owner since the auditor's start, and have none now."""
    for lease in facts.leases:
        let_go = lease.until <= lease.since
        if let_go or lease.name not in memory.seen_leases:
            continue
        late = facts.database_now - lease.until
        if late > OVERDUE:
            yield Finding(
                check="lease",
                key=f"lease:{lease.name}",
                level="bad",
                severity="SEV2",
                since=lease.until,
                text=f"nobody does the job {lease.name} for {span(late)}; {lease.holder} had it",
                cure="a standby takes over by itself within 15 s: there is none, or it hangs too",
            )


# -- clocks ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Jump:
    """The wall clock moved by itself."""

    at: datetime
    by: timedelta


def jumped(before: tuple[datetime, float], after: tuple[datetime, float]) -> Jump | None:
    """Whether the wall moved other than the steady clock between two (wall, steady s) readings."""
    by = (after[0] - before[0]) - timedelta(seconds=after[1] - before[1])
    return Jump(after[0], by) if abs(by) > JUMP else None


def jumps(last: Jump | None, now: datetime) -> Iterator[Finding]:
    """A jump is told for ten minutes."""
    if last is None or abs(now - last.at) > JUMP_SHOWN:
        return
    seconds = int(last.by.total_seconds())
    yield Finding(
        check="clock",
        key="clock:jump",
        level="warn",
        severity="SEV3",
        since=last.at,
        text=f"the clock moved {seconds:+d} s at once; what was due meanwhile is done now",
        cure="see to time synchronisation (chrony, systemd-timesyncd), or to a machine that froze",
    )


def skew(facts: Facts) -> Iterator[Finding]:
    """The database's clock beside ours: leases run on the one, deadlines on the other."""
    off = facts.off
    if abs(off) > JUMP:
        yield Finding(
            check="clock",
            key="clock:skew",
            level="bad",
            severity="SEV2",
            since=facts.now,
            text=f"the database's clock is {int(off.total_seconds()):+d} s beside this machine's",
            cure="see to time synchronisation on both machines",
        )
