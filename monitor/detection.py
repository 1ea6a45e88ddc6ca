"""The detectors of one installation: one bank over every series, fed bucket by bucket.

Its memory is rebuilt after a restart from the hourly snapshot and the points stored since, with the
output muted, so that a killed daemon says exactly what an unkilled one would have said.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Set
from datetime import UTC, datetime

from detectors.model import State, Verdict
from detectors.rate import RateBank
from detectors.verdicts import Verdicts
from monitor.alerting.alerts import Reading
from monitor.profiles import Profile
from monitor.store.decision_rows import Point, Seen
from monitor.store.store import Tx
from monitor.stream.holes import walk
from monitor.stream.series import Dims, Pair, named
from monitor.stream.signals import Plan, Signal
from monitor.watchdog import tick

logger = logging.getLogger(__name__)

SNAPSHOT = "rates"
SNAPSHOT_EVERY_S = 3600
_SEPARATOR = "\x1f"
Tiers = Mapping[str, str]
"""Tier by signal."""


def series_id(signal: str, dims: Dims) -> str:
    """The name of a series in the bank."""
    return _SEPARATOR.join((signal, *dims))


class Detection:
    """The bank and what it is about."""

    def __init__(self, plan: Plan, profile: Profile) -> None:
        self._plan = plan
        self._profile = profile
        self._config = profile.rates
        self._signals: dict[str, Signal] = {signal.name: signal for signal in plan.rates()}
        self._bank = RateBank(self._config, bucket_s=plan.bucket_s)
        self._known: dict[str, tuple[Signal, Dims]] = {}
        self._pairs: list[Pair] = []
        self.states: dict[str, int] = {}

    def rebuild(self, tx: Tx, position: int | None) -> None:
        """Bring the bank to `position` (end of the last decided bucket) from what is stored."""
        self._bank = RateBank(self._config, bucket_s=self._plan.bucket_s)
        self._known = {}
        if position is None:
            return
        start = 0
        stored = tx.decisions.snapshot(SNAPSHOT)
        if stored is not None and stored[0] <= position:
            try:
                bank = RateBank.restore(stored[1])
            except ValueError as problem:
                logger.warning("the snapshot is not used, the points are replayed: %s", problem)
            else:
                if bank.config == self._config and bank.bucket_s == self._plan.bucket_s:
                    self._bank, start = bank, stored[0]
                    for name in bank.ids:
                        self._know(name)
        self._replay(tx, start, position)

    def _replay(self, tx: Tx, start: int, end: int) -> None:
        by_bucket: dict[int, dict[str, dict[Dims, Pair]]] = {}
        for bucket, signal, points in tx.decisions.all_points(start, end):
            if signal in self._signals:
                by_bucket.setdefault(bucket, {})[signal] = {p.dims: (p.k, p.n) for p in points}
        if not by_bucket:
            return
        first = max(start, min(by_bucket))
        for bucket in walk(by_bucket, first, end, self._plan.bucket_s, last=first):
            tick()
            tx.revision()  # a server ends a transaction in which nothing is asked for long
            self._judge(bucket, by_bucket.get(bucket, {}))

    def step(
        self,
        tx: Tx,
        bucket: int,
        series: Mapping[str, Mapping[Dims, Pair]],
        *,
        tiers: Tiers,
        watched: Set[str],
        kept: list[Seen],
    ) -> list[Reading]:
        """Judge one bucket and return the readings that could move an alert.

        Args:
            tx: the open transaction.
            bucket: its start, unix seconds.
            series: k and n by signal and dimension values.
            tiers: the tier of each rule.
            watched: ids of series whose alert is firing.
            kept: the points to be stored are added here.
        """
        verdicts = self._judge(bucket, series)
        kept += self._seen(bucket, verdicts)
        end = bucket + self._plan.bucket_s
        if end % SNAPSHOT_EVERY_S == 0:
            tx.decisions.save_snapshot(SNAPSHOT, end, self._bank.snapshot())
        moving = {verdicts.ids[int(i)] for i in verdicts.firing_rows()} | watched
        readings = []
        for index, name in enumerate(verdicts.ids):
            if name in moving:
                signal, dims = self._known[name]
                readings.append(self._reading(signal, dims, verdicts[index], end, tiers))
        return readings

    def _know(self, name: str) -> None:
        signal_name, *dims = name.split(_SEPARATOR)
        signal = self._signals.get(signal_name)
        if signal is None:
            return
        self._known[name] = (signal, tuple(dims))
        self._bank.add(name, alarm=self._profile.alarm(signal, self._plan.bucket_s))

    def _judge(self, bucket: int, series: Mapping[str, Mapping[Dims, Pair]]) -> Verdicts:
        counts = {
            series_id(signal, dims): pair
            for signal, found in series.items()
            for dims, pair in found.items()
        }
        for name in sorted(counts.keys() - self._known.keys()):
            self._know(name)
        ids = list(self._known)
        self._pairs = pairs = [counts.get(name, (0, 0)) for name in ids]
        return self._bank.step(
            bucket, self._plan.bucket_s, ids, [k for k, _ in pairs], [n for _, n in pairs]
        )

    def _seen(self, bucket: int, verdicts: Verdicts) -> list[Seen]:
        """The points of the series that had traffic, by signal."""
        firing, warming = verdicts.firing.tolist(), verdicts.warming.tolist()
        hot, cold = sum(firing), sum(w and not f for f, w in zip(firing, warming, strict=True))
        self.states = {"warming": cold, "quiet": len(firing) - hot - cold, "firing": hot}
        baselines, scores = verdicts.fraction.tolist(), verdicts.score.tolist()
        rows: dict[str, list[Point]] = {}
        for index, (name, (k, n)) in enumerate(zip(verdicts.ids, self._pairs, strict=True)):
            if n:
                signal, dims = self._known[name]
                letter = "f" if firing[index] else "w" if warming[index] else "q"
                point = Point(
                    dims, k, n, round(baselines[index], 6), round(scores[index], 3), letter
                )
                rows.setdefault(signal.name, []).append(point)
        return [Seen(name, bucket, points) for name, points in rows.items()]

    def _reading(
        self, signal: Signal, dims: Dims, verdict: Verdict, end: int, tiers: Tiers
    ) -> Reading:
        onset = verdict.onset if verdict.onset is not None else end
        return Reading(
            signal=signal.name,
            dimensions=named(signal, dims),
            tier=tiers[signal.name],
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
        )
