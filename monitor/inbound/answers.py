"""What somebody answered outside, applied once: the one place that both ways in come to.

One transaction takes the answer's keys (a repeat finds them taken and does nothing), lets the desk
do what was asked with the rights of the person, writes the audit line, and commits. Only then may
the sender have its receipt. A refusal is a result like any other and is committed too; only a store
that does not answer leaves nothing behind, so that the sender comes again.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeout
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal

from monitor.desk.desk import Desk
from monitor.desk.limits import Buckets
from monitor.faults import fault_point
from monitor.incidents.model import Incident
from monitor.incidents.timeline import Entry
from monitor.metrics import Metrics
from monitor.store.audit_rows import Audited
from monitor.store.joined import Joined, Transactions
from monitor.store.store import Store, StoreUnavailable, Tx
from monitor.text import vis
from monitor.views import DeskError, Principal

logger = logging.getLogger(__name__)

Source = Literal["slack", "pagerduty"]
Action = Literal["acknowledge", "escalate", "none"]
DeskFor = Callable[[Transactions, Principal], Desk]
"""A desk on these transactions that speaks for this principal."""

PATIENCE_S = 2.5
"""Slack wants its receipt within 3 s, PagerDuty within 5 s."""
REFUSED_A_DAY = 1000
"""Refusals written down of each source; all are logged and counted."""
SKEW = timedelta(minutes=1)
"""Their clock and ours differ by no more."""
AT_ONCE = 16
"""Answers that are worked on or wait for the store; the next has to come again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """Something that somebody asks for from outside; who sent it has proved to be the sender."""

    source: Source
    keys: tuple[str, ...]
    """Each is taken once; one that was taken before makes the answer a repeat."""
    once: str = ""
    """As a key, but taken only by an answer that was done: a refusal leaves it to who may."""
    account: str
    """Who it was over there, for the audit: `T0123/U0123`."""
    who: Principal | None
    """Who that is here; None for a stranger."""
    action: Action
    occurred_at: datetime | None = None
    """When it was done over there; None where they do not say."""
    incident: str = ""
    """The incident's uuid."""
    entry: str = ""
    """Where the uuid is not known: key of a timeline entry that the incident has."""
    note: str = ""
    """A note to add to the timeline; raw text."""
    link: Entry | None = None
    """An entry that ties the other side's incident to ours; its key keeps it to one."""
    lost: str = ""
    """What the timeline says when a stranger asked for it: an entry's text, or nothing."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What came of an answer; it is committed."""

    outcome: Literal["done", "late", "repeat", "refused"]
    """`late`: somebody had done it before."""
    text: str
    """In words for the person; raw."""
    key: str = ""
    """For a repeat: the key that was taken."""


class Answers:
    """Applies answers; safe to use from several threads."""

    def __init__(
        self, store: Store, desk_for: DeskFor, metrics: Metrics, clock: Callable[[], datetime]
    ) -> None:
        """Args: `desk_for` makes a desk for a principal, `clock` tells the real time."""
        self._store = store
        self._desk_for = desk_for
        self._metrics = metrics
        self._clock = clock
        self._refused = Buckets(per_s=REFUSED_A_DAY / 86_400, burst=REFUSED_A_DAY)
        self._room = threading.Semaphore(AT_ONCE)
        self._pool = ThreadPoolExecutor(max_workers=4, thread_name_prefix="answers")

    def close(self) -> None:
        """Finish what is under way."""
        self._pool.shutdown(wait=True)

    def in_time(self, answer: Answer, patience_s: float = PATIENCE_S) -> Reply:
        """As `apply`, for a sender that waits so long.

        Raises:
            StoreUnavailable: nothing is known to be written. If it is after all, the sender's
                repeat finds its key taken.
        """
        if not self._room.acquire(blocking=False):
            raise StoreUnavailable(f"{AT_ONCE} answers wait for the store")
        job: Future[Reply] = self._pool.submit(self._counted, answer)
        job.add_done_callback(lambda _: self._room.release())
        try:
            return job.result(timeout=patience_s)
        except FutureTimeout:
            job.cancel()  # one that has not begun need not: its sender comes again
            raise StoreUnavailable(f"the store did not answer in {patience_s:g} s") from None

    def _counted(self, answer: Answer) -> Reply:
        try:
            reply = self.apply(answer)
        except StoreUnavailable:
            self._metrics.answers.labels(answer.source, "unavailable").inc()
            raise
        self._metrics.answers.labels(answer.source, reply.outcome).inc()
        return reply

    def apply(self, answer: Answer) -> Reply:
        """Apply it, in one transaction.

        Raises:
            StoreUnavailable: nothing was written.
        """
        now = self._clock()
        fault_point("K10")
        with self._store.write() as tx:
            for key in answer.keys:
                if not tx.received.first(key, answer.source, now):
                    return Reply("repeat", "that was done already", key)
            if answer.once and tx.received.has(answer.once):
                return Reply("repeat", "that was done already", answer.once)
            reply = self._applied(tx, answer, now)
            if answer.once and reply.outcome != "refused":
                tx.received.first(answer.once, answer.source, now)
            refused = reply.outcome == "refused"
            if not (refused and self._refused.take(answer.source, time.monotonic())):
                _audit(tx, answer, reply, now)
            tx.touch()
        return reply

    def _applied(self, tx: Tx, answer: Answer, now: datetime) -> Reply:
        incident = _incident(tx, answer)
        if incident is None:
            return Reply("refused", "there is no such incident here")
        if answer.link is not None:
            tx.incidents.append(incident.uuid, (answer.link,), now)
        if answer.who is None:
            if answer.action == "none" and not answer.note:
                return Reply("done", "nothing to do")
            if answer.lost:
                lost = Entry(kind="REFUSED", text=answer.lost, actor="tocsin", occurred_at=now)
                tx.incidents.append(incident.uuid, (lost,), now)
            return Reply(
                "refused", f"you may not answer for {incident.name}: nobody said who you are"
            )
        desk = self._desk_for(Joined(tx), answer.who)
        try:
            if past := _past(tx, answer, incident):
                desk.note(incident.name, text=past)
                return Reply("refused", past)
            if answer.note:
                desk.note(incident.name, text=answer.note)
            return _done(desk, answer, incident)
        except DeskError as refusal:
            if refusal.code == "unavailable":
                raise StoreUnavailable(refusal.message) from refusal
            hint = f"; {refusal.hint}" if refusal.hint else ""
            return Reply("refused", refusal.message + hint)


def _done(desk: Desk, answer: Answer, incident: Incident) -> Reply:
    match answer.action:
        case "acknowledge":
            text = desk.acknowledge(incident.name).text
            return Reply("late" if incident.acknowledged_at is not None else "done", text)
        case "escalate":
            return Reply("done", desk.escalate(incident.name).text)
        case "none":
            return Reply("done", "noted" if answer.note else "nothing to do")


def _past(tx: Tx, answer: Answer, incident: Incident) -> str:
    """What the timeline says of an answer to an outage before this one; else empty.

    What was paged for one outage only is answered whatever their clock says: nobody can have
    answered it before.
    """
    at, paged = answer.occurred_at, incident.paged_at
    if answer.action == "none" or at is None or paged is None or at >= paged - SKEW:
        return ""
    if incident.uuid not in tx.rings.astray():
        return ""
    return (
        f"an answer of {at.astimezone(UTC):%Y-%m-%d %H:%M} UTC from {answer.source} came late: "
        "it was to an outage before this one, and does not answer it"
    )


def _incident(tx: Tx, answer: Answer) -> Incident | None:
    if answer.incident:
        return tx.incidents.get(answer.incident)
    return tx.incidents.with_entry(answer.entry) if answer.entry else None


def _audit(tx: Tx, answer: Answer, reply: Reply, now: datetime) -> None:
    """One line for what had an effect or was refused; what only tells us something has none."""
    if answer.action == "none" and reply.outcome != "refused":
        return
    who = answer.who.name if answer.who is not None else "-"
    detail = vis(f"{answer.account}: {reply.text}", limit=300)
    tx.audit.add(Audited(now, who, answer.source, answer.action, reply.outcome, detail))
    if reply.outcome == "refused":
        logger.warning("%s: %s refused for %s", answer.source, answer.action, detail)
