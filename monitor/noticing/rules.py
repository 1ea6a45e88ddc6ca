"""Static limits and burn rates on the series of a signal, fed bucket by bucket.

Their memory is an hourly snapshot and the points stored since, as the detectors' that learn. A rule
that is new, or another than it was, is fed what its longest window reads.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime

import msgspec

from detectors.model import State, Verdict
from monitor.alerting.alerts import Alert, Reading
from monitor.definitions import UNCHANGED, Definitions
from monitor.readings import reading_of
from monitor.store.store import Tx
from monitor.stream.holes import walk
from monitor.stream.rules import Detector, Rule, StaticRule, Watched, watched
from monitor.stream.series import Dims, Pair, dims_of, named
from monitor.stream.signals import Plan, Signal
from monitor.watchdog import tick

logger = logging.getLogger(__name__)

SNAPSHOT = "rules"
SNAPSHOT_EVERY_S = 3600
_STORED = msgspec.msgpack.Decoder(dict[str, tuple[str, list[tuple[Dims, bytes]]]])
"""By name: the definition, and the detectors of the series."""
Series = Mapping[str, Mapping[Dims, Pair]]


class Rules:
    """The rules of a configuration and their detectors."""

    def __init__(self, plan: Plan, rules: Sequence[Rule], *, gone: Iterable[str] = ()) -> None:
        """`gone`: names of rules before these; those that are not among these are over."""
        self._plan = plan
        self._watched = tuple(watched(rules, plan.signals, bucket_s=plan.bucket_s))
        self._series: dict[str, dict[Dims, Detector]] = {}
        self.aliases: dict[str, Signal] = {one.name: one.alias for one in self._watched}
        """What the alerts speak of, by their name."""
        self.signals: dict[str, Signal] = {one.name: one.signal for one in self._watched}
        """Whose counts they are about."""
        self._gone = set(gone) - self.aliases.keys()
        """Rules that are no longer configured and may still fire."""

    def rebuild(self, tx: Tx, position: int | None, definitions: Definitions = UNCHANGED) -> None:
        """Know again what the rules read, from the hourly snapshot and the points stored since."""
        self._series = {one.name: {} for one in self._watched}
        if position is None or not self._watched:
            return
        at, known = self._restored(tx, position, definitions)
        starts = {
            one.name: definitions.own(
                one.signal.name, at if one.name in known else position - one.longest_s
            )
            for one in self._watched
        }
        first = min(starts.values())
        names = {one.signal.name for one in self._watched}
        by_bucket: dict[int, dict[str, dict[Dims, Pair]]] = {}
        for name in sorted(names):
            for bucket, points in tx.decisions.points(name, first, position).items():
                pairs = {point.dims: (point.k, point.n) for point in points}
                by_bucket.setdefault(bucket, {})[name] = pairs
        step = self._plan.bucket_s
        for bucket in walk(by_bucket, -(-first // step) * step, position, step, last=first):
            tick()
            for one in self._watched:
                if bucket >= starts[one.name]:
                    self._learn(one, bucket, by_bucket.get(bucket, {}).get(one.signal.name, {}))

    def _restored(self, tx: Tx, position: int, definitions: Definitions) -> tuple[int, set[str]]:
        """Where the snapshot stands, and the rules that it holds."""
        stored = tx.decisions.snapshot(SNAPSHOT)
        if stored is None or stored[0] > position:
            return position, set()
        try:
            found = _STORED.decode(stored[1])
            self._gone |= found.keys() - self.aliases.keys()
            own = [one for one in self._watched if definitions.own(one.signal.name, 0) < stored[0]]
            return stored[0], {one.name for one in own if self._restore(one, found)}
        except (msgspec.MsgspecError, ValueError) as problem:
            logger.warning("the snapshot is not used, the points are replayed: %s", problem)
            self._series = {one.name: {} for one in self._watched}
            return position, set()

    def _restore(
        self, one: Watched, found: Mapping[str, tuple[str, list[tuple[Dims, bytes]]]]
    ) -> bool:
        definition, series = found.get(one.name, ("", []))
        if definition != one.definition:
            return False
        for dims, data in series:
            detector = one.build()
            detector.restore(data)
            self._series[one.name][dims] = detector
        return True

    def _snapshot(self) -> bytes:
        return msgspec.msgpack.encode(
            {
                one.name: (
                    one.definition,
                    [(dims, each.snapshot()) for dims, each in self._series[one.name].items()],
                )
                for one in self._watched
            }
        )

    def step(
        self,
        tx: Tx,
        bucket: int,
        series: Series,
        firing: Mapping[str, Alert],
        tiers: Mapping[str, str],
    ) -> list[Reading]:
        """Take in one bucket; readings of what fires, or no longer does.

        Args:
            tx: the open transaction.
            bucket: its start, unix seconds.
            series: k and n by signal and dimension values.
            firing: alerts not cleared.
            tiers: where a person has set the tier of a rule.
        """
        if not self._watched and not self._gone:
            return []
        end = bucket + self._plan.bucket_s
        for one in self._watched:
            self._learn(one, bucket, series.get(one.signal.name, {}))
        if end % SNAPSHOT_EVERY_S == 0:
            tx.decisions.save_snapshot(SNAPSHOT, end, self._snapshot())
        told = {
            (alert.signal, dims_of(self.aliases[alert.signal], alert.dimensions)): alert
            for alert in firing.values()
            if alert.signal in self.aliases
        }
        ended = [alert for alert in firing.values() if alert.signal in self._gone]
        readings = []
        for one in self._watched:
            for dims, detector in self._series[one.name].items():
                verdict = detector.verdict
                assert verdict is not None
                known = told.pop((one.name, dims), None)
                if verdict.state is State.FIRING or known is not None:
                    tier = tiers.get(one.name, one.alias.tier)
                    readings.append(_reading(one, dims, verdict, end, tier))
        lost = [_over(alert, end, "no traffic any more") for alert in told.values()]
        readings += [replace(one, blind=True) for one in lost]
        return readings + [_over(alert, end, "the rule is no longer configured") for alert in ended]

    def _learn(self, one: Watched, bucket: int, seen: Mapping[Dims, Pair]) -> None:
        detectors = self._series[one.name]
        for dims in sorted(seen):
            if dims not in detectors and seen[dims][1] and one.watches(dims):
                detectors[dims] = one.build()
        gone = []
        for dims, detector in detectors.items():
            k, n = seen.get(dims, (0, 0))
            detector.learn_one({"t": bucket, "k": k, "n": n})
            verdict = detector.verdict
            if verdict is not None and verdict.n == 0 and detector.idle:
                gone.append(dims)
        for dims in gone:
            del detectors[dims]

    def standing(self) -> list[tuple[Watched, Dims, Verdict]]:
        """Every series of every rule, as it was judged last."""
        return [
            (one, dims, detector.verdict)
            for one in self._watched
            for dims, detector in self._series.get(one.name, {}).items()
            if detector.verdict is not None
        ]


def _over(alert: Alert, end: int, reason: str) -> Reading:
    return replace(alert.reading, firing=False, at=datetime.fromtimestamp(end, UTC), reason=reason)


def _reading(one: Watched, dims: Dims, verdict: Verdict, end: int, tier: str) -> Reading:
    said = reading_of(one.alias, named(one.alias, dims), verdict, end, tier)
    # A limit is no baseline: what is beyond it by a tenth is not "1.1x base".
    limit = isinstance(one.rule, StaticRule) and one.rule.direction == "up"
    return replace(said, signal=one.name, baseline=0.0 if limit else said.baseline)
