"""How Tocsin itself is: the overview line and the parts behind it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta

from monitor import views
from monitor.alerting.budget import PARENTS
from monitor.alerting.ledger import proposals
from monitor.config.settings import Configured
from monitor.processes.posts import JOBS
from monitor.processes.roster import Member
from monitor.spending import ledgers, tiers_of
from monitor.store.store import Tx
from monitor.store.stream_rows import PartitionRow
from monitor.stream.signals import Plan
from monitor.stream.tally import label_limits
from monitor.stream.vocabulary import OTHER

BEHIND_WARN_S = 60.0
BEHIND_BAD_S = 600.0
RECENT = timedelta(minutes=10)
COUNTED_S = 3600
"""A signal that nothing was counted for in this long is called switched off."""


def overview(
    tx: Tx,
    configured: Configured,
    now: datetime,
    person: str,
    *,
    live: bool,
    daemon: bool = True,
    more: Sequence[Callable[[Tx, datetime], views.Health]] = (),
) -> views.Overview:
    """The state of everything; `more` are parts that only a daemon knows.

    Args:
        tx: tells what is stored.
        configured: how this is judged.
        now: aware UTC.
        person: who asks.
        live: False for a recording.
        daemon: False where nothing reads the stream: nothing is live then.
        more: further parts.
    """
    live = live and daemon
    pipeline = tx.stream.known_pipeline(configured.plan)
    parts = tx.stream.partitions(pipeline) if pipeline is not None else []
    open_incidents = tx.incidents.open()
    lag = _lag(parts, now, live=live)
    event_now = tx.decisions.event_now(pipeline) if pipeline is not None else None
    signals = _signals(tx, configured.plan, pipeline) if pipeline is not None else []
    if pipeline is not None:
        signals += _labels(tx, configured.plan, pipeline)
    return views.Overview(
        now=now,
        event_now=event_now,
        open_incidents=len(open_incidents),
        unacknowledged=sum(i.acknowledged_at is None for i in open_incidents),
        yours=sum(person in {i.commander, i.acknowledged_by} for i in open_incidents),
        lag_s=lag,
        pager=_pager(tx),
        parts=[
            _stream(parts, lag),
            _quarantine(tx),
            *signals,
            _budget(tx, configured, now),
            *(part(tx, now) for part in more),
        ],
        profile=configured.profile.name,
        live=live,
        revision=tx.revision(),
        daemon=daemon,
    )


def processes(
    tx: Tx, now: datetime, members: Sequence[Member], holder: str, *, recent: timedelta = RECENT
) -> views.Health:
    """The processes of this daemon, and who owns the jobs of which there is one owner.

    Args:
        tx: tells the leases.
        now: aware UTC, of the wall.
        members: as the supervisor wrote them down; none where it had no room to.
        holder: the name under which this process takes leases.
        recent: a process that was started again within this is worth a warning.
    """
    down = [one for one in members if one.pid is None or _restarted(one, now, recent)]
    well = [one for one in members if one.up and one not in down]
    lines = [f"{', '.join(one.name for one in well)} up"] if well else []
    if not members:
        lines = ["who is up is not known: no room for the list in the temporary folder"]
    lines += [_not_yet(one) for one in members if one not in well]
    clock = tx.leases.now(now)
    owners: dict[str, list[str]] = {}
    for lease in tx.leases.all():
        if lease.name not in JOBS:
            continue
        whose = "ours" if lease.holder == holder else f"{lease.holder}'s"
        since = f"epoch {lease.epoch}, since {lease.since:%Y-%m-%d %H:%M} UTC"
        if lease.until <= clock:
            whose, since = "nobody's", f"until {lease.until:%Y-%m-%d %H:%M:%S} UTC {lease.holder}'s"
        owners.setdefault(f"{whose}, {since}", []).append(lease.name)
    lines += [f"{', '.join(jobs)} {whose}" for whose, jobs in owners.items()]
    state = "warn" if down or not members else "ok"
    return views.Health(name="processes", state=state, text="; ".join(lines))  # type: ignore[arg-type] # ok or warn


def _restarted(one: Member, now: datetime, recent: timedelta) -> bool:
    return bool(one.restarts) and now - one.since < recent


def _not_yet(one: Member) -> str:
    word = "since" if one.up else "starting since"
    text = f"{one.name} pid {one.pid or 'none'} {word} {one.since:%Y-%m-%d %H:%M:%S} UTC"
    return text + (f" ({one.restarts} restarts; the last one {one.ended})" if one.restarts else "")


def _lag(parts: list[PartitionRow], now: datetime, *, live: bool) -> float | None:
    """How far the oldest unread record is behind, in seconds; 0 when everything is read."""
    behind = [part for part in parts if part.end > part.position]
    if not parts or not live:
        return None
    if not behind:
        return 0.0
    marks = [part.watermark for part in behind if part.watermark is not None]
    if not marks:
        return None
    return max(0.0, (now - datetime.fromtimestamp(min(marks), UTC)).total_seconds())


def _pager(tx: Tx) -> views.Health:
    counts = tx.outbox.counts()
    waiting = counts.get("new", 0) + counts.get("claimed", 0)
    # Of open incidents only: what nobody can do anything about any more hides what comes next.
    if dead := tx.watch.refused():
        text = f"{dead} pages of open incidents were refused for good"
        return views.Health(name="pager", state="bad", text=text)
    if waiting:
        return views.Health(name="pager", state="warn", text=f"{waiting} pages wait")
    if refused := tx.digests.refused():
        text = f"the digest was refused by {', '.join(sorted(refused))}: see tocsin tickets"
        return views.Health(name="pager", state="warn", text=text)
    return views.Health(name="pager", state="ok", text=f"{counts.get('sent', 0)} delivered")


def _budget(tx: Tx, configured: Configured, now: datetime) -> views.Health:
    """What false pages each team has had; one line, the teams that had any first."""
    tiers = tiers_of(tx, configured.plan, configured.profile, configured.settings.rules)
    found = ledgers(tx, configured.policy.budgets, tiers, now, capped=configured.policy.capped)
    told, bad = [], False
    for one in sorted(found, key=lambda each: -each.spent):
        bad = bad or one.overspent
        if not one.spent and len(found) > 1:
            continue
        spenders = ", ".join(f"{rule.rule} {rule.false}" for rule in one.rules if rule.false)
        team = f"{one.team} " if len(found) > 1 else ""
        advice = ", ".join(f"demote {proposal.rule}" for proposal in proposals(one))
        told.append(
            f"{team}{one.spent} of {one.allowance.false_pages:g} spent in "
            f"{one.allowance.weeks} weeks"
            + (f", {spenders}" if spenders else "")
            + (f": {advice}, see tocsin budget" if advice else "")
        )
    crowded = [
        f"{one.share.series} series page team {one.team}, meant are {PARENTS}: see tocsin budget"
        for one in found
        if one.crowded
    ]
    text = "; ".join([*told, *crowded]) or f"no false page of {len(found)} teams"
    return views.Health(name="budget", state="warn" if bad or crowded else "ok", text=text)


def _stream(parts: list[PartitionRow], lag: float | None) -> views.Health:
    if not parts:
        return views.Health(name="stream", state="warn", text="nothing was read yet")
    left = sum(max(0, part.end - part.position) for part in parts)
    text = f"{parts[0].topic}: {len(parts)} partitions, {left} records wait{_strange(parts)}"
    if lag is not None and lag > BEHIND_BAD_S:
        return views.Health(name="stream", state="bad", text=text)
    state = "warn" if lag is not None and lag > BEHIND_WARN_S else "ok"
    return views.Health(name="stream", state=state, text=text)  # type: ignore[arg-type] # ok or warn


def _strange(parts: list[PartitionRow]) -> str:
    """Events whose time or id is in doubt, of all that were ever judged."""
    totals: Counter[str] = Counter()
    for part in parts:
        totals.update(part.totals)
    told = {"late": "came late", "clamped": "were far ahead", "conflict": "had another's id"}
    found = [f"{totals[fate]} {text}" for fate, text in told.items() if totals[fate]]
    events = totals.total() - totals["clamped"]
    return f"; of {events} events {', '.join(found)}" if found else ""


def _quarantine(tx: Tx) -> views.Health:
    counts = tx.stream.quarantine_counts()
    total = sum(counts.values())
    if not total:
        return views.Health(name="quarantine", state="ok", text="empty")
    worst = max(counts, key=lambda rule: counts[rule])
    return views.Health(
        name="quarantine", state="warn", text=f"{total} findings, most of them {worst}"
    )


def _labels(tx: Tx, plan: Plan, pipeline: int) -> list[views.Health]:
    """Of which labels no new value is told apart any more; nothing where all have room."""
    limits, admitted = label_limits(plan), tx.stream.fullest(pipeline)
    volume = plan.volume()
    told = []
    for name, limit in limits.items():
        if admitted.get(name, 0) < limit:
            continue
        if volume is not None and name == volume.name:
            told.append(f"{limit} sources are watched for silence, a further one is not")
        else:
            told.append(f"{limit} values of {name} are told apart, further ones are {OTHER}")
    return [views.Health(name="labels", state="warn", text="; ".join(told))] if told else []


def _signals(tx: Tx, plan: Plan, pipeline: int) -> list[views.Health]:
    """Which signals are off because no event brings what they need; nothing before a verdict."""
    end = tx.decisions.position(pipeline)
    if end is None:
        return []
    names = [signal.name for signal in plan.rates()]
    off = [name for name in names if not tx.decisions.counted(name, end - COUNTED_S, end)]
    if not off:
        text = f"each of {len(names)} was counted in the last hour"
        return [views.Health(name="signals", state="ok", text=text)]
    text = f"nothing to count for: {', '.join(off)}"
    if len(off) == len(names):
        text = "nothing was counted in the last hour"
    return [views.Health(name="signals", state="warn", text=text)]
