"""What the control process does for its neighbours: Alertmanagers are kept in step with it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from datetime import datetime

from monitor.alertmanager.build import build_hooks
from monitor.alertmanager.sync import AlertSync
from monitor.daemon import Control
from monitor.inbound.hooks import Hook
from monitor.processes.launch import UsageError


def neighbour_hooks(control: Control) -> dict[str, Hook]:
    """The inbound hooks of other machines, by the last part of their path."""
    return build_hooks(control.store, control.configured, control.metrics, control.pager)


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
        sync = AlertSync(control.store, settings, control.metrics)
    except OSError as problem:
        said = problem.strerror or problem
        raise UsageError(f"the ca_file of alertmanager cannot be used: {said}") from None
    stack.callback(sync.close)
    control.parts.append(lambda _tx, _now: sync.health())
    return {"alertmanager": lambda now: post.held and sync.step(now)}
