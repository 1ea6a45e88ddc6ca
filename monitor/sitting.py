"""What decide holds in its hands while it judges several buckets in one transaction."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from monitor.alerting.alerts import Alert
from monitor.store.decision_rows import Seen
from monitor.store.store import Tx


@dataclass(slots=True)
class Sitting:
    """Several buckets in one transaction: what is read once for all, and written once after."""

    tx: Tx
    pipeline: int
    tiers: Mapping[str, str]
    firing: Mapping[str, Alert]
    """Alerts not cleared, by fingerprint."""
    mixed_until: int = 0
    """Before this bucket the cells may lack what the signals of before did not count."""
    eventful: bool = False
    """There may be an incident or a never-event that a recording's clock has news for."""
    kept: list[Seen] = field(default_factory=list)

    def left_out(self, bucket: int, others: frozenset[str]) -> frozenset[str]:
        """Of `others`, which the signals of before did not count, those the cells may lack."""
        return others if bucket < self.mixed_until else frozenset()
