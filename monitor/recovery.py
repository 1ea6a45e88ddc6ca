"""What had to be done again after a restart or a take-over: said in the log, counted, and shown.

The log says it where it happens; the overview says it for all processes of this daemon together.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import datetime
from typing import Literal

from monitor.metrics import Metrics
from monitor.store.store import Tx
from monitor.views import Health

logger = logging.getLogger(__name__)

NAME = "tocsin_recovered_total"


def tell(metrics: Metrics, what: Literal["events replayed", "pages resent"], count: int) -> None:
    """So many were done again; nothing for none."""
    if count > 0:
        metrics.recovered.labels(what.split()[0]).inc(count)
        logger.warning("recovered: %d %s", count, what)


def part(metrics: Metrics, started: datetime) -> Callable[[Tx, datetime], Health]:
    """A line of the overview; `started` is when the counting began."""

    def look(_tx: Tx, _now: datetime) -> Health:
        events, pages = (int(metrics.value(NAME, what=what)) for what in ("events", "pages"))
        text = f"{events} events replayed, {pages} pages resent"
        since = f"since {started:%Y-%m-%d %H:%M:%S} UTC"
        return Health(name="recovered", state="ok", text=f"{text}, {since}")

    return look
