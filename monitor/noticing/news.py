"""Values never seen before in this installation, as tickets: at most one an hour and signal.

What is known is a row that changes in the same transaction as what is told, so a process that dies
forgets nothing and tells nothing twice. It belongs to the installation: another set of signals
counts anew, and knows the tools it knew.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import UTC, datetime

from detectors.first_seen import FirstSeenDetector, New, News, Use
from detectors.verdicts import span
from monitor.alerting.alerts import Alert, Reading
from monitor.definitions import UNCHANGED, Definitions
from monitor.store.store import Tx
from monitor.stream.series import Narrow
from monitor.stream.signals import Plan, Signal
from monitor.stream.vocabulary import OTHER, RESERVED

logger = logging.getLogger(__name__)

SNAPSHOT = "first_seen:"
NAMED = 5
"""Values named in one ticket; of the rest only the number."""
STANDS_S = 600
"""A ticket's alert is over this much later: what is new is no state that could last."""
_CUT = 60


class FirstSeen:
    """The values of each `first_seen` signal."""

    def __init__(self, plan: Plan, warm_s: int) -> None:
        self._plan = plan
        self._warm_s = warm_s
        self._signals = {signal.name: signal for signal in plan.first_seen()}
        self._detectors: dict[str, FirstSeenDetector] = {}
        self._dirty: set[str] = set()

    def rebuild(
        self,
        tx: Tx,
        _position: int | None = None,
        _definitions: Definitions = UNCHANGED,
    ) -> None:
        """Know again what was seen; it is stored with every sitting."""
        self._detectors = {name: self._new() for name in self._signals}
        self._dirty = set()
        for name, detector in self._detectors.items():
            stored = tx.decisions.snapshot(_row(self._signals[name]))
            if stored is None:
                continue
            try:
                detector.restore(stored[1])
            except ValueError as problem:
                logger.warning("what is new of %s is learned again: %s", name, problem)

    def _new(self) -> FirstSeenDetector:
        return FirstSeenDetector(warm_s=self._warm_s, bucket_s=self._plan.bucket_s)

    def step(
        self,
        bucket: int,
        narrow: Narrow,
        firing: Mapping[str, Alert],
        tiers: Mapping[str, str],
    ) -> list[Reading]:
        """Take in one bucket; readings of what is told now, and of what was told a while ago.

        Args:
            bucket: its start, unix seconds.
            narrow: its counts of list fields.
            firing: alerts not cleared.
            tiers: tier by signal.
        """
        end = bucket + self._plan.bucket_s
        at = datetime.fromtimestamp(end, UTC)
        readings = [
            replace(alert.reading, firing=False, at=at, reason="told")
            for alert in firing.values()
            if alert.signal in self._signals and (at - alert.detected_at).total_seconds() > STANDS_S
        ]
        by_signal: dict[str, list[tuple[tuple[str, ...], str, int, int]]] = {}
        for (name, by, value), (k, n) in narrow.items():
            if name in self._signals:
                by_signal.setdefault(name, []).append((by, value, k, n))
        for name, signal in self._signals.items():
            detector = self._detectors[name]
            if detector.last is not None and bucket <= detector.last:
                continue  # another set of signals has told this bucket
            found = by_signal.get(name, ())
            before = detector.marks
            news = detector.observe(bucket, _uses(found), unnamed=_unnamed(found))
            if detector.marks != before or end % 3600 == 0:
                self._dirty.add(name)
            if news is not None:
                readings.append(_reading(signal, news, at, tiers.get(name, signal.tier)))
        return readings

    def save(self, tx: Tx, position: int) -> None:
        """Write down what changed since the last call."""
        for name in sorted(self._dirty):
            snapshot = self._detectors[name].snapshot()
            tx.decisions.save_snapshot(_row(self._signals[name]), position, snapshot)
        self._dirty = set()


def _row(signal: Signal) -> str:
    return f"{SNAPSHOT}{signal.name}:{signal.each}.{signal.value}"


def _uses(found: Iterable[tuple[tuple[str, ...], str, int, int]]) -> list[Use]:
    # In the order of the value, so that what is kept by name does not hang on the store's order.
    ordered = sorted(found, key=lambda row: (row[1], row[0]))
    return [Use(value, k, n, by) for by, value, k, n in ordered if value not in RESERVED]


def _unnamed(found: Iterable[tuple[tuple[str, ...], str, int, int]]) -> int:
    return sum(n for _, value, _, n in found if value == OTHER)


def _reading(signal: Signal, news: News, at: datetime, tier: str) -> Reading:
    return Reading(
        signal=signal.name,
        dimensions=_dimensions(signal, news),
        tier=tier,
        severity=signal.severity,
        firing=True,
        at=at,
        onset_at=datetime.fromtimestamp(news.since, UTC),
        k=0,
        n=0,
        rate=0.0,
        baseline=0.0,
        excess=0.0,
        score=float(len(news.found) + news.more),
        threshold=1.0,
        reason=in_words(signal, news),
    )


def _dimensions(signal: Signal, news: News) -> dict[str, str]:
    """What all that is told has in common; the value itself where it is one."""
    places = [place for new in news.found for place in new.places]
    shared = {
        name: values.pop()
        for index, name in enumerate(signal.by)
        if len(values := {place[index] for place in places}) == 1
    }
    if len(news.found) == 1 and not news.more and signal.value is not None:
        shared[signal.value] = news.found[0].value
    return shared


def in_words(signal: Signal, news: News) -> str:
    """One sentence: `New tool: wire_transfer first seen at 14:02 in assistant, 3 uses in 5 min`."""
    count = len(news.found) + news.more
    if count == 1:
        told = f"{_one(signal, news.found[0], news.until)}"
    elif count:
        named = "; ".join(_one(signal, new, news.until) for new in news.found[:NAMED])
        rest = count - min(NAMED, len(news.found))
        more = f"; and {rest} more" if rest else ""
        told = f"{count} never seen before: {named}{more}"
    else:
        told = "more names than can be told apart"
    full = "; the list is full: from now on new names go unnoticed" if news.full else ""
    return f"{signal.title}: {told}{full}"


def _one(signal: Signal, new: New, until: int) -> str:
    places = [dict(zip(signal.by, place, strict=False)) for place in new.places]
    features = [place.get("feature") or place.get("environment", "") for place in places]
    where = f" in {', '.join(features)}" if any(features) else ""
    name = new.value if len(new.value) <= _CUT else f"{new.value[:_CUT]}..."
    uses = "1 use" if new.n == 1 else f"{new.n} uses"
    seen = datetime.fromtimestamp(new.first, UTC)
    return f"{name} first seen at {seen:%H:%M}{where}, {uses} in {span(until - new.first)}"
