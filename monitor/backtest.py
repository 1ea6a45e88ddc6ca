"""What a rule would have done: its stored points, replayed through the detector as it is set now.

A replay is muted until `since`, so that it has learned what is normal by then. Pages are folded as
decide folds them: series of one rule that begin within half an hour are one. What people said of
the incidents of that place and time tells true from false.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from msgspec import structs

from detectors.model import Alarm, Verdict
from detectors.rate import RateBank
from detectors.verdicts import Verdicts
from monitor.alerting.ledger import FALSE_VERDICTS
from monitor.detect_views import Backtest, Episode
from monitor.incidents.actions import VERDICTS
from monitor.incidents.model import Incident
from monitor.paging import concerns
from monitor.profiles import Profile
from monitor.store.decision_rows import Point
from monitor.store.store import Tx
from monitor.stream.holes import walk
from monitor.stream.series import Dims, Pair, named
from monitor.stream.signals import Plan, Signal
from monitor.watchdog import tick

LEARN = timedelta(days=7)
"""How long before the time that counts the replay begins, where there are points."""
JOINS = timedelta(minutes=30)
"""Series that begin to fire this soon after a page belong to it."""
TRUE = frozenset(VERDICTS) - FALSE_VERDICTS
"""Verdicts of people that mean: the page was right."""
_PART_S = 86_400
_WEEK = timedelta(weeks=1)

Points = Callable[[int, int], Mapping[int, Sequence[Point]]]
"""Points by bucket of [first, end), unix seconds."""
Alarms = Callable[[Signal, Dims], Alarm]
"""When a series fires."""


def backtest(
    tx: Tx,
    plan: Plan,
    profile: Profile,
    signal: Signal,
    since: datetime,
    until: datetime,
    *,
    alarm: Alarms | None = None,
) -> Backtest:
    """Replay the points of one rule, within one transaction.

    Args:
        tx: where points and incidents are.
        plan: for the length of a bucket.
        profile: how rates are learned, and when a series fires where `alarm` is not given.
        signal: the rule.
        since: from when on episodes count.
        until: up to when.
        alarm: thresholds of a tier that is tried.
    """
    incidents = tx.incidents.search(since=since - LEARN, limit=10_000)

    def points(first: int, end: int) -> Mapping[int, Sequence[Point]]:
        return tx.decisions.points(signal.name, first, end)

    return replay(points, incidents, plan, profile, signal, since, until, alarm=alarm)


def replay(
    points: Points,
    incidents: Iterable[Incident],
    plan: Plan,
    profile: Profile,
    signal: Signal,
    since: datetime,
    until: datetime,
    *,
    alarm: Alarms | None = None,
    learn: timedelta = LEARN,
) -> Backtest:
    """The same from points that are asked for a day at a time, each where the caller likes."""
    step = plan.bucket_s
    begin, end = (int(one.timestamp()) // step * step for one in (since, until))
    player = _Player(signal, plan, profile, alarm or _by_profile(profile, plan), begin)
    last: int | None = None
    for first in range(begin - int(learn.total_seconds()) // step * step, end, _PART_S):
        found = points(first, min(first + _PART_S, end))
        if not found and last is None:
            continue
        for bucket in walk(found, first, min(first + _PART_S, end), step, last=last):
            tick()
            player.play(bucket, found.get(bucket, ()))
        last = max(found, default=last)
    known = list(incidents)
    episodes = _folded([_judged(one, known, until) for one in player.episodes()])
    return _summary(signal, profile, player, episodes, since, until)


def _by_profile(profile: Profile, plan: Plan) -> Alarms:
    return lambda signal, _dims: profile.alarm(signal, plan.bucket_s)


@dataclass(slots=True)
class _Open:
    """An episode as it goes on."""

    dims: Dims
    detected: int
    verdict: Verdict
    peak: float | None = None
    score: float = 0.0
    ended: int | None = None


@dataclass(slots=True)
class _Player:
    """A bank of one rule's series, and what they did since `begin`."""

    signal: Signal
    plan: Plan
    profile: Profile
    alarm: Alarms
    begin: int
    bank: RateBank = field(init=False)
    known: dict[str, Dims] = field(default_factory=dict)
    thresholds: set[float] = field(default_factory=set)
    judged: int = 0
    """Series-buckets that were warm and had traffic."""
    first: int | None = None
    """The first bucket that counts."""
    end: int = 0
    _open: dict[str, _Open] = field(default_factory=dict)
    _done: list[_Open] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.bank = RateBank(self.profile.rates, bucket_s=self.plan.bucket_s)

    def play(self, bucket: int, points: Sequence[Point]) -> None:
        """Take in one bucket."""
        counts: dict[str, Pair] = {}
        for point in points:
            name = "\x1f".join(point.dims)
            counts[name] = (point.k, point.n)
            if name not in self.known:
                alarm = self.alarm(self.signal, point.dims)
                self.known[name] = point.dims
                self.thresholds.add(round(alarm.threshold, 3))
                self.bank.add(name, alarm=alarm)
        if not self.known:
            return
        pairs = [counts.get(name, (0, 0)) for name in self.known]
        step = self.plan.bucket_s
        verdicts = self.bank.step(
            bucket, step, list(self.known), [k for k, _ in pairs], [n for _, n in pairs]
        )
        self.end = bucket + step
        if bucket >= self.begin:
            self.first = bucket if self.first is None else self.first
            with_traffic = [n > 0 for _, n in pairs]
            self.judged += int((~verdicts.warming & with_traffic).sum())
        self._follow(verdicts)

    def _follow(self, verdicts: Verdicts) -> None:
        hot = {verdicts.ids[int(row)]: verdicts[int(row)] for row in verdicts.firing_rows()}
        for name in self._open.keys() - hot.keys():
            gone = self._open.pop(name)
            gone.ended = self.end
            self._done.append(gone)
        for name, verdict in hot.items():
            one = self._open.get(name)
            if one is None:
                one = self._open[name] = _Open(self.known[name], self.end, verdict)
            one.verdict = verdict
            one.score = max(one.score, verdict.score)
            one.peak = _farther(one.peak, verdict)

    def episodes(self) -> list[Episode]:
        """Those that began within the time that counts, in order."""
        every = [one for one in (*self._done, *self._open.values()) if one.detected > self.begin]
        return [
            self._episode(one) for one in sorted(every, key=lambda one: (one.detected, one.dims))
        ]

    def _episode(self, one: _Open) -> Episode:
        verdict = one.verdict
        until = self.end if one.ended is None else one.ended
        return Episode(
            dimensions=named(self.signal, one.dims),
            onset_at=_time(one.detected if verdict.onset is None else verdict.onset),
            detected_at=_time(one.detected),
            ended_at=None if one.ended is None else _time(one.ended),
            duration_s=until - one.detected,
            k=verdict.k,
            n=verdict.n,
            baseline=verdict.baseline,
            peak_ratio=one.peak,
            excess=verdict.excess,
            score=one.score,
            page=True,
            incidents=[],
        )


def _farther(peak: float | None, verdict: Verdict) -> float | None:
    if verdict.expected <= 0:
        return peak
    ratio = verdict.k / verdict.expected
    if peak is None:
        return ratio
    return max(peak, ratio) if verdict.direction == "up" else min(peak, ratio)


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
    signal: Signal,
    profile: Profile,
    player: _Player,
    episodes: list[Episode],
    since: datetime,
    until: datetime,
) -> Backtest:
    pages = [one for one in episodes if one.page]
    true = sum(one.verdict in TRUE for one in pages)
    unjudged = sum(one.verdict is None for one in pages)
    span = timedelta(0) if player.first is None else _time(player.end) - _time(player.first)
    weeks = span / _WEEK
    false = len(pages) - true - unjudged
    return Backtest(
        signal=signal.name,
        profile=profile.name,
        thresholds=sorted(player.thresholds),
        since=since,
        until=until,
        weeks=round(weeks, 3),
        series=len(player.known),
        series_weeks=round(timedelta(seconds=player.judged * player.plan.bucket_s) / _WEEK, 3),
        episodes=episodes,
        pages=len(pages),
        true=true,
        false=false,
        unjudged=unjudged,
        false_per_week=round((false + unjudged) / weeks, 3) if weeks >= 1 else None,
    )


def _time(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
