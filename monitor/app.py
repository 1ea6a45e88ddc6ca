"""Builds everything from settings, starts it, and stops it: the one place that knows all rooms."""

from __future__ import annotations

import hashlib
import logging
import os
import secrets
import signal
import socket
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import msgspec

from monitor import http
from monitor.clock import Clock, ReplayClock, WallClock
from monitor.decide import Decide
from monitor.deliver import Deliver
from monitor.desk import Desk, Rights
from monitor.ingest import Ingest
from monitor.logs import configure_logs
from monitor.metrics import Metrics
from monitor.notify.build import build_channel
from monitor.notify.settings import LogSettings
from monitor.options import DEFAULT_STORE, RunOptions, find_config, socket_path, store_file
from monitor.paging import Pager
from monitor.runs import Runs
from monitor.settings import (
    Configured,
    FileSource,
    KafkaSource,
    Settings,
    SimulatedSource,
    begin,
    load,
    resolve,
)
from monitor.shelf import Shelf
from monitor.store.store import Store, StoreError, StoreUnavailable, owner_lock
from monitor.stream.sources.scenario import load_scenario
from monitor.stream.sources.simulate import SimulatedSource as SimulatedLog
from monitor.stream.sources.simulate import Simulation
from monitor.stream.sources.source import Source
from monitor.stream.sources.until_end import UntilEnd
from monitor.views import Principal
from runbooks.problems import Problems

logger = logging.getLogger(__name__)

PAUSE_S = 0.2
"""Between two looks of a loop that found nothing."""
BACKOFF_S = 2.0
"""After the store did not answer."""


class UsageError(Exception):
    """What was asked for cannot be done; the message says what to do."""


def parse_source(text: str, start: str | None) -> KafkaSource | FileSource | SimulatedSource:
    """A source from the command line.

    Raises:
        UsageError: it is none we know.
    """
    kind, _, rest = text.partition(":")
    if text == "-":
        return FileSource(path="-")
    if kind == "file" and rest:
        return FileSource(path=rest)
    if kind == "simulate" and rest:
        return SimulatedSource(scenario=rest)
    if kind == "kafka" and rest:
        where, _, topic = rest.rpartition("/")
        if where and topic:
            return KafkaSource(
                bootstrap=tuple(where.removeprefix("//").split(",")),
                topic=topic,
                start=start or "latest",
            )
    raise UsageError(
        f"not a source: {text!r}; write file:EVENTS.ndjson.gz, -, simulate:demo "
        "or kafka://HOST:PORT/TOPIC"
    )


def settings_for(options: RunOptions, env: dict[str, str]) -> Settings:
    """The configuration with the command line over it.

    Raises:
        Problems: the configuration has mistakes.
        UsageError: a flag has.
        OSError: a file cannot be read.
    """
    path = find_config(options.config, env)
    settings = Settings(store=DEFAULT_STORE) if path is None else load(path)[0]
    changes: dict[str, object] = {}
    if options.store is not None:
        changes["store"] = options.store
    if options.profile is not None:
        changes["profile"] = options.profile
    if options.http is not None:
        changes["http"] = options.http
    if options.source is not None:
        changes["source"] = parse_source(options.source, options.start)
    elif options.start is not None and isinstance(settings.source, KafkaSource):
        begin(options.start)
        changes["source"] = msgspec.structs.replace(settings.source, start=options.start)
    return msgspec.structs.replace(settings, **changes)


def member_of(store: str) -> str:
    """The same for every start of a daemon on this machine and store."""
    where = hashlib.sha256(store.encode()).hexdigest()[:12]
    return f"tocsin-{socket.gethostname()}-{where}"


def open_source(settings: Settings) -> Source:
    """The source that the settings name.

    Raises:
        UsageError: none is named, or it cannot be opened.
    """
    # Each engine is imported where it is chosen: a file needs no Kafka client.
    match settings.source:
        case KafkaSource() as chosen:
            from monitor.stream.sources.kafka import KafkaSource as Kafka

            return Kafka(chosen.kafka(member_of(settings.store)))
        case FileSource(path=path):
            from monitor.stream.sources.files import FileSource as Files

            try:
                return Files([path])
            except OSError as problem:
                raise UsageError(f"cannot open {path}: {problem.strerror}") from None
        case SimulatedSource(scenario=scenario, seed=seed):
            return SimulatedLog(Simulation(load_scenario(scenario), seed=seed))
        case None:
            raise UsageError(
                "no source: give --source file:EVENTS.ndjson.gz, or `source:` in the configuration"
            )


def digest_key(settings: Settings) -> bytes:
    """The key of the quarantine's digests; made once beside a SQLite store."""
    if settings.digest_key is not None:
        return settings.digest_key.reveal().encode()[:64]
    file = store_file(settings.store)
    if file is None:
        raise UsageError("a server store needs `digest_key: {file: ...}` in the configuration")
    path = file.with_name(file.name + ".key")
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return path.read_bytes()[:64]
    with os.fdopen(descriptor, "wb") as stream:
        stream.write(secrets.token_bytes(32))
    return path.read_bytes()


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
    channels = {
        receiver.name: build_channel(
            receiver
            if page or isinstance(receiver, LogSettings)
            else LogSettings(name=receiver.name)
        )
        for receiver in configured.receivers
    }
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
    return (
        f"{fates or 'no events'}; {incidents} incidents, profile {daemon.configured.profile.name}. "
        f"Next: tocsin --store {store} inc list"
    )


def main(options: RunOptions) -> int:
    """`tocsin run`: the exit status."""
    configure_logs()
    try:
        configured = resolve(settings_for(options, dict(os.environ)))
        source = open_source(configured.settings)
        if options.until_end and not source.finite:
            source = UntilEnd(source)
    except Problems as problems:
        print(problems, file=sys.stderr)  # noqa: T201 - the command's own answer
        return 3
    except (UsageError, OSError, ValueError) as problem:
        print(f"tocsin run: {problem}", file=sys.stderr)  # noqa: T201 - the command's own answer
        return 2
    try:
        return _run(configured, source, options)
    except StoreError as problem:
        print(f"tocsin run: {problem}", file=sys.stderr)  # noqa: T201 - the command's own answer
        return 6


def _run(configured: Configured, source: Source, options: RunOptions) -> int:
    settings = configured.settings
    file = store_file(settings.store)
    if file is not None:
        file.parent.mkdir(parents=True, exist_ok=True)
    store = Store(settings.store)
    if options.check:
        store.close()
        source.close()
        print("the configuration, the store and the source can be used")  # noqa: T201 - the answer
        return 0
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
            run_replay(daemon)
            print(summary(daemon), file=sys.stderr)  # noqa: T201 - the command's own answer
        else:
            run_live(daemon)
    return 0


def _serve(daemon: Daemon, options: RunOptions, stack: ExitStack) -> None:
    settings = daemon.configured.settings
    path: Path = (
        options.socket or settings.desk.socket or socket_path(settings.store, None, os.environ)
    )
    desk = http.Server(http.desk_app(daemon.desk_for), http.listen_unix(path), peers=True)
    desk.start()
    stack.callback(lambda: path.unlink(missing_ok=True))
    stack.callback(desk.close)
    if settings.http:
        health = http.Server(
            http.health_app(daemon.metrics, lambda: _healthy(daemon)),
            http.listen_tcp(settings.http),
        )
        health.start()
        stack.callback(health.close)


def _healthy(daemon: Daemon) -> tuple[bool, list[str]]:
    overview = daemon.desk(Principal(name="health", role="reader", via="system")).overview()
    parts = [*overview.parts, overview.pager]
    return all(p.state != "bad" for p in parts), [f"{p.name}: {p.state}: {p.text}" for p in parts]
