"""Detection, at the desk: why a series is judged as it is, and what a rule would have done."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from detectors.verdicts import percent, times
from monitor import backtest as replays
from monitor.alerting.alerts import Alert
from monitor.desk import reading
from monitor.desk.base import DeskBase
from monitor.detect_views import Backtest, Explanation
from monitor.paging import concerns
from monitor.store.decision_rows import Point
from monitor.store.incident_rows import ChangeRow
from monitor.store.store import Tx
from monitor.stream.series import named
from monitor.stream.signals import Signal
from monitor.views import DeskError

SPARK_HOURS = 6
SPARK_PARTS = 36
MOST_DAYS = 28
_MOST_INCIDENTS = 10_000
_MOST_BUCKETS = 60_000
"""A replay takes some 20 s then, and a client waits for 30."""
_LEAST_LEARN = timedelta(days=2)
_ONE = threading.Lock()
"""Held by the one backtest that a process makes at a time: it shares its core with decisions."""
_CHANGE_WINDOW = timedelta(hours=1)
_LONGEST_S = 86_400
"""What fires for longer is told as it was when it was strongest."""
_ORDER = ("f", "q", "w")


class DetectDesk(DeskBase):
    """Questions about detection."""

    def explain(
        self, *, signal: str, dimensions: dict[str, str] | None = None, limit: int = 5
    ) -> list[Explanation]:
        """The series of a signal that match, those that fire and the highest score first."""
        known = self._signal(signal)
        wanted = dimensions or {}
        with self._reading() as tx:
            end = reading.decided_until(tx, self._configured, self._clock())
            step = self._configured.plan.bucket_s
            found = [
                point
                for points in tx.decisions.points(known.name, end - step, end).values()
                for point in points
                if _matches(named(known, point.dims), wanted)
            ]
            found.sort(key=lambda point: (_ORDER.index(point.state), -point.score))
            alerts = {
                tuple(sorted(alert.dimensions.items())): alert
                for alert in tx.incidents.firing().values()
                if alert.signal == known.name
            }
            parts = self._parts_of(tx, known, end)
            return [
                self._explained(tx, known, point, end, alerts, parts)
                for point in found[: max(limit, 1)]
            ]

    def backtest(self, *, signal: str, days: int = 14) -> Backtest:
        """Replay what is stored of a rule, as its series would page now."""
        known = self._signal(signal)
        walked = timedelta(seconds=_MOST_BUCKETS * self._configured.plan.bucket_s)
        most = min(MOST_DAYS, walked.days - _LEAST_LEARN.days)
        if not 1 <= days <= most:
            raise DeskError("invalid", f"a backtest goes over 1 to {most} days here, not {days}")
        with self._reading() as tx:
            end = reading.decided_until(tx, self._configured, self._clock())
            until = datetime.fromtimestamp(end, UTC)
            since = until - timedelta(days=days)
            incidents = tx.incidents.search(since=since - replays.LEARN, limit=_MOST_INCIDENTS)

        def points(first: int, end: int) -> Mapping[int, Sequence[Point]]:
            # A day in a transaction of its own: on SQLite a long one would keep the log from
            # being folded into the database.
            with self._reading() as tx:
                return tx.decisions.points(known.name, first, end)

        plan, profile = self._configured.plan, self._configured.profile
        learn = min(replays.LEARN, walked - timedelta(days=days))
        if not _ONE.acquire(blocking=False):
            raise DeskError("unavailable", "another backtest is under way", "ask again in a minute")
        try:
            return replays.replay(
                points, incidents, plan, profile, known, since, until, learn=learn
            )
        finally:
            _ONE.release()

    # -- inside -----------------------------------------------------------------------------------

    def _signal(self, name: str) -> Signal:
        for signal in self._configured.plan.rates():
            if signal.name == name:
                return signal
        raise DeskError("not_found", f"no rate {name!r}", "list them: tocsin signal list")

    def _parts_of(self, tx: Tx, signal: Signal, end: int) -> list[Mapping[tuple[str, ...], Any]]:
        """K and n of every series in each part of the last hours, oldest first."""
        width = SPARK_HOURS * 3_600 // SPARK_PARTS
        parts: list[dict[tuple[str, ...], list[int]]] = [{} for _ in range(SPARK_PARTS)]
        first = end - SPARK_HOURS * 3_600
        for bucket, points in tx.decisions.points(signal.name, first, end).items():
            part = parts[min((bucket - first) // width, SPARK_PARTS - 1)]
            for point in points:
                sums = part.setdefault(point.dims, [0, 0])
                sums[0] += point.k
                sums[1] += point.n
        return list(parts)

    def _explained(
        self,
        tx: Tx,
        signal: Signal,
        point: Point,
        end: int,
        alerts: Mapping[tuple[tuple[str, str], ...], Alert],
        parts: Sequence[Mapping[tuple[str, ...], Any]],
    ) -> Explanation:
        dimensions = named(signal, point.dims)
        alert = alerts.get(tuple(sorted(dimensions.items()))) if point.state == "f" else None
        figures = self._figures(tx, signal, point, end, alert)
        changes, incident = self._around(tx, dimensions, end, alert)
        tiers = tx.decisions.tiers()
        tier = tiers[signal.name].tier if signal.name in tiers else None
        return Explanation(
            signal=signal.name,
            dimensions=dimensions,
            state=reading.STATES[point.state],  # type: ignore[arg-type] # the three states
            tier=tier or self._configured.profile.tier(signal),  # type: ignore[arg-type] # the three tiers
            at=datetime.fromtimestamp(end, UTC),
            sentence=_sentence(signal, dimensions, point.state, figures, alert, changes),
            rate=figures.rate,
            baseline=figures.baseline,
            k=figures.k,
            n=figures.n,
            score=figures.score,
            threshold=figures.limit,
            onset_at=None if alert is None else alert.onset_at,
            excess=None if alert is None else figures.excess,
            causes=[] if alert is None else [reading.cause_view(one) for one in alert.causes],
            changes=[reading.change_view(row) for row in changes],
            incident=incident,
            spark=[k / n if n else None for k, n in (one.get(point.dims, (0, 0)) for one in parts)],
            spark_s=SPARK_HOURS * 3_600 // SPARK_PARTS,
        )

    def _figures(
        self, tx: Tx, signal: Signal, point: Point, end: int, alert: Alert | None
    ) -> _Figures:
        """Of the last bucket; of a series that fires since its onset, or when it was strongest."""
        if alert is None:
            alarm = self._configured.profile.alarm(signal, self._configured.plan.bucket_s)
            return _Figures(point.k, point.n, point.baseline, point.score, alarm.threshold)
        seen = alert.reading
        score = max(point.score, seen.score)
        onset = int(alert.onset_at.timestamp())
        k, n, baseline = seen.k, seen.n, seen.baseline
        if end - onset <= _LONGEST_S:
            mine = [
                one
                for points in tx.decisions.points(signal.name, onset, end).values()
                for one in points
                if one.dims == point.dims and one.baseline is not None
            ]
            if sum(one.n for one in mine) > n:
                k, n = sum(one.k for one in mine), sum(one.n for one in mine)
                baseline = sum((one.baseline or 0.0) * one.n for one in mine) / n
        return _Figures(k, n, baseline, score, seen.threshold)

    @staticmethod
    def _around(
        tx: Tx, dimensions: Mapping[str, str], end: int, alert: Alert | None
    ) -> tuple[list[ChangeRow], str | None]:
        """The changes that could have done it, and the incident that people work on."""
        if alert is None:
            return [], None
        incident = None if alert.incident is None else tx.incidents.get(alert.incident)
        until = datetime.fromtimestamp(end, UTC)
        rows = tx.incidents.changes(since=alert.onset_at - _CHANGE_WINDOW, until=until)
        near = [row for row in rows if concerns(row.dimensions, dimensions)]
        return near, None if incident is None else incident.name


@dataclass(frozen=True, slots=True)
class _Figures:
    """What is said about a series."""

    k: int
    n: int
    baseline: float | None
    score: float
    limit: float

    @property
    def rate(self) -> float | None:
        return self.k / self.n if self.n else None

    @property
    def excess(self) -> float | None:
        return None if self.baseline is None else self.k - self.baseline * self.n


def _matches(dimensions: Mapping[str, str], wanted: Mapping[str, str]) -> bool:
    return all(dimensions.get(name) == value for name, value in wanted.items())


def _sentence(
    signal: Signal,
    dimensions: Mapping[str, str],
    state: str,
    figures: _Figures,
    alert: Alert | None,
    changes: Sequence[ChangeRow],
) -> str:
    head = f"{signal.title} on {', '.join(dimensions.values()) or 'everything'}"
    if state == "w":
        return f"{head}: still learning what is normal, no judgement yet"
    baseline = "not known" if figures.baseline is None else percent(figures.baseline)
    if figures.rate is None:
        return f"{head}: no traffic in the last bucket, baseline {baseline}"
    now = f"{percent(figures.rate)} ({figures.k} of {figures.n}), baseline {baseline}"
    if state == "q":
        return f"{head}: quiet at {now}; score {figures.score:.1f} of {figures.limit:.1f}"
    sure = certainty(figures.score, figures.limit)
    if alert is None or figures.baseline is None or figures.excess is None:
        return f"{head}: fires at {now}; {sure}"
    off = f"{abs(figures.excess):.0f} {'more' if figures.excess >= 0 else 'fewer'} than expected"
    moved = (
        f"{percent(figures.rate)} against a baseline of {baseline} "
        f"({times(figures.rate, figures.baseline)}) since {alert.onset_at:%Y-%m-%d %H:%M} UTC, "
        f"{figures.k} of {figures.n}, {off}"
    )
    return f"{head}: {moved}; {_why(alert, changes)}; {sure}"


def _why(alert: Alert, changes: Sequence[ChangeRow]) -> str:
    said = []
    if alert.causes:
        cause = alert.causes[0]
        values = ", ".join(f"{name} {value}" for name, value in cause.dimensions.items())
        said.append(f"{values} explains {100 * cause.share:.0f} % of it")
    if changes:
        nearest = min(changes, key=lambda row: abs(row.at - alert.onset_at))
        said.append(f"{nearest.kind} {nearest.title} was at {nearest.at:%H:%M} UTC")
    return "; ".join(said) or "no dimension value and no recorded change stands out"


def certainty(score: float, limit: float) -> str:
    """How sure a score is, in words; scores are nats of evidence.

    >>> certainty(9.2, 9.0), certainty(12.0, 9.0)
    ('sure enough to fire (score 9.2 of 9.0)', 'hardly chance (score 12.0 of 9.0)')
    """
    figures = f"(score {score:.1f} of {limit:.1f})"
    if score < limit:
        return f"on its way back {figures}"
    words = "hardly chance" if score >= 1.25 * limit else "sure enough to fire"
    return f"{words} {figures}"
