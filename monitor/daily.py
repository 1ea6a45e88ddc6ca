"""The digest on its way out: what the store knows of it, queued once a day for each receiver.

Outbox row and mark are one transaction, so that a process may die anywhere: a digest is lost
nowhere, and a repeat has the same key.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Sequence
from datetime import date, datetime, timedelta

from monitor.alerting.alerts import Alert
from monitor.alerting.budget import Budgets
from monitor.alerting.digest import (
    LONGEST,
    SPAN,
    Daily,
    Digest,
    Item,
    Note,
    is_ticket,
    key,
    window,
)
from monitor.alerting.ledger import Proposal, proposals
from monitor.faults import fault_point
from monitor.notify.channel import NO_INCIDENT, Kind, Message
from monitor.paging import Pager, Policy
from monitor.processes.posts import Guard
from monitor.spending import ledgers, moved
from monitor.store.digest_rows import Mark
from monitor.store.store import Store, StoreUnavailable, Tx

logger = logging.getLogger(__name__)

RETRY = timedelta(minutes=5)
"""After the store would not take a digest."""
MOST = 1000
"""Tickets and notes that one digest counts."""


class Digests:
    """Sends them in transactions of its own: what is wrong with a digest holds up no page.

    Args:
        store: open.
        pager: who gets one, and when; a reload gives it another policy.
        post: whether deciding is ours.
    """

    def __init__(self, store: Store, pager: Pager, post: Guard) -> None:
        self._store = store
        self._pager = pager
        self._post = post
        self._done: tuple[Daily, date] | None = None
        self._failed_at: datetime | None = None

    def step(self, now: datetime) -> None:
        """Queue the digests that are due.

        Raises:
            Fenced: nothing was queued, deciding is somebody else's now.
        """
        policy = self._pager.policy
        day = None if policy.digest is None else policy.digest.due(now)
        if policy.digest is None or day is None or self._done == (policy.digest, day):
            return
        if self._failed_at is not None and timedelta(0) <= now - self._failed_at < RETRY:
            return
        try:
            with self._store.write() as tx:
                self._post.guard(tx)
                send_digests(tx, policy, now)
        except StoreUnavailable as problem:
            self._failed_at = now
            logger.error("the digest of %s waits for five minutes: %s", day, problem)  # noqa: TRY400 - an answer of the store, its traceback says nothing more
        else:
            self._done, self._failed_at = (policy.digest, day), None


def send_digests(tx: Tx, policy: Policy, now: datetime) -> None:
    """Queue the digests that are due; mark the day of those that have nothing to say.

    Args:
        tx: the open transaction.
        policy: who gets one, and when.
        now: the wall time.
    """
    daily = policy.digest
    day = None if daily is None else daily.due(now)
    if daily is None or day is None:
        return
    done = tx.digests.done(day)
    for receiver in daily.receivers:
        if receiver not in done:
            _send(tx, daily, policy.budgets, receiver, day, now)


def _send(tx: Tx, daily: Daily, budgets: Budgets, receiver: str, day: date, now: datetime) -> None:
    last = tx.digests.last(receiver)
    digest = gathered(tx, daily, budgets, last, now)
    tx.digests.add(receiver, day, _mark(tx, now))
    if digest.empty:
        logger.info("no digest of %s to %s: there is nothing to say", day, receiver)
        return
    tx.outbox.put(NO_INCIDENT, receiver, message(digest, receiver, day), now)
    fault_point("K9")
    logger.info("digest of %s to %s: %s", day, receiver, digest.title)


def gathered(tx: Tx, daily: Daily, budgets: Budgets, last: Mark | None, now: datetime) -> Digest:
    """What happened since the last digest of a receiver; None: it never had one."""
    since = window(None if last is None else last.at, now)
    # New is what has a higher number; by time it is only told what is too old.
    oldest = now - (SPAN if last is None else LONGEST)
    told = last or Mark(now)
    open_ = _proposals(tx, daily, budgets, now)
    return Digest(
        since=since,
        until=now,
        tickets=_tickets(tx, told, oldest),
        notes=[
            Note(row.text, row.onset_at, row.fits)
            for row in tx.notes.noticed(oldest, after=told.note, limit=MOST)
        ],
        proposals=open_,
        proposed=_any_new(tx, open_, since),
    )


def message(digest: Digest, receiver: str, day: date) -> Message:
    """The digest as a channel gets it: of no incident, without links, labels and buttons."""
    own = key(receiver, day)
    return Message(
        id=own,
        kind=Kind.DIGEST,
        dedup_key=f"tocsin:{own}",
        incident=NO_INCIDENT,
        severity="",
        state="",
        title=digest.title,
        lines=digest.lines,
        command=digest.command,
        occurred_at=digest.until,
    )


def _mark(tx: Tx, now: datetime) -> Mark:
    """Everything that there is now."""
    highest = tx.incidents.next_number() - 1, tx.incidents.newest_alert(), tx.notes.newest()
    return Mark(now, *highest)


def _tickets(tx: Tx, told: Mark, oldest: datetime) -> list[Item]:
    """New incidents that woke nobody, and old ones whose new alert would have, but for the cap."""
    alerts: dict[str, list[Alert]] = defaultdict(list)
    for alert in tx.incidents.alerts_after(told.alert, oldest):
        alerts[alert.incident or ""].append(alert)
    found = [
        one
        for one in tx.incidents.search(since=oldest, limit=MOST)
        if one.number > told.incident and is_ticket(one)
    ]
    items = [Item(one, alerts.pop(one.uuid, ())) for one in found]
    for uuid, new in alerts.items():
        one = tx.incidents.get(uuid) if any(alert.tier == "page" for alert in new) else None
        if one is not None and one.number <= told.incident and is_ticket(one):
            items.append(Item(one, new))
    return items


def _proposals(tx: Tx, daily: Daily, budgets: Budgets, now: datetime) -> list[Proposal]:
    """Demotions that are open, as `tocsin budget` shows them."""
    tiers = moved(tx, daily.tiers)
    return [one for found in ledgers(tx, budgets, tiers, now) for one in proposals(found)]


def _any_new(tx: Tx, found: Sequence[Proposal], since: datetime) -> bool:
    """Whether one of them was made since then."""
    names = {one.rule for one in found}
    events = tx.rules.events(kind="proposal", limit=len(names) * 10)
    return any(event.rule in names and event.at > since for event in events)
