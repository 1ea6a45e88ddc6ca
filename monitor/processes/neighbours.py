"""What the control process does for its neighbours: Alertmanagers are kept in step with it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import ExitStack
from datetime import datetime
from enum import Enum

from monitor.alertmanager.build import build_hooks
from monitor.alertmanager.sync import AlertSync
from monitor.daemon import Control
from monitor.inbound.hooks import Hook
from monitor.processes.launch import UsageError
from monitor.processes.posts import Post
from monitor.store.lease_rows import Lease
from monitor.store.store import Store, StoreUnavailable

logger = logging.getLogger(__name__)


class Voice(Enum):
    """What this process may say to the Alertmanagers, and why."""

    OWNER = "decide is ours"
    STILL = "our lease is not renewed, and the store names no owner after us"
    BLIND = "the store does not answer: what fired is kept alive from memory"
    SILENT = "decide is another's, or never was ours"


def voice(*, held: bool, last: Lease | None, found: Lease | None, answers: bool) -> Voice:
    """Who speaks; each machine decides by what it knows itself.

    Silence ends every alert at the peers when its lease is out: people read that as all well. So
    only who knows of another owner is silent. Cut off from the database, an owner and who followed
    it both speak: the same alert under the same labels, which the peers fold into one.

    Args:
        held: decide is ours, as far as we know.
        last: our last lease, where we have heard of no owner after us; `Post.lapsed`.
        found: the lease as the store has it now.
        answers: the store does; else `found` says nothing.
    """
    if held:
        return Voice.OWNER
    if last is None:
        return Voice.SILENT
    if not answers:
        return Voice.BLIND
    if found is None or (found.holder, found.epoch) != (last.holder, last.epoch):
        return Voice.SILENT
    return Voice.STILL


def in_step(post: Post, store: Store, sync: AlertSync) -> Callable[[datetime], bool]:
    """One round of the loop that keeps the Alertmanagers in step; whether anything was sent."""
    spoke = Voice.SILENT

    def step(now: datetime) -> bool:
        nonlocal spoke
        says, problem = _asked(post, store)
        if says is not spoke and Voice.BLIND in {says, spoke}:
            logger.warning("Alertmanagers: %s", says.value)
        spoke = says
        if says in {Voice.OWNER, Voice.STILL}:
            return sync.step(now)
        if says is Voice.BLIND:
            sync.keep(now)
        if problem is not None:
            raise problem
        return False

    return step


def _asked(post: Post, store: Store) -> tuple[Voice, StoreUnavailable | None]:
    """Who speaks; with why the store does not answer, where that decides it."""
    last = post.lapsed
    if last is None:
        return voice(held=post.held, last=None, found=None, answers=True), None
    try:
        with store.read() as tx:
            found = tx.leases.get(post.job)
    except StoreUnavailable as problem:
        return voice(held=post.held, last=post.lapsed, found=None, answers=False), problem
    return voice(held=False, last=last, found=found, answers=True), None


def neighbour_hooks(control: Control) -> dict[str, Hook]:
    """The inbound hooks of other machines, by the last part of their path."""
    return build_hooks(control.store, lambda: control.configured, control.metrics, control.pager)


def neighbour_steps(control: Control, stack: ExitStack) -> dict[str, Callable[[datetime], bool]]:
    """The loop that keeps the Alertmanagers in step; none where decisions are never ours.

    A recording has no control process, so what it finds is never sent.

    Args:
        control: the rooms.
        stack: closes what is opened here.

    Raises:
        UsageError: the configured `ca_file` cannot be read.
    """
    post = next((post for post in control.posts if post.job == "decide"), None)
    settings = control.configured.settings
    if post is None or settings.alertmanager is None or not settings.alertmanager.urls:
        return {}
    try:
        sync = AlertSync(control.store, lambda: control.configured.settings, control.metrics)
    except OSError as problem:
        said = problem.strerror or problem
        raise UsageError(f"the ca_file of alertmanager cannot be used: {said}") from None
    stack.callback(sync.close)
    control.parts.append(lambda _tx, _now: sync.health())
    return {"alertmanager": in_step(post, control.store, sync)}
