"""All that is noticed besides moved rates, in one hand: decide asks it once a bucket."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from detectors.judge import Judgement
from monitor.alerting.alerts import Alert, Reading
from monitor.definitions import UNCHANGED, Definitions
from monitor.explain import causes_of
from monitor.incidents.timeline import Entry
from monitor.noticing.judging import due_again, judgement_of, with_judgement
from monitor.noticing.levels import Levels
from monitor.noticing.news import FirstSeen
from monitor.noticing.rules import Rules, Series
from monitor.notify.channel import Kind
from monitor.paging import Pager
from monitor.profiles import Profile
from monitor.silence import LOST_SOURCE, TITLES, Silences
from monitor.store.decision_rows import Seen
from monitor.store.store import Reads, Tx
from monitor.store.stream_rows import Counts
from monitor.stream.rules import Rule
from monitor.stream.signals import Plan, Signal


@dataclass(frozen=True, slots=True)
class Judged:
    """An alert that was asked about its judge."""

    alert: Alert
    entry: Entry | None
    """For the timeline, where there is something to say."""


class Watchers:
    """Silence, rules people know, values never seen, levels, judges."""

    def __init__(self, plan: Plan, profile: Profile, rules: Sequence[Rule] = ()) -> None:
        self._plan = plan
        self._by_name = {signal.name: signal for signal in plan.signals}
        self._silences = Silences(plan, warm_s=profile.warm_s)
        self._sources = Silences(plan, LOST_SOURCE, warm_s=profile.warm_s)
        self._rules = Rules(plan, rules)
        self._first_seen = FirstSeen(plan, profile.warm_s)
        self._levels = Levels(plan)

    def take(self, plan: Plan, rules: Sequence[Rule]) -> None:
        """Use another configuration that counts the same; rebuild before the next step."""
        gone = self._rules.aliases.keys()
        self._plan = plan
        self._by_name.update((signal.name, signal) for signal in plan.signals)
        self._rules = Rules(plan, rules, gone=gone)

    def rebuild(
        self, reads: Reads, position: int | None, definitions: Definitions = UNCHANGED
    ) -> Iterator[None]:
        """Know again what is stored, up to `position` (end of the last decided bucket).

        It gives way between its parts, with no transaction open.

        Args:
            reads: opens a view; what was decided up to `position` is the same in each.
            position: None where nothing was decided yet.
            definitions: which points are whose.
        """
        for part in (self._silences, self._sources, self._rules, self._first_seen, self._levels):
            with reads() as tx:
                part.rebuild(tx, position, definitions)
            yield

    def step(
        self,
        tx: Tx,
        pipeline: int,
        bucket: int,
        counts: Counts,
        series: Series,
        firing: Mapping[str, Alert],
        tiers: Mapping[str, str],
        kept: list[Seen],
    ) -> list[Reading]:
        """Take in one bucket; notes are written, readings that could move an alert returned.

        Args:
            tx: the open transaction.
            pipeline: whose cells.
            bucket: its start, unix seconds.
            counts: its cells.
            series: k and n by signal and dimension values.
            firing: alerts not cleared.
            tiers: tier by signal and rule.
            kept: points to be stored are added here.
        """
        self._levels.step(tx, pipeline, bucket, series)
        return [
            *self._silences.step(tx, bucket, counts, firing, tiers, kept),
            *self._sources.step(tx, bucket, counts, firing, tiers, kept),
            *self._rules.step(tx, bucket, series, firing, tiers),
            *self._first_seen.step(bucket, counts.narrow, firing, tiers),
        ]

    def save(self, tx: Tx, position: int) -> None:
        """Write down, at the end of a sitting, what must not be forgotten."""
        self._first_seen.save(tx, position)

    def signal(self, name: str) -> Signal | None:
        """Whose counts an alert of that name is about."""
        return self._rules.signals.get(name) or self._by_name.get(name)

    def title(self, name: str) -> str:
        """How an alert of that name is called."""
        alias = self._rules.aliases.get(name) or self._by_name.get(name)
        return alias.title if alias is not None else TITLES.get(name, name)

    def names(self) -> list[str]:
        """Names under which something alerts here, besides the rates."""
        kinds = ("first_seen", "together")
        return [*self._rules.aliases, *(s.name for s in self._plan.signals if s.kind in kinds)]

    # -- judges ---------------------------------------------------------------------------------

    def explained(self, tx: Tx, pipeline: int, alert: Alert) -> Judged:
        """A new alert with its causes, and with what is known of its judge."""
        signal = self.signal(alert.signal)
        if signal is None or alert.tier == "shadow":
            return Judged(alert, None)
        causes = causes_of(tx, pipeline, self._plan, signal, alert)
        return self.judged(tx, pipeline, replace(alert, causes=causes))

    def judged(self, tx: Tx, pipeline: int, alert: Alert) -> Judged:
        """The alert with what is known of its judge: it never keeps it from paging."""
        signal = self.signal(alert.signal)
        judgement = (
            None if signal is None else judgement_of(tx, pipeline, self._plan, signal, alert)
        )
        return Judged(with_judgement(alert, judgement), _entry(alert, judgement))

    def judged_again(
        self, tx: Tx, pipeline: int, firing: Mapping[str, Alert], bucket: int
    ) -> list[Judged]:
        """Alerts of which more can be said now than when they began."""
        end = datetime.fromtimestamp(bucket + self._plan.bucket_s, UTC)
        found = []
        for alert in firing.values():
            if alert.incident is None or not due_again(alert, end, self._plan.bucket_s):
                continue
            again = self.judged(tx, pipeline, alert)
            if again.entry is not None and _head(again.alert.judged) != _head(alert.judged):
                found.append(again)
        return found


def tell_judged(tx: Tx, pager: Pager, found: Iterable[Judged], now: datetime) -> None:
    """More is known of who judges than when the alert began: whoever was rung hears it."""
    for judged in found:
        tx.incidents.save_alert(judged.alert)
        incident = tx.incidents.get(judged.alert.incident or "")
        if incident is None or not incident.is_open or judged.entry is None:
            continue
        tx.incidents.append(incident.uuid, (judged.entry,), now)
        if incident.paged_at is not None:
            key = judged.entry.key or ""
            pager.tell(tx, incident, Kind.UPDATE, now, key, news=judged.entry.text)


def _head(judged: str) -> str:
    return judged.partition(": ")[0]


def _entry(alert: Alert, judgement: Judgement | None) -> Entry | None:
    if judgement is None or not judgement.judge:
        return None
    return Entry(
        kind="JUDGE",
        text=judgement.reason,
        actor="detector",
        occurred_at=alert.updated_at,
        key=f"judge:{alert.fingerprint}:{judgement.cause}",
        data={
            "cause": judgement.cause,
            "judge": judgement.judge,
            "version": judgement.version,
            "share": round(judgement.share, 3),
            "old": [judgement.old.k, judgement.old.n],
            "beside": [judgement.beside.k, judgement.beside.n],
            "new": [judgement.new.k, judgement.new.n],
        },
    )
