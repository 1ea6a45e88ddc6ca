"""The auditor: a process of its own that asks, again and again, whether Tocsin still works.

Each tick it asks whether the store answers; each audit it looks for what waits for nobody. While
the store answers, what is wrong becomes an incident by the ordinary road. While it does not, and
when the disk is full, the emergency road pages without it, and tells the store afterwards.
"""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from hashlib import blake2b
from pathlib import Path

from monitor.config.settings import Configured
from monitor.paging import Pager
from monitor.processes.plight import Plight
from monitor.store.store import Store, StoreError, Tx
from monitor.text import vis
from monitor.watch import checks, ordinary, times
from monitor.watch.bypass import STUCK, Bypass, untold
from monitor.watch.checks import Finding, Jump, Limits, Lost, span
from monitor.watch.emergency import Road
from monitor.watch.episodes import Episode
from monitor.watch.facts import Facts, Memory, first_memory, gather, remember
from monitor.watch.heartbeat import Beat, Heart
from monitor.watch.lacks import Lacks
from monitor.watch.patience import NoAnswer, Patience
from monitor.watch.reserve import Reserve, Room
from monitor.watch.settings import MEBIBYTE
from monitor.watch.state import STALE, Disk, Found, State

logger = logging.getLogger(__name__)

TICK_S = 3.0
"""Between two questions whether the store answers."""
LOOK_S = 6.0
"""Longest wait for one answer; the store's own time-outs are shorter, unless it is frozen."""
UNAUDITED_S = 105.0
"""Audits may fail for so long, and then for `storage_down`, before the store is taken for down."""
LEASE = "auditor"
LEASE_FOR = timedelta(seconds=60)
STORAGE, DISK = "storage", "disk"


@dataclass(frozen=True, slots=True)
class Look:
    """What one question to the store came to."""

    pulse: str
    """Another text when somebody has written since."""
    written: bool
    """We could write ourselves."""
    ours: bool
    """This auditor speaks for the installation; another machine's may."""
    problem: str = ""
    """Why we could not write."""


class Gone(StoreError):
    """The store's file is not where it was."""


class Auditor:
    """Everything between two ticks; `step` is called with the time."""

    def __init__(
        self,
        configured: Configured,
        store: Store,
        road: Road,
        reserves: Sequence[Reserve],
        heart: Heart | None,
        now: datetime,
        *,
        file: Path | None = None,
        daemon: str = "",
        silent_s: float | None = None,
        plight: Callable[[], Plight | None] = lambda: None,
        said: str = "",
    ) -> None:
        """Args: `file` of a SQLite store; `said`: what the spool had to say at the start.

        `daemon` tells apart the daemons of one machine; `silent_s` is when somebody else found that
        the store does not answer, by the steady clock; `plight` asks what it refuses to those that
        work on it.
        """
        self._watch = configured.settings.watch
        self._plan = configured.plan
        self._store = store
        self._pager = Pager(configured.policy)
        self._road = road
        self._reserves = reserves
        self._heart = heart
        self._file = file
        self._said = said
        self._patience = Patience("the store")
        self._host = socket.gethostname()
        self._holder = f"{self._host}:{os.getpid()}"
        whose = f"{configured.settings.store}\n{daemon}".encode()
        # Each daemon has keys of its own: one whose store is back must not end another's page.
        self._where = f"{self._host}:{blake2b(whose, digest_size=4).hexdigest()}"
        self._bypass = Bypass(road, self._where, self._host)
        self._lacks = Lacks(configured.receivers)
        self._started = now
        self._answered_at = now
        self._answered_s: float | None = None
        """The same by the steady clock: the wall's may jump."""
        self._silent_s = silent_s
        self._plight = plight
        self._pulse: str | None = None
        self._problem = ""
        self._memory: Memory = first_memory(now)
        self._facts: Facts | None = None
        self._audited_s: float | None = None
        self._unaudited: Plight | None = None
        """Audits that come to no end, though the store answers."""
        self._driven: dict[str, datetime] = {}
        self._driven_before: dict[str, datetime] = {}
        """As the last audit found it; what it has rung itself, the next one judges."""
        self._clock: tuple[datetime, float] | None = None
        self._jump: Jump | None = None
        self._findings: list[Finding] = []
        self._found: list[Finding] = []
        """Of the last audit."""
        self._lost = Lost((), ())
        self._owes = False
        """It has found what the store is to be told."""
        self._untold: dict[str, str] = {}
        self._waits = False
        self._since: dict[str, datetime] = {}
        """Since when each is there, by key."""
        self._beat = Beat()

    # -- one tick -------------------------------------------------------------------------------

    def step(self, now: datetime, steady_s: float) -> State:
        """Look, decide, tell; what is known after it.

        Args:
            now: the wall clock.
            steady_s: a clock that never jumps, seconds.
        """
        self._clocks(now, steady_s)
        look = self._ask(now)
        answers = look is not None and (look.written or self._beats(look.pulse))
        plight = self._worst() if answers else None
        if plight is not None:
            answers = False
            self._suffer(plight, now, steady_s)
        elif answers or self._answered_s is None:
            self._answered_at, self._answered_s = now, steady_s
            self._silent_s = None if answers else self._silent_s
        elif self._silent_s is not None:
            self._count_from(self._silent_s, now, steady_s)
        self._disk(now)
        assert self._answered_s is not None
        self._storage(now, steady_s - self._answered_s, answers=answers)
        if look is not None:
            self._audit(now, steady_s, ours=look.ours)
            if look.written:
                self._file_episodes(now)
        self._road.flush()
        self._road.step(now, steady_s)
        self._findings = self._stable(self._all(now))
        if self._heart is not None:
            self._beat = self._heart.step(now, steady_s, self.withheld(now))
        return self.state(now)

    def _count_from(self, silent_s: float, now: datetime, steady_s: float) -> None:
        """Our second look fails too: the store has been away since the start found it so.

        An auditor that is started anew long after that goes by its own looks.
        """
        if 0 <= steady_s - silent_s <= STALE.total_seconds():
            self._went(silent_s, now, steady_s)
        self._silent_s = None

    def _worst(self) -> Plight | None:
        """For what the store is taken for down, whatever it answers us; None: for nothing."""
        known = [one for one in (self._plight(), self._unaudited) if one is not None]
        worst = max(known, key=lambda one: one.lasted_s, default=None)
        if worst is None or worst.lasted_s < self._watch.storage_down.total_seconds():
            return None
        return worst

    def _suffer(self, plight: Plight, now: datetime, steady_s: float) -> None:
        """What we write goes through, and the work does not: there is no room, or no right."""
        self._problem = _one_line(f"{plight.process}, {plight.loop}: {plight.problem}")
        self._went(plight.since_s, now, steady_s)

    def _went(self, at_s: float, now: datetime, steady_s: float) -> None:
        """The store answered last at `at_s` of the steady clock."""
        self._answered_at, self._answered_s = now - timedelta(seconds=steady_s - at_s), at_s

    def _clocks(self, now: datetime, steady_s: float) -> None:
        if self._clock is not None:
            jump = checks.jumped(self._clock, (now, steady_s))
            if jump is not None:
                logger.warning("the clock moved %+d s", int(jump.by.total_seconds()))
                self._jump = jump
                # What was measured on the old clock says nothing on the new one.
                self._answered_at += jump.by
                self._memory = first_memory(now)
        self._clock = (now, steady_s)

    # -- the store ------------------------------------------------------------------------------

    def _beats(self, pulse: str) -> bool:
        """Whether others write: then the store works, only our turn does not come."""
        before, self._pulse = self._pulse, pulse
        return before is not None and before != pulse

    def _ask(self, now: datetime) -> Look | None:
        """Read and write a little; None when not even reading works."""
        try:
            look = self._patience.ask(lambda: self._look(now), LOOK_S)
        except (StoreError, NoAnswer) as problem:
            self._problem = _one_line(str(problem))
            return None
        self._problem = _one_line(look.problem)
        return look

    def _look(self, now: datetime) -> Look:
        if self._file is not None and not self._file.is_file():
            raise Gone(f"{self._file} is not there")
        with self._store.read() as tx:
            pulse = tx.watch.pulse()
        try:
            with self._store.write() as tx:
                ours = self._speaks(tx, now)
        except StoreError as problem:
            return Look(pulse, written=False, ours=False, problem=str(problem))
        return Look(pulse, written=True, ours=ours)

    def _speaks(self, tx: Tx, now: datetime) -> bool:
        """Whether we speak for the installation; asked in each transaction that does."""
        lease = tx.leases.take(LEASE, self._holder, LEASE_FOR, now, sure=self._file is not None)
        return lease is not None

    def _storage(self, now: datetime, silent_s: float, *, answers: bool) -> None:
        if answers:
            running = self._road.running(STORAGE)
            if running is not None:
                lasted = span(now - running.opened.since)
                self._road.close(STORAGE, f"storage is back after {lasted}; {self._waiting()}", now)
                self._unaudited = None  # what failed before it is told
            return
        if silent_s >= self._watch.storage_down.total_seconds():
            self._road.open(
                STORAGE,
                STORAGE,
                f"Tocsin: storage down on {self._host}, incidents are not detected",
                (
                    f"the store has not answered since {self._answered_at:%H:%M:%S} UTC: "
                    f"{self._problem}",
                    "reading is paused and nothing is lost; pages of new incidents wait",
                    f"on {self._host}: tocsin doctor; start the database, or give it room",
                ),
                self._answered_at,
                now,
                where=self._where,
            )
            self._road.note(STORAGE, self._problem, now)

    def _waiting(self) -> str:
        """How many records wait to be read, as far as the store knows."""
        try:
            return self._patience.ask(self._count_waiting, LOOK_S)
        except (StoreError, NoAnswer):
            return "how many records wait is not known yet"

    def _count_waiting(self) -> str:
        with self._store.read() as tx:
            pipeline = tx.stream.known_pipeline(self._plan)
            parts = tx.stream.partitions(pipeline) if pipeline is not None else []
        left = sum(max(0, part.end - part.position) for part in parts)
        return f"{left} records were known to wait"

    # -- the disk -------------------------------------------------------------------------------

    def _disk(self, now: datetime) -> None:
        # A server's disk is not ours; what it says is told with the storage.
        said_full = self._file is not None and "disk is full" in self._problem
        running = self._road.running(DISK)
        full = [reserve for reserve in self._reserves if reserve.exhausted]
        if full or (said_full and running is None):
            given = sum(reserve.release() for reserve in full or self._reserves)
            self._disk_full(now, full, given)
        elif all(reserve.roomy for reserve in self._reserves):
            held = [reserve.hold() for reserve in self._reserves]
            if running is not None and all(held):
                lasted = span(now - running.opened.since)
                text = f"there is room on the disk again after {lasted}; the reserve is made again"
                self._road.close(DISK, text, now)

    def _disk_full(self, now: datetime, full: Sequence[Reserve], given: int) -> None:
        where = ", ".join(str(reserve.path.parent) for reserve in full or self._reserves)
        gave = (
            f"a reserve of {given // MEBIBYTE} MiB was let go, so that the store can go on writing"
            if given
            else "there was no reserve to let go: what cannot be written waits on the stream"
        )
        self._road.open(
            DISK,
            DISK,
            f"Tocsin: disk full on {self._host}",
            (f"no room is left in {where}", gave, "make room there; tocsin doctor shows how much"),
            now,
            now,
            where=self._where,
        )

    def rooms(self) -> Iterator[Room]:
        """The disks that can be looked at."""
        for reserve in self._reserves:
            with suppress(OSError):
                yield reserve.room()

    # -- the audit ------------------------------------------------------------------------------

    def _audit(self, now: datetime, steady_s: float, *, ours: bool) -> None:
        every = self._watch.every.total_seconds()
        if self._audited_s is not None and steady_s - self._audited_s < every:
            return
        self._audited_s = steady_s
        self._lacks.look(now)
        problem = self._try(lambda: self._examine(now))
        if problem:
            self._bypass.forget()
        else:
            if ours and self._owes:
                problem = self._try(lambda: self._tell(now))
            # Where the store does not hear of it, people must all the more.
            self._bypass.step(
                self._found, self._untold, now, steady_s, ours=ours, waits=self._waits
            )
        self._unaudited = self._failing(problem, steady_s) if problem else None

    def _failing(self, problem: str, steady_s: float) -> Plight:
        return Plight(
            process="auditor",
            loop="audit",
            since_s=steady_s if self._unaudited is None else self._unaudited.since_s,
            last_s=steady_s,
            problem=problem,
            usual_s=UNAUDITED_S,
        )

    def _try(self, work: Callable[[], None]) -> str:
        """What kept the store from it; empty when it is done."""
        try:
            self._patience.ask(work, LOOK_S)
        except (StoreError, NoAnswer) as problem:
            logger.warning("the audit waits for the store: %s", problem)
            return str(problem)
        return ""

    def _examine(self, now: datetime) -> None:
        limits = Limits(unanswered=self._watch.unanswered, lag=self._watch.lag)
        with self._store.read() as tx:
            facts = gather(tx, self._plan, now, checks.OVERDUE, limits.unanswered)
            own = tx.watch.own()
            memory = remember(self._memory, facts)
            lost = checks.lost(facts, memory, limits)
            still = tx.watch.still(self._driven)
            driven = {uuid: at for uuid, at in self._driven.items() if uuid in still}
            found = checks.audit(facts, memory, limits, driven)
            found += times.audit(facts, memory)
            found += [*checks.jumps(self._jump, now), *self._low(now)]
            unknown, waits = untold(tx, found, own), self._bypass.waits(tx)
        due = {one.uuid for one in (*lost.overdue, *lost.exhausted)} - driven.keys()
        self._owes = bool(due) or ordinary.differs(own, found)
        self._memory, self._facts = memory, facts
        self._driven_before = self._driven = driven
        self._found, self._untold, self._waits = found, unknown, waits
        self._lost = lost

    def _tell(self, now: datetime) -> None:
        """Ring and open what the last audit found; what it knows stays known if this fails."""
        rung: dict[str, datetime] = {}
        with self._store.write() as tx:
            if self._speaks(tx, now):
                rung = ordinary.drive(tx, self._pager, self._lost, self._driven, now)
                ordinary.tell(tx, self._pager, self._found, now)
        self._driven = self._driven | rung

    def _low(self, now: datetime) -> Iterator[Finding]:
        limit = self._watch.disk_free * MEBIBYTE
        for room in self.rooms():
            if room.free < limit:
                yield Finding(
                    check=DISK,
                    key=f"disk:{room.folder}",
                    level="warn",
                    severity="SEV3",
                    since=now,
                    text=f"less than {self._watch.disk_free} MiB are free in {room.folder}",
                    cure="make room, or shorten store_retention: at the end nothing is written",
                )

    def _file_episodes(self, now: datetime) -> None:
        """What the emergency road told while the store was away, or the disk full."""
        for episode in list(self._road.episodes.values()):
            if episode.closed is None or episode.owed():
                continue
            if not self._try(partial(self._file_one, episode, now)):
                self._road.filed(episode, now)

    def _file_one(self, episode: Episode, now: datetime) -> None:
        with self._store.write() as tx:
            ordinary.file(tx, episode, now)

    # -- what is known --------------------------------------------------------------------------

    def _all(self, now: datetime) -> Iterator[Finding]:
        for episode in self._road.episodes.values():
            # Pages that do not move are found by the audit itself.
            if episode.closed is None and episode.opened.key != STUCK:
                opened = episode.opened
                yield Finding(
                    check=opened.check,
                    key=opened.key,
                    level="bad",
                    severity=opened.severity,
                    since=opened.since,
                    text=f"{opened.title}: {opened.lines[0]}",
                    cure=opened.lines[-1],
                )
        if self._facts is not None:
            limits = Limits(unanswered=self._watch.unanswered, lag=self._watch.lag)
            yield from checks.audit(self._facts, self._memory, limits, self._driven_before)
            yield from times.audit(self._facts, self._memory)
        yield from checks.jumps(self._jump, now)
        yield from self._low(now)
        yield from self._lacks.found
        if self._road.unwritten:
            yield Finding(
                check="spool",
                key="spool",
                level="warn",
                severity="SEV3",
                since=now,
                text="the spool cannot be written: emergency pages are kept in memory only",
                cure="make room on its disk, or name another folder in `watch.spool`",
            )

    def _stable(self, findings: Iterable[Finding]) -> list[Finding]:
        """Each since it was first found, however often its time is told anew."""
        found = [
            replace(one, since=min(one.since, self._since.get(one.key, one.since)))
            for one in findings
        ]
        self._since = {one.key: one.since for one in found}
        return found

    def withheld(self, now: datetime) -> str:
        """Why no heartbeat may go out; empty when everything works that must."""
        if self._facts is None:
            return "nothing was audited yet"
        if now - self._facts.now > max(STALE, 2 * self._watch.every):
            return f"no audit has come through since {self._facts.now:%H:%M:%S} UTC"
        bad = [finding.text for finding in self._findings if finding.level == "bad"]
        more = f" (+{len(bad) - 1} more)" if len(bad) > 1 else ""
        return bad[0] + more if bad else ""

    def state(self, now: datetime) -> State:
        """For the file that the daemon and `tocsin doctor` read."""
        beat = self._beat
        return State(
            at=now,
            started=self._started,
            pid=os.getpid(),
            host=self._host,
            findings=tuple(
                Found(check=f.check, level=f.level, since=f.since, text=f.text, cure=f.cure)
                for f in self._findings
            ),
            heartbeat_to=beat.where if self._heart is not None else "",
            heartbeat_since=beat.since,
            heartbeat_at=beat.sent_at,
            withheld=beat.withheld,
            heartbeat_problem=beat.problem,
            episodes=len(self._road.episodes),
            unsent=self._road.unsent(),
            disks=tuple(
                Disk(folder=str(room.folder), free=room.free, held=room.held)
                for room in self.rooms()
            ),
            said=self._said,
        )


def _one_line(text: str) -> str:
    """What a database says, as a line of a page."""
    return vis(" ".join(text.split()), limit=300)
