"""What is due by time alone: escalations climb, and what is quiet closes itself.

With thousands of open incidents nearly all have nothing due. Which have is asked once for all of
them; only those are read whole.

A clock that is put back would hold every escalation up for as long, and one that is put forward
would ring all of its rungs at once. So what waits for an answer is dated anew by the clock as it is
now: exactly where we saw it move, and where we did not (it moved while nobody decided) from now on,
so that no rung waits longer than its own time once more. Forward, a move that nobody saw is time
that went by: a daemon that was down rings what is due.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from monitor.alerting import pages
from monitor.faults import fault_point
from monitor.incidents import actions
from monitor.incidents.model import Incident
from monitor.incidents.timeline import Entry
from monitor.paging import Pager
from monitor.store.incident_rows import Call
from monitor.store.store import Tx
from monitor.warden import uptime
from monitor.watchdog import tick

logger = logging.getLogger(__name__)

JUMP = timedelta(seconds=10)
"""Less is the clock's discipline, and moves nothing that matters."""
AHEAD = timedelta(minutes=1)
"""A page dated further ahead was dated by another clock; less may be another machine's skew."""
TOGETHER_S = 60.0
"""Two looks further apart say nothing: somebody else may have decided between them."""
NO_TIME = timedelta()
AT_ONCE_S = 1.0
"""Two clocks are read together when no more than this goes by between them."""


@dataclass(frozen=True, slots=True)
class Jump:
    """What became of the wall clock between two looks."""

    at: datetime
    """It says so now."""
    by: timedelta = NO_TIME
    """So far it was put forward; negative: back; zero: it was not set."""
    looked: datetime | None = None
    """When the last look was, by the clock as it was then."""


@dataclass(slots=True)
class Hands:
    """The wall clock beside one that nobody sets and that counts whatever time really goes by.

    Which is `CLOCK_BOOTTIME`: both go on while a process is stopped (SIGSTOP) and while a machine
    sleeps, so that neither looks like a jump, and what came due meanwhile is late and rings. Not
    `CLOCK_MONOTONIC`: on Linux it stands still while the machine sleeps, and a night would look
    like a clock put forward (where there is no other, on macOS, it goes on). A virtual machine that
    is paused has all of its clocks stand still; set right again, the wall's was put forward for all
    that can be known here: then a rung waits for what was left of its time, and no longer.
    """

    steady: Callable[[], float] = uptime
    """Seconds."""
    clock: Callable[[], datetime] | None = None
    """Tells the wall time; None: `now` of each look does. A loop's `now` was taken before it waited
    for its transaction: that wait, or a stop in it, must not look like a jump."""
    last: tuple[datetime, float] | None = None
    """Both at the last look."""
    known: set[tuple[str, datetime]] = field(default_factory=set)
    """What waited for an answer at the last look: the incident's uuid, and when it was paged."""
    untold: list[tuple[str, Entry]] = field(default_factory=list)
    """Entries of incidents, by uuid, that no call had the time to write yet."""

    def look(self, now: datetime) -> Jump:
        """How far the wall clock was set since the last look."""
        at, steady_s = self._both(now)
        looked, self.last = self.last, (at, steady_s)
        if looked is None or steady_s - looked[1] > TOGETHER_S:
            return Jump(at)
        by = at - looked[0] - timedelta(seconds=steady_s - looked[1])
        return Jump(at, by if abs(by) > JUMP else NO_TIME, looked[0])

    def _both(self, now: datetime) -> tuple[datetime, float]:
        tries = 3
        while True:
            steady_s = self.steady()
            at = now if self.clock is None else self.clock()
            tries -= 1
            if not tries or self.steady() - steady_s <= AT_ONCE_S:
                return at, steady_s  # else this process was stopped between the two

    def copy(self) -> Hands:
        """For a look of which nobody knows yet whether what it leads to is stored."""
        return replace(self, untold=list(self.untold))


def counts_from(paged_at: datetime, now: datetime, jump: Jump, *, known: bool = False) -> datetime:
    """From when on the times of an escalation count, by the clock as it is now.

    Args:
        paged_at: from when on they counted.
        now: the wall clock.
        jump: of the wall clock since the last look.
        known: it was paged before the last look.
    """
    if jump.by and jump.looked is not None:
        # What was paged since the look and after the clock was set is dated right already.
        right = not known and jump.looked + jump.by <= paged_at <= now
        paged_at += NO_TIME if right else jump.by
    return now if paged_at > now + AHEAD else paged_at


def run_timers(
    tx: Tx,
    pager: Pager,
    now: datetime,
    *,
    seconds: float = math.inf,
    live: bool = True,
    hands: Hands | None = None,
) -> None:
    """Do what is due.

    Args:
        tx: the open transaction.
        pager: whom to tell.
        now: the time of the decision.
        seconds: other writers wait for so long at most; the next call does what is left.
        live: False for a recording, whose clock goes in steps: there nothing is late.
        hands: of the clock, as the last call saw them; None: nobody looks whether it was set.
    """
    steady = time.monotonic if hands is None else hands.steady
    began = steady()
    calls = tx.incidents.unanswered()
    if live and hands is not None:
        jump = hands.look(now)
        now = jump.at if jump.by else now  # it may have been taken before the clock was set
        if _date_anew(tx, calls, now, jump, hands):
            calls = tx.incidents.unanswered()
        hands.known = {(call.uuid, call.paged_at) for call in calls}
        _tell_dated(tx, hands, now, began + seconds / 2)
    for uuid in _to_climb(tx, calls, now):
        tick()
        waiting = tx.incidents.get(uuid)
        if waiting is not None and pager.climb(tx, waiting, now, live=live):
            fault_point("K9")
            tx.touch()
            if steady() > began + seconds:
                break  # the next step finds these rung, and comes to the others
    # Nobody waits for these: they come last, at least one of each in a call.
    for uuid, untold in tx.rings.settled(now - actions.FLAPPING):
        _tell_settled(tx, pager, uuid, untold, now)
        if steady() > began + seconds:
            break
    for incident in tx.incidents.normal_since(now - actions.QUIET_BEFORE_CLOSE):
        _close(tx, pager, incident, now)
        if steady() > began + seconds:
            break


def _date_anew(tx: Tx, calls: Sequence[Call], now: datetime, jump: Jump, hands: Hands) -> bool:
    """Let what waits for an answer count by the clock as it is now; whether any does anew.

    All of it at once, so that none is held up; what their timelines say of it may come later.
    """
    if jump.by:
        logger.warning("the clock was set by %+d s", jump.by.total_seconds())
    anew: dict[str, datetime] = {}
    for call in calls:
        known = (call.uuid, call.paged_at) in hands.known
        at = counts_from(call.paged_at, now, jump, known=known)
        if at == call.paged_at:
            continue
        anew[call.uuid] = at
        moved = (at - call.paged_at).total_seconds()
        way, than = ("forward", "later") if moved > 0 else ("back", "earlier")
        text = f"the clock was put {way}: what was paged counts as paged {abs(moved):.0f} s {than}"
        entry = Entry(kind="CLOCK", text=text, actor="tocsin", occurred_at=now)
        hands.untold.append((call.uuid, entry))
    if anew:
        was = {call.uuid: call.paged_at for call in calls}
        later = {uuid: (was[uuid], at) for uuid, at in anew.items() if at > was[uuid]}
        tx.rings.date_forward(later)
        for uuid in tx.rings.astray() & (anew.keys() - later.keys()):
            tx.rings.date_anew(uuid, was[uuid], anew[uuid])
        tx.incidents.date_pages(anew)
        tx.touch()
    return bool(anew)


def _tell_dated(tx: Tx, hands: Hands, now: datetime, patience: float) -> None:
    """Write on timelines what was dated anew, until `patience` of the steady clock."""
    told = 0
    for uuid, entry in hands.untold:
        tick()
        tx.incidents.append(uuid, (entry,), now)
        told += 1
        if hands.steady() > patience:
            break
    if told:
        tx.touch()
        del hands.untold[:told]


def _tell_settled(tx: Tx, pager: Pager, uuid: str, untold: set[str], now: datetime) -> None:
    """What was acknowledged has been over for long enough: nobody rings anew without an end."""
    tick()
    settled = tx.incidents.get(uuid)
    assert settled is not None
    pager.tell_over(tx, settled, now, only=untold)
    tx.touch()


def _close(tx: Tx, pager: Pager, incident: Incident, now: datetime) -> None:
    tick()
    step = actions.close_by_itself(incident, now)
    if step is not None:
        tx.incidents.apply(step, now)
        pager.tell_closed(tx, step.incident, now)
        tx.touch()


def _to_climb(tx: Tx, calls: Sequence[Call], now: datetime) -> list[str]:
    """Ids of the incidents with a rung that is due and was not rung, oldest first."""
    rung = tx.rings.of_open() if calls else {}
    return [
        call.uuid
        for call in calls
        if pages.next_rung(
            call.escalation,
            pages.rung_since(rung.get(call.uuid, {}), call.paged_at),
            call.paged_at,
            now,
        )
    ]
