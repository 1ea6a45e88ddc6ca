"""What is due by time alone: escalations climb, and what is quiet closes itself.

With thousands of open incidents nearly all have nothing due. Which have is asked once for all of
them; only those are read whole.
"""

from __future__ import annotations

import math
import time
from datetime import datetime

from monitor.alerting import pages
from monitor.faults import fault_point
from monitor.incidents import actions
from monitor.paging import Pager
from monitor.store.store import Tx
from monitor.watchdog import tick


def run_timers(
    tx: Tx, pager: Pager, now: datetime, *, seconds: float = math.inf, live: bool = True
) -> None:
    """Do what is due.

    Args:
        tx: the open transaction.
        pager: whom to tell.
        now: the time of the decision.
        seconds: other writers wait for so long at most; the next call does what is left.
        live: False for a recording, whose clock goes in steps: there nothing is late.
    """
    patience = time.monotonic() + seconds
    for incident in tx.incidents.normal_since(now - actions.QUIET_BEFORE_CLOSE):
        tick()
        step = actions.close_by_itself(incident, now)
        if step is not None:
            tx.incidents.apply(step, now)
            tx.touch()
    for uuid in _to_climb(tx, now):
        tick()
        waiting = tx.incidents.get(uuid)
        if waiting is not None and pager.climb(tx, waiting, now, live=live):
            fault_point("K9")
            tx.touch()
            if time.monotonic() > patience:
                break  # the next step finds these rung, and comes to the others


def _to_climb(tx: Tx, now: datetime) -> list[str]:
    """Ids of the incidents with a rung that is due and was not rung, oldest first."""
    calls = tx.incidents.unanswered()
    rung = tx.outbox.rung() if calls else {}
    return [
        call.uuid
        for call in calls
        if pages.next_rung(call.escalation, rung.get(call.uuid, ()), call.paged_at, now)
    ]
