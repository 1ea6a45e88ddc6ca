"""Builds everything from settings, starts it, and stops it: the one place that knows all rooms."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from monitor import http
from monitor.clock import Clock, ReplayClock, WallClock
from monitor.decide import Decide
from monitor.deliver import Deliver
from monitor.desk import Desk, Rights
from monitor.ingest import Ingest
from monitor.launch import (
    digest_key,
    listen,
    listen_desk,
    open_channels,
    open_source,
    open_store,
    refusals,
    settings_for,
)
from monitor.logs import configure_logs
from monitor.metrics import Metrics
from monitor.options import RunOptions, socket_path
from monitor.paging import Pager
from monitor.runs import Runs
from monitor.settings import (
    Configured,
    KafkaSource,
    resolve,
)
from monitor.shelf import Shelf
from monitor.store.store import Store, StoreUnavailable, owner_lock
from monitor.stream.sources.simulate import SimulatedSource as SimulatedLog
from monitor.stream.sources.source import Source
from monitor.stream.sources.until_end import UntilEnd
from monitor.views import Principal

logger = logging.getLogger(__name__)

PAUSE_S = 0.2
"""Between two looks of a loop that found nothing."""
BACKOFF_S = 2.0
"""After the store did not answer."""


@dataclass(slots=True)
class Daemon:
    """Everything of one running installation."""

    configured: Configured
    store: Store
    source: Source
    clock: Clock
    metrics: Metrics
    pager: Pager
    ingest: Ingest
    decide: Decide
    deliver: Deliver
    runs: Runs
    shelf: Shelf
    stopping: threading.Event

    def desk_for(self, name: str, uid: int) -> Desk:
        """A desk that speaks for a local user."""
        rights = Rights(
            self.configured.settings.desk.admins,
            self.configured.settings.desk.responders,
            os.getuid(),
        )
        return self.desk(Principal(name=name, role=rights.role(name, uid), via="socket"))

    def desk(self, principal: Principal) -> Desk:
        """A desk that speaks for `principal`."""
        return Desk(
            self.store,
            self.configured,
            self.shelf,
            principal,
            self.clock.now,
            perform=self.runs.perform,
            live=not isinstance(self.clock, ReplayClock),
        )

    def step_replay(self) -> bool:
        """One round of a recording, in lock-step; False when all of it is done."""
        wall = WallClock().now()
        self.ingest.step(wall, timeout_s=PAUSE_S)
        while True:
            decided = self.decide.step(wall)
            self.tell_time()
            self.drain()
            if decided.caught_up:
                break
        self.runs.step(self.clock.now())
        return not self.ingest.finished

    def announce(self, changes: Iterable[tuple[datetime, str, str, dict[str, str]]]) -> None:
        """Record the changes that a simulated release tool would send, once."""
        with self.store.write() as tx:
            known = {(row.at, row.title) for row in tx.incidents.changes(limit=10_000)}
            for at, kind, title, dimensions in changes:
                if (at, title) not in known:
                    tx.incidents.add_change(kind, title, at, dimensions, "simulator", at)

    def tell_time(self) -> None:
        """Move a recording's clock to where its decisions are."""
        if isinstance(self.clock, ReplayClock) and self.decide.now is not None:
            self.clock.move(self.decide.now)

    def drain(self, limit_s: float = 10.0) -> None:
        """Deliver all that is due before a recording's clock moves on."""
        deadline = time.monotonic() + limit_s
        while time.monotonic() < deadline:
            # A recording may be dated after today; what it queued is due all the same.
            claimed = self.deliver.step(max(WallClock().now(), self.clock.now()))
            self.deliver.settle()
            if not claimed:
                return

    def close(self) -> None:
        """Write what is there, finish what is under way, let go."""
        try:
            self.ingest.close(WallClock().now())
        except StoreUnavailable as problem:
            logger.warning("the last counts are read again at the next start: %s", problem)
        self.runs.close()
        self.deliver.close()
        self.store.close()


def build(configured: Configured, *, source: Source, store: Store, page: bool = True) -> Daemon:
    """Wire the rooms together; starts nothing."""
    with store.write() as tx:
        tx.decisions.save_profile(configured.profile.name)
    metrics = Metrics()
    clock: Clock = ReplayClock() if source.finite else WallClock()
    pager = Pager(configured.policy)
    settings = configured.settings
    wall = WallClock()
    channels = open_channels(configured.receivers, page=page)
    ingest = Ingest(store, source, configured.plan, metrics, digest_key=digest_key(settings))
    decide = Decide(
        store, configured.plan, configured.profile, pager, metrics, replay=source.finite
    )
    deliver = Deliver(store, channels, pager, metrics, wall.now, fallback=settings.paging.fallback)
    runs = Runs(store, settings.runbooks.allow, clock.now, configured.plan)
    return Daemon(
        configured=configured,
        store=store,
        source=source,
        clock=clock,
        metrics=metrics,
        pager=pager,
        ingest=ingest,
        decide=decide,
        deliver=deliver,
        runs=runs,
        shelf=Shelf(settings.runbooks.folders),
        stopping=threading.Event(),
    )


def _loop(daemon: Daemon, name: str, step: Callable[[datetime], bool]) -> threading.Thread:
    """A loop in a thread: `step` says whether it found something to do."""

    def run() -> None:
        while not daemon.stopping.is_set():
            started = time.monotonic()
            try:
                busy = step(WallClock().now())
            except StoreUnavailable as problem:
                daemon.metrics.store_errors.labels(name).inc()
                logger.warning("%s waits for the store: %s", name, problem)
                daemon.stopping.wait(BACKOFF_S)
                continue
            daemon.metrics.loop_seconds.labels(name).observe(time.monotonic() - started)
            daemon.metrics.loop_tick.labels(name).set(time.time())
            if not busy:
                daemon.stopping.wait(PAUSE_S)

    def guarded() -> None:
        try:
            run()
        except BaseException:
            # A loop that dies silently is the worst failure: take the whole daemon down with it.
            logger.exception("the %s loop died", name)
            daemon.stopping.set()
            raise

    thread = threading.Thread(target=guarded, name=name)
    thread.start()
    return thread


def run_live(daemon: Daemon) -> None:
    """Run the loops until told to stop."""

    def ingest(now: datetime) -> bool:
        return daemon.ingest.step(now) > 0

    def decide(now: datetime) -> bool:
        return daemon.decide.step(now).buckets > 0

    def deliver(now: datetime) -> bool:
        return daemon.deliver.step(now) > 0

    def runs(now: datetime) -> bool:
        daemon.runs.step(now)
        return False

    threads = [
        _loop(daemon, "ingest", ingest),
        _loop(daemon, "decide", decide),
        _loop(daemon, "deliver", deliver),
        _loop(daemon, "runs", runs),
    ]
    for thread in threads:
        thread.join()


def run_replay(daemon: Daemon) -> None:
    """Play a recording to its end; a person at a terminal sees how far it is."""
    watched = sys.stderr.isatty()
    while not daemon.stopping.is_set() and daemon.step_replay():
        if watched:
            at = f"{daemon.clock.now():%Y-%m-%d %H:%M} UTC"
            print(f"\rdecided up to {at}", end="", file=sys.stderr, flush=True)  # noqa: T201 - progress
    if watched:
        print(file=sys.stderr)  # noqa: T201 - ends the progress line


def summary(daemon: Daemon) -> str:
    """What a recording came to, in one line, with what to type next."""
    store = daemon.configured.settings.store
    with daemon.store.read() as tx:
        pipeline = tx.stream.known_pipeline(daemon.configured.plan)
        totals: Counter[str] = Counter()
        for part in tx.stream.partitions(pipeline) if pipeline is not None else []:
            totals.update(part.totals)
        incidents = len(tx.incidents.search(limit=100_000))
    fates = ", ".join(
        f"{count:,} {fate.replace('_', ' ')}" for fate, count in sorted(totals.items())
    )
    held = "; see: tocsin quarantine list" if totals["quarantined"] else ""
    damage = f"DAMAGED at {daemon.ingest.damage}: what follows was not read. " * bool(
        daemon.ingest.damage
    )
    profile = daemon.configured.profile.name
    return (
        f"{damage}{fates or 'no events'}{held}; {incidents} incidents, profile {profile}. "
        f"Next: tocsin --store {store} inc list"
    )


def too_early(daemon: Daemon, known: Collection[str], decided: int | None) -> str:
    """What a recording lost by beginning before what this store has decided; empty for nothing.

    Args:
        daemon: after the recording.
        known: topics that had cells before it.
        decided: end of the last bucket decided before it, unix seconds.
    """
    with daemon.store.read() as tx:
        pipeline = tx.stream.known_pipeline(daemon.configured.plan)
        topics = tx.stream.topics(pipeline) if pipeline is not None else {}
    new = [first for topic, first in topics.items() if topic not in known]
    if decided is None or not new or min(new) >= decided:
        return ""
    at = datetime.fromtimestamp(decided, UTC)
    return (
        f"NOT JUDGED: this store had decided up to {at:%Y-%m-%d %H:%M} UTC, and the recording "
        "begins before; its earlier events were counted only. Use another --store."
    )


def _replayed(daemon: Daemon) -> int:
    with daemon.store.read() as tx:
        pipeline = tx.stream.known_pipeline(daemon.configured.plan)
        known = set(tx.stream.topics(pipeline)) if pipeline is not None else set()
        decided = tx.decisions.position(pipeline) if pipeline is not None else None
    run_replay(daemon)
    early = too_early(daemon, known, decided)
    for line in (summary(daemon), early):
        if line:
            print(line, file=sys.stderr)  # noqa: T201 - the command's own answer
    return 1 if daemon.ingest.damage or early else 0


def main(options: RunOptions) -> int:
    """`tocsin run`: the exit status.

    Raises:
        Problems: the configuration has mistakes, or names a secret that cannot be read.
        DeskError: `invalid` for a wrong flag, `unavailable` for what does not answer.
    """
    configure_logs()
    with refusals():
        configured = resolve(settings_for(options, os.environ))
        source = open_source(configured.settings)
        if options.until_end and not source.finite:
            source = UntilEnd(source)
        return _run(configured, source, options)


def _run(configured: Configured, source: Source, options: RunOptions) -> int:
    settings = configured.settings
    store = open_store(settings)
    with owner_lock(store.engine), ExitStack() as stack:
        live = isinstance(settings.source, KafkaSource)
        daemon = build(configured, source=source, store=store, page=options.page or live)
        stack.callback(daemon.close)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: daemon.stopping.set())
        if isinstance(source, SimulatedLog):
            daemon.announce(source.simulation.announcements())
        _serve(daemon, options, stack)
        if source.finite:
            return _replayed(daemon)
        run_live(daemon)
    return 0


def _serve(daemon: Daemon, options: RunOptions, stack: ExitStack) -> None:
    settings = daemon.configured.settings
    path: Path = (
        options.socket or settings.desk.socket or socket_path(settings.store, None, os.environ)
    )
    desk = http.Server(http.desk_app(daemon.desk_for), listen_desk(path), peers=True)
    desk.start()
    stack.callback(lambda: path.unlink(missing_ok=True))
    stack.callback(desk.close)
    if settings.http:
        health = http.Server(
            http.health_app(daemon.metrics, lambda: _healthy(daemon)), listen(settings.http)
        )
        health.start()
        stack.callback(health.close)


def _healthy(daemon: Daemon) -> tuple[bool, list[str]]:
    overview = daemon.desk(Principal(name="health", role="reader", via="system")).overview()
    parts = [*overview.parts, overview.pager]
    return all(p.state != "bad" for p in parts), [f"{p.name}: {p.state}: {p.text}" for p in parts]
