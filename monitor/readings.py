"""What a detector says of a series, in the words of alerting."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

from detectors.model import State, Verdict
from monitor.alerting.alerts import Reading
from monitor.stream.signals import Signal


def reading_of(
    signal: Signal, dimensions: Mapping[str, str], verdict: Verdict, end: int, tier: str
) -> Reading:
    """A series' verdict in the words of alerting.

    Args:
        signal: whose name, title and severity it has.
        dimensions: what the alert is told apart by.
        verdict: what is said of it.
        end: end of the bucket, unix seconds.
        tier: of the rule.
    """
    onset = verdict.onset if verdict.onset is not None else end
    return Reading(
        signal=signal.name,
        dimensions=dimensions,
        tier=tier,
        severity=signal.severity,
        firing=verdict.state is State.FIRING,
        at=datetime.fromtimestamp(end, UTC),
        onset_at=datetime.fromtimestamp(onset, UTC),
        k=verdict.k,
        n=verdict.n,
        rate=verdict.observed,
        baseline=verdict.baseline,
        excess=verdict.excess,
        score=verdict.score,
        threshold=verdict.threshold,
        reason=f"{signal.title}: {verdict.reason}",
        blind=verdict.silent_since is not None or verdict.state is State.WARMING,
    )
