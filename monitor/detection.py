"""The detectors of one installation: one bank over every series, fed bucket by bucket.

Its memory is rebuilt after a restart from the hourly snapshot and the points stored since, with the
output muted, so that a killed daemon says exactly what an unkilled one would have said.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Set
from datetime import UTC, datetime

import msgspec

from detectors.fleet import Fleet
from detectors.model import State, Verdict
from detectors.pool import Pool
from detectors.rate import RateBank
from detectors.verdicts import Verdicts
from monitor.alerting.alerts import Reading
from monitor.alerting.budget import Budgets
from monitor.alerting.pages import where
from monitor.division import Division
from monitor.fleets import Fleets
from monitor.profiles import Profile
from monitor.slices import Slices
from monitor.store.decision_rows import Point, Seen
from monitor.store.store import Tx
from monitor.stream.holes import walk
from monitor.stream.series import Base, Dims, Pair, kin, named
from monitor.stream.signals import Plan, Signal
from monitor.watchdog import tick

logger = logging.getLogger(__name__)

SNAPSHOT = "rates"
FLEETS = "fleets"
SLICES = "slices"
SNAPSHOT_EVERY_S = 3600
SEEN = "seen"
LIVE_S = 14 * 86_400
"""A series without traffic for this long, or from the first, takes no share of a budget."""
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
        self._fleets = Fleets(plan, profile)
        self._slices = Slices(plan, profile)
        self._known: dict[str, tuple[Signal, Dims]] = {}
        self._kin: dict[Dims, list[str]] = {}
        """Series by what siblings share."""
        self._pairs: list[Pair] = []
        self._division = Division(plan, profile)
        self._seen_at: dict[str, int] = {}
        """The last bucket in which a series had traffic."""
        self.states: dict[str, int] = {}

    def rebuild(self, tx: Tx, position: int | None, budgets: Budgets) -> None:
        """Bring the bank to `position` (end of the last decided bucket) from what is stored."""
        self._division.rebuild(tx, budgets)
        self._bank = RateBank(self._config, bucket_s=self._plan.bucket_s)
        self._fleets = Fleets(self._plan, self._profile)
        self._slices = Slices(self._plan, self._profile)
        self._known, self._kin, self._seen_at = {}, {}, {}
        if position is None:
            return
        start = self._restore(tx, position)
        self._replay(tx, start, position)
        self._replay_slices(tx, start, position)

    def _restore(self, tx: Tx, position: int) -> int:
        """Go on from the newest snapshots; the start of what is to be replayed on top."""
        names = (SNAPSHOT, FLEETS, SLICES)
        stored = [one for one in map(tx.decisions.snapshot, names) if one is not None]
        if len(stored) < len(names) or len({end for end, _ in stored}) > 1:
            return 0
        (start, rates), (_, fleets), (_, slices) = stored
        if start > position:
            return 0
        try:
            bank, pool = RateBank.restore(rates), Pool.restore(fleets)
            children = Slices.restore(slices, self._plan, self._profile)
        except ValueError as problem:
            logger.warning("the snapshot is not used, the points are replayed: %s", problem)
            return 0
        if bank.config != self._config or bank.bucket_s != self._plan.bucket_s:
            return 0
        if children is None or not self._fleets.take(pool):
            return 0
        self._slices = children
        self._bank, self._seen_at = bank, _seen_at(tx, start)
        for name in bank.ids:
            self._know(name)
        return start

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
            self._fleets.step(self._bank.ids, self._bank.latest, frozenset())

    def _replay_slices(self, tx: Tx, start: int, end: int) -> None:
        """Children are not among the points: they are counted again from the cells."""
        pipeline = tx.stream.known_pipeline(self._plan)
        if pipeline is None:
            return
        first = start or tx.stream.first_bucket(pipeline)
        if first is None:
            return
        last = tx.stream.last_bucket(pipeline, before=first)
        step, chunk = self._plan.bucket_s, 60 * self._plan.bucket_s
        for begin in range(first, end, chunk):
            stop = min(end, begin + chunk)
            cells = tx.stream.counts(pipeline, begin, stop)
            for bucket in walk(cells, begin, stop, step, last=last):
                tick()
                self._slices.step(bucket, cells[bucket].base if bucket in cells else {})
            last = max(cells, default=last)

    def step(
        self,
        tx: Tx,
        bucket: int,
        series: Mapping[str, Mapping[Dims, Pair]],
        base: Base,
        *,
        tiers: Tiers,
        budgets: Budgets,
        watched: Set[str],
        kept: list[Seen],
    ) -> list[Reading]:
        """Judge one bucket and return the readings that could move an alert.

        Args:
            tx: the open transaction.
            bucket: its start, unix seconds.
            series: k and n by signal and dimension values.
            base: the cells they were summed from.
            tiers: the tier of each rule.
            budgets: what each team may spend.
            watched: ids of series whose alert is firing.
            kept: the points to be stored are added here.
        """
        verdicts = self._judge(bucket, series)
        fleets = self._fleets.step(self._bank.ids, self._bank.latest, watched)
        children = self._slices.step(bucket, base)
        kept += self._seen(bucket, verdicts)
        end = bucket + self._plan.bucket_s
        hourly = end % SNAPSHOT_EVERY_S == 0
        if self._divide(tx, end, tiers, budgets, hourly=hourly) or hourly:
            tx.decisions.save_snapshot(SNAPSHOT, end, self._bank.snapshot())
            tx.decisions.save_snapshot(SEEN, end, msgspec.msgpack.encode(self._seen_at))
            tx.decisions.save_snapshot(FLEETS, end, self._fleets.snapshot())
            tx.decisions.save_snapshot(SLICES, end, self._slices.snapshot())
        firing = {verdicts.ids[int(i)] for i in verdicts.firing_rows()}
        # A fleet is an alert of the whole, whose own series speaks first where it fires too.
        spoken = {name for name in fleets if fleets[name].firing or name not in self._known}
        loud = {series_id(signal, (env,)): one for (signal, env), one in children.items()}
        loud = {name: one for name, one in loud.items() if name not in firing | spoken}
        spoken -= firing
        readings = []
        for index, name in enumerate(verdicts.ids):
            if name in (firing | watched) - spoken - loud.keys():
                signal, dims = self._known[name]
                readings.append(self._reading(signal, dims, verdicts[index], end, tiers))
        readings += [self._fleet_reading(fleets[name], end, tiers) for name in sorted(spoken)]
        for one in loud.values():
            readings.append(self._slices.reading(one, tiers[one.child.signal], end))
        return readings

    def _fleet_reading(self, fleet: Fleet, end: int, tiers: Tiers) -> Reading:
        signal, dims = self._known.get(fleet.loudest, (None, ()))
        loudest = where(named(signal, dims)) if signal is not None else ""
        name = fleet.group.split(_SEPARATOR)[0]
        return self._fleets.reading(fleet, loudest, tiers[name], end)

    def _divide(self, tx: Tx, end: int, tiers: Tiers, budgets: Budgets, *, hourly: bool) -> bool:
        known, seen = self._known, self._seen_at
        live = [one for name, one in known.items() if end - seen.get(name, 0) < LIVE_S]
        if not self._division.renew(tx, end, tiers, budgets, live, hourly=hourly):
            return False
        for name, (signal, dims) in known.items():
            self._bank.add(name, alarm=self._division.alarm(signal, dims))
        return True

    def _know(self, name: str) -> None:
        signal_name, *dims = name.split(_SEPARATOR)
        signal = self._signals.get(signal_name)
        if signal is None:
            return
        self._known[name] = (signal, tuple(dims))
        siblings = self._kin.setdefault(kin(*self._known[name]), [])
        self._bank.bear(name, siblings, alarm=self._division.alarm(*self._known[name]))
        siblings.append(name)
        whole = series_id(signal_name, tuple(dims[:1]))
        self._fleets.know(name, whole, *self._known[name])

    def _judge(self, bucket: int, series: Mapping[str, Mapping[Dims, Pair]]) -> Verdicts:
        counts = {
            series_id(signal, dims): pair
            for signal, found in series.items()
            for dims, pair in found.items()
        }
        self._seen_at.update((name, bucket) for name, (_, n) in counts.items() if n)
        # A series is born with its first traffic, as the points will tell it after a restart.
        for name in sorted(name for name in counts.keys() - self._known.keys() if counts[name][1]):
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


def _seen_at(tx: Tx, start: int) -> dict[str, int]:
    """As it was when the bank's snapshot was taken; of an older store nothing."""
    stored = tx.decisions.snapshot(SEEN)
    if stored is None or stored[0] != start:
        return {}
    return msgspec.msgpack.decode(stored[1], type=dict[str, int])
