"""From what the loops know to the gauges that a dashboard reads: labels from closed sets only.

Every label value is set from the start and goes back to 0, so that an alert on a gauge clears and
a rate misses no first count.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import get_args

from monitor.alerting.alerts import Alert
from monitor.alerting.ledger import Ledger
from monitor.metrics import Metrics
from monitor.silence import TITLES
from monitor.store.stream_rows import Counts
from monitor.stream.signals import Plan, Signal, Tier
from monitor.stream.vocabulary import OTHER

SEVERITIES = ("SEV1", "SEV2", "SEV3", "SEV4")
OUTCOMES = ("sent", "retry", "unknown", "refused")
PAGE_STATES = ("new", "claimed", "sent", "dead", "overtaken")


def bucket(metrics: Metrics, plan: Plan, counts: Counts) -> None:
    """Add one decided bucket: interactions, and k and n of each signal over all its series."""
    totals = [sum(column) for column in zip(*counts.base.values(), strict=True)]
    if not totals:
        return
    metrics.interactions.inc(totals[0])
    folded = sum(row[0] for dimensions, row in counts.base.items() if OTHER in dimensions)
    metrics.folded.inc(folded)
    for signal in plan.rates():
        k, n = _pair(plan, signal, totals, counts)
        metrics.signal_k.labels(signal.name).inc(k)
        metrics.signal_n.labels(signal.name).inc(n)


def _pair(plan: Plan, signal: Signal, totals: list[int], counts: Counts) -> tuple[int, int]:
    n = totals[plan.denominators[signal.name]]
    if signal.each is None:
        return totals[plan.numerators[signal.name]], n
    items = [
        pair
        for (name, by, _), pair in counts.narrow.items()
        if name == signal.name and len(by) == len(signal.by)
    ]
    own = n if signal.n_each is None else sum(pair[1] for pair in items)
    return sum(pair[0] for pair in items), own


def people(metrics: Metrics, open_counts: Iterable[tuple[str, bool, int]]) -> None:
    """Open incidents, and those that nobody has acknowledged.

    Args:
        metrics: of this process.
        open_counts: (severity, acknowledged, how many).
    """
    every: Counter[str] = Counter()
    alone: Counter[str] = Counter()
    for severity, acknowledged, count in open_counts:
        every[severity] += count
        alone[severity] += 0 if acknowledged else count
    for severity in SEVERITIES:
        metrics.incidents_open.labels(severity).set(every[severity])
        metrics.incidents_unacknowledged.labels(severity).set(alone[severity])


def firing(
    metrics: Metrics, plan: Plan, alerts: Iterable[Alert], others: Iterable[str] = ()
) -> None:
    """Alerts that have not cleared; `others`: names under which something else alerts."""
    found = Counter((alert.signal, alert.tier) for alert in alerts)
    for signal in {*TITLES, *others, *(each.name for each in plan.rates())}:
        for tier in get_args(Tier):
            metrics.alerts_firing.labels(signal, tier).set(found[signal, tier])


def budgets(metrics: Metrics, found: Iterable[Ledger]) -> None:
    """What each team may spend on false pages, has spent, and has not judged."""
    listed = list(found)
    for gone in metrics.teams - {one.team for one in listed}:
        for gauge in (metrics.budget, metrics.budget_spent, metrics.budget_unjudged):
            gauge.labels(gone).set(0)
    metrics.teams = {one.team for one in listed}
    for one in listed:
        metrics.budget.labels(one.team).set(one.allowance.false_pages)
        metrics.budget_spent.labels(one.team).set(one.spent)
        metrics.budget_unjudged.labels(one.team).set(one.open)


def receivers(metrics: Metrics, names: Iterable[str]) -> None:
    """Every outcome of every receiver, from nought."""
    for name in names:
        for outcome in OUTCOMES:
            metrics.pages.labels(name, outcome)


def outbox(metrics: Metrics, counts: Mapping[str, int], oldest: datetime | None) -> None:
    """Pages by state, and since when the oldest one waits."""
    for state in PAGE_STATES:
        metrics.outbox.labels(state).set(counts.get(state, 0))
    metrics.outbox_oldest.set(0 if oldest is None else oldest.timestamp())
