"""One job that one process of the whole installation does: held by a lease, fenced by its epoch.

Who holds the lease works; the others stand by and look again all the time, so that a dead or frozen
owner is followed when its lease is out. The work itself asks `guard` in each of its transactions,
because an owner that was paused does not know yet that it has lost the job.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Protocol

from monitor.store.lease_rows import Fenced, Lease
from monitor.store.store import Store, Tx

logger = logging.getLogger(__name__)

JOBS = ("decide", "runs")
"""Roles of which there is one owner in an installation."""
LEASE = timedelta(seconds=10)
RENEW = timedelta(seconds=3)


class Guard(Protocol):
    """What a loop asks before it writes."""

    @property
    def held(self) -> bool:
        """Whether the job is ours, as far as this process knows."""
        ...

    @property
    def epoch(self) -> int:
        """In which the job is ours; 0 while it is not."""
        ...

    def holds(self, tx: Tx, epoch: int, now: datetime) -> bool:
        """Whether the job is ours in this very epoch, by a lease that runs.

        For what cannot be taken back: `guard` only keeps a transaction from being written.
        """
        ...

    def guard(self, tx: Tx) -> None:
        """See to it that `tx` is rolled back unless the job is ours.

        Raises:
            Fenced: it is not.
        """
        ...


class Sole:
    """The guard of a process that is alone with its store: a recording, the demo, a test."""

    held = True
    epoch = 1

    def holds(self, tx: Tx, epoch: int, now: datetime) -> bool:  # noqa: ARG002 - a guard's signature
        """Always ours."""
        return True

    def guard(self, tx: Tx) -> None:
        """Always ours."""


def _must_hold(tx: Tx, job: str, working: Lease | None) -> None:
    if working is None:
        raise Fenced(f"{job} is not ours")
    tx.leases.must_hold(working)


class Beside:
    """The same job for a second loop of this process, which begins and is fenced by itself."""

    def __init__(self, post: Post) -> None:
        self.job = post.job
        self._post = post
        self._working: Lease | None = None

    @property
    def held(self) -> bool:
        """See `Guard`."""
        return self._post.held

    @property
    def epoch(self) -> int:
        """See `Guard`."""
        return self._post.epoch

    def holds(self, tx: Tx, epoch: int, now: datetime) -> bool:
        """See `Guard`."""
        return self._post.holds(tx, epoch, now)

    def begin(self) -> int:
        """As `Post.begin`."""
        self._working = self._post.lease
        return 0 if self._working is None else self._working.epoch

    def guard(self, tx: Tx) -> None:
        """As `Post.guard`.

        Raises:
            Fenced: it is not ours, or not in the epoch in which the work began.
        """
        _must_hold(tx, self.job, self._working)

    def lose(self, problem: Fenced) -> None:
        """A transaction was fenced; whether the job is lost the first loop finds out."""
        logger.warning("fenced: %s; nothing was written", problem)
        self._working = None


class Post:
    """One job, as one process sees it."""

    def __init__(
        self, store: Store, job: str, holder: str, dead: Callable[[str], bool] = lambda _: False
    ) -> None:
        """Args: `dead` says of another holder's name that it is known to be gone."""
        self.job = job
        self._store = store
        self._holder = holder
        self._dead = dead
        self._lease: Lease | None = None
        self._working: Lease | None = None
        self._last: Lease | None = None
        self._looked_at: datetime | None = None
        self.other: Lease | None = None
        """Whose it was when we last looked and it was not ours."""

    @property
    def held(self) -> bool:
        """Whether it is ours, as far as we know."""
        return self._lease is not None

    @property
    def lease(self) -> Lease | None:
        """Ours, as far as we know."""
        return self._lease

    @property
    def epoch(self) -> int:
        """Of our lease; 0 without one."""
        return 0 if self._lease is None else self._lease.epoch

    @property
    def looked(self) -> bool:
        """Whether we have ever known if it is ours or another's; the store has answered once."""
        return self._looked_at is not None or self.other is not None

    @property
    def lapsed(self) -> Lease | None:
        """Our last lease, where it could not be renewed and we have heard of no owner after us.

        Nobody may write by it. It tells an owner that is blind from one that was followed.
        """
        return self._last if self._lease is None else None

    def holds(self, tx: Tx, epoch: int, now: datetime) -> bool:
        """See `Guard`; on PostgreSQL by the database's clock."""
        lease = self._lease
        return lease is not None and lease.epoch == epoch and tx.leases.runs(lease, now)

    def begin(self) -> int:
        """The epoch under which the next transactions are guarded; 0 while we stand by."""
        self._working = self._lease
        return self.epoch

    def guard(self, tx: Tx) -> None:
        """See `Guard`.

        Raises:
            Fenced: it is not ours, or not in the epoch in which the work began.
        """
        _must_hold(tx, self.job, self._working)

    def look(self, now: datetime) -> None:
        """Take the job if it is free, renew it if it is ours; at most one transaction.

        Raises:
            StoreUnavailable: nothing changed.
        """
        late = self._looked_at is not None and now - self._looked_at > LEASE
        if self._lease is not None and late:
            # We were away, or the store was: others may have it by now.
            logger.warning("%s was not renewed in time: standing by", self.job)
            self._lease = None
        if self._lease is None and self._taken(now):
            return
        if (
            self._lease is not None
            and self._looked_at is not None
            # A clock that was put back makes it negative: then it is renewed at once.
            and timedelta(0) <= now - self._looked_at < RENEW
        ):
            return
        # A change of owner waits for the transaction of the last one; a renewal waits for nobody.
        renewal = self._lease is not None
        with self._store.queue() if renewal else self._store.write() as tx:
            held = tx.leases.get(self.job)
            theirs = held is not None and held.holder != self._holder
            lease = None
            if not (renewal and theirs):
                sure = held is not None and theirs and self._dead(held.holder)
                lease = tx.leases.take(self.job, self._holder, LEASE, now, sure=sure)
        self._looked_at = now
        self._settle(lease, held)

    def _taken(self, now: datetime) -> bool:
        """Whether somebody else's lease runs; asked without writing."""
        with self._store.read() as tx:
            held = tx.leases.get(self.job)
            clock = tx.leases.now(now)
        if held is None or held.until <= clock or self._dead(held.holder):
            return False
        self._stand_by(held)
        return True

    def _settle(self, lease: Lease | None, before: Lease | None) -> None:
        if lease is None:
            if self._lease is not None:
                logger.warning("%s was lost in epoch %d", self.job, self._lease.epoch)
            self._lease = self._last = None
            if before is not None:
                self._stand_by(before)
            return
        if self._lease is None or self._lease.epoch != lease.epoch:
            last = "nobody's" if before is None else f"{before.holder}'s"
            logger.info("%s is ours in epoch %d; it was %s", self.job, lease.epoch, last)
        self._lease = self._last = lease
        self.other = None

    def _stand_by(self, held: Lease) -> None:
        if self.other is None or self.other.epoch != held.epoch:
            logger.info(
                "standby: %s is %s's in epoch %d since %s UTC",
                self.job,
                held.holder,
                held.epoch,
                f"{held.since:%Y-%m-%d %H:%M:%S}",
            )
        self.other = held
        if held.holder != self._holder:
            self._last = None

    def lose(self, problem: Fenced) -> None:
        """A transaction was fenced: stand by."""
        logger.warning("fenced: %s; nothing was written, standing by", problem)
        self._lease = self._working = self._last = None

    def let_go(self) -> None:
        """Give it back, so that another has it at once; nothing if it is not ours.

        Raises:
            StoreUnavailable: it runs out by itself.
        """
        lease, self._lease = self._lease, None
        self._last = None
        if lease is not None:
            with self._store.write() as tx:
                tx.leases.let_go(lease)
