"""What is due by time alone: escalations climb, and what is quiet closes itself.

With thousands of open incidents nearly all have nothing due. Which have is asked once for all of
them; only those are read whole.

A clock that is put back would hold every escalation up for as long. So what waits for an answer is
dated anew by the clock as it is now: exactly where we saw it move, and where we did not (it moved
while nobody decided) from now on, so that no rung waits longer than its own time once more.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from monitor.alerting import pages
from monitor.faults import fault_point
from monitor.incidents import actions
from monitor.incidents.timeline import Entry
from monitor.paging import Pager
from monitor.store.incident_rows import Call
from monitor.store.store import Tx
from monitor.watchdog import tick

logger = logging.getLogger(__name__)

PUT_BACK = timedelta(seconds=10)
"""Less is the clock's discipline, and delays nothing that matters."""
AHEAD = timedelta(minutes=1)
"""A page dated further ahead was dated by another clock; less may be another machine's skew."""
TOGETHER_S = 60.0
"""Two looks further apart say nothing: somebody else may have decided between them."""
NO_TIME = timedelta()


@dataclass(slots=True)
class Hands:
    """The wall clock beside one that never jumps."""

    steady: Callable[[], float] = time.monotonic
    """Seconds."""
    wall: datetime | None = None
    """At the last look, and then the other."""
    steady_s: float = 0.0

    def put_back(self, now: datetime) -> timedelta:
        """By how much the wall clock was put back since the last look; zero when it was not."""
        steady_s = self.steady()
        wall, lasted = self.wall, steady_s - self.steady_s
        self.wall, self.steady_s = now, steady_s
        if wall is None or lasted > TOGETHER_S:
            return NO_TIME
        by = wall + timedelta(seconds=lasted) - now
        return by if by > PUT_BACK else NO_TIME


def counts_from(
    paged_at: datetime, now: datetime, put_back: timedelta, looked: datetime | None
) -> datetime:
    """From when on the times of an escalation count, by the clock as it is now.

    Args:
        paged_at: from when on they counted.
        now: the wall clock.
        put_back: by how much it was put back since the last look.
        looked: when that look was, by the clock as it was then.
    """
    if put_back and looked is not None:
        # What was paged since the look and after the clock was put back is dated right already.
        right = looked - put_back <= paged_at <= now
        paged_at -= NO_TIME if right else put_back
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
        hands: of the clock, as the last call saw them; None: nobody looks whether it was put back.
    """
    patience = time.monotonic() + seconds
    for incident in tx.incidents.normal_since(now - actions.QUIET_BEFORE_CLOSE):
        tick()
        step = actions.close_by_itself(incident, now)
        if step is not None:
            tx.incidents.apply(step, now)
            tx.touch()
    calls = tx.incidents.unanswered()
    if live and hands is not None and _date_anew(tx, calls, now, hands):
        calls = tx.incidents.unanswered()
    for uuid in _to_climb(tx, calls, now):
        tick()
        waiting = tx.incidents.get(uuid)
        if waiting is not None and pager.climb(tx, waiting, now, live=live):
            fault_point("K9")
            tx.touch()
            if time.monotonic() > patience:
                break  # the next step finds these rung, and comes to the others


def _date_anew(tx: Tx, calls: Sequence[Call], now: datetime, hands: Hands) -> bool:
    """Let what waits for an answer count by the clock as it is now; whether any does anew."""
    anew = False
    looked = hands.wall
    put_back = hands.put_back(now)
    if put_back:
        logger.warning("the clock was put back by %d s", put_back.total_seconds())
    for call in calls:
        at = counts_from(call.paged_at, now, put_back, looked)
        incident = tx.incidents.get(call.uuid) if at != call.paged_at else None
        if incident is None:
            continue
        tx.incidents.save(replace(incident, paged_at=at))
        moved = (call.paged_at - at).total_seconds()
        text = f"the clock was put back: what was paged counts as paged {moved:.0f} s earlier"
        tx.incidents.append(
            call.uuid, (Entry(kind="CLOCK", text=text, actor="tocsin", occurred_at=now),), now
        )
        tx.touch()
        anew = True
    return anew


def _to_climb(tx: Tx, calls: Sequence[Call], now: datetime) -> list[str]:
    """Ids of the incidents with a rung that is due and was not rung, oldest first."""
    rung = tx.outbox.rung() if calls else {}
    return [
        call.uuid
        for call in calls
        if pages.next_rung(call.escalation, rung.get(call.uuid, ()), call.paged_at, now)
    ]
