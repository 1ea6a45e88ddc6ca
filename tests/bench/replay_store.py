"""What a daemon left in its store: incidents, pages, alerts and counts, to be compared."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import datetime

from monitor.alerting.alerts import Alert
from monitor.config.settings import Settings, resolve
from monitor.incidents.model import Incident, Origin
from monitor.incidents.timeline import Linked
from monitor.store.decision_rows import Point
from monitor.store.store import Store, Tx
from monitor.store.stream_rows import Counts
from monitor.stream.signals import Plan

ALL = 1_000_000
_EVER = 2**40
Key = tuple[str, tuple[tuple[str, str], ...], datetime, str]
"""An incident as two runs are compared: signal, dimensions, detected_at, severity."""
Cells = dict[int, Counts]
Points = list[tuple[int, str, list[Point]]]


@dataclass(frozen=True, slots=True)
class Found:
    """One incident with all that hangs on it."""

    incident: Incident
    alerts: tuple[Alert, ...]
    timeline: tuple[Linked, ...]

    @property
    def key(self) -> Key:
        """What is the same in two runs over one log."""
        dimensions = tuple(sorted(self.incident.dimensions.items()))
        signal = self.incident.signal or ""
        return signal, dimensions, self.incident.detected_at, self.incident.severity

    @property
    def rings(self) -> int:
        """How often it rang: the first page, and every one that rang anew."""
        return sum(item.entry.kind == "PAGE" for item in self.timeline)

    @property
    def folded(self) -> bool:
        """Never paged, because others had paged twice within the shift."""
        return self.incident.paged_at is None and any(
            "folded" in item.entry.text for item in self.timeline
        )


@dataclass(frozen=True, slots=True)
class Findings:
    """Everything of one store that does not hang on the wall clock."""

    incidents: tuple[Found, ...]
    """Oldest first."""
    alerts: tuple[Alert, ...]
    """Of every tier, newest first."""
    cells: Cells
    points: Points
    totals: dict[str, int]
    """Records by fate, all partitions together."""

    @property
    def keys(self) -> list[Key]:
        """The incidents as they are compared."""
        return sorted(found.key for found in self.incidents)

    def paged(self, origin: Origin | None = Origin.ALERT) -> list[Found]:
        """Incidents that rang, or would have but for the cap; None: of every origin."""
        return [
            found
            for found in self.incidents
            if (origin is None or found.incident.origin is origin)
            and (found.incident.paged_at is not None or found.folded)
        ]

    def rings(self, origin: Origin | None = Origin.ALERT) -> int:
        """Pages of those: a folded one counts as one, so that the cap hides nothing."""
        return sum(max(1, found.rings) for found in self.paged(origin))

    def same_counts(self, other: Findings) -> bool:
        """Whether both hold the same cells and the same k and n at every point."""
        return (
            self.cells == other.cells
            and _counts(self.points) == _counts(other.points)
            and self.totals == other.totals
        )


def _counts(points: Points) -> list[tuple[int, str, list[tuple[tuple[str, ...], int, int]]]]:
    return [
        (bucket, signal, sorted((p.dims, p.k, p.n) for p in seen))
        for bucket, signal, seen in points
    ]


def default_plan() -> Plan:
    """What a default installation counts."""
    return resolve(Settings()).plan


def decided(store: Store, plan: Plan) -> datetime | None:
    """How far a store's daemon has decided; None before its first bucket."""
    with store.read() as tx:
        pipeline = tx.stream.known_pipeline(plan)
        return None if pipeline is None else tx.decisions.event_now(pipeline)


def read_findings(store_url: str, *, counts: bool = True) -> Findings:
    """Read a store whose daemon has ended.

    Args:
        store_url: of the store.
        counts: read cells and points too; a month of them is big.
    """
    store = Store(store_url)
    try:
        with store.read() as tx:
            return _findings(tx, counts=counts)
    finally:
        store.close()


def _findings(tx: Tx, *, counts: bool) -> Findings:
    plan = default_plan()
    pipeline = tx.stream.known_pipeline(plan)
    assert pipeline is not None
    signals = [signal.name for signal in plan.signals]
    totals: Counter[str] = Counter()
    for part in tx.stream.partitions(pipeline):
        totals.update(part.totals)
    incidents = tx.incidents.search(limit=ALL)
    return Findings(
        incidents=tuple(
            Found(
                one, tuple(tx.incidents.alerts_of(one.uuid)), tuple(tx.incidents.timeline(one.uuid))
            )
            for one in reversed(incidents)
        ),
        alerts=tuple(tx.incidents.recent_alerts(limit=ALL)),
        cells=tx.stream.counts(pipeline, 0, _EVER) if counts else {},
        points=tx.decisions.all_points(signals, 0, _EVER) if counts else [],
        totals=dict(totals),
    )
