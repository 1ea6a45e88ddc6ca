"""Loop 2: complete buckets -> verdicts, alerts, incidents, pages.

Everything that one step decides is written in one transaction: the position, the points, alerts,
incidents, timeline entries and the pages to send. What is decided is pure and lives in
`monitor.alerting` and `monitor.incidents`; this loop only reads, asks and writes.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from monitor import scoreboard
from monitor.alerting import alerts, grouping, pages
from monitor.alerting.alerts import Advance, Alert, Change, Reading
from monitor.candidates import Candidates
from monitor.clock import WallClock
from monitor.completeness import complete_until, partitions
from monitor.config.settings import Configured
from monitor.definitions import UNCHANGED, definitions
from monitor.detection import Detection
from monitor.incidents import actions
from monitor.incidents.actions import Recurrence
from monitor.incidents.model import Incident, Origin
from monitor.incidents.timeline import Entry
from monitor.metrics import Metrics
from monitor.noticing.watchers import Watchers, tell_judged
from monitor.notify.channel import Channel, Kind
from monitor.opening import Certain, change_entries, incident_uuid
from monitor.paging import Pager
from monitor.processes.gates import gated
from monitor.processes.posts import Guard, Sole
from monitor.profiles import Profile
from monitor.rates import series_id
from monitor.silence import TITLES, stream_readings
from monitor.sitting import Sitting
from monitor.spending import ledgers, tiers_of
from monitor.store.lease_rows import Fenced
from monitor.store.store import Store, StoreUnavailable, Tx
from monitor.store.stream_rows import Counts
from monitor.stream.holes import beyond
from monitor.stream.rules import Rule
from monitor.stream.series import dims_of, expand
from monitor.stream.signals import Plan, Signal
from monitor.timers import Hands, run_timers
from monitor.watchdog import tick

logger = logging.getLogger(__name__)

BUCKETS_PER_STEP = 60
SITTING_S = 1.0
"""A live step decides for so long on buckets, on never-events and on timers: others wait for it."""
SPENT_EVERY = timedelta(seconds=10)


@dataclass(frozen=True, slots=True)
class Decided:
    """What one step did."""

    buckets: int
    caught_up: bool
    """No complete bucket is left, and no never-event."""


class Decide:
    """The one owner of decisions."""

    def __init__(
        self,
        store: Store,
        plan: Plan,
        profile: Profile,
        pager: Pager,
        metrics: Metrics,
        *,
        rules: Sequence[Rule] = (),
        replay: bool = False,
        post: Guard | None = None,
    ) -> None:
        """The detectors are built by the first step.

        Args:
            store: open.
            plan: what is counted, and by what.
            profile: how loud the rules are.
            pager: whom to tell.
            metrics: of this process.
            rules: static limits and burn rates besides the signals' own detectors.
            replay: `now` of a bucket is its own end plus lateness, not the wall clock.
            post: whether deciding is ours; None where nobody else could.
        """
        self.gate = threading.Lock()
        """Held during a step."""
        self._store = store
        self._plan = plan
        self._profile = profile
        self._pager = pager
        self._metrics = metrics
        self._replay = replay
        self._post = post or Sole()
        self._signals: dict[str, Signal] = {signal.name: signal for signal in plan.signals}
        self._detection = Detection(plan, profile)
        self._rules = tuple(rules)
        self._watchers = Watchers(plan, profile, rules)
        self._certain = Certain(self._signals, pager, metrics)
        self._hands = Hands(clock=WallClock().now)
        self._ready = False
        self._building: Iterator[None] | None = None
        self._definitions = UNCHANGED
        self._position: int | None = None
        """Where the detectors stand: the end of the last bucket that they know."""
        self._spent_at = datetime.min.replace(tzinfo=UTC)
        self.now: datetime | None = None
        """The time of the last decision of a recording."""

    @gated
    def step(self, now: datetime, limit: int = BUCKETS_PER_STEP) -> Decided:
        """Decide at most `limit` complete buckets, never-events, gaps and due timers.

        Detectors that are being built hold nobody up: the rest is decided meanwhile.

        Raises:
            StoreUnavailable: nothing was decided; the detectors are rebuilt by the next step.
            Fenced: the same, and deciding is somebody else's now.
        """
        hands = self._hands.copy()
        try:
            ready = self._built()
            with self._store.write() as tx:
                self._post.guard(tx)
                pipeline = tx.stream.pipeline(self._plan, now)
                decided = Decided(0, caught_up=False)
                if not self._replay:
                    tx.heirs.position(pipeline, self._plan.bucket_s)
                if ready:
                    decided = self._buckets(tx, pipeline, now, limit)
                if self._replay:
                    self._certain.gaps(tx, self.now or now)
                    if decided.caught_up and self._ended(tx, pipeline):
                        self._certain.never_events(tx, self.now or now)
                else:
                    if not self._certain.never_events(tx, now, seconds=SITTING_S):
                        decided = replace(decided, caught_up=False)
                    self._certain.gaps(tx, now)
                    self._stream(tx, pipeline, now)
                    run_timers(tx, self._pager, now, seconds=SITTING_S, hands=hands)
                self._observe(tx, self.now or now)
        except (StoreUnavailable, Fenced):
            self.forget()
            raise
        self._hands = hands
        return decided

    def take(self, configured: Configured, _channels: Mapping[str, Channel]) -> None:
        """Use the tiers of another configuration that counts the same; the gate is held."""
        self._plan = configured.plan
        self._signals.update((signal.name, signal) for signal in configured.plan.signals)
        if configured.settings.rules != self._rules:
            self._rules = configured.settings.rules
            self._watchers.take(self._plan, self._rules)
            self.forget()

    def forget(self) -> None:
        """Build the detectors anew at the next step: others may have decided meanwhile."""
        self._ready, self._building = False, None

    def _built(self) -> bool:
        """Build the detectors for a sitting, without holding up who writes; whether they are."""
        if self._ready:
            return True
        if self._building is None:
            self._building = self._build()
        patience = time.monotonic() + SITTING_S
        for _ in self._building:
            tick()
            if not self._replay and time.monotonic() > patience:
                return False
        self._ready, self._building = True, None
        return True

    def _build(self) -> Iterator[None]:
        with self._store.read() as tx:
            pipeline = tx.stream.known_pipeline(self._plan)
            at = self._position = None if pipeline is None else tx.decisions.position(pipeline)
            known = self._definitions = definitions(tx, self._plan, at)
        budgets = self._pager.policy.budgets
        yield from self._detection.rebuild(self._store.read, at, budgets, known)
        yield from self._watchers.rebuild(self._store.read, at, known)

    # -- buckets --------------------------------------------------------------------------------

    def _buckets(self, tx: Tx, pipeline: int, now: datetime, limit: int) -> Decided:
        position = tx.decisions.position(pipeline)
        parts = partitions(tx, pipeline, now)
        end = complete_until(parts, now, live=not self._replay, decided=position)
        if end is not None:
            self._metrics.complete.set(end)
        if position != self._position:
            self.forget()  # somebody else has decided meanwhile
            return Decided(0, caught_up=False)
        first = position if position is not None else tx.stream.first_bucket(pipeline)
        if end is None or first is None or first >= end:
            return Decided(0, caught_up=True)
        step = self._plan.bucket_s
        stop = min(end, first + limit * step)
        counts = tx.stream.counts(pipeline, first, stop)
        by_people = {name: row.tier for name, row in tx.decisions.tiers().items()}
        tiers = by_people | tiers_of(tx, self._plan, self._profile)
        sitting = Sitting(tx, pipeline, tiers, tx.incidents.firing())
        sitting.mixed_until = tx.heirs.mixed_until(pipeline)
        sitting.eventful = bool(tx.incidents.open_counts() or tx.stream.open_occurrences(limit=1))
        last = tx.stream.last_bucket(pipeline, before=first)
        patience = time.monotonic() + SITTING_S
        for bucket in range(first, stop, step):
            tick()
            if not self._replay and bucket > first and time.monotonic() > patience:
                stop = bucket
                break
            if bucket in counts:
                last = bucket
            elif beyond(bucket, last):
                stop = min(end, tx.stream.first_bucket(pipeline, since=bucket) or end)
                break
            at = self._clock(bucket, now)
            self._bucket(sitting, bucket, counts.get(bucket, Counts({}, {})), at)
            if self._replay:
                if sitting.eventful:
                    self._certain.never_events(tx, at, until=bucket)
                    run_timers(tx, self._pager, at, live=False)
                self.now = at
        tx.decisions.save_points(sitting.kept)
        self._watchers.save(tx, stop)
        self._definitions = self._definitions.save(tx, stop)
        tx.decisions.move(pipeline, stop, datetime.fromtimestamp(stop, UTC))
        self._position = stop
        tx.touch()
        self._metrics.buckets.inc((stop - first) // step)
        self._metrics.watermark.set(stop)
        return Decided((stop - first) // step, caught_up=stop >= end)

    def _clock(self, bucket: int, now: datetime) -> datetime:
        if not self._replay:
            return now
        return datetime.fromtimestamp(bucket + self._plan.bucket_s + self._plan.lateness_s, UTC)

    def _bucket(self, sitting: Sitting, bucket: int, counts: Counts, now: datetime) -> None:
        tx, firing, kept = sitting.tx, sitting.firing, sitting.kept
        scoreboard.bucket(self._metrics, self._plan, counts)
        series = expand(self._plan, counts.base, counts.narrow)
        uncounted = sitting.left_out(bucket, self._definitions.other)
        for name in uncounted & series.keys():
            del series[name]
        watched = {
            series_id(alert.signal, dims_of(self._signals[alert.signal], alert.dimensions))
            for alert in firing.values()
            if alert.signal in self._signals
        }
        readings = self._detection.step(
            tx,
            bucket,
            series,
            counts.base,
            tiers=sitting.tiers,
            budgets=self._pager.policy.budgets,
            watched=watched,
            kept=kept,
            uncounted=uncounted,
        )
        readings += self._watchers.step(
            tx, sitting.pipeline, bucket, counts, series, firing, sitting.tiers, kept
        )
        if self._advance(tx, sitting.pipeline, readings, firing, now):
            sitting.firing, sitting.eventful = tx.incidents.firing(), True
        again = self._watchers.judged_again(tx, sitting.pipeline, sitting.firing, bucket)
        if again:
            tell_judged(tx, self._pager, again, now)
            sitting.firing = tx.incidents.firing()

    def _advance(
        self,
        tx: Tx,
        pipeline: int,
        readings: Sequence[Reading],
        firing: Mapping[str, Alert],
        now: datetime,
    ) -> bool:
        """Whether any alert is another now."""
        changed: list[Advance] = []
        for reading in readings:
            known = firing.get(alerts.fingerprint(reading.signal, reading.dimensions))
            advance = alerts.advance(known, reading)
            if advance.alert is not None and advance.change is not Change.NOTHING:
                changed.append(advance)
        self._apply(tx, pipeline, changed, now)
        return bool(changed)

    # -- alerts and incidents -------------------------------------------------------------------

    def _apply(self, tx: Tx, pipeline: int, changed: Sequence[Advance], now: datetime) -> None:
        touched: dict[str, None] = {}
        opened = [a.alert for a in changed if a.change is Change.OPENED and a.alert is not None]
        candidates = Candidates(tx, opened)
        for alert in grouping.by_seniority(opened):
            tick()
            self._metrics.alerts.labels(alert.signal, alert.tier).inc()
            judged = self._watchers.explained(tx, pipeline, alert)
            if alert.tier == "shadow":
                tx.incidents.save_alert(judged.alert)
            else:
                uuid = self._place(tx, judged.alert, candidates, now)
                touched[uuid] = None
                if judged.entry is not None:
                    tx.incidents.append(uuid, (judged.entry,), now)
        for advance in changed:
            if advance.change is Change.OPENED or advance.alert is None:
                continue
            tick()
            tx.incidents.save_alert(advance.alert)
            if advance.alert.incident and advance.change is Change.CLEARED:
                self._cleared(tx, advance, now)
        for incident_id in touched:
            tick()
            incident = tx.incidents.get(incident_id)
            if incident is not None:
                self._pager.consider(tx, incident, now)

    def _place(self, tx: Tx, alert: Alert, candidates: Candidates, now: datetime) -> str:
        group_by = self._pager.policy.group_by
        place = grouping.place(alert, candidates.all(), group_by)
        groups = grouping.groups_of(alert, group_by)
        if place.incident is not None:
            # Whether it brings news, the alerts that are long over say too.
            others = tx.incidents.alerts_of(place.incident.uuid)
            place = grouping.place(alert, [grouping.Candidate(place.incident, others)], group_by)
        if place.incident is None:
            origin = Origin.NO_DATA if alert.signal in TITLES else Origin.ALERT
            incident = self._open(tx, alert, origin, groups, now)
        else:
            incident = self._join(tx, alert, place, groups, now)
        placed = replace(alert, incident=incident.uuid)
        tx.incidents.save_alert(placed)
        candidates.took(incident, placed)
        return incident.uuid

    def _open(
        self, tx: Tx, alert: Alert, origin: Origin, groups: frozenset[str], now: datetime
    ) -> Incident:
        incident = Incident(
            uuid=incident_uuid(alert.fingerprint, alert.detected_at),
            number=tx.incidents.next_number(),
            title=pages.title(alert, self._watchers.title(alert.signal)),
            severity=alert.severity,
            origin=origin,
            detected_at=alert.detected_at,
            impact_at=alert.onset_at,
            signal=alert.signal,
            dimensions=dict(alert.dimensions),
            groups=groups,
        )
        if not tx.incidents.add(incident):
            return tx.incidents.get(incident.uuid) or incident  # this very finding has had its own
        entry = Entry(
            kind="DETECT",
            text=alert.reading.reason,
            actor="detector",
            occurred_at=alert.detected_at,
            data={"fingerprint": alert.fingerprint, "score": alert.reading.score},
        )
        tx.incidents.append(incident.uuid, (entry, *change_entries(tx, incident, now)), now)
        self._metrics.incidents.labels(str(origin), incident.severity).inc()
        logger.info("incident %s opened", incident.name)
        return incident

    def _join(
        self,
        tx: Tx,
        alert: Alert,
        place: grouping.Place,
        groups: frozenset[str],
        now: datetime,
    ) -> Incident:
        incident = place.incident
        assert incident is not None
        title = pages.title(alert, self._watchers.title(alert.signal))
        others = tx.incidents.alerts_of(incident.uuid)
        incident = grouping.led_by(incident, alert, others, title)
        again = Recurrence(incident)
        if grouping.leads(alert, incident):
            ends = [one.cleared_at for one in grouping.about(others) if one.cleared_at is not None]
            apart = alert.detected_at - max(ends, default=alert.detected_at)
            told = not tx.rings.ringing(incident.uuid)
            again = actions.fires_again(incident, now, apart, told=told)
        news = groups if place.news else frozenset()
        joined = grouping.joined(again.incident, alert, others, news)
        tx.incidents.save(joined)
        entry = Entry(
            kind="ALERT",
            text=f"{alert.reading.reason} ({pages.where(alert.dimensions)}); joins: {place.reason}",
            actor="detector",
            occurred_at=alert.detected_at,
            data={"fingerprint": alert.fingerprint},
        )
        tx.incidents.append(joined.uuid, (entry, *again.entries), now)
        if incident.paged_at is not None and alert.tier == "page":
            rose = joined.severity < incident.severity
            why = f"severity rose to {joined.severity}" if rose else again.page
            if why:
                self._pager.page(tx, joined, now, why)
            elif incident.normal_at is not None:
                self._pager.tell_again(tx, joined, now)
            elif place.news:
                self._pager.tell(tx, joined, Kind.UPDATE, now, f"{now.timestamp():.0f}")
        return joined

    def _cleared(self, tx: Tx, advance: Advance, now: datetime) -> None:
        alert = advance.alert
        assert alert is not None
        assert alert.incident is not None
        incident = tx.incidents.get(alert.incident)
        if incident is None or not incident.is_open:
            return
        title = self._watchers.title(alert.signal)
        entry = Entry(
            kind="CLEAR",
            text=f"{title} {pages.where(alert.dimensions)}: {advance.reason}",
            actor="detector",
            occurred_at=alert.updated_at,
        )
        tx.incidents.append(incident.uuid, (entry,), now)
        about = grouping.about(tx.incidents.alerts_of(incident.uuid))
        # A ticket may have joined what was over already.
        if incident.normal_at is None and not any(one.firing for one in about):
            since = incident.paged_at or incident.detected_at
            lost = alert.unjudged_since is not None or grouping.unjudged(about, since)
            step = actions.unjudged(incident, now) if lost else actions.signal_normal(incident, now)
            tx.incidents.apply(step, now)
            self._pager.tell_normal(tx, incident, now, news=step.text if lost else "")

    # -- never-events, gaps, timers -------------------------------------------------------------

    @staticmethod
    def _ended(tx: Tx, pipeline: int) -> bool:
        return all(part.finished for part in tx.stream.partitions(pipeline))

    def _stream(self, tx: Tx, pipeline: int, now: datetime) -> None:
        firing = tx.incidents.firing()
        readings = stream_readings(partitions(tx, pipeline, now), firing, now)
        self._advance(tx, pipeline, readings, firing, now)

    def _observe(self, tx: Tx, now: datetime) -> None:
        if not timedelta(0) <= now - self._spent_at < SPENT_EVERY:
            self._spent_at = now  # reads the incidents of weeks: not at every step
            scoreboard.budgets(self._metrics, ledgers(tx, self._pager.policy.budgets, {}, now))
        scoreboard.people(self._metrics, tx.incidents.open_counts())
        firing, others = tx.incidents.firing().values(), self._watchers.names()
        scoreboard.firing(self._metrics, self._plan, firing, others)
        for state, count in self._detection.states.items():
            self._metrics.series.labels(state).set(count)
