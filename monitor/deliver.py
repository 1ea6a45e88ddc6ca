"""Loop 3: outbox -> channels.

A page is claimed under a lease, sent outside any transaction, and what happened is written back.
Each receiver has at most one sender at a time, in a thread of its own, so that a slow one delays
nobody else and the order of an incident's messages is kept.
"""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from datetime import datetime, timedelta

from monitor.incidents.timeline import Entry
from monitor.metrics import Metrics
from monitor.notify.channel import Channel, Kind, Outcome, Refused, Retry, Sent, Unknown
from monitor.paging import Pager
from monitor.store.outbox import Queued
from monitor.store.store import Store, StoreUnavailable, Tx

logger = logging.getLogger(__name__)

FIRST_RETRY_S = 1.0
LONGEST_RETRY_S = 300.0
"""A provider's outage may last a day; a page is tried every five minutes until it is over."""
GIVE_UP = timedelta(hours=24)


def retry_in(attempts: int, outcome: Retry | Unknown) -> float:
    """Seconds until the next try: the provider's wish, or 1, 2, 4 ... at most 300."""
    if isinstance(outcome, Retry) and outcome.after_s is not None:
        return min(max(outcome.after_s, 0.0), LONGEST_RETRY_S)
    return float(min(FIRST_RETRY_S * 2 ** (min(attempts, 12) - 1), LONGEST_RETRY_S))


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
    ) -> None:
        """Args: `clock` tells the wall time; `fallback` is rung when a page is refused."""
        self._store = store
        self._channels = channels
        self._pager = pager
        self._metrics = metrics
        self._clock = clock
        self._fallback = fallback
        self._owner = uuid.uuid4().hex
        self._pool = ThreadPoolExecutor(
            max_workers=max(2, len(channels)), thread_name_prefix="deliver"
        )
        self._busy: dict[str, Future[None]] = {}
        self._recovered = False

    def step(self, now: datetime) -> int:
        """Start sending what is due; how many pages were claimed.

        Raises:
            StoreUnavailable: nothing was claimed.
        """
        self._reap()
        with self._store.write() as tx:
            if not self._recovered:
                again = tx.outbox.release(self._owner, now)
                if again:
                    logger.warning("recovered: %d pages of a killed daemon are sent again", again)
                self._recovered = True
            pages = tx.outbox.claim(self._owner, now, busy=self._busy)
            for state, count in tx.outbox.counts().items():
                self._metrics.outbox.labels(state).set(count)
        by_receiver: dict[str, list[Queued]] = {}
        for page in pages:
            by_receiver.setdefault(page.receiver, []).append(page)
        for receiver, batch in by_receiver.items():
            self._busy[receiver] = self._pool.submit(self._send_all, batch)
        return len(pages)

    def _reap(self) -> None:
        """Forget the senders that are done; one that broke is a bug and must be heard."""
        for name, job in list(self._busy.items()):
            if job.done():
                del self._busy[name]
                if (problem := job.exception()) is not None:
                    logger.error("sending to %s broke, it is tried again: %r", name, problem)

    def settle(self) -> None:
        """Wait for everything under way."""
        wait(self._busy.values())

    def close(self) -> None:
        """Finish what is under way and release the channels."""
        self._pool.shutdown(wait=True)
        for channel in self._channels.values():
            channel.close()

    def _send_all(self, pages: list[Queued]) -> None:
        for page in pages:
            channel = self._channels.get(page.receiver)
            started = time.monotonic()
            outcome: Outcome = (
                Refused(f"no receiver {page.receiver!r} in the configuration")
                if channel is None
                else channel.send(page.message, self._clock())
            )
            try:
                self._record(page, outcome, time.monotonic() - started)
            except StoreUnavailable as problem:
                # The lease runs out and the page is sent again under the same key.
                logger.warning("page %s was sent but not recorded: %s", page.id, problem)

    def _record(self, page: Queued, outcome: Outcome, seconds: float) -> None:
        now = self._clock()
        word = type(outcome).__name__.lower()
        detail = outcome.detail if isinstance(outcome, Sent) else outcome.reason
        self._metrics.pages.labels(page.receiver, word).inc()
        with self._store.write() as tx:
            tx.outbox.attempt(page, word, detail, seconds, now)
            match outcome:
                case Sent(receipt=receipt):
                    tx.outbox.sent(page, self._owner, receipt, detail, now)
                    waited = (now - page.created_at).total_seconds()
                    self._metrics.page_latency.labels(page.receiver).observe(max(0.0, waited))
                    self._tell(
                        tx, page, "SENT", f"{page.receiver} accepted the {page.message.kind}"
                    )
                case Retry() | Unknown() if now - page.created_at < GIVE_UP or self._is_old(page):
                    at = now + timedelta(seconds=retry_in(page.attempts, outcome))
                    tx.outbox.again(page, self._owner, at, detail)
                case _:
                    tx.outbox.dead(page, self._owner, detail)
                    self._failed(tx, page, detail, now)
            tx.touch()

    def _is_old(self, page: Queued) -> bool:
        """A page of a recording is dated by its own time; only its attempts say how long it is."""
        return page.attempts < GIVE_UP.total_seconds() / LONGEST_RETRY_S

    def _failed(self, tx: Tx, page: Queued, detail: str, now: datetime) -> None:
        logger.error("page %s to %s failed: %s", page.id, page.receiver, detail)
        self._tell(tx, page, "DEAD", f"{page.receiver} will not take it: {detail}")
        incident = tx.incidents.get(page.incident)
        if incident is None or page.message.kind is not Kind.TRIGGER:
            return
        if self._fallback and self._fallback != page.receiver:
            self._pager.ring(
                tx, incident, (self._fallback,), now, f"delivery to {page.receiver} is broken"
            )

    def _tell(self, tx: Tx, page: Queued, kind: str, text: str) -> None:
        repeat = f" (attempt {page.attempts}, possible repeat)" if page.attempts > 1 else ""
        entry = Entry(
            kind=kind,
            text=text + repeat,
            actor="tocsin",
            occurred_at=page.message.occurred_at or self._clock(),
            key=f"{kind.lower()}:{page.id}",
            data={"receiver": page.receiver, "attempt": page.attempts},
        )
        tx.incidents.append(page.incident, (entry,), self._clock())
