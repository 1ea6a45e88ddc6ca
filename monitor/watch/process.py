"""The auditor's process: opens what it needs, ticks until it is told to stop, and lets go."""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from monitor.alerting.routes import route
from monitor.config.options import store_file
from monitor.config.settings import Configured, Settings, resolve
from monitor.http_client import HttpClient
from monitor.metrics import Metrics
from monitor.notify.channel import Channel
from monitor.notify.settings import ChannelSettings, LogSettings
from monitor.processes.launch import open_channels
from monitor.processes.plight import longest
from monitor.store.watch_store import PATIENCE_S, WatchStore
from monitor.watch import state
from monitor.watch.auditor import TICK_S, Auditor
from monitor.watch.checks import CHECKS
from monitor.watch.emergency import SPOOL_S, Road
from monitor.watch.heartbeat import Heart
from monitor.watch.patience import NoAnswer, Patience
from monitor.watch.reserve import Reserve
from monitor.watch.settings import MEBIBYTE
from monitor.watch.spool import Spool, SpoolUnavailable
from monitor.watchdog import Watchdog, allow

logger = logging.getLogger(__name__)

ALARM = {"severity": "SEV1", "signal": "watch_storage"}
"""Labels by which the default receivers of the emergency road are found."""
STEP_S = 30.0
"""Longest that one step, or building the auditor anew, may take beyond the usual stall."""
SPOOL_PATIENCE_S = 15.0
"""An auditor that was told to stop gives its spool back within this."""


def emergency_receivers(configured: Configured) -> tuple[str, ...]:
    """Who is paged without the store: those the configuration names, else those of a SEV1."""
    named = configured.settings.watch.emergency
    if named:
        return named
    hops = [hop.receiver for hop in route(configured.policy.route, ALARM)]
    known = [receiver.name for receiver in configured.receivers]
    return tuple(name for name in hops if name in known)


def open_emergency(configured: Configured, *, page: bool) -> dict[str, Channel]:
    """The real channels, built here: this process shares nothing with the one that delivers.

    Raises:
        UsageError: a file that one of them names cannot be read.
    """
    names = emergency_receivers(configured)
    chosen: list[ChannelSettings] = [r for r in configured.receivers if r.name in names]
    return open_channels(chosen or [LogSettings(name="log")], page=page)


def build(
    configured: Configured,
    now: datetime,
    env: Mapping[str, str],
    *,
    page: bool = True,
    patience_s: float = PATIENCE_S,
    daemon: str = "",
    silent_s: float | None = None,
    plights: Path | None = None,
) -> tuple[Auditor, state.Places, ExitStack]:
    """The auditor with all it holds; the stack lets go of it.

    Args:
        configured: the settings with all they refer to.
        now: the time.
        env: names the folders where nothing else does.
        page: let the channels speak; else they only log.
        patience_s: how long the store is waited for.
        daemon: tells apart the daemons of this machine (`Place.key`).
        silent_s: the store did not answer then, by the steady clock; None: nobody has looked.
        plights: where the daemon's processes say what the store refuses them; None: nowhere.

    Raises:
        StoreError: the store's URL is none.
        UsageError: a channel cannot be built.
    """
    settings = configured.settings
    where = state.places(settings.store, settings.watch.spool, env, daemon)
    with ExitStack() as opening:
        secret = settings.store_password
        store = WatchStore(
            settings.store,
            patience_s=patience_s,
            password=None if secret is None else secret.reveal,
        )
        opening.callback(store.close)
        spool = _spool(where.spool)
        if spool is not None:
            _adopt(spool, state.all_places(settings.store, settings.watch.spool, env))
        channels = open_emergency(configured, page=page)
        road = Road(spool, channels, tuple(channels))
        opening.callback(road.close_channels)
        heart = None
        if settings.watch.heartbeat is not None:
            heart = Heart(settings.watch.heartbeat, HttpClient())
            opening.callback(heart.close)
        size = settings.watch.reserve * MEBIBYTE
        reserves = [Reserve(path, size) for path in where.reserves]
        auditor = Auditor(
            configured,
            store,
            road,
            reserves,
            heart,
            now,
            file=store_file(settings.store),
            daemon=daemon,
            silent_s=silent_s,
            plight=(lambda: None) if plights is None else partial(longest, plights),
            said="" if spool is None else spool.said,
        )
        return auditor, where, opening.pop_all()


def _spool(path: Path) -> Spool | None:
    """The spool; None where it cannot be had, which is said and never stops a page."""
    deadline = time.monotonic() + SPOOL_PATIENCE_S
    while True:
        try:
            return Spool(path)
        except SpoolUnavailable as problem:
            if "another auditor" not in str(problem) or time.monotonic() > deadline:
                logger.error("%s; emergency pages are kept in memory only", problem)  # noqa: TRY400 - the words say it
                return None
        time.sleep(0.5)


def _adopt(spool: Spool, known: Sequence[state.Places]) -> None:
    """Take over what a daemon of this machine has left that is no longer there."""
    for one in known:
        if one.spool == spool.path:
            continue
        try:
            if spool.adopt(one.spool):
                logger.warning("recovered: the spool %s of a daemon that is gone", one.spool)
        except SpoolUnavailable:
            continue  # its auditor lives, or ours cannot take it
        for file in (one.state, *one.reserves):
            file.unlink(missing_ok=True)


def audit(
    wanted: Callable[[], Settings],
    stopping: threading.Event,
    metrics: Metrics,
    watchdog: Watchdog,
    env: Mapping[str, str],
    *,
    tick_s: float = TICK_S,
    daemon: str = "",
    silent_s: float | None = None,
    plights: Path | None = None,
) -> int:
    """Tick until told to stop; the exit status.

    Args:
        wanted: the settings as they are now; when they change, everything is built anew.
        stopping: tells to stop.
        metrics: of this process.
        watchdog: sees to it that this loop turns; not started yet.
        env: names the folders where nothing else does.
        tick_s: between two ticks.
        daemon: tells apart the daemons of this machine (`Place.key`).
        silent_s: as of `build`.
        plights: as of `build`.

    Raises:
        StoreError: the store's URL is none.
        UsageError: a channel cannot be built.
    """
    watchdog.enter("auditor")
    allow(STEP_S)
    watchdog.start()
    while not stopping.is_set():
        settings = wanted()
        auditor, where, stack = build(
            resolve(settings),
            datetime.now(UTC),
            env,
            daemon=daemon,
            silent_s=silent_s,
            plights=plights,
        )
        disk = Patience("the state's disk")
        with stack:
            while not stopping.is_set() and wanted() == settings:
                allow(STEP_S)
                known = auditor.step(datetime.now(UTC), time.monotonic())
                with suppress(NoAnswer):
                    disk.ask(partial(state.save, where.state, known), SPOOL_S)
                measure(metrics, known)
                allow(tick_s)
                stopping.wait(tick_s)
                allow(STEP_S)
        where.state.unlink(missing_ok=True)
    watchdog.leave()
    return 0


def measure(metrics: Metrics, known: state.State) -> None:
    """Set the gauges; every label is of a closed list."""
    found = Counter(finding.check for finding in known.findings)
    for check in CHECKS:
        metrics.watch_findings.labels(check).set(found[check])
    metrics.watch_looked.set(known.at.timestamp())
    last = known.heartbeat_at or known.heartbeat_since
    metrics.watch_heartbeat.set(0 if last is None else last.timestamp())
    metrics.watch_withheld.set(1 if known.withheld else 0)
    metrics.watch_episodes.set(known.episodes)
    metrics.watch_unsent.set(known.unsent)
    for name, disk in zip(("spool", "store"), known.disks, strict=False):
        metrics.watch_disk_free.labels(name).set(disk.free)
