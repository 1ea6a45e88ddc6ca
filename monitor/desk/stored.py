"""What a backtest is fed with: points and cells from the store, a little at a time."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, datetime

from monitor.backtest import Cells, Points
from monitor.slices import has_children
from monitor.store.decision_rows import Point
from monitor.store.store import Tx
from monitor.stream.rules import Watched
from monitor.stream.series import Base
from monitor.stream.signals import Plan, Signal

Reading = Callable[[], AbstractContextManager[Tx]]
"""Opens a transaction that reads."""
_WITHOUT = "without tenant, model and release series: "


@dataclass(frozen=True, slots=True)
class Fed:
    """Where a rule's counts come from.

    Each question is a transaction of its own: on SQLite a long one would keep the log from being
    folded into the database.
    """

    points: Points
    cells: Cells | None
    without: str
    """Why there are no cells where the rule has children, in words."""


def fed(
    reading: Reading, plan: Plan, rule: Signal | Watched, first: int, end: int, most: int
) -> Fed:
    """What is stored of a rule.

    Args:
        reading: the store.
        plan: the signals.
        rule: a rate, or a rule that people know.
        first: start of the oldest bucket that will be asked for, unix seconds.
        end: before which the newest starts.
        most: cells that the caller has the time for.
    """
    source = rule.signal.name if isinstance(rule, Watched) else rule.name

    def points(begin: int, until: int) -> Mapping[int, Sequence[Point]]:
        with reading() as tx:
            # What is older is there of incidents only: from that no rule can be judged.
            return tx.decisions.points(source, max(begin, tx.ageing.mark()), until)

    if isinstance(rule, Watched) or not has_children(rule):
        return Fed(points, None, "")
    with reading() as tx:
        pipeline = tx.stream.known_pipeline(plan)
        without = _lacking(tx, pipeline, source, first, end, most)
    if pipeline is None or without:
        return Fed(points, None, without)

    def cells(begin: int, until: int) -> Mapping[int, Base]:
        with reading() as tx:
            found = tx.stream.counts(pipeline, begin, min(until, end))
        return {bucket: counts.base for bucket, counts in found.items()}

    return Fed(points, cells, "")


def _lacking(tx: Tx, pipeline: int | None, source: str, first: int, end: int, most: int) -> str:
    """Why children cannot be played; empty where they can."""
    begin = max(first, tx.decisions.first_counted(source) or first)
    oldest = None if pipeline is None else tx.stream.first_bucket(pipeline)
    if pipeline is None or oldest is None:
        return _WITHOUT + "no counts of them are stored"
    if oldest > begin:
        since = datetime.fromtimestamp(oldest, UTC)
        return f"{_WITHOUT}their counts begin on {since:%Y-%m-%d %H:%M} UTC only"
    if tx.stream.cell_count(pipeline, begin, end, most + 1) > most:
        return f"{_WITHOUT}over {most:,} of their counts take too long here; ask for fewer days"
    return ""
