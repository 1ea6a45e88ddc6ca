"""From settings to the inbound hooks that come from machines; people's are in `inbound.build`."""

from __future__ import annotations

from collections.abc import Callable

from monitor.alertmanager.hook import AlertmanagerHook
from monitor.config.options import on_loopback
from monitor.config.settings import Configured
from monitor.inbound.hooks import Hook, LargeHook
from monitor.metrics import Metrics
from monitor.paging import Pager
from monitor.store.store import Store


def build_hooks(
    store: Store, configured: Callable[[], Configured], metrics: Metrics, pager: Pager
) -> dict[str, Hook]:
    """The hooks that the configuration asks for, by the last part of their path."""
    hooks: dict[str, Hook] = {}
    settings = configured().settings
    if settings.alertmanager is not None and settings.alertmanager.receive is not None:
        loopback = on_loopback(settings.http)
        hook = AlertmanagerHook(store, configured, metrics, pager, loopback=loopback)
        # One group of a storm is one message, which Alertmanager drops after a 413.
        hooks["alertmanager"] = LargeHook(hook.receive, hook.door)
    return hooks
