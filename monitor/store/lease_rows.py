"""Leases: who owns a job, until when, and in which epoch.

The epoch grows with each change of owner and is looked at in the transaction that does the owner's
work, so that an owner that was paused past its lease (a frozen machine, a long pause of the kernel)
writes nothing after somebody else took over. The fence of Kleppmann, "How to do distributed
locking" (2016).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import sqlalchemy as sa

from monitor.store import tables as t
from monitor.store.upserts import upsert

_TAKING = 0x70C5
"""Class of the advisory locks of PostgreSQL under which leases are taken."""
FORGOTTEN = timedelta(days=7)
"""How long after its end the lease of one of many like it is still shown."""


class Fenced(Exception):
    """Somebody else owns the job meanwhile; nothing of this transaction may be kept."""


@dataclass(frozen=True, slots=True)
class Lease:
    """A job that is held."""

    name: str
    holder: str
    epoch: int
    """Grows with each new holder."""
    until: datetime
    since: datetime
    """When this holder took it."""


class LeaseRows:
    """The leases within one transaction; on PostgreSQL they run on the database's clock."""

    def __init__(self, connection: sa.Connection) -> None:
        self._c = connection

    def now(self, wall: datetime) -> datetime:
        """The clock that leases run on: the database's where it is a server, else `wall`."""
        if self._c.dialect.name != "postgresql":
            return wall
        at: datetime = self._c.execute(sa.select(sa.func.clock_timestamp())).scalar_one()
        return at.astimezone(UTC)

    def take(
        self, name: str, holder: str, ttl: timedelta, wall: datetime, *, sure: bool = False
    ) -> Lease | None:
        """Take or renew a job; None while another's lease runs.

        Args:
            name: of the job.
            holder: who takes it; the same holder keeps its epoch.
            ttl: for how long.
            wall: this machine's clock.
            sure: it is known that no other holder lives (the lock on a SQLite store is ours).
        """
        self._alone(name)
        now = self.now(wall)
        held = self.get(name)
        if held is not None and held.holder != holder and held.until > now and not sure:
            return None
        same = held is not None and held.holder == holder
        epoch = 1 if held is None else held.epoch + (not same)
        since = held.since if held is not None and same else now
        lease = Lease(name, holder, epoch, now + ttl, since)
        self._c.execute(
            upsert(self._c, t.leases),
            {
                "name": name,
                "holder": holder,
                "epoch": epoch,
                "until": lease.until,
                "since": since,
            },
        )
        return lease

    def _alone(self, name: str) -> None:
        """Of two that take one job at the same time the second sees what the first did."""
        if self._c.dialect.name == "postgresql":
            key = sa.func.hashtext(name)
            self._c.execute(sa.select(sa.func.pg_advisory_xact_lock(_TAKING, key)))

    def must_hold(self, lease: Lease) -> None:
        """Look, within the transaction that does the work, that the job is still ours.

        Raises:
            Fenced: it has another owner; let the transaction roll back.
        """
        held = self.get(lease.name)
        if held is None or (held.holder, held.epoch) != (lease.holder, lease.epoch):
            whose = "nobody" if held is None else f"{held.holder} since {held.since:%H:%M:%S} UTC"
            raise Fenced(f"{lease.name} was ours in epoch {lease.epoch}; now it is {whose}'s")

    def runs(self, lease: Lease, wall: datetime) -> bool:
        """Whether the job is still the holder's in that epoch, and the lease has not run out."""
        held = self.get(lease.name)
        if held is None or (held.holder, held.epoch) != (lease.holder, lease.epoch):
            return False
        return held.until > self.now(wall)

    def let_go(self, lease: Lease) -> None:
        """Give a job back, so that another takes it at once; nothing if it is not ours any more."""
        row = t.leases
        self._c.execute(
            row.update()
            .where(row.c.name == lease.name, row.c.epoch == lease.epoch)
            .values(until=lease.since)
        )

    def living(self, prefix: str, wall: datetime) -> list[Lease]:
        """Leases that run, of jobs whose name begins with `prefix`; those long over are forgotten.

        Args:
            prefix: of the names, as `deliver:`.
            wall: this machine's clock.
        """
        now = self.now(wall)
        row = t.leases
        named = row.c.name.startswith(prefix, autoescape=True)
        self._c.execute(row.delete().where(named, row.c.until < now - FORGOTTEN))
        rows = self._c.execute(row.select().where(named, row.c.until > now).order_by(row.c.name))
        return [_lease(found) for found in rows]

    def get(self, name: str) -> Lease | None:
        """Who has a job, whether its lease still runs or not."""
        row = self._c.execute(t.leases.select().where(t.leases.c.name == name)).one_or_none()
        return None if row is None else _lease(row)

    def all(self) -> list[Lease]:
        """Every job, by name."""
        rows = self._c.execute(t.leases.select().order_by(t.leases.c.name))
        return [_lease(row) for row in rows]


def _lease(row: sa.Row[tuple[object, ...]]) -> Lease:
    return Lease(row.name, row.holder, row.epoch, row.until, row.since)
