"""No data and lag: a blind monitor looks like a quiet product, so both are alerts of their own.

A feature that goes silent while others go on is judged on event time by what usually comes; the
stream as a whole is judged on the wall clock, because without events event time stands still.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import msgspec

from detectors.absence import AbsenceDetector
from detectors.model import State, Verdict
from monitor.alerting.alerts import Alert, Reading
from monitor.completeness import seen_lately
from monitor.definitions import UNCHANGED, Definitions
from monitor.store.decision_rows import Point, Seen
from monitor.store.store import Tx
from monitor.store.stream_rows import Counts, PartitionRow
from monitor.stream.holes import walk
from monitor.stream.series import Dims, volumes
from monitor.stream.signals import Plan
from monitor.stream.vocabulary import RESERVED

logger = logging.getLogger(__name__)

NO_DATA = "no_data"
LOST_SOURCE = "lost_source"
LAG = "lag"
VOLUME = "volume"
SOURCES = "sources"
TITLES = {NO_DATA: "No data", LOST_SOURCE: "Lost source", LAG: "Ingest lags behind"}
STREAM_SILENT_AFTER = timedelta(minutes=10)
LAGGING_AFTER = timedelta(minutes=10)
SNAPSHOT = "silences"
SNAPSHOT_EVERY_S = 3600
REMEMBERED = timedelta(days=14)
"""A feature not seen for this long was retired; it is forgotten."""
_FEATURES = msgspec.msgpack.Decoder(list[tuple[Dims, int, bytes]])


def _reading(
    signal: str,
    dimensions: Mapping[str, str],
    verdict: Verdict,
    at: datetime,
    severity: str = "SEV2",
    tier: str = "page",
) -> Reading:
    onset = at if verdict.onset is None else datetime.fromtimestamp(verdict.onset, UTC)
    return Reading(
        signal=signal,
        dimensions=dimensions,
        tier=tier,
        severity=severity,
        firing=verdict.state is State.FIRING,
        at=at,
        onset_at=onset,
        k=verdict.k,
        n=verdict.n,
        rate=0.0,
        baseline=0.0,
        excess=verdict.excess,
        score=verdict.score,
        threshold=verdict.threshold,
        reason=f"{TITLES[signal]}: {verdict.reason}",
    )


@dataclass(slots=True)
class _Feature:
    """One feature's detector, and the bucket it was last seen in."""

    detector: AbsenceDetector
    seen: int


class Silences:
    """The silence of each feature, or of each source, on event time.

    A source is a gateway, or one of its copies: they come and go, so its silence is a ticket. A
    feature's pages. What is known for less than `warm_s` is nobody's: it may have been tried out.
    """

    def __init__(self, plan: Plan, name: str = NO_DATA, *, warm_s: int = 86_400) -> None:
        self._plan = plan
        self._warm_s = warm_s
        self._name = name
        self._signal = plan.volume()
        self._points = VOLUME if name == NO_DATA else SOURCES
        self._snapshot_name = SNAPSHOT if name == NO_DATA else f"{SNAPSHOT}:{name}"
        self._by: tuple[str, ...] = ("environment", "source")
        if name == NO_DATA:
            self._by = self._signal.by if self._signal is not None else ()
        self._features: dict[Dims, _Feature] = {}

    def rebuild(self, tx: Tx, position: int | None, definitions: Definitions = UNCHANGED) -> None:
        """Know again what usually comes, from the hourly snapshot and the volumes stored since."""
        self._features = {}
        if position is None or self._signal is None:
            return
        start = definitions.own(self._signal.name, position - int(REMEMBERED.total_seconds()))
        stored = tx.decisions.snapshot(self._snapshot_name)
        if stored is not None and start < stored[0] <= position:
            try:
                self._features = self._restored(stored[1])
            except ValueError as problem:
                logger.warning("the snapshot is not used, the volumes are replayed: %s", problem)
            else:
                start = stored[0]
        found = tx.decisions.points(self._points, start, position)
        last = max((one.seen for one in self._features.values()), default=None)
        first = min(found, default=position) if last is None else start
        for bucket in walk(found, first, position, self._plan.bucket_s, last=last):
            self._learn(bucket, {point.dims: point.n for point in found.get(bucket, ())})

    def _restored(self, data: bytes) -> dict[Dims, _Feature]:
        features = {}
        for dims, seen, snapshot in _FEATURES.decode(data):
            features[dims] = _Feature(self._new(), seen)
            features[dims].detector.restore(snapshot)
        return features

    def _snapshot(self) -> bytes:
        return msgspec.msgpack.encode(
            [(dims, one.seen, one.detector.snapshot()) for dims, one in self._features.items()]
        )

    def step(
        self,
        tx: Tx,
        bucket: int,
        counts: Counts,
        firing: Mapping[str, Alert],
        tiers: Mapping[str, str],
        kept: list[Seen],
    ) -> list[Reading]:
        """Take in one bucket; readings of what is silent, or no longer is.

        Args:
            tx: the open transaction.
            bucket: its start, unix seconds.
            counts: what it holds.
            firing: alerts not cleared.
            tiers: tier by signal.
            kept: what is to be stored is added here.
        """
        if self._signal is None:
            return []
        seen = self._volumes(counts)
        if seen:
            points = [Point(dims, n, n, None, 0.0, "q") for dims, n in sorted(seen.items())]
            kept.append(Seen(self._points, bucket, points))
        self._learn(bucket, seen)
        end = bucket + self._plan.bucket_s
        if end % SNAPSHOT_EVERY_S == 0:
            tx.decisions.save_snapshot(self._snapshot_name, end, self._snapshot())
        told = {
            tuple(alert.dimensions.get(name, "") for name in self._by)
            for alert in firing.values()
            if alert.signal == self._name and set(alert.dimensions) == set(self._by)
        }
        at = datetime.fromtimestamp(end, UTC)
        readings = []
        for dims in [*self._features, *sorted(told - self._features.keys())]:
            verdict = self._verdict(dims, at)
            if verdict.state is State.FIRING or dims in told:
                named = dict(zip(self._by, dims, strict=True))
                severity, tier = "SEV3", "ticket"
                if self._name == NO_DATA:
                    severity = self._signal.severity
                    tier = tiers.get(self._signal.name, self._signal.tier)
                readings.append(_reading(self._name, named, verdict, at, severity, tier))
        return readings

    def _volumes(self, counts: Counts) -> dict[Dims, int]:
        """Interactions of the bucket by feature, or by source."""
        if self._name == NO_DATA:
            return volumes(self._plan, counts.base, self._by)
        assert self._signal is not None
        return {
            (*by, source): n
            for (name, by, source), (_, n) in counts.narrow.items()
            if name == self._signal.name and source not in RESERVED
        }

    def _verdict(self, dims: Dims, at: datetime) -> Verdict:
        feature = self._features.get(dims)
        if feature is None or feature.detector.verdict is None:
            text = f"not seen for {REMEMBERED.days} days: taken for retired"
            return _verdict(State.QUIET, 0.0, at, text)
        return feature.detector.verdict

    def _new(self) -> AbsenceDetector:
        return AbsenceDetector(
            unknown_after_s=int(REMEMBERED.total_seconds()),
            warm_s=self._warm_s,
            bucket_s=self._plan.bucket_s,
        )

    def _learn(self, bucket: int, seen: Mapping[Dims, int]) -> None:
        for dims in sorted(seen):
            self._features.setdefault(dims, _Feature(self._new(), bucket)).seen = bucket
        oldest = bucket - int(REMEMBERED.total_seconds())
        self._features = {d: one for d, one in self._features.items() if one.seen > oldest}
        for dims, one in self._features.items():
            one.detector.learn_one({"t": bucket, "n": seen.get(dims, 0)})


def stream_readings(
    parts: Sequence[PartitionRow], firing: Mapping[str, Alert], now: datetime
) -> list[Reading]:
    """Readings of the stream as a whole, on the wall clock: no data, and lag.

    What was not seen lately is not known: the clock was set since, or nobody reads it, of which the
    auditor tells. That begins no alert and ends none.
    """
    if not parts or any(part.finished for part in parts):
        return []
    topic = parts[0].topic
    told = {alert.signal for alert in firing.values() if "topic" in alert.dimensions}
    seen = [part for part in parts if seen_lately(part, now)]
    unknown = len(seen) < len(parts)
    last = max((part.caught_up_at for part in seen if part.caught_up_at), default=None)
    silent = last is not None and all(part.caught_up_at for part in seen)
    silent_for = now - last if silent and last is not None else timedelta()
    behind = [part.behind_since for part in seen if part.behind_since is not None]
    behind_for = now - min(behind) if behind else timedelta()
    left = sum(max(0, part.end - part.position) for part in parts)
    cases = (
        (
            NO_DATA,
            silent_for,
            STREAM_SILENT_AFTER,
            f"nothing came on {topic} for {int(silent_for.total_seconds() // 60)} min",
        ),
        (
            LAG,
            behind_for,
            LAGGING_AFTER,
            f"{left} records of {topic} wait, behind for "
            f"{int(behind_for.total_seconds() // 60)} min",
        ),
    )
    readings = []
    for signal, length, limit, text in cases:
        fires = length >= limit and not (unknown and signal == NO_DATA)
        if not fires and (unknown or signal not in told):
            continue
        state = State.FIRING if fires else State.QUIET
        verdict = _verdict(state, length / limit, now - length, text)
        readings.append(_reading(signal, {"topic": topic}, verdict, now))
    return readings


def _verdict(state: State, score: float, since: datetime, text: str) -> Verdict:
    return Verdict(
        state=state,
        score=score,
        threshold=1.0,
        direction="down",
        observed=0.0,
        baseline=0.0,
        k=0,
        n=0,
        expected=0.0,
        excess=0.0,
        window_buckets=0,
        onset=int(since.timestamp()),
        reason=text,
    )
