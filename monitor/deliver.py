"""Loop 3: outbox -> channels.

A page is claimed under a lease, sent outside any transaction, and what happened is written back.
Each receiver has at most one sender at a time, in a thread of its own, so that a slow one delays
nobody else and the order of an incident's messages is kept. A provider that asks for silence gets
it for all of its pages. Nobody is rung for what is over before anybody heard of it.

Any number of processes deliver. Each keeps a lease that says that it lives; what one held whose
lease has run out is sent again by another, under the same key.
"""

from __future__ import annotations

import logging
import math
import threading
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from datetime import datetime, timedelta

from monitor import recovery, scoreboard
from monitor.config.settings import Configured
from monitor.faults import fault_point
from monitor.incidents.timeline import Entry
from monitor.metrics import Metrics
from monitor.notify.attempt import attempt
from monitor.notify.channel import (
    NO_INCIDENT,
    Channel,
    Kind,
    Outcome,
    Refused,
    Retry,
    Sent,
    Unknown,
)
from monitor.outcomes import Done, Outcomes
from monitor.paging import Pager
from monitor.processes.gates import gated
from monitor.store.errors import StoreBusy
from monitor.store.lease_rows import Lease
from monitor.store.outbox import LONGEST_WAIT, Queued
from monitor.store.store import Store, StoreUnavailable, Tx

logger = logging.getLogger(__name__)

FIRST_RETRY_S = 1.0
LONGEST_RETRY_S = LONGEST_WAIT.total_seconds()
"""A provider's outage may last a day; a page is tried every five minutes until it is over."""
OURS_S = 10.0
"""What we lack ourselves (a secret) may be back at any moment, and to look costs little."""
GIVE_UP = timedelta(hours=24)
PRESENT = timedelta(seconds=10)
"""A process that has not been heard of for so long is gone, and another sends its pages."""
SURE_S = 5.0
"""A page that was claimed longer ago is looked at again before it is sent: is it still ours?"""
OBSERVE_S = 1.0
JOB = "deliver:"
"""The leases of those who deliver begin with it."""


def retry_in(attempts: int, outcome: Retry | Unknown) -> float:
    """Seconds until the next try: the provider's wish, or 1, 2, 4 ... at most 300."""
    if isinstance(outcome, Retry) and outcome.ours:
        return OURS_S
    if isinstance(outcome, Retry) and outcome.after_s is not None:
        return min(max(outcome.after_s, 0.0), LONGEST_RETRY_S)
    return float(min(FIRST_RETRY_S * 2 ** (min(attempts, 12) - 1), LONGEST_RETRY_S))


def _pool(senders: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(max_workers=senders, thread_name_prefix="deliver")


class Deliver:
    """The delivery loop of one process."""

    def __init__(
        self,
        store: Store,
        channels: Mapping[str, Channel],
        pager: Pager,
        metrics: Metrics,
        clock: Callable[[], datetime],
        *,
        fallback: str = "",
        owner: str = "",
        steady: Callable[[], float] = time.monotonic,
    ) -> None:
        """Opens nothing.

        Args:
            store: open.
            channels: by the receiver's name.
            pager: whom to tell that a page was refused.
            metrics: of this process.
            clock: tells the wall time.
            fallback: is rung when a page is refused.
            owner: a name that no other process has at the same time; where it survives a restart,
                what was under way is sent again at once. Empty: a new one at each start.
            steady: a clock that never jumps, seconds; a receiver's silence runs on it.
        """
        self.gate = threading.Lock()
        """Held during a step."""
        self._store = store
        self._channels = channels
        self._pager = pager
        self._metrics = metrics
        self._clock = clock
        self._fallback = fallback
        scoreboard.receivers(metrics, channels)
        # The name of this life: what an earlier one of the same owner writes late must not count.
        self._owner = uuid.uuid4().hex
        self._job = JOB + (owner or self._owner)
        self._senders = max(2, len(channels))
        self._pool = _pool(self._senders)
        self._busy: dict[str, Future[None]] = {}
        self._steady = steady
        self._refused: StoreUnavailable | None = None
        """The store has not taken what came of a page; the next step says so."""
        self._silent: dict[str, float] = {}
        """Until when a receiver has asked for silence."""
        self._retired: list[tuple[Future[None] | None, Channel]] = []
        """Channels of an earlier configuration, each with what it still sends."""
        self._lease: Lease | None = None
        self._told_at = 0.0
        self._observed_at = -math.inf
        self._outcomes = Outcomes(self._record)
        self._closing = threading.Event()

    @property
    def channels(self) -> Mapping[str, Channel]:
        """By receiver, as they are now."""
        return self._channels

    @gated
    def step(self, now: datetime) -> int:
        """Start sending what is due; how many pages were claimed.

        Raises:
            StoreUnavailable: nothing was claimed.
        """
        self._reap()
        refused, self._refused = self._refused, None
        if refused is not None:
            raise refused
        claimed = time.monotonic()
        with self._store.queue() as tx:
            lease = self._present(tx, now)
            pages = self._claim(tx, now) if lease is not None else []
            self._observe(tx)
        if lease is not self._lease:
            self._lease, self._told_at = lease, time.monotonic()
        if pages:
            fault_point("K5")
            overdue = sum(page.state == "claimed" for page in pages)
            recovery.tell(self._metrics, "pages resent", overdue)
        by_receiver: dict[str, list[Queued]] = {}
        for page in pages:
            by_receiver.setdefault(page.receiver, []).append(page)
        for receiver, batch in by_receiver.items():
            channel = self._channels.get(receiver)
            self._busy[receiver] = self._pool.submit(self._send_all, batch, channel, claimed)
        return len(pages)

    def _claim(self, tx: Tx, now: datetime) -> list[Queued]:
        return tx.outbox.claim(
            self._owner,
            now,
            busy=self._busy,
            resting=[name for name in self._channels if self._is_silent(name)],
            try_top=bool(self._fallback),
            clock=tx.leases.now(now),
        )

    def _is_silent(self, receiver: str) -> bool:
        return self._silent.get(receiver, -math.inf) > self._steady()

    def freed(self, seconds: float) -> bool:
        """Wait until a receiver can be sent to again, `seconds` at most; whether any was busy."""
        wait(self._busy.values(), timeout=seconds, return_when=FIRST_COMPLETED)
        return bool(self._busy)

    def _observe(self, tx: Tx) -> None:
        """The gauges of the outbox; to count all of it at each claim would be most of the work."""
        if time.monotonic() - self._observed_at >= OBSERVE_S:
            self._observed_at = time.monotonic()
            scoreboard.outbox(self._metrics, tx.outbox.counts(), tx.outbox.oldest())

    def _present(self, tx: Tx, now: datetime) -> Lease | None:
        """Tell the others that we deliver, and take what those held who are gone.

        Returns:
            Our lease; None when another process delivers under our name.
        """
        first = self._lease is None
        if not first and time.monotonic() - self._told_at < PRESENT.total_seconds() / 3:
            return self._lease
        wall = self._clock()
        lease = tx.leases.take(self._job, self._owner, PRESENT, wall, sure=self._told_at == 0.0)
        if lease is None:
            logger.error("another process delivers as %s: this one does not", self._job)
            return None
        living = {self._owner}
        if self._store.shared:
            living |= {other.holder for other in tx.leases.living(JOB, wall)}
        elif not first:
            return lease
        recovery.tell(self._metrics, "pages resent", tx.outbox.release(living, now))
        return lease

    def _reap(self) -> None:
        """Forget the senders that are done; one that broke is a bug and must be heard."""
        for name, job in list(self._busy.items()):
            if job.done():
                del self._busy[name]
                if (problem := job.exception()) is not None:
                    logger.error("sending to %s broke, it is tried again: %r", name, problem)

        for last, channel in list(self._retired):
            if last is None or last.done():
                self._retired.remove((last, channel))
                channel.close()

    def take(self, configured: Configured, channels: Mapping[str, Channel]) -> None:
        """Send through other channels from the next step on; the gate is held.

        What is being sent is sent to its end by the channel that has it.
        """
        for name, channel in self._channels.items():
            if channels.get(name) is not channel:
                self._retired.append((self._busy.get(name), channel))
                self._silent.pop(name, None)
        self._channels = dict(channels)
        self._fallback = configured.settings.paging.fallback
        scoreboard.receivers(self._metrics, channels)
        if len(channels) > self._senders:
            self._senders = len(channels)
            self._pool.shutdown(wait=False)
            self._pool = _pool(self._senders)

    def settle(self) -> None:
        """Wait for everything under way."""
        wait(self._busy.values())

    def close(self) -> None:
        """Finish the messages under way and release the channels."""
        self._closing.set()
        fault_point("K14")
        self.settle()
        self._pool.shutdown(wait=True)
        if self._lease is not None:
            try:
                with self._store.queue() as tx:
                    tx.leases.let_go(self._lease)
            except StoreUnavailable as problem:
                logger.warning("the others hear of our end when the lease runs out: %s", problem)
        for channel in (*self._channels.values(), *(each for _, each in self._retired)):
            channel.close()

    def _send_all(self, pages: list[Queued], channel: Channel | None, claimed: float) -> None:
        over = [page for page in pages if page.over]
        if over:
            self._overtake(over)
        held: list[Queued] = []
        for page in pages:
            if page.over:
                continue
            if self._closing.is_set() or (self._is_silent(page.receiver) and not page.hurries):
                held.append(page)
                continue
            if time.monotonic() - claimed > SURE_S and not self._still_ours(page):
                logger.warning("page %s has another sender meanwhile, or nobody knows", page.id)
                continue
            started = time.monotonic()
            outcome = attempt(channel, page.receiver, page.message, self._clock())
            self._listen(page.receiver, outcome)
            fault_point("K7")
            self._keep(Done(page, outcome, time.monotonic() - started))
        if held:
            self._hand_back(held)

    def _keep(self, done: Done) -> None:
        """Write down what came of it; else the lease runs out, and it is sent again as the same."""
        try:
            self._outcomes.keep(done)
            if not isinstance(done.outcome, Sent):
                fault_point("K8")
        except StoreUnavailable as problem:
            logger.warning("page %s was sent but not recorded: %s", done.page.id, problem)
            if not isinstance(problem, StoreBusy):
                self._refused = problem

    def _listen(self, receiver: str, outcome: Outcome) -> None:
        """Whether the receiver asks for silence now."""
        if isinstance(outcome, Retry) and outcome.after_s:
            self._silent[receiver] = self._steady() + retry_in(1, outcome)

    def _hand_back(self, pages: Sequence[Queued]) -> None:
        """They were not tried: we end, or their receiver asked for silence meanwhile."""
        try:
            with self._store.queue() as tx:
                for page in pages:
                    tx.outbox.hand_back(page, self._owner)
        except StoreUnavailable as problem:
            logger.warning("%d pages wait until their claim runs out: %s", len(pages), problem)

    def _overtake(self, pages: Sequence[Queued]) -> None:
        """Ring nobody for what ended before anybody heard of it."""
        try:
            with self._store.write() as tx:
                for page in pages:
                    incident = tx.incidents.get(page.incident)
                    if incident is None or incident.is_open:  # opened again since it was claimed
                        tx.outbox.hand_back(page, self._owner)
                        continue
                    detail = "it was over before it could be sent"
                    if tx.outbox.overtake(page, self._owner, detail):
                        self._tell(tx, page, "OVERTAKEN", f"{page.receiver} is not rung: {detail}")
                tx.touch()
        except StoreUnavailable as problem:
            logger.warning("%d pages wait until their claim runs out: %s", len(pages), problem)

    def _still_ours(self, page: Queued) -> bool:
        """Renew the claim of a page that waited, behind others or in a machine that stood still."""
        try:
            with self._store.queue() as tx:
                return tx.outbox.hold(page, self._owner, tx.leases.now(self._clock()))
        except StoreUnavailable:
            return False

    def _record(self, done: Sequence[Done]) -> None:
        now = self._clock()
        with self._store.write() as tx:
            for each in done:
                self._record_one(tx, each, now)
            tx.touch()

    def _record_one(self, tx: Tx, done: Done, now: datetime) -> None:
        page, outcome = done.page, done.outcome
        word = type(outcome).__name__.lower()
        detail = outcome.detail if isinstance(outcome, Sent) else outcome.reason
        rings = page.message.kind is not Kind.DIGEST
        if rings:
            self._metrics.pages.labels(page.receiver, word).inc()
        ours = isinstance(outcome, Retry) and outcome.ours
        if not ours:
            tx.outbox.attempt(page, word, detail, done.seconds, now)
        match outcome:
            case Sent(receipt=receipt):
                tx.outbox.sent(page, self._owner, receipt, detail, now)
                if rings:
                    waited = (now - page.created_at).total_seconds()
                    self._metrics.page_latency.labels(page.receiver).observe(max(0.0, waited))
                self._tell(tx, page, "SENT", f"{page.receiver} accepted the {page.message.kind}")
            case Retry() | Unknown() if now - page.created_at < GIVE_UP or self._is_old(page):
                # Our own deaths and lacks say nothing of the receiver: they make no page wait.
                wait_s = retry_in(tx.outbox.heard(page), outcome)
                at = tx.leases.now(now) + timedelta(seconds=wait_s)
                sure = isinstance(outcome, Retry)
                again = tx.outbox.again(page, self._owner, at, detail, sure=sure)
                if again and isinstance(outcome, Retry) and (ours or outcome.astray):
                    self._withheld(tx, page, detail, now)
            case _:
                sure = isinstance(outcome, Retry | Refused)
                tx.outbox.dead(page, self._owner, detail, sure=sure)
                self._failed(tx, page, detail, now)

    def _is_old(self, page: Queued) -> bool:
        """A page of a recording is dated by its own time; only its attempts say how long it is."""
        return page.attempts < GIVE_UP.total_seconds() / LONGEST_RETRY_S

    def _withheld(self, tx: Tx, page: Queued, detail: str, now: datetime) -> None:
        """Say once that a page cannot reach its receiver, and ring the fallback: that may last.

        Where it tells an end, what waits behind it may begin the next outage.
        """
        text = f"{page.receiver} cannot be sent to: {detail}"
        waiting = (page, *tx.outbox.triggers_behind(page))
        held = [one for one in waiting if self._tell(tx, one, "WAITS", text)]
        for one in held:
            logger.warning("page %s to %s waits: %s", one.id, page.receiver, detail)
        # One ring says how the incident is now, whatever waits: the newest knows who has taken it.
        for newest in [one for one in held if one.message.kind is Kind.TRIGGER][-1:]:
            self._elsewhere(tx, newest, now, "is held up")

    def _failed(self, tx: Tx, page: Queued, detail: str, now: datetime) -> None:
        logger.error("page %s to %s failed: %s", page.id, page.receiver, detail)
        self._tell(tx, page, "DEAD", f"{page.receiver} will not take it: {detail}")
        gone = page.receiver not in self._channels
        self._elsewhere(tx, page, now, "is no longer configured" if gone else "is broken")

    def _elsewhere(self, tx: Tx, page: Queued, now: datetime, why: str) -> None:
        """Ring the fallback in place of a receiver; without one, whom the route names now.

        Nobody is woken for what is over, or what somebody has taken since the page was decided.
        """
        incident = tx.incidents.get(page.incident)
        if incident is None or page.message.kind is not Kind.TRIGGER:
            return
        taken = incident.acknowledged_at is not None and tx.outbox.taken_since(page)
        if taken or not incident.is_open:
            return
        instead: list[str] = []
        if self._fallback and self._fallback != page.receiver:
            instead = [self._fallback]
            reason = f"delivery to {page.receiver} {why}"
            # Who is rung for this outage already is rung once, also for several dead receivers.
            anew = incident.acknowledged_at is not None
            self._pager.ring(tx, incident, instead, now, reason, anew=anew)
        elif page.receiver not in self._channels:
            instead = self._pager.reroute(tx, incident, page.receiver, now)
        if instead and incident.normal_at is not None:
            # The others heard the end before these were rung; it has to follow.
            self._pager.tell_over(tx, incident, now, only=instead)

    def _tell(self, tx: Tx, page: Queued, kind: str, text: str) -> bool:
        """Write it on the incident's timeline; False where it stands there already."""
        if page.incident == NO_INCIDENT:
            logger.info("%s: %s", page.message.id, text)
            return False
        repeat = ""
        if page.attempts > 1 and not page.over:
            perhaps = "" if page.message.fresh else ", possible repeat"
            repeat = f" (attempt {page.attempts}{perhaps})"
        entry = Entry(
            kind=kind,
            text=text + repeat,
            actor="tocsin",
            occurred_at=page.message.occurred_at or self._clock(),
            key=f"{kind.lower()}:{page.id}",
            data={"receiver": page.receiver, "attempt": page.attempts},
        )
        return tx.incidents.append(page.incident, (entry,), self._clock()) > 0
