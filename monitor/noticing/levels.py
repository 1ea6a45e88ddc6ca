"""Levels that changed for good, as notes: never an alert, never a page.

Only parents are followed: a feature and an environment as a whole. What changed in a child shows in
its parent or is a matter of attribution.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta

import msgspec

from detectors.drift import LevelChange, LevelDetector
from monitor.alerting.alerts import fingerprint
from monitor.alerting.fitting import BEFORE, ChangeFact, best_fit
from monitor.alerting.pages import where
from monitor.definitions import UNCHANGED, Definitions
from monitor.noticing.judging import judge_changes, judged_by_checks
from monitor.store.note_rows import NoteRow
from monitor.store.store import Tx
from monitor.stream.series import Dims, Pair, named
from monitor.stream.signals import Plan, Signal
from monitor.watchdog import tick

logger = logging.getLogger(__name__)

SNAPSHOT = "levels"
SNAPSHOT_EVERY_S = 3600
BLOCKS = 672
"""Two weeks of half hours; a day of them says what a time of day usually brings."""
FORGOTTEN_S = 14 * 86_400
"""A series not seen for this long was retired."""
SLACK = timedelta(minutes=30)
"""The length of a block: an onset is known no better."""
_STORED = msgspec.msgpack.Decoder(list[tuple[str, Dims, int, bytes]])
Key = tuple[str, Dims]
Series = Mapping[str, Mapping[Dims, Pair]]


class Levels:
    """The level of each parent series."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._signals = {s.name: s for s in plan.rates() if s.each is None}
        self._detectors: dict[Key, LevelDetector] = {}
        self._seen: dict[Key, int] = {}

    def rebuild(self, tx: Tx, position: int | None, definitions: Definitions = UNCHANGED) -> None:
        """Know the levels again, from the hourly snapshot and the points stored since."""
        self._detectors, self._seen = {}, {}
        if position is None:
            return
        oldest = start = position - FORGOTTEN_S
        stored = tx.decisions.snapshot(SNAPSHOT)
        if stored is not None and start <= stored[0] <= position:
            try:
                self._restore(stored[1], lambda name: definitions.own(name, 0) < stored[0])
                start = stored[0]
            except (msgspec.MsgspecError, ValueError) as problem:
                logger.warning("the snapshot is not used, the points are replayed: %s", problem)
                self._detectors, self._seen = {}, {}
        held = {name for name, _ in self._detectors}
        for name in self._signals:
            tick()
            # A snapshot of other signals lacks those that it did not have.
            first = definitions.own(name, start if name in held else oldest)
            for bucket, points in tx.decisions.points(name, first, position).items():
                tx.revision()  # a server ends a view in which nothing is asked for long
                for point in points:
                    self._learn((name, point.dims), bucket, (point.k, point.n))

    def _restore(self, data: bytes, own: Callable[[str], bool]) -> None:
        for name, dims, seen, snapshot in _STORED.decode(data):
            if name in self._signals and own(name):
                detector = self._new()
                detector.restore(snapshot)
                self._detectors[name, dims], self._seen[name, dims] = detector, seen

    def _snapshot(self) -> bytes:
        return msgspec.msgpack.encode(
            [
                (name, dims, self._seen[name, dims], detector.snapshot())
                for (name, dims), detector in self._detectors.items()
            ]
        )

    @staticmethod
    def _new() -> LevelDetector:
        return LevelDetector(max_blocks=BLOCKS)

    def step(self, tx: Tx, pipeline: int, bucket: int, series: Series) -> None:
        """Take in one bucket, and write a note for each level that turns out to have changed.

        Args:
            tx: the open transaction.
            pipeline: whose labels.
            bucket: its start, unix seconds.
            series: k and n by signal and dimension values.
        """
        end = bucket + self._plan.bucket_s
        for name, signal in self._signals.items():
            for dims, pair in sorted(series.get(name, {}).items()):
                change = self._learn((name, dims), bucket, pair)
                if change is not None:
                    facts = self._changes(tx, pipeline, signal, change.onset)
                    tx.notes.add(_note(signal, dims, change, end, facts))
                    tx.touch()
        if end % SNAPSHOT_EVERY_S == 0:
            self._forget(bucket)
            tx.decisions.save_snapshot(SNAPSHOT, end, self._snapshot())

    def _changes(self, tx: Tx, pipeline: int, signal: Signal, onset_s: int) -> Iterator[ChangeFact]:
        """What could fit: recorded changes, releases and models never seen before, judges."""
        onset = datetime.fromtimestamp(onset_s, UTC)
        for row in tx.incidents.changes(since=onset - BEFORE, until=onset + SLACK):
            yield ChangeFact(row.kind, row.title, row.at, row.dimensions)
        since = int((onset - BEFORE).timestamp())
        for name in ("release", "model"):
            for value, seen in tx.stream.admitted(pipeline, name, since).items():
                yield ChangeFact("first seen:", f"{name} {value}", _at(seen), {})
        if judged_by_checks(signal):
            for title, seen in judge_changes(tx, pipeline, self._plan, since).items():
                yield ChangeFact("judge", title, _at(seen), {})

    def _learn(self, key: Key, bucket: int, pair: Pair) -> LevelChange | None:
        k, n = pair
        if not n:
            return None
        detector = self._detectors.get(key)
        if detector is None:
            detector = self._detectors[key] = self._new()
        self._seen[key] = bucket
        detector.learn_one({"t": bucket, "k": k, "n": n})
        return detector.change

    def _forget(self, bucket: int) -> None:
        for key in [key for key, seen in self._seen.items() if seen < bucket - FORGOTTEN_S]:
            del self._detectors[key], self._seen[key]


def _at(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def _note(
    signal: Signal, dims: Dims, change: LevelChange, end: int, changes: Iterable[ChangeFact]
) -> NoteRow:
    dimensions = named(signal, dims)
    onset = datetime.fromtimestamp(change.onset, UTC)
    fit = best_fit(changes, onset, dimensions, slack=SLACK)
    return NoteRow(
        kind="judge" if fit is not None and fit.change.kind == "judge" else "level",
        signal=signal.name,
        dimensions=dimensions,
        at=datetime.fromtimestamp(end, UTC),
        onset_at=onset,
        before=change.before,
        after=change.after,
        text=f"{signal.title}, {where(dimensions)}: {change.reason}",
        fits="" if fit is None else fit.reason,
        key=f"level:{fingerprint(signal.name, dimensions)}:{change.onset}",
    )
