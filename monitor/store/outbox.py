"""The outbox: pages to send, written in the transaction that decided them.

new -> claimed (lease) -> sent | new again (retry, unknown) | dead | overtaken. Order is kept per
receiver and incident: a later message waits for the earlier one. The most urgent incident goes
first. An expired lease means that its owner died with the outcome unknown: the page is sent again
under the same key, because a repeat that folds is better than a page that never rang.

A page of which surely nobody has heard when its incident is over is overtaken by the end.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

import msgspec
import sqlalchemy as sa

from monitor.notify.channel import NO_INCIDENT, Kind, Message
from monitor.store import tables as t
from monitor.store.columns import UtcTime
from monitor.store.incident_rows import is_open
from monitor.store.upserts import insert_new
from monitor.store.urgency import DIED, deaths, hurries, surely_unheard, survived, urgency

logger = logging.getLogger(__name__)

LEASE = timedelta(seconds=30)
"""Longer than any channel's own time-out."""
LONGEST_WAIT = timedelta(minutes=5)
"""No page waits longer for its next attempt, whatever a provider wishes."""
WAITING = ("new", "claimed")
A_PAGE = t.outbox.c.kind != str(Kind.DIGEST)
"""A digest waits in the same line, and nobody has to get up for it."""
KEEPS_ITS_PLACE = 5
"""So many attempts of a page in a row may end with the death of its sender until it waits behind
others."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Queued:
    """One page in the outbox."""

    id: int
    incident: str
    receiver: str
    message: Message
    state: str
    attempts: int
    created_at: datetime
    next_at: datetime | None
    sent_at: datetime | None
    detail: str
    over: bool = False
    """When it was claimed: nobody can have heard of it, and its incident has ended."""
    hurries: bool = False
    """When it was claimed: it is sent to a receiver that asked for silence, too."""


def behind_another() -> sa.ColumnElement[bool]:
    """Whether a page waits behind an earlier one of its incident to the same receiver."""
    o = t.outbox
    earlier = o.alias()
    return (
        sa.select(earlier.c.id)
        .where(
            earlier.c.receiver == o.c.receiver,
            earlier.c.incident == o.c.incident,
            earlier.c.id < o.c.id,
            earlier.c.state.in_(WAITING),
        )
        .exists()
    )


class OutboxRows:
    """The outbox within one transaction."""

    def __init__(self, connection: sa.Connection) -> None:
        self._c = connection

    def put(
        self,
        incident: str,
        receiver: str,
        message: Message,
        now: datetime,
        dated: datetime | None = None,
    ) -> bool:
        """Queue a page; False if its key (`message.id`) is there already.

        Args:
            incident: uuid, or `NO_INCIDENT`.
            receiver: to whom.
            message: what.
            now: from when on it is due.
            dated: as when it counts as queued; None: `now`.
        """
        done = self._c.execute(
            insert_new(self._c, t.outbox).returning(t.outbox.c.id),
            {
                "incident": incident,
                "receiver": receiver,
                "kind": str(message.kind),
                "dedup_key": message.dedup_key,
                "body": msgspec.json.encode(message).decode(),
                "state": "new",
                "attempts": 0,
                "created_at": now if dated is None else dated,
                "next_at": now,
                "lease_until": None,
                "owner": None,
                "sent_at": None,
                "receipt": "{}",
                "detail": "",
                "key": message.id,
            },
        )
        return done.scalar() is not None

    def is_to_ring(self, dedup_key: str, receivers: Collection[str]) -> bool:
        """Whether a trigger of this key to one of `receivers` waits to be sent."""
        o = t.outbox
        found = sa.select(o.c.id).where(
            o.c.state.in_(WAITING),
            o.c.kind == str(Kind.TRIGGER),
            sa.or_(
                o.c.dedup_key == dedup_key,
                o.c.dedup_key.startswith(f"{dedup_key}:", autoescape=True),
            ),
            o.c.receiver.in_(list(receivers)),
        )
        return self._c.execute(found.limit(1)).first() is not None

    def triggers(self, incident: str) -> dict[str, int]:
        """How often each receiver was (or is to be) rung for an incident."""
        o = t.outbox
        rows = self._c.execute(
            sa.select(o.c.receiver, sa.func.count())
            .where(o.c.incident == incident, o.c.kind == "trigger")
            .group_by(o.c.receiver)
        )
        return {receiver: int(count) for receiver, count in rows}

    def taken_since(self, page: Queued) -> bool:
        """Whether somebody acknowledged its incident after it was queued.

        By the order of rows: who acknowledges and who pages may have two clocks, or one that was
        put back.
        """
        o = t.outbox
        told = sa.select(o.c.id).where(
            o.c.incident == page.incident, o.c.kind == str(Kind.ACKNOWLEDGE), o.c.id > page.id
        )
        return self._c.execute(told.limit(1)).first() is not None

    def triggers_behind(self, page: Queued) -> list[Queued]:
        """Triggers that are not sent before this message of the same incident and receiver is.

        Without what cannot be read: a release that can sends it.
        """
        o = t.outbox
        rows = self._c.execute(
            o.select()
            .where(o.c.incident == page.incident, o.c.receiver == page.receiver, o.c.id > page.id)
            .where(o.c.state.in_(WAITING), o.c.kind == str(Kind.TRIGGER))
            .order_by(o.c.id)
        )
        found = []
        for row in rows:
            with suppress(msgspec.MsgspecError, RecursionError):
                found.append(_queued(row))
        return found

    def trigger_keys(self, incident: str, receiver: str) -> list[str]:
        """The dedup keys under which a receiver was rung, oldest first."""
        o = t.outbox
        rows = self._c.execute(
            sa.select(o.c.dedup_key)
            .where(o.c.incident == incident, o.c.receiver == receiver, o.c.kind == "trigger")
            .order_by(o.c.id)
        )
        return list(dict.fromkeys(key for (key,) in rows))

    def claim(
        self,
        owner: str,
        now: datetime,
        limit: int = 20,
        busy: Collection[str] = (),
        *,
        resting: Collection[str] = (),
        try_top: bool = False,
        clock: datetime | None = None,
    ) -> list[Queued]:
        """Take due pages whose turn it is, each under a lease; the caller sends outside.

        Args:
            owner: who claims.
            now: what is due by then.
            limit: at most this many.
            busy: receivers that are being sent to already.
            resting: receivers that asked for silence: theirs wait, until `LONGEST_WAIT` is over.
            try_top: the first attempt of a SEV1 waits for no silence.
            clock: what leases run on (`LeaseRows.now`); None: `now`. What is due by it is due too,
                so that a machine whose own clock is behind pages in time; and what is dated further
                ahead than any wait, because the clock that dated it was put back.
        """
        o = t.outbox
        clock = now if clock is None else clock
        at = max(now, clock)
        # Another may have written a little later than our `clock`, and still be sending: LEASE more
        # than is ever written makes sure that it is not.
        due = sa.or_(
            sa.and_(o.c.state == "new", _past(o.c.next_at, at, LONGEST_WAIT + LEASE)),
            sa.and_(o.c.state == "claimed", _past(o.c.lease_until, clock, LEASE + LEASE)),
        )
        hurry = hurries(at - LONGEST_WAIT, try_top=try_top)
        free = sa.and_(
            o.c.receiver.not_in(list(busy)), sa.or_(o.c.receiver.not_in(list(resting)), hurry)
        )
        query = (
            sa.select(o, hurry.label("hurries"))
            .where(due, free, ~behind_another())
            .order_by(urgency(), o.c.next_at, o.c.id)
            .limit(limit)
        )
        if self._c.dialect.name == "postgresql":
            query = query.with_for_update(skip_locked=True, of=o)
        rows = self._c.execute(query).all()
        if not rows:
            return []
        self._c.execute(
            o.update()
            .where(o.c.id.in_([row.id for row in rows]))
            .values(
                state="claimed",
                owner=owner,
                lease_until=clock + LEASE,
                attempts=o.c.attempts + 1,
            )
        )
        incidents = {row.incident for row in rows}
        receipts, ended = self._receipts(incidents), self._ended(incidents)
        found = []
        for row in rows:
            receipt = receipts.get((row.incident, row.receiver), "{}")
            try:
                found.append(
                    _claimed(row, msgspec.json.decode(receipt), ended=row.incident in ended)
                )
            except (msgspec.MsgspecError, RecursionError) as problem:
                # Its lease runs out: a release that can read it sends it. The others are sent now.
                logger.error("page %s to %s cannot be read: %s", row.id, row.receiver, problem)  # noqa: TRY400 - of a row, its traceback says nothing more
        return found

    def _ended(self, incidents: Collection[str]) -> set[str]:
        """Those of them that are over."""
        uuid = t.incidents.c.uuid
        rows = self._c.execute(sa.select(uuid).where(uuid.in_(list(incidents)), ~is_open()))
        return set(rows.scalars())

    def _receipts(self, incidents: Collection[str]) -> dict[tuple[str, str], str]:
        """The newest handle that a receiver gave us for an incident, by (incident, receiver)."""
        o = t.outbox
        named = [incident for incident in incidents if incident != NO_INCIDENT]
        rows = self._c.execute(
            sa.select(o.c.incident, o.c.receiver, o.c.receipt)
            .where(o.c.incident.in_(named), o.c.state == "sent", o.c.receipt != "{}")
            .order_by(o.c.id)
        )
        return {(incident, receiver): receipt for incident, receiver, receipt in rows}

    def sent(
        self, page: Queued, owner: str, receipt: Mapping[str, str], detail: str, now: datetime
    ) -> bool:
        """It was accepted; False if another owner has it meanwhile."""
        return self._finish(
            page,
            owner,
            state="sent",
            sent_at=now,
            receipt=msgspec.json.encode(dict(receipt)).decode(),
            detail=detail,
        )

    def again(
        self, page: Queued, owner: str, at: datetime, detail: str, *, sure: bool = False
    ) -> bool:
        """Try again at `at`; `sure`: this attempt has surely come to nothing."""
        receipt = _survived(page, sure=sure)
        return self._finish(page, owner, state="new", next_at=at, detail=detail, receipt=receipt)

    def dead(self, page: Queued, owner: str, detail: str, *, sure: bool = False) -> bool:
        """It will never be accepted; `sure` as with `again`."""
        receipt = _survived(page, sure=sure)
        return self._finish(page, owner, state="dead", detail=detail, receipt=receipt)

    def hand_back(self, page: Queued, owner: str) -> bool:
        """It was claimed and not tried: as if it had not been claimed."""
        return self._finish(page, owner, state="new", attempts=page.attempts - 1)

    def overtake(self, page: Queued, owner: str, detail: str) -> bool:
        """Drop a page that is `over`, and what waits behind it of its key; False as with `sent`.

        Where another page of the key may have rung the receiver, its end is left to be sent.
        """
        o = t.outbox
        values = {"state": "overtaken", "detail": detail}
        if not self._finish(page, owner, **values, attempts=page.attempts - 1):
            return False
        rows = self._c.execute(
            o.select().where(
                o.c.incident == page.incident,
                o.c.receiver == page.receiver,
                o.c.dedup_key == page.message.dedup_key,
            )
        ).all()
        rings = {row.id for row in rows if row.kind == str(Kind.TRIGGER)}
        silent = {row.id for row in rows if row.state != "sent" and surely_unheard(row)}
        gone = rings & silent if rings - silent else {row.id for row in rows}
        self._c.execute(o.update().where(o.c.id.in_(gone), o.c.state == "new").values(**values))
        return True

    def _finish(self, page: Queued, owner: str, **values: Any) -> bool:
        o = t.outbox
        done = self._c.execute(
            o.update()
            .where(o.c.id == page.id, o.c.state == "claimed", o.c.owner == owner)
            .values(owner=None, lease_until=None, **values)
        )
        return bool(done.rowcount)

    def attempt(
        self, page: Queued, outcome: str, detail: str, seconds: float, at: datetime
    ) -> None:
        """Keep what one attempt came to."""
        self._c.execute(
            insert_new(self._c, t.attempts),
            {
                "page": page.id,
                "attempt": page.attempts,
                "at": at,
                "outcome": outcome,
                "detail": detail,
                "seconds": seconds,
            },
        )

    def heard(self, page: Queued) -> int:
        """Attempts whose outcome was kept: not those that the sender did not survive."""
        a = t.attempts
        query = sa.select(sa.func.count()).select_from(a).where(a.c.page == page.id)
        return int(self._c.execute(query).scalar_one())

    def hold(self, page: Queued, owner: str, clock: datetime) -> bool:
        """Renew the lease of a claimed page; False if another has it meanwhile."""
        o = t.outbox
        done = self._c.execute(
            o.update()
            .where(o.c.id == page.id, o.c.state == "claimed", o.c.owner == owner)
            .values(lease_until=clock + LEASE)
        )
        return bool(done.rowcount)

    def release(self, living: Collection[str], now: datetime) -> int:
        """Make pages due at once whose owner is gone; how many.

        They keep their place in the line, so that a look-up for an earlier attempt need not go far
        back; one that has brought its sender down again and again goes to the end.

        Args:
            living: owners that still send.
            now: when they are due at the latest.
        """
        o = t.outbox
        gone = self._c.execute(
            sa.select(o.c.id, o.c.attempts, o.c.receipt)
            .where(o.c.state == "claimed", o.c.owner.not_in(list(living)))
            .with_for_update(skip_locked=True)
        ).all()
        if not gone:
            return 0
        kills = o.c.id.in_([row.id for row in gone if deaths(row) > KEEPS_ITS_PLACE])
        last = sa.or_(o.c.next_at > now, kills)
        done = self._c.execute(
            o.update()
            .where(o.c.id.in_([row.id for row in gone]))
            .values(
                state="new",
                next_at=sa.case((last, sa.literal(now, UtcTime())), else_=o.c.next_at),
                detail=sa.case((kills, DIED), else_=o.c.detail),
                lease_until=None,
                owner=None,
            )
        )
        return int(done.rowcount)

    def next_due(self) -> datetime | None:
        """When the next page is due; None when nothing waits."""
        o = t.outbox
        at = sa.case((o.c.state == "claimed", o.c.lease_until), else_=o.c.next_at)
        query = sa.select(sa.func.min(at, type_=UtcTime())).where(o.c.state.in_(WAITING))
        return self._c.execute(query).scalar()

    def of_incident(self, incident: str) -> list[Queued]:
        """All pages of an incident in order."""
        o = t.outbox
        rows = self._c.execute(o.select().where(o.c.incident == incident).order_by(o.c.id))
        return [_queued(row) for row in rows]

    def counts(self) -> dict[str, int]:
        """Pages by state; not digests, which wake nobody."""
        o = t.outbox
        counted = sa.select(o.c.state, sa.func.count()).where(A_PAGE)
        rows = self._c.execute(counted.group_by(o.c.state))
        return {state: int(count) for state, count in rows}

    def oldest(self) -> datetime | None:
        """When the oldest page that still waits was queued."""
        o = t.outbox
        found = self._c.execute(
            sa.select(sa.func.min(o.c.created_at)).where(o.c.state.in_(WAITING), A_PAGE)
        )
        at: datetime | None = found.scalar()
        return at

    def delivered(self) -> int:
        """Triggers that a receiver accepted."""
        o = t.outbox
        return int(
            self._c.execute(
                sa.select(sa.func.count()).where(o.c.state == "sent", o.c.kind == "trigger")
            ).scalar()
            or 0
        )


def _past(
    until: sa.Column[datetime], clock: datetime, longest: timedelta
) -> sa.ColumnElement[bool]:
    """Whether a wait is over, or ends so late that it was dated by another clock than this."""
    return sa.or_(until <= clock, until > clock + longest)


def _survived(page: Queued, *, sure: bool) -> str:
    return survived(page.attempts, unheard=sure and page.message.fresh)


def _claimed(row: Any, receipt: dict[str, str], *, ended: bool) -> Queued:
    """A row as this attempt has it."""
    page = _queued(row, attempts=row.attempts + 1)
    fresh = surely_unheard(row)
    message = replace(page.message, attempt=page.attempts, receipt=receipt, fresh=fresh)
    over = ended and fresh and message.kind is Kind.TRIGGER
    return replace(page, message=message, over=over, hurries=bool(row.hurries))


def _queued(row: Any, attempts: int | None = None) -> Queued:
    return Queued(
        id=row.id,
        incident=row.incident,
        receiver=row.receiver,
        message=msgspec.json.decode(row.body, type=Message),
        state=row.state,
        attempts=row.attempts if attempts is None else attempts,
        created_at=row.created_at,
        next_at=row.next_at,
        sent_at=row.sent_at,
        detail=row.detail,
    )
