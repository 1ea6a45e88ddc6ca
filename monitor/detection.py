"""The detectors of one installation: one bank over every series, fed bucket by bucket.

Its memory is rebuilt after a restart from the hourly snapshot and the points stored since, with the
output muted, so that a killed daemon says exactly what an unkilled one would have said.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping, Set

import msgspec

from detectors.pool import Pool
from detectors.rate import RateBank
from monitor.alerting.alerts import Reading
from monitor.alerting.budget import Budgets
from monitor.couplings import Couplings
from monitor.definitions import UNCHANGED, Definitions
from monitor.division import Division
from monitor.profiles import Profile
from monitor.rates import SEPARATOR, Judged, Rates, Tiers
from monitor.slices import Slices
from monitor.store.decision_rows import Point, Seen
from monitor.store.store import Reads, Tx
from monitor.stream.holes import walk
from monitor.stream.series import Base, Dims, Pair
from monitor.stream.signals import Plan, Signal

logger = logging.getLogger(__name__)

SNAPSHOT = "rates"
FLEETS = "fleets"
SLICES = "slices"
COUPLINGS = "couplings"
SNAPSHOT_EVERY_S = 3600
SEEN = "seen"
REPLAYED_S = 28 * 86_400
"""Without snapshots so much is replayed: what is older hardly counts in any baseline."""
CHUNK = 144
"""Buckets of points that are read at once."""
LIVE_S = 14 * 86_400
"""A series without traffic for this long, or from the first, takes no share of a budget."""


class Detection:
    """The bank and what it is about."""

    def __init__(self, plan: Plan, profile: Profile) -> None:
        self._plan = plan
        self._profile = profile
        self._signals: dict[str, Signal] = {signal.name: signal for signal in plan.rates()}
        self._division = Division(plan, profile)
        self._rates = Rates(plan, profile, self._division)
        self._couplings = Couplings(plan, profile)
        self._seen_at: dict[str, int] = {}
        """The last bucket in which a series had traffic."""
        self.states: dict[str, int] = {}
        self._definitions = UNCHANGED
        self._young = False
        """The snapshots in the store are those of other signals."""

    def rebuild(
        self,
        reads: Reads,
        position: int | None,
        budgets: Budgets,
        definitions: Definitions = UNCHANGED,
    ) -> Iterator[None]:
        """Bring the bank to `position` (end of the last decided bucket) from what is stored.

        It gives way after each bucket, with no transaction open: whoever pages need not wait.

        Args:
            reads: opens a view; what was decided up to `position` is the same in each.
            position: None where nothing was decided yet.
            budgets: what each team may spend.
            definitions: which points are whose.
        """
        self._definitions = definitions
        with reads() as tx:
            self._division.rebuild(tx, budgets)
        self._rates = Rates(self._plan, self._profile, self._division)
        self._couplings = Couplings(self._plan, self._profile)
        self._seen_at = {}
        if position is None:
            return
        with reads() as tx:
            start, children = self._restore(tx, position)
        self._young = 0 < definitions.changed_at >= start
        yield from self._replay(reads, start or max(0, position - REPLAYED_S), position)
        yield from self._replay_slices(reads, children, position)

    def _restore(self, tx: Tx, position: int) -> tuple[int, int]:
        """Go on from the newest snapshots; where replays begin, of the points and of children."""
        names = (SNAPSHOT, FLEETS, SLICES)
        stored = [one for one in map(tx.decisions.snapshot, names) if one is not None]
        if len(stored) < len(names) or len({end for end, _ in stored}) > 1:
            return 0, 0
        (start, rates), (_, fleets), (_, slices) = stored
        if start > position:
            return 0, 0
        try:
            bank, pool = RateBank.restore(rates), Pool.restore(fleets)
            children = Slices.restore(slices, self._plan, self._profile)
            seen_at = _seen_at(tx, start)
        except ValueError as problem:
            logger.warning("the snapshot is not used, the points are replayed: %s", problem)
            return 0, 0
        if children is None:
            return 0, 0
        if not self._holds(tx, bank, start):
            # What was never among the points is kept: children are not learned anew for it.
            children.forget(name for name in self._signals if self._anew(name, start))
            self._rates.slices = children
            return 0, start
        if not self._rates.take(bank, pool, children):
            return 0, 0
        self._couplings, self._seen_at = self._coupled(tx, start), seen_at
        self._couple(self._rates.known)
        return start, start

    def _holds(self, tx: Tx, bank: RateBank, start: int) -> bool:
        """Whether a bank, as it was at `start`, has of every signal what is its own, and no more.

        Another set of signals may have stored it: of those it did not have the points are wanted,
        of those that it had otherwise nothing.
        """
        if start > self._definitions.changed_at:
            return True
        has = {name.split(SEPARATOR, 1)[0] for name in bank.ids}
        missing = [name for name in self._signals if name not in has]
        return not any(self._anew(name, start) for name in has & self._signals.keys()) and not any(
            tx.decisions.first_point([name], self._definitions.own(name, 0), start) is not None
            for name in missing
        )

    def _anew(self, signal: str, start: int) -> bool:
        """Whether a signal was new, or became another, at `start` or since."""
        since = self._definitions.since.get(signal, 0)
        return since > 0 and since >= start

    def _coupled(self, tx: Tx, start: int) -> Couplings:
        """As stored at `start`; begun anew without: no page waits until tickets are learned."""
        stored = tx.decisions.snapshot(COUPLINGS)
        found = None
        if stored is not None and stored[0] == start:
            try:
                found = Couplings.restore(stored[1], self._plan, self._profile)
            except ValueError as problem:
                logger.warning("the couplings are learned anew: %s", problem)
        return Couplings(self._plan, self._profile) if found is None else found

    def _couple(self, born: Iterable[str]) -> None:
        for name in born:
            self._couplings.know(name, *self._rates.known[name])

    def _replay(self, reads: Reads, start: int, end: int) -> Iterator[None]:
        with reads() as tx:
            first = last = tx.decisions.first_point(self._signals, start, end)
        if first is None:
            return
        step, chunk = self._plan.bucket_s, CHUNK * self._plan.bucket_s
        for begin in range(first, end, chunk):
            stop = min(end, begin + chunk)
            with reads() as tx:
                points = self._points(tx, begin, stop)
            for bucket in walk(points, begin, stop, step, last=last):
                self._judge(bucket, points.get(bucket, {}), frozenset())
                yield
            last = max(points, default=last)

    def _points(self, tx: Tx, begin: int, stop: int) -> dict[int, dict[str, dict[Dims, Pair]]]:
        found: dict[int, dict[str, dict[Dims, Pair]]] = {}
        for bucket, signal, points in tx.decisions.all_points(self._signals, begin, stop):
            if bucket >= self._definitions.own(signal, 0):
                found.setdefault(bucket, {})[signal] = {p.dims: (p.k, p.n) for p in points}
        return found

    def _replay_slices(self, reads: Reads, start: int, end: int) -> Iterator[None]:
        """Children are not among the points: they are counted again from the cells."""
        with reads() as tx:
            pipeline = tx.stream.known_pipeline(self._plan)
            first = None if pipeline is None else tx.stream.first_bucket(pipeline)
            if pipeline is None or first is None:
                return
            first = max(start, first)
            last = tx.stream.last_bucket(pipeline, before=first)
        step, chunk = self._plan.bucket_s, 60 * self._plan.bucket_s
        for begin in range(first, end, chunk):
            stop = min(end, begin + chunk)
            with reads() as tx:
                cells = tx.stream.counts(pipeline, begin, stop)
            for bucket in walk(cells, begin, stop, step, last=last):
                self._rates.slices.step(bucket, cells[bucket].base if bucket in cells else {})
                yield
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
        uncounted: Set[str] = frozenset(),
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
            uncounted: signals of which the cells do not tell; they are not among `series` either.
        """
        judged = self._judge(bucket, series, watched)
        children = self._rates.slices.step(bucket, base, uncounted)
        kept += [*self._seen(judged), *self._couplings.seen(self._rates.bank.latest)]
        end = bucket + self._plan.bucket_s
        # The snapshots of other signals would have all points replayed at the next start, too.
        hourly, self._young = end % SNAPSHOT_EVERY_S == 0 or self._young, False
        if self._divide(tx, end, tiers, budgets, hourly=hourly) or hourly:
            tx.decisions.save_snapshot(SNAPSHOT, end, self._rates.bank.snapshot())
            tx.decisions.save_snapshot(SEEN, end, msgspec.msgpack.encode(self._seen_at))
            tx.decisions.save_snapshot(FLEETS, end, self._rates.fleets.snapshot())
            tx.decisions.save_snapshot(SLICES, end, self._rates.slices.snapshot())
            tx.decisions.save_snapshot(COUPLINGS, end, self._couplings.snapshot())
        readings = self._rates.readings(judged, children, watched, tiers)
        return readings + self._couplings.readings(watched, tiers, end)

    def _divide(self, tx: Tx, end: int, tiers: Tiers, budgets: Budgets, *, hourly: bool) -> bool:
        known, seen = self._rates.known, self._seen_at
        live = [one for name, one in known.items() if end - seen.get(name, 0) < LIVE_S]
        if not self._division.renew(tx, end, tiers, budgets, live, hourly=hourly):
            return False
        self._rates.retune()
        return True

    def _judge(
        self, bucket: int, series: Mapping[str, Mapping[Dims, Pair]], watched: Set[str]
    ) -> Judged:
        judged = self._rates.judge(bucket, series, watched)
        ids = judged.verdicts.ids
        self._seen_at.update(
            (name, bucket) for name, (_, n) in zip(ids, judged.pairs, strict=True) if n
        )
        self._couple(judged.born)
        bank = self._rates.bank
        self._couplings.step(bank.ids, bank.latest, judged.firing)
        return judged

    def _seen(self, judged: Judged) -> list[Seen]:
        """The points of the series that had traffic, by signal."""
        verdicts = judged.verdicts
        firing, warming = verdicts.firing.tolist(), verdicts.warming.tolist()
        hot, cold = sum(firing), sum(w and not f for f, w in zip(firing, warming, strict=True))
        self.states = {"warming": cold, "quiet": len(firing) - hot - cold, "firing": hot}
        baselines, scores = verdicts.fraction.tolist(), verdicts.score.tolist()
        rows: dict[str, list[Point]] = {}
        for index, (name, (k, n)) in enumerate(zip(verdicts.ids, judged.pairs, strict=True)):
            if n:
                signal, dims = self._rates.known[name]
                letter = "f" if firing[index] else "w" if warming[index] else "q"
                point = Point(
                    dims, k, n, round(baselines[index], 6), round(scores[index], 3), letter
                )
                rows.setdefault(signal.name, []).append(point)
        return [Seen(name, judged.bucket, points) for name, points in rows.items()]


def _seen_at(tx: Tx, start: int) -> dict[str, int]:
    """As it was when the bank's snapshot was taken; of an older store nothing.

    Raises:
        ValueError: what is stored cannot be read.
    """
    stored = tx.decisions.snapshot(SEEN)
    if stored is None or stored[0] != start:
        return {}
    return msgspec.msgpack.decode(stored[1], type=dict[str, int])
