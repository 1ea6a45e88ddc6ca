"""What may happen to an incident: pure functions from (incident, who, now) to a step or a refusal.

A step carries the new incident and the timeline entries that tell it; a refusal says why not and
what to do. The caller writes both in one transaction.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from monitor.incidents.model import OPEN, SEVERITIES, Incident, State
from monitor.incidents.timeline import Entry

QUIET_BEFORE_CLOSE = timedelta(minutes=60)
"""Signal normal for this long and nobody acknowledged: the incident closes itself."""
REOPEN_WITHIN = timedelta(hours=24)
FLAPPING = timedelta(minutes=10)
"""What fires again so soon after it was over is the same outage: who acknowledged it knows, and its
escalation goes on. Later it is another one."""
VERDICTS = (
    "true_positive",
    "false_positive",
    "benign_shift",
    "test_traffic",
    "attack",
    "regression",
)


@dataclass(frozen=True, slots=True)
class Step:
    """The incident after the action, and the entries that tell it; `text` answers the person."""

    incident: Incident
    entries: tuple[Entry, ...]
    text: str


@dataclass(frozen=True, slots=True)
class Recurrence:
    """An incident of which something begins to fire, and the entries that tell it."""

    incident: Incident
    """With `paged_at` None where the next page is the first of another outage."""
    entries: tuple[Entry, ...] = ()
    page: str = ""
    """Why it is to be paged anew; empty: it is not."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why not, and what to do."""

    message: str
    hint: str = ""


Result = Step | Refusal


def _not_open(incident: Incident, verb: str) -> Refusal | None:
    if incident.state in OPEN:
        return None
    return Refusal(
        f"{incident.name} is {incident.state}: it cannot be {verb}",
        f"reopen it first: tocsin inc reopen {incident.name} --reason TEXT",
    )


def acknowledge(incident: Incident, actor: str, now: datetime, *, via: str = "desk") -> Result:
    """Stop the pager. A second acknowledgement changes nothing and says who was first."""
    if incident.acknowledged_at is not None:
        return Step(incident, (), f"{incident.name} was acknowledged by {incident.acknowledged_by}")
    if refusal := _not_open(incident, "acknowledged"):
        return refusal
    after = replace(
        incident,
        acknowledged_at=now,
        acknowledged_by=actor,
        state=State.ACTIVE if incident.state is State.TRIAGE else incident.state,
    )
    took = int((now - incident.detected_at).total_seconds())
    entry = Entry(
        kind="ACK",
        text=f"acknowledged {took} s after detection",
        actor=actor,
        occurred_at=now,
        data={"via": via},
    )
    return Step(after, (entry,), f"{incident.name} acknowledged")


def take(incident: Incident, actor: str, now: datetime) -> Result:
    """Take command; acknowledges too."""
    first = acknowledge(incident, actor, now)
    if isinstance(first, Refusal):
        return first
    if first.incident.commander == actor:
        return Step(first.incident, first.entries, f"you already command {incident.name}")
    before = first.incident.commander
    text = "takes command" if before is None else f"takes command from {before}"
    entry = Entry(kind="CMD", text=text, actor=actor, occurred_at=now)
    return Step(
        replace(first.incident, commander=actor),
        (*first.entries, entry),
        f"you command {incident.name}",
    )


def note(incident: Incident, text: str, actor: str, now: datetime) -> Result:
    """Add a note; open or not, people may always add what they know."""
    if not text.strip():
        return Refusal("an empty note says nothing", "type the note's text")
    entry = Entry(kind="NOTE", text=text.strip(), actor=actor, occurred_at=now)
    return Step(incident, (entry,), "noted")


def set_severity(
    incident: Incident, severity: str, reason: str, actor: str, now: datetime
) -> Result:
    """Change the severity, with a reason."""
    if refusal := _not_open(incident, "changed"):
        return refusal
    if severity not in SEVERITIES:
        return Refusal(f"unknown severity {severity!r}", f"one of {', '.join(SEVERITIES)}")
    if severity == incident.severity:
        return Refusal(f"{incident.name} is {severity} already")
    text = f"{incident.severity} -> {severity}" + (f": {reason}" if reason else "")
    entry = Entry(kind="SEVERITY", text=text, actor=actor, occurred_at=now)
    return Step(replace(incident, severity=severity), (entry,), f"{incident.name} is {severity}")


def verified(incident: Incident, text: str, actor: str, now: datetime) -> Step:
    """A signal condition held for its full time."""
    entry = Entry(kind="VERIFY", text=text, actor=actor, occurred_at=now)
    return Step(replace(incident, verified_at=now), (entry,), text)


def mitigate(incident: Incident, reason: str, actor: str, now: datetime) -> Result:
    """The impact has stopped: a verification says so, or a person with a reason."""
    if refusal := _not_open(incident, "mitigated"):
        return refusal
    if incident.state is State.MITIGATED:
        return Step(incident, (), f"{incident.name} is mitigated already")
    if incident.verified_at is None and not reason:
        return Refusal(
            "no verification has passed, so nothing shows that the impact stopped",
            "run the runbook's verify step, or say why: --reason TEXT",
        )
    how = f"verified, {reason}" if reason and incident.verified_at else reason or "verified"
    entry = Entry(kind="MITIGATED", text=how, actor=actor, occurred_at=now)
    after = replace(
        incident,
        state=State.MITIGATED,
        mitigated_at=incident.mitigated_at or incident.verified_at or now,
    )
    return Step(after, (entry,), f"{incident.name} mitigated")


def resolve_lacks(incident: Incident) -> list[str]:
    """What is missing before it may be resolved without a typed reason; nothing once it is over."""
    lacks: list[str] = []
    if not incident.is_open:
        return lacks
    if incident.verified_at is None:
        lacks.append(
            "a passed verification is missing (run the runbook's verify step, or give a reason)"
        )
    if incident.normal_at is None and incident.signal is not None:
        lacks.append("the signal has not returned to normal")
    return lacks


def resolve(incident: Incident, verdict: str, reason: str, actor: str, now: datetime) -> Result:
    """End the work, with the verdict that tuning feeds on."""
    if refusal := _not_open(incident, "resolved"):
        return refusal
    if verdict not in VERDICTS:
        return Refusal(f"unknown verdict {verdict!r}", f"one of {', '.join(VERDICTS)}")
    lacks = resolve_lacks(incident)
    if lacks and not reason:
        return Refusal(
            f"{incident.name} cannot be resolved yet: {'; '.join(lacks)}",
            "say why it is safe without: --reason TEXT",
        )
    entries = []
    if incident.mitigated_at is None:
        at = incident.verified_at or now
        entries.append(
            Entry(kind="MITIGATED", text="with the resolution", actor=actor, occurred_at=at)
        )
        incident = replace(incident, mitigated_at=at)
    text = f"verdict {verdict}" + (f": {reason}" if reason else "")
    entries.append(
        Entry(kind="RESOLVED", text=text, actor=actor, occurred_at=now, data={"verdict": verdict})
    )
    state = State.FALSE_POSITIVE if verdict == "false_positive" else State.RESOLVED
    after = replace(incident, state=state, resolved_at=now, verdict=verdict)
    return Step(after, tuple(entries), f"{incident.name} resolved")


def judge(incident: Incident, verdict: str, reason: str, actor: str, now: datetime) -> Result:
    """Say what an incident was after it has ended; the last word counts."""
    if verdict not in VERDICTS:
        return Refusal(f"unknown verdict {verdict!r}", f"one of {', '.join(VERDICTS)}")
    if incident.state in OPEN:
        hint = f"tocsin inc resolve {incident.name} --verdict {verdict}"
        return Refusal(f"{incident.name} is still open; give the verdict when you resolve it", hint)
    if incident.verdict == verdict:
        return Step(incident, (), f"{incident.name} was called {verdict} already")
    before = "" if incident.verdict is None else f", was {incident.verdict}"
    text = f"verdict {verdict}{before}" + (f": {reason}" if reason else "")
    entry = Entry(
        kind="VERDICT", text=text, actor=actor, occurred_at=now, data={"verdict": verdict}
    )
    return Step(replace(incident, verdict=verdict), (entry,), f"{incident.name}: {text}")


def reopen(incident: Incident, reason: str, actor: str, now: datetime) -> Result:
    """Back to work, of whoever opens it again; after a day a new incident is the honest way."""
    if incident.state in OPEN:
        return Refusal(f"{incident.name} is open")
    if incident.state is State.MERGED:
        return Refusal(f"{incident.name} was merged into another", "work on that one")
    ended = incident.closed_at or incident.resolved_at
    if ended is not None and now - ended > REOPEN_WITHIN:
        return Refusal(
            f"{incident.name} ended more than 24 hours ago",
            f"declare a new one: tocsin inc declare --title 'again: {incident.name}'",
        )
    if not reason:
        return Refusal("a reason is needed to reopen")
    entry = Entry(kind="REOPENED", text=reason, actor=actor, occurred_at=now)
    after = replace(
        incident,
        state=State.ACTIVE,
        resolved_at=None,
        closed_at=None,
        mitigated_at=None,
        verified_at=None,
        normal_at=None,
        verdict=None,
        paged_at=None if incident.paged_at is None else now,
    )
    taken = acknowledge(after, actor, now)
    assert isinstance(taken, Step)
    return Step(taken.incident, (entry, *taken.entries), f"{incident.name} is open again")


def close(incident: Incident, reason: str, actor: str, now: datetime) -> Result:
    """File a resolved incident."""
    if incident.state in OPEN:
        return Refusal(f"{incident.name} is {incident.state}", "resolve it first")
    if incident.closed_at is not None:
        return Step(incident, (), f"{incident.name} is closed already")
    entry = Entry(kind="CLOSED", text=reason or "closed", actor=actor, occurred_at=now)
    return Step(
        replace(incident, state=State.CLOSED, closed_at=now), (entry,), f"{incident.name} closed"
    )


def fires_again(
    incident: Incident, now: datetime, apart: timedelta = timedelta(), *, told: bool
) -> Recurrence:
    """Something of an open incident begins to fire; what that changes if all of it was over.

    An acknowledgement answers one outage: it lapses, and the incident is paged anew with its whole
    escalation, unless it was over for no longer than `FLAPPING` and nobody was told so. An end in
    the clock's future was dated before the clock was put back: nobody knows how long ago it was,
    and it counts as long.

    Args:
        incident: as it was before.
        now: the time.
        apart: by the events' own time, from the end to what fires now: who catches up decides of an
            hour within a second.
        told: its receivers know of the end, and sleep again.
    """
    over = incident.normal_at
    fires = replace(incident, normal_at=None)
    if over is None:
        return Recurrence(fires)
    paged, taken = incident.paged_at is not None, incident.acknowledged_at is not None
    unheard = "fires again before anybody acknowledged" if paged and not taken else ""
    flaps = max(abs(now - over), apart) <= FLAPPING
    if not taken:
        return Recurrence(fires if flaps else replace(fires, paged_at=None), page=unheard)
    if flaps and not (told and paged):
        return Recurrence(fires)
    return _lapsed(fires, f"it was over since {over:%Y-%m-%d %H:%M} UTC", "fires again", now)


def comes_again(incident: Incident, last: datetime, at: datetime, now: datetime) -> Recurrence:
    """What has no end, say a never-event, comes once more on an open incident.

    An acknowledgement answers what comes within an hour of the last, and within an hour of its own
    time, however far back the events are that are read: then it lapses.

    Args:
        incident: as it was before.
        last: the newest that came before, by the events' own time.
        at: when it came now, by the same.
        now: the time of the decision.
    """
    taken = incident.acknowledged_at
    if taken is None or min(at - last, now - taken) < QUIET_BEFORE_CLOSE:
        return Recurrence(incident)
    return _lapsed(incident, f"the last came {last:%Y-%m-%d %H:%M} UTC", "comes again", now)


def begins_to_page(incident: Incident, now: datetime) -> Recurrence:
    """It is to be paged for the first time: who had taken it by then took less than that."""
    if incident.acknowledged_at is None:
        return Recurrence(incident)
    return _lapsed(incident, "it was before the first page", "", now)


def _lapsed(incident: Incident, since: str, what: str, now: datetime) -> Recurrence:
    """Its acknowledgement answers nothing any more; what was paged is to be paged anew."""
    text = f"the acknowledgement by {incident.acknowledged_by} has lapsed: {since}"
    after = replace(
        incident,
        acknowledged_at=None,
        acknowledged_by=None,
        paged_at=None,
        state=State.TRIAGE if incident.state is State.ACTIVE else incident.state,
    )
    entry = Entry(kind="LAPSED", text=text, actor="tocsin", occurred_at=now)
    paged = incident.paged_at is not None
    return Recurrence(after, (entry,), f"{what}, {text}" if paged else "")


def signal_normal(incident: Incident, now: datetime) -> Step:
    """No alert of it fires any more: said, and the incident waits for a person."""
    return _over(incident, now, "signal normal: what this incident is about no longer fires")


def unjudged(incident: Incident, now: datetime) -> Step:
    """The last of its alerts was given up for want of traffic: how it is now is not known."""
    return _over(incident, now, "not judged for 24 h, for want of traffic: followed no longer")


def _over(incident: Incident, now: datetime, text: str) -> Step:
    entry = Entry(kind="NORMAL", text=text, actor="tocsin", occurred_at=now)
    return Step(replace(incident, normal_at=now), (entry,), text)


def close_by_itself(incident: Incident, now: datetime) -> Step | None:
    """An incident nobody acknowledged closes after 60 quiet minutes; None while it must wait."""
    if incident.state not in OPEN or incident.acknowledged_at is not None:
        return None
    if incident.normal_at is None or now - incident.normal_at < QUIET_BEFORE_CLOSE:
        return None
    entry = Entry(
        kind="CLOSED",
        text="closed by itself: 60 quiet minutes and nobody acknowledged",
        actor="tocsin",
        occurred_at=now,
    )
    after = replace(incident, state=State.CLOSED, resolved_at=incident.normal_at, closed_at=now)
    return Step(after, (entry,), "closed by itself")
