"""Detection, at the desk: why a series is judged as it is, and what a rule would have done."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from monitor import backtest as replays
from monitor.alerting.alerts import Alert
from monitor.alerting.fitting import ONSET_SLACK, PAGE_WINDOW, ChangeFact, Suspect, suspects
from monitor.desk import reading, sentence
from monitor.desk.base import DeskBase
from monitor.desk.sentence import Figures
from monitor.desk.stored import fed
from monitor.desk.trials import Outcome, Progress
from monitor.detect_views import Backtest, Explanation
from monitor.division import Division
from monitor.incidents.model import Incident
from monitor.store.decision_rows import Point
from monitor.store.incident_rows import ChangeRow
from monitor.store.store import Tx
from monitor.stream.rules import Watched, watched
from monitor.stream.series import Dims, dims_of, named
from monitor.stream.signals import Signal
from monitor.views import DeskError

SPARK_HOURS = 6
SPARK_PARTS = 36
MOST_DAYS = 28
_MOST_INCIDENTS = 10_000
_MOST_BUCKETS = 60_000
"""A replay takes a minute or two then."""
_LEAST_LEARN = timedelta(days=2)
MOST_CELLS = 8_000_000
"""Some 20 us each; a backtest shares the daemon's core with decisions."""
WAIT_S = 20.0
"""A backtest is waited for so long, less than a client does; then it says how far it is."""
_LONGEST_S = 86_400
"""What fires for longer is told as it was when it was strongest."""
_ORDER = ("f", "q", "w")
_Alerts = Mapping[Dims, Alert]
"""Those of one signal that stand, by dimension values."""


@dataclass(frozen=True, slots=True)
class Span:
    """What a backtest goes over."""

    since: datetime
    until: datetime
    learn: timedelta = replays.LEARN
    """Before `since`."""


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
            alerts = {
                dims_of(known, alert.dimensions): alert
                for alert in tx.incidents.firing().values()
                if alert.signal == known.name
            }
            last = tx.decisions.points(known.name, end - step, end).get(end - step, ())
            points = {dims: Point(dims, 0, 0, None, 0.0, "q") for dims in alerts}
            points |= {point.dims: point for point in last}
            found = [
                point for dims, point in points.items() if _matches(named(known, dims), wanted)
            ]
            found.sort(
                key=lambda one: (one.dims not in alerts, _ORDER.index(one.state), -one.score)
            )
            parts = self._parts_of(tx, known, end)
            division = self._division(tx)
            return [
                self._explained(tx, division, known, point, end, alerts, parts)
                for point in found[: max(limit, 1)]
            ]

    def backtest(self, *, signal: str, days: int = 14) -> Backtest:
        """Replay what is stored of a rule, as its series would fire now: at the share in force.

        One that takes long answers with its `progress`, and nothing else; it is to be asked again.
        """
        known = self._rule(signal)
        walked = timedelta(seconds=_MOST_BUCKETS * self._configured.plan.bucket_s)
        most = min(MOST_DAYS, walked.days - _LEAST_LEARN.days)
        if not 1 <= days <= most:
            raise DeskError("invalid", f"a backtest goes over 1 to {most} days here, not {days}")
        with self._reading() as tx:
            end = reading.decided_until(tx, self._configured, self._clock())
            until = datetime.fromtimestamp(end, UTC)
            since = until - timedelta(days=days)
            incidents = tx.incidents.search(since=since - replays.LEARN, limit=_MOST_INCIDENTS)
            division = self._division(tx)
        learn = min(replays.LEARN, walked - timedelta(days=days))
        span, kind = Span(since, until, learn), f"of {days} days"
        found = self._replayed(known, division, incidents, span, kind, wait_s=WAIT_S)
        if found.backtest is None:
            return _under_way(known, self._configured.profile.name, span, found.progress)
        self._trials.drop(known.name, kind)  # asked again, it is of then
        return found.backtest

    def _replayed(
        self,
        rule: Signal | Watched,
        division: Division,
        incidents: Sequence[Incident],
        span: Span,
        kind: str,
        *,
        wait_s: float,
    ) -> Outcome:
        """A rule over what is stored of it, in a thread of its own; see `Trials.ask`."""
        plan, profile = self._configured.plan, self._configured.profile
        end = int(span.until.timestamp())
        first = int((span.since - span.learn).timestamp())

        def work(told: Progress) -> Backtest:
            stored = fed(self._reading, plan, rule, first, end, MOST_CELLS)

            def points(begin: int, last: int) -> Mapping[int, Sequence[Point]]:
                told(max(0.0, 1.0 - (end - begin) / (end - first)))
                return stored.points(begin, last)

            return replays.replay(
                points,
                incidents,
                plan,
                profile,
                self._judge(rule, division),
                span.since,
                span.until,
                learn=span.learn,
                cells=stored.cells,
                without=stored.without,
            )

        return self._trials.ask(rule.name, kind, span.until, work, wait_s=wait_s)

    # -- inside -----------------------------------------------------------------------------------

    def _signal(self, name: str) -> Signal:
        for signal in self._configured.plan.rates():
            if signal.name == name:
                return signal
        raise DeskError("not_found", f"no rate {name!r}", "list them: tocsin signal list")

    def _rule(self, name: str) -> Signal | Watched:
        """A rate by its name, or a rule that people know by the name of its alerts."""
        configured = self._configured
        plan, rules = configured.plan, configured.settings.rules
        for one in watched(rules, plan.signals, bucket_s=plan.bucket_s):
            if one.name == name:
                return one
        for signal in plan.rates():
            if signal.name == name:
                return signal
        text = f"no rate and no limit {name!r}"
        raise DeskError("not_found", text, "list them: tocsin rule list")

    def _division(self, tx: Tx) -> Division:
        """The shares in force: what the daemon itself uses at this moment."""
        division = Division(self._configured.plan, self._configured.profile)
        division.rebuild(tx, self._configured.policy.budgets)
        return division

    def _judge(self, rule: Signal | Watched, division: Division) -> replays.Judge:
        """Who judges a rule in a replay."""
        plan, profile = self._configured.plan, self._configured.profile
        if isinstance(rule, Watched):
            return replays.Limited(rule, plan.bucket_s)
        return replays.Learned(rule, profile, plan, division)

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
        division: Division,
        signal: Signal,
        point: Point,
        end: int,
        alerts: _Alerts,
        parts: Sequence[Mapping[Dims, Any]],
    ) -> Explanation:
        dimensions, alert = named(signal, point.dims), alerts.get(point.dims)
        figures = self._figures(tx, division, signal, point, end, alert)
        together = (
            alert is not None and figures.limit != division.alarm(signal, point.dims).threshold
        )
        mean = division.meaning_together(signal, point.dims[:1]) if together else ""
        fitting = [] if alert is None else _suspects(tx, alert)
        tiers = tx.decisions.tiers()
        tier = tiers[signal.name].tier if signal.name in tiers else None
        if alert is None:
            said = sentence.quiet(
                signal, dimensions, point.state, figures, _beside(tx, dimensions, alerts)
            )
        else:
            say = sentence.firing if point.state == "f" else sentence.spoken_for
            said = say(signal, alert, figures, [suspect for suspect, _ in fitting])
        return Explanation(
            signal=signal.name,
            dimensions=dimensions,
            state="firing" if alert is not None else reading.STATES[point.state],  # type: ignore[arg-type] # the three states
            tier=tier or self._configured.profile.tier(signal),  # type: ignore[arg-type] # the three tiers
            at=datetime.fromtimestamp(end, UTC),
            sentence=said,
            rate=figures.rate,
            baseline=figures.baseline,
            k=figures.k,
            n=figures.n,
            score=figures.score,
            threshold=figures.limit,
            meaning=mean or division.meaning(signal, point.dims, figures.limit),
            onset_at=None if alert is None else alert.onset_at,
            excess=None if alert is None else figures.excess,
            causes=[] if alert is None else [reading.cause_view(one) for one in alert.causes],
            changes=[reading.change_view(row) for _, row in fitting],
            incident=None if alert is None else _incident(tx, alert),
            spark=[k / n if n else None for k, n in (one.get(point.dims, (0, 0)) for one in parts)],
            spark_s=SPARK_HOURS * 3_600 // SPARK_PARTS,
        )

    def _figures(
        self,
        tx: Tx,
        division: Division,
        signal: Signal,
        point: Point,
        end: int,
        alert: Alert | None,
    ) -> Figures:
        """What is said of a series, and over which time.

        Of the last bucket; of a series that fires since its onset, or when it was strongest; of a
        whole for which others speak what they said.
        """
        limit = division.alarm(signal, point.dims).threshold
        calibrated = bool(self._configured.profile.rates.curve)
        if alert is None:
            return Figures(point.k, point.n, point.baseline, point.score, limit, calibrated)
        seen = alert.reading
        if point.state != "f":
            own = calibrated and seen.threshold == limit
            return Figures(seen.k, seen.n, seen.baseline, seen.score, seen.threshold, own)
        # A fleet's or a child's score is on another scale.
        score = max(point.score, seen.score) if seen.threshold == limit else point.score
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
        return Figures(k, n, baseline, score, limit, calibrated)


def _under_way(rule: Signal | Watched, profile: str, span: Span, progress: float) -> Backtest:
    return Backtest(
        signal=rule.name,
        profile=profile,
        thresholds=[],
        since=span.since,
        until=span.until,
        weeks=0.0,
        series=0,
        series_weeks=0.0,
        episodes=[],
        pages=0,
        true=0,
        false=0,
        unjudged=0,
        false_per_week=None,
        progress=min(progress, 0.99),
    )


def _suspects(tx: Tx, alert: Alert) -> list[tuple[Suspect, ChangeRow]]:
    """The changes that may be why, as the page ranks them."""
    rows = tx.incidents.changes(
        since=alert.onset_at - PAGE_WINDOW, until=alert.onset_at + ONSET_SLACK
    )
    facts = [ChangeFact(row.kind, row.title, row.at, row.dimensions) for row in rows]
    return [(one, rows[facts.index(one.change)]) for one in suspects(facts, alert)]


def _incident(tx: Tx, alert: Alert) -> str | None:
    """The incident that people work on; None for an alert in shadow."""
    found = None if alert.incident is None else tx.incidents.get(alert.incident)
    return None if found is None else found.name


def _beside(tx: Tx, dimensions: Mapping[str, str], alerts: _Alerts) -> str:
    """What fires above a series that does not fire itself, in words."""
    for alert in alerts.values():
        if alert.dimensions.items() < dimensions.items():
            name = _incident(tx, alert)
            place = ", ".join(alert.dimensions.values())
            return f"but {place} as a whole fires" + (f": {name}" if name else "")
    return ""


def _matches(dimensions: Mapping[str, str], wanted: Mapping[str, str]) -> bool:
    return all(dimensions.get(name) == value for name, value in wanted.items())
