"""What a rule would have done: its stored points, replayed through the detector as it is set now.

A rule is a rate that is learned, with its fleets and, where the cells are there, the lone children
that speak for it; or one that people know: a fixed limit, a burn rate.

A replay is muted until `since`, so that it has learned what is normal by then. Pages are folded as
decide folds them: series of one rule that begin within half an hour are one. What people said of
the incidents of that place and time tells true from false.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Protocol

from msgspec import structs

from detectors.model import State
from monitor.alerting.alerts import Reading
from monitor.alerting.ledger import FALSE_VERDICTS
from monitor.detect_views import Backtest, Episode
from monitor.division import Division
from monitor.incidents.actions import VERDICTS
from monitor.incidents.model import Incident
from monitor.paging import concerns
from monitor.profiles import Profile
from monitor.rates import Rates, series_id
from monitor.readings import reading_of
from monitor.store.decision_rows import Point
from monitor.stream.holes import walk
from monitor.stream.rules import Detector, Watched
from monitor.stream.series import Base, Dims, Pair, dims_of, named
from monitor.stream.signals import Plan, Signal
from monitor.watchdog import tick

LEARN = timedelta(days=7)
"""How long before the time that counts the replay begins, where there are points."""
JOINS = timedelta(minutes=30)
"""Series that begin to fire this soon after a page belong to it."""
TRUE = frozenset(VERDICTS) - FALSE_VERDICTS
"""Verdicts of people that mean: the page was right."""
_PART_S = 86_400
_CELLS_S = 3_600
_WEEK = timedelta(weeks=1)

Points = Callable[[int, int], Mapping[int, Sequence[Point]]]
"""Points by bucket of [first, end), unix seconds."""
Cells = Callable[[int, int], Mapping[int, Base]]
"""The cells of the same, counted before a signal is asked for."""


class Judge(Protocol):
    """Judges the series of one rule, bucket by bucket."""

    signal: Signal
    """As its alerts speak of it."""
    thresholds: set[float]
    """The different ones of its series."""
    meanings: set[str]
    """What they mean, in words."""

    def judge(self, bucket: int, counts: Mapping[Dims, Pair], base: Base | None) -> Judged:
        """Take in the counts of one bucket; what had no traffic before is a new series.

        Args:
            bucket: its start, unix seconds.
            counts: k and n by dimension values.
            base: the cells they were summed from; None where they are not asked for.
        """
        ...


@dataclass(frozen=True, slots=True)
class Judged:
    """What was said of one bucket."""

    firing: Mapping[Dims, Reading]
    warm: int
    """Series that were warm and had traffic."""
    series: int
    """All that are known by now."""


def replay(
    points: Points,
    incidents: Iterable[Incident],
    plan: Plan,
    profile: Profile,
    judge: Judge,
    since: datetime,
    until: datetime,
    *,
    learn: timedelta = LEARN,
    cells: Cells | None = None,
    without: str = "",
) -> Backtest:
    """Replay the points of one rule.

    Args:
        points: asked for a day at a time, each in a transaction of its own if the caller likes.
        incidents: those of the time, for what people said of them.
        plan: for the length of a bucket.
        profile: for its name.
        judge: of the rule; a new one.
        since: from when on episodes count.
        until: up to when.
        learn: how long before that the replay begins, where there are points.
        cells: asked for an hour at a time; None: the rule's children are left out.
        without: what is left out and why, in words.
    """
    step = plan.bucket_s
    begin, end = (int(one.timestamp()) // step * step for one in (since, until))
    player, bases = _Player(judge, step, begin), _Bases(cells)
    last: int | None = None
    for first in range(begin - int(learn.total_seconds()) // step * step, end, _PART_S):
        found = points(first, min(first + _PART_S, end))
        if not found and last is None:
            continue
        for bucket in walk(found, first, min(first + _PART_S, end), step, last=last):
            tick()
            player.play(bucket, found.get(bucket, ()), bases.of(bucket))
        last = max(found, default=last)
    known = list(incidents)
    episodes = _folded([_judged(one, known, until) for one in player.episodes()])
    return _summary(profile, player, episodes, since, until, without)


class Learned:
    """A rate, judged as the daemon judges it.

    Args:
        signal: the rate.
        profile: how rates are learned.
        plan: of all signals.
        division: the thresholds.
    """

    def __init__(self, signal: Signal, profile: Profile, plan: Plan, division: Division) -> None:
        self.signal = signal
        self.thresholds: set[float] = set()
        self.meanings: set[str] = set()
        self._division = division
        self._rates = Rates(structs.replace(plan, signals=(signal,)), profile, division)
        self._watched: set[str] = set()

    def judge(self, bucket: int, counts: Mapping[Dims, Pair], base: Base | None) -> Judged:
        """See `Judge`."""
        rates, tiers = self._rates, {self.signal.name: "page"}
        judged = rates.judge(bucket, {self.signal.name: counts}, self._watched)
        self._note(judged.born)
        children = {} if base is None else rates.slices.step(bucket, base)
        firing = {
            dims_of(self.signal, one.dimensions): one
            for one in rates.readings(judged, children, self._watched, tiers)
            if one.firing
        }
        self._watched = {series_id(self.signal.name, dims) for dims in firing}
        cold = judged.verdicts.warming.tolist()
        warm = sum(n > 0 and not one for one, (_, n) in zip(cold, judged.pairs, strict=True))
        return Judged(firing, warm, len(rates.known))

    def _note(self, born: Iterable[str]) -> None:
        for name in born:
            signal, dims = self._rates.known[name]
            alarm = self._division.alarm(signal, dims)
            self.thresholds.add(round(alarm.threshold, 3))
            self.meanings.add(self._division.meaning(signal, dims, alarm.threshold))


class Limited:
    """A rule that people know, on the series it watches."""

    def __init__(self, one: Watched, bucket_s: int) -> None:
        self.signal = one.alias
        self.thresholds: set[float] = set()
        self.meanings = {"a limit that people have set: no budget pays for it"}
        self._one = one
        self._bucket_s = bucket_s
        self._detectors: dict[Dims, Detector] = {}

    def judge(self, bucket: int, counts: Mapping[Dims, Pair], base: Base | None) -> Judged:  # noqa: ARG002 # a limit has no children
        """See `Judge`."""
        for dims, (_, n) in counts.items():
            if n and dims not in self._detectors and self._one.watches(dims):
                self._detectors[dims] = self._one.build()
        firing, warm = {}, 0
        for dims, detector in self._detectors.items():
            k, n = counts.get(dims, (0, 0))
            detector.learn_one({"t": bucket, "k": k, "n": n})
            verdict = detector.verdict
            if verdict is None:
                continue
            self.thresholds.add(verdict.threshold)
            warm += int(n > 0 and verdict.state is not State.WARMING)
            if verdict.state is State.FIRING:
                end = bucket + self._bucket_s
                firing[dims] = reading_of(
                    self.signal, named(self.signal, dims), verdict, end, self.signal.tier
                )
        return Judged(firing, warm, len(self._detectors))


class _Bases:
    """The cells of one bucket after the other."""

    def __init__(self, cells: Cells | None) -> None:
        self._cells = cells
        self._first: int | None = None
        self._found: Mapping[int, Base] = {}

    def of(self, bucket: int) -> Base | None:
        """Those of a bucket; None where none are asked for."""
        if self._cells is None:
            return None
        first = bucket // _CELLS_S * _CELLS_S
        if first != self._first:
            self._first, self._found = first, self._cells(first, first + _CELLS_S)
        return self._found.get(bucket, {})


@dataclass(slots=True)
class _Open:
    """An episode as it goes on."""

    detected: int
    reading: Reading
    """The last one."""
    strongest: Reading
    peak: float | None = None
    ended: int | None = None


@dataclass(slots=True)
class _Player:
    """What one rule's series did since `begin`."""

    judge: Judge
    bucket_s: int
    begin: int
    judged: int = 0
    """Series-buckets that were warm and had traffic."""
    series: int = 0
    first: int | None = None
    """The first bucket that counts."""
    end: int = 0
    days: set[int] = field(default_factory=set)
    """Days since 1970 on which any of them were."""
    _open: dict[Dims, _Open] = field(default_factory=dict)
    _done: list[_Open] = field(default_factory=list)

    def play(self, bucket: int, points: Sequence[Point], base: Base | None) -> None:
        """Take in one bucket."""
        counts = {point.dims: (point.k, point.n) for point in points}
        found = self.judge.judge(bucket, counts, base)
        if not found.series:
            return
        self.series, self.end = found.series, bucket + self.bucket_s
        if bucket >= self.begin:
            self.first = bucket if self.first is None else self.first
            self.judged += found.warm
            if found.warm:
                self.days.add(bucket // 86_400)
        self._follow(found.firing)

    def _follow(self, hot: Mapping[Dims, Reading]) -> None:
        for dims in self._open.keys() - hot.keys():
            gone = self._open.pop(dims)
            gone.ended = self.end
            self._done.append(gone)
        for dims, reading in hot.items():
            one = self._open.get(dims)
            if one is None:
                one = self._open[dims] = _Open(self.end, reading, reading)
            one.reading = reading
            if reading.score > one.strongest.score:
                one.strongest = reading
            one.peak = _farther(one.peak, reading)

    def episodes(self) -> list[Episode]:
        """Those that began within the time that counts, in order."""
        every = [one for one in (*self._done, *self._open.values()) if one.detected > self.begin]
        every.sort(key=lambda one: (one.detected, tuple(one.reading.dimensions.values())))
        return [self._episode(one) for one in every]

    def _episode(self, one: _Open) -> Episode:
        last = one.reading
        until = self.end if one.ended is None else one.ended
        return Episode(
            dimensions=dict(last.dimensions),
            onset_at=min(last.onset_at, _time(one.detected)),
            detected_at=_time(one.detected),
            ended_at=None if one.ended is None else _time(one.ended),
            duration_s=until - one.detected,
            k=last.k,
            n=last.n,
            baseline=last.baseline,
            peak_ratio=one.peak,
            excess=last.excess,
            score=one.strongest.score,
            reason=one.strongest.reason,
            page=True,
            incidents=[],
        )


def _farther(peak: float | None, reading: Reading) -> float | None:
    expected = reading.k - reading.excess
    if expected <= 0:
        return peak
    ratio = reading.k / expected
    if peak is None:
        return ratio
    return max(peak, ratio) if reading.rate >= reading.baseline else min(peak, ratio)


def _judged(episode: Episode, incidents: Sequence[Incident], until: datetime) -> Episode:
    """With the incidents of its place and time, and what people said of them."""
    end = episode.ended_at or until
    near = [
        one
        for one in incidents
        if (one.impact_at or one.detected_at) <= end
        and (one.resolved_at or until) >= episode.onset_at
        and concerns(one.dimensions, episode.dimensions)
    ]
    said = [one.verdict for one in near if one.verdict is not None]
    right = [verdict for verdict in said if verdict in TRUE]
    verdict = next(iter((*right, *said)), None)
    names = sorted({one.name for one in near})
    return structs.replace(episode, incidents=names, verdict=verdict)


def _folded(episodes: Iterable[Episode]) -> list[Episode]:
    """`page` only where no page of the rule was young enough to be joined."""
    folded, page_onset = [], None
    for one in episodes:
        joins = page_onset is not None and one.onset_at - page_onset <= JOINS
        if not joins:
            page_onset = one.onset_at
        folded.append(structs.replace(one, page=not joins))
    return folded


def _summary(
    profile: Profile,
    player: _Player,
    episodes: list[Episode],
    since: datetime,
    until: datetime,
    without: str,
) -> Backtest:
    pages = [one for one in episodes if one.page]
    true = sum(one.verdict in TRUE for one in pages)
    unjudged = sum(one.verdict is None for one in pages)
    span = timedelta(0) if player.first is None else _time(player.end) - _time(player.first)
    weeks = span / _WEEK
    false = len(pages) - true - unjudged
    return Backtest(
        signal=player.judge.signal.name,
        profile=profile.name,
        thresholds=sorted(player.judge.thresholds),
        meanings=sorted(player.judge.meanings),
        since=since,
        until=until,
        weeks=round(weeks, 3),
        without=without,
        judged_days=len(player.days),
        series=player.series,
        series_weeks=round(timedelta(seconds=player.judged * player.bucket_s) / _WEEK, 3),
        episodes=episodes,
        pages=len(pages),
        true=true,
        false=false,
        unjudged=unjudged,
        false_per_week=round((false + unjudged) / weeks, 3) if weeks >= 1 else None,
    )


def _time(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
