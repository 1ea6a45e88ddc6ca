"""Which dimension values explain an alert's excess: the cells around it, handed to `detectors`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime

from detectors.attribution import Cell, explain
from monitor.alerting.alerts import Alert, Cause
from monitor.store.store import Tx
from monitor.store.stream_rows import Counts
from monitor.stream.signals import Plan, Signal

BASELINE_S = 4 * 3600
"""How far back the comparison reaches."""
GUARD_S = 15 * 60
"""Left out before the onset: the excess may have begun unseen."""
CHUNK_S = 600
"""What the comparison tells apart in time: which parts of the past were calm."""
NEWS_S = 24 * 3600
"""A value first seen this recently is news worth a time."""


def causes_of(tx: Tx, pipeline: int, plan: Plan, signal: Signal, alert: Alert) -> tuple[Cause, ...]:
    """The likeliest causes, best first; empty where everything moved alike or nothing is known.

    Nothing is known of signals that look at the items of a list field: their table holds a series
    and no more (`signal.by` and the item), because items times all dimensions would have no bound.
    Which change fits is said of them all the same, see `alerting.fitting`.
    """
    k_slot = plan.numerators.get(signal.name)
    if k_slot is None:
        return ()
    slots = (k_slot, plan.denominators[signal.name])
    onset = int(alert.onset_at.timestamp())
    end = int(alert.updated_at.timestamp())
    window = tx.stream.counts(pipeline, onset, end)
    before = tx.stream.counts(pipeline, onset - GUARD_S - BASELINE_S, onset - GUARD_S)
    rows, usual = _telling(
        list(_cells(plan, alert, window, slots)), list(_cells(plan, alert, before, slots))
    )
    found = explain(
        rows,
        usual,
        rising=alert.reading.rate >= alert.reading.baseline,
        first_seen=_news(tx, pipeline, rows, onset),
    )
    if found and not found[0].values:
        return ()
    return tuple(
        Cause(
            dimensions=dict(one.values),
            share=one.share,
            first_seen=None
            if one.first_seen is None
            else datetime.fromtimestamp(one.first_seen, UTC),
        )
        for one in found
        if one.values
    )


def _cells(
    plan: Plan, alert: Alert, counts: Mapping[int, Counts], slots: tuple[int, int]
) -> Iterable[Cell]:
    inside = [
        (plan.dimensions.index(name), value)
        for name, value in alert.dimensions.items()
        if name in plan.dimensions
    ]
    free = [
        (index, name) for index, name in enumerate(plan.dimensions) if name not in alert.dimensions
    ]
    k_slot, n_slot = slots
    sums: dict[tuple[int, tuple[str, ...]], list[int]] = {}
    for bucket, found in counts.items():
        for key, values in found.base.items():
            if all(key[index] == value for index, value in inside):
                total = sums.setdefault((bucket // CHUNK_S, key), [0, 0])
                total[0] += values[k_slot]
                total[1] += values[n_slot]
    for (chunk, key), (k, n) in sums.items():
        yield Cell({name: key[index] for index, name in free if key[index]}, k, n, chunk)


def _telling(window: list[Cell], before: list[Cell]) -> tuple[list[Cell], list[Cell]]:
    """Without the dimensions that had one value before and after: they tell nothing apart."""
    values: dict[str, set[str]] = {}
    for cell in (*window, *before):
        for name, value in cell.values.items():
            values.setdefault(name, set()).add(value)
    telling = {name for name, found in values.items() if len(found) > 1}

    def kept(cell: Cell) -> Cell:
        left = {name: value for name, value in cell.values.items() if name in telling}
        return Cell(left, cell.k, cell.n, cell.at)

    return [kept(cell) for cell in window], [kept(cell) for cell in before]


def _news(tx: Tx, pipeline: int, rows: Iterable[Cell], onset: int) -> dict[tuple[str, str], int]:
    oldest = tx.stream.first_bucket(pipeline) or 0
    news = {}
    for pair in {pair for row in rows for pair in row.values.items()}:
        seen = tx.stream.first_seen(pipeline, *pair)
        if seen is not None and seen > oldest and onset - seen <= NEWS_S:
            news[pair] = seen
    return news
