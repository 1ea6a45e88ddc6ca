"""The control process: decides, delivers, works runbooks, and serves the desk and health."""

from __future__ import annotations

import logging
import os
import socket
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, closing
from datetime import datetime
from functools import partial
from pathlib import Path

from monitor import recovery
from monitor.clock import WallClock
from monitor.config.reload import Reload
from monitor.config.revisions import keep_owners, keep_start
from monitor.config.settings import Configured, resolve
from monitor.daemon import Control, build_control
from monitor.desk.doors import serve_desks
from monitor.health import processes
from monitor.http import app as http
from monitor.inbound.build import open_ways_in
from monitor.inbound.hooks import Hook, hooks_app
from monitor.processes.arrival import Doorman, await_store
from monitor.processes.errand import Errand
from monitor.processes.handover import Handover
from monitor.processes.launch import read_settings
from monitor.processes.lifeline import Life
from monitor.processes.loops import PAUSE_S, Loops, Step, owned
from monitor.processes.neighbours import neighbour_hooks, neighbour_steps
from monitor.processes.posts import JOBS, Beside, Post
from monitor.processes.readiness import Answer, Readiness
from monitor.processes.roster import read_roster
from monitor.retention import Retention
from monitor.store.store import Store, StoreUnavailable
from monitor.views import DeskError, Principal
from monitor.watch.state import one_line, places
from monitor.watchdog import Watch

logger = logging.getLogger(__name__)


def serve_control(life: Life) -> int:
    """Run until told to stop; the exit status."""
    errand, listeners, stopping = life.errand, life.listeners, life.stopping
    configured = resolve(errand.settings)
    roles = configured.settings.processes.roles
    metrics = life.metrics(lambda: {one.name: one.restarts for one in read_roster(errand.roster)})
    spool = configured.settings.watch.spool
    watched = places(configured.settings.store, spool, os.environ, errand.place.key)
    doorman = Doorman(listeners, metrics, partial(one_line, watched.state))
    with closing(doorman):
        store = await_store(configured.settings, stopping, life.watchdog, doorman.say)
    if store is None:
        return 0
    configured = in_force(errand, configured, store)
    with ExitStack() as stack:
        holder = errand.place.holder()
        posts = [Post(store, job, holder, errand.place.dead) for job in JOBS if job in roles]
        name = errand.place.name
        control = build_control(
            configured, store=store, clock=WallClock(), metrics=metrics, posts=posts, owner=name
        )
        stack.callback(control.close)
        control.stopping = stopping
        reload = reloading(control, errand)
        attend = partial(reload.attend, life.reloads, stopping)
        threading.Thread(target=attend, name="reload", daemon=True).start()
        control.parts.append(lambda tx, now: processes(tx, now, read_roster(errand.roster), holder))
        control.parts.append(lambda _tx, now: one_line(watched.state, now))
        control.parts.append(control.runs.health)
        watchdog = life.watchdog()
        stack.callback(watchdog.close)
        stack.callback(let_go, posts)
        stack.callback(control.runs.close)
        loops = Loops(metrics, watchdog, stopping, life.plights())
        hooks = {
            **neighbour_hooks(control),
            **open_ways_in(control, WallClock().now, stack, watchdog),
        }
        ready = Readiness(roles=roles, posts=posts, loops=loops, roster=errand.roster)
        serve(control, listeners, errand.desk, stack, hooks, watchdog, ready=ready.answer)
        loops.start({**steps(control, roles), **neighbour_steps(control, stack)})
        watchdog.start()
        loops.join()
        let_go([post for post in posts if post.job == "decide"])
    return 1 if loops.broken else 0


def in_force(errand: Errand, configured: Configured, store: Store) -> Configured:
    """The configuration of the last revision of this daemon's, which a kill may have kept back.

    Raises:
        StoreUnavailable: it is not known yet.
        UsageError: a file that it names cannot be used any more.
    """
    handover = Handover(errand.adopted)
    handover.settle(store)
    settings = handover.in_force(errand.settings)
    return configured if settings == errand.settings else resolve(settings)


def reloading(control: Control, errand: Errand) -> Reload:
    """Keep what is in force as a revision, and take another configuration when somebody asks."""
    now = WallClock().now
    control.parts.append(recovery.part(control.metrics, now()))
    keep_start(control.store, control.configured.settings, now())
    reload = Reload(
        control,
        read=lambda: read_settings(errand.options, os.environ),
        build=control.channels_of,
        clock=now,
        handover=Handover(errand.adopted),
    )
    control.reloading = reload.asked_by
    control.parts.append(reload.health)
    return reload


def steps(control: Control, roles: Sequence[str]) -> dict[str, Step]:
    """The loops of these roles, and the one that keeps their leases."""
    posts = {post.job: post for post in control.posts}

    def decide(now: datetime) -> bool:
        done = control.decide.step(now)
        control.digests.step(now)
        return done.buckets > 0 or not done.caught_up

    def deliver(now: datetime) -> bool:
        # A receiver whose pages are sent gets the next ones at once.
        return control.deliver.step(now) > 0 or control.deliver.freed(PAUSE_S)

    def runs(now: datetime) -> bool:
        control.runs.step(now)
        return False

    def leases(now: datetime) -> bool:
        for post in control.posts:
            post.look(now)
            control.metrics.owner.labels(post.job).set(1 if post.held else 0)
            control.metrics.epoch.labels(post.job).set(post.epoch)
        return False

    found: dict[str, Step] = {}
    if posts:
        found["leases"] = leases
    if "decide" in posts:
        found["decide"] = owned(
            posts["decide"], decide, partial(begin_to_decide, control, posts["decide"])
        )
        found["retention"] = ageing(control, Beside(posts["decide"]))
    if "deliver" in roles:
        found["deliver"] = deliver
    if "runs" in posts:
        found["runs"] = owned(posts["runs"], runs, control.runs.forget)
    return found


def ageing(control: Control, post: Beside) -> Step:
    """The loop that removes what is too old to be read by anybody, under the lease of decide."""
    retention = Retention(control.store, lambda: control.configured, post, control.metrics)
    control.parts.append(retention.health)
    return owned(post, retention.step, retention.forget)


def begin_to_decide(control: Control, post: Post) -> None:
    """Before the first step of each epoch: our configuration is the one by which is decided.

    Raises:
        StoreUnavailable: it is not written yet.
        Fenced: deciding is somebody else's.
    """
    # Between two reloads: what is in force is what the last of them says.
    with control.decide.gate:
        settings, now = control.configured.settings, WallClock().now()
        keep_owners(control.store, settings, now, post.guard)
    control.decide.forget()


def let_go(posts: Sequence[Post]) -> None:
    """Give the jobs back, so that a standby has them at once."""
    for post in posts:
        try:
            post.let_go()
        except StoreUnavailable as problem:
            logger.warning("%s is not given back, its lease runs out: %s", post.job, problem)


def alone() -> Answer:
    """Of a recording: one process that plays all parts, and serves as soon as it answers."""
    return True, ["ready: recording"]


def serve(
    control: Control,
    listeners: Mapping[str, socket.socket],
    path: Path,
    stack: ExitStack,
    hooks: Mapping[str, Hook] | None = None,
    watch: Watch | None = None,
    *,
    ready: Callable[[], Answer] = alone,
) -> None:
    """Serve the desk, and health and metrics where there is a listener, until the stack is closed.

    Args:
        control: the rooms.
        listeners: sockets that somebody listens on for us: `desk`, `http`, `tls`.
        path: of the desk's socket, which is made if `listeners` has none.
        stack: closes what is opened here.
        hooks: web hooks of others, by name; None for none.
        watch: ends a process whose loops hang or die.
        ready: says whether this daemon serves, and as what.
    """
    doors = serve_desks(
        control.configured.settings.desk,
        path,
        local=control.desk_for,
        remote=control.desk,
        store=control.store,
        metrics=control.metrics,
        now=WallClock().now,
        listener=listeners.get("desk"),
        tls_listener=listeners.get("tls"),
        current=lambda: control.configured.settings.desk,
        watch=watch,
    )
    stack.callback(doors.close)
    if doors.remote is not None:
        control.parts.append(doors.remote.health)
    if "http" in listeners:
        mounted = hooks_app(hooks, WallClock().now, control.metrics) if hooks else None
        app = http.health_app(control.metrics, ready, partial(well, control, ready), mounted)
        health = http.Server(app, listeners["http"], watch=watch)
        health.start()
        stack.callback(health.close)


def well(control: Control, ready: Callable[[], Answer] = alone) -> Answer:
    """Whether this daemon serves and no part of it is bad, and a line for each."""
    serves, lines = ready()
    try:
        overview = control.desk(Principal(name="health", role="reader", via="system")).overview()
    except DeskError as problem:
        return False, [*lines, f"store: bad: {problem.message}"]
    parts = [*overview.parts, overview.pager]
    lines = [*lines, *(f"{part.name}: {part.state}: {part.text}" for part in parts)]
    return serves and all(part.state != "bad" for part in parts), lines
