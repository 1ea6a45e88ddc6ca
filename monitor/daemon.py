"""The rooms of a running installation, wired together; starts nothing."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial

from monitor.clock import Clock, ReplayClock, WallClock
from monitor.config.settings import Configured, Settings
from monitor.config.shelf import Shelf
from monitor.daily import Digests
from monitor.decide import Decide
from monitor.deliver import Deliver
from monitor.desk.base import Reloading, not_reloaded
from monitor.desk.desk import Desk, Rights
from monitor.desk.trials import Trials
from monitor.ingest import Ingest
from monitor.metrics import Metrics
from monitor.notify.channel import Channel
from monitor.notify.settings import ChannelSettings
from monitor.notify.slack_buttons import Buttons
from monitor.paging import Pager
from monitor.processes.launch import digest_key, open_channels
from monitor.processes.posts import Guard, Post, Sole
from monitor.runs import Runs
from monitor.store.store import Store, StoreUnavailable, Tx
from monitor.stream.sources.source import Source
from monitor.views import Health, Principal

logger = logging.getLogger(__name__)

PAUSE_S = 0.2
"""Between two looks of a loop that found nothing."""

Channels = Callable[[Sequence[ChannelSettings]], dict[str, Channel]]
"""A channel for each receiver, by name."""
Part = Callable[[Tx, datetime], Health]
"""Something that says how it is, for the overview."""


@dataclass(slots=True, kw_only=True)
class Control:
    """What decides, delivers, works runbooks and answers people."""

    configured: Configured
    store: Store
    clock: Clock
    metrics: Metrics
    pager: Pager
    decide: Decide
    digests: Digests
    deliver: Deliver
    runs: Runs
    shelf: Shelf
    channels_of: Channels
    """Makes the channels, at the start and for a reload."""
    stopping: threading.Event
    posts: Sequence[Post] = ()
    """The jobs that this process does or stands by for."""
    parts: list[Part] = field(default_factory=list)
    """More lines of the overview."""
    trials: Trials = field(default_factory=Trials)
    """Backtests under way."""
    reloading: Reloading = not_reloaded
    """Takes another configuration for somebody at the desk; see `monitor.config.reload`."""

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
            reload=self.reloading,
            live=not isinstance(self.clock, ReplayClock),
            parts=self.parts,
            trials=self.trials,
        )

    def close(self) -> None:
        """Finish what is under way, let go."""
        self.trials.close()
        self.runs.close()
        self.deliver.close()
        self.store.close()


@dataclass(slots=True, kw_only=True)
class Daemon(Control):
    """All of it in one process: a recording, the demo."""

    source: Source
    ingest: Ingest

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
        Control.close(self)


def build(configured: Configured, *, source: Source, store: Store, page: bool = True) -> Daemon:
    """All rooms in one process, alone with its store."""
    clock: Clock = ReplayClock() if source.finite else WallClock()
    control = build_control(
        configured, store=store, clock=clock, metrics=Metrics(), page=page, replay=source.finite
    )
    rooms = {name: getattr(control, name) for name in Control.__dataclass_fields__}
    ingest = Ingest(
        store, source, configured.plan, control.metrics, digest_key=digest_key(configured.settings)
    )
    return Daemon(**rooms, source=source, ingest=ingest)


def buttons_of(settings: Settings) -> Buttons | None:
    """What makes the buttons under pages; None where nobody listens for clicks."""
    if settings.inbound.slack is None:
        return None
    return Buttons(digest_key(settings))


def build_control(
    configured: Configured,
    *,
    store: Store,
    clock: Clock,
    metrics: Metrics,
    page: bool = True,
    replay: bool = False,
    posts: Sequence[Post] = (),
    owner: str = "",
) -> Control:
    """Everything but reading.

    Args:
        configured: the settings with all they refer to.
        store: open.
        clock: where people's commands and runbooks get the time.
        metrics: of this process.
        page: let the channels speak; else they only log.
        replay: it is a recording, on its own clock.
        posts: the jobs that are held by a lease; without one a job is simply ours.
        owner: the name under which pages are claimed; empty for one of its own.
    """
    with store.write() as tx:
        tx.decisions.save_profile(configured.profile.name)
    settings = configured.settings
    channels_of: Channels = partial(open_channels, page=page, buttons=buttons_of(settings))
    pager = Pager(configured.policy)
    by_job: dict[str, Guard] = {post.job: post for post in posts}
    deciding, running = by_job.get("decide", Sole()), by_job.get("runs", Sole())
    decide = Decide(
        store,
        configured.plan,
        configured.profile,
        pager,
        metrics,
        rules=settings.rules,
        replay=replay,
        post=deciding,
    )
    deliver = _deliver(configured, store, channels_of(configured.receivers), pager, metrics, owner)
    runs = Runs(store, settings.runbooks.allow, clock.now, configured.plan, post=running)
    return Control(
        configured=configured,
        store=store,
        clock=clock,
        metrics=metrics,
        pager=pager,
        decide=decide,
        digests=Digests(store, pager, deciding),
        deliver=deliver,
        runs=runs,
        shelf=Shelf(settings.runbooks.folders),
        channels_of=channels_of,
        stopping=threading.Event(),
        posts=posts,
    )


def _deliver(
    configured: Configured,
    store: Store,
    channels: Mapping[str, Channel],
    pager: Pager,
    metrics: Metrics,
    owner: str,
) -> Deliver:
    fallback = configured.settings.paging.fallback
    now = WallClock().now
    return Deliver(store, channels, pager, metrics, now, fallback=fallback, owner=owner)
