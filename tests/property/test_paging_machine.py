"""Alerts, people, timers, kills and failing providers in any order: what must hold at all times."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from monitor.alerting.grouping import about
from monitor.alerting.routes import Route
from monitor.config.settings import Settings, resolve
from monitor.config.shelf import Shelf
from monitor.decide import Decide
from monitor.deliver import Deliver
from monitor.desk.desk import Desk
from monitor.incidents.actions import FLAPPING
from monitor.incidents.model import Incident, Rung
from monitor.incidents.timeline import broken_at
from monitor.metrics import Metrics
from monitor.notify.channel import Kind, Message, Outcome, Refused, Retry, Sent, Unknown
from monitor.paging import Pager
from monitor.store.outbox import WAITING, Queued
from monitor.store.store import Store
from monitor.timers import run_timers
from monitor.views import DeskError, Principal
from tests.making import T0, reading

RECEIVERS = ("oncall", "second", "fallback")
OUTCOMES: dict[str, Callable[[], Outcome]] = {
    "sent": lambda: Sent({"ts": "1"}),
    "retry": lambda: Retry("503"),
    "limited": lambda: Retry("429", after_s=30.0),
    "astray": lambda: Retry("302", astray=True),
    "unknown": lambda: Unknown("no answer"),
    "refused": lambda: Refused("gone"),
}
FEATURES = st.sampled_from(["chat", "search"])
SHELF = Shelf()


class Provider:
    """A channel that answers as it is told, and remembers what it took."""

    kind = "log"

    def __init__(self, name: str) -> None:
        self.name = name
        self.mood = "sent"
        self.taken: list[Message] = []

    def send(self, message: Message, now: datetime) -> Outcome:
        outcome = OUTCOMES[self.mood]()
        if isinstance(outcome, Sent | Unknown):
            self.taken.append(message)
        return outcome

    def close(self) -> None:
        self.mood = "sent"


class PagingMachine(RuleBasedStateMachine):
    """One installation; readings come straight from the hand, everything behind them is real."""

    @initialize()
    def open(self) -> None:
        """An empty installation with an escalation and a fallback."""
        self.folder = Path(tempfile.mkdtemp(prefix="tocsin-machine-"))
        configured = resolve(Settings(store=f"sqlite:///{self.folder}/x.db", profile="loud"))
        policy = replace(
            configured.policy,
            route=Route(receivers=("oncall",)),
            escalation=(Rung(300, ("second",)),),
            capped=True,
        )
        self.configured = replace(configured, policy=policy)
        self.now = T0
        self.providers = {name: Provider(name) for name in RECEIVERS}
        self.acknowledged: dict[str, datetime] = {}
        self.firing: set[tuple[str, str]] = set()
        self._start()

    def _start(self) -> None:
        self.store = Store(self.configured.settings.store)
        self.pager = Pager(self.configured.policy)
        plan, profile = self.configured.plan, self.configured.profile
        self.decide = Decide(self.store, plan, profile, self.pager, Metrics())
        self.deliver = Deliver(
            self.store,
            self.providers,
            self.pager,
            Metrics(),
            lambda: self.now,
            fallback="fallback",
            steady=self._steady,
        )

    def _steady(self) -> float:
        return (self.now - T0).total_seconds()

    def teardown(self) -> None:
        """Leave nothing behind."""
        if hasattr(self, "folder"):
            self.deliver.close()
            self.store.close()
            shutil.rmtree(self.folder)

    # -- what happens ---------------------------------------------------------------------------

    @rule(
        feature=FEATURES,
        signal=st.sampled_from(["refusal_rate", "error_rate", "no_data"]),
        severity=st.sampled_from(["SEV1", "SEV2", "SEV4"]),
        tier=st.sampled_from(["page", "ticket", "shadow"]),
        fires=st.booleans(),
    )
    def read(self, feature: str, signal: str, severity: str, tier: str, fires: bool) -> None:
        """A detector says that a series fires, or that it is back."""
        one = reading(
            signal=signal,
            dimensions={"environment": "prod", "feature": feature},
            severity=severity,
            tier=tier,
            firing=fires,
            at=self.now,
            onset_at=self.now - timedelta(minutes=3),
        )
        with self.store.write() as tx:
            self.decide._advance(tx, 1, [one], tx.incidents.firing(), self.now)

    @rule(minutes=st.sampled_from([1, 6, 61]))
    def pass_time(self, minutes: int) -> None:
        """Timers come true."""
        self.now += timedelta(minutes=minutes)
        with self.store.write() as tx:
            run_timers(tx, self.pager, self.now)

    @rule(moods=st.fixed_dictionaries({name: st.sampled_from([*OUTCOMES]) for name in RECEIVERS}))
    def send(self, moods: dict[str, str]) -> None:
        """The outbox is worked on once, with providers in these moods."""
        for name, mood in moods.items():
            self.providers[name].mood = mood
        self.now += timedelta(seconds=20)
        self.deliver.step(self.now)
        self.deliver.settle()

    @rule(claims=st.booleans())
    def kill(self, claims: bool) -> None:
        """The process dies, perhaps with pages in its hands, and another one starts."""
        if claims:
            with self.store.write() as tx:
                tx.outbox.claim("dead", self.now)
        self.deliver.close()
        self.store.close()
        self._start()

    @rule(
        action=st.sampled_from(
            ["acknowledge", "take", "mitigate", "resolve", "reopen", "close", "escalate", "raise"]
        )
    )
    def person(self, action: str) -> None:
        """Somebody works the latest incident; a refusal changes nothing."""
        desk: Any = Desk(
            self.store,
            self.configured,
            SHELF,
            Principal(name="ada", role="responder"),
            lambda: self.now,
        )
        more: dict[str, str] = {
            "mitigate": {"reason": "x"},
            "resolve": {"verdict": "attack", "reason": "x"},
            "reopen": {"reason": "x"},
            "raise": {"severity": "SEV1", "reason": "x"},
        }.get(action, {})
        self.now += timedelta(seconds=1)
        name = "set_severity" if action == "raise" else action
        with contextlib.suppress(DeskError):
            getattr(desk, name)("latest", **more)

    # -- what always holds ----------------------------------------------------------------------

    def _seen(self) -> list[tuple[Incident, list[Queued]]]:
        with self.store.read() as tx:
            return [(i, tx.outbox.of_incident(i.uuid)) for i in tx.incidents.search(limit=1000)]

    @invariant()
    def who_was_paged_has_a_trigger(self) -> None:
        """Every incident that says it was paged has a trigger in the outbox, at its severity."""
        for incident, pages in self._seen():
            triggers = [p for p in pages if p.message.kind is Kind.TRIGGER]
            assert (incident.paged_at is not None) == bool(triggers)
            assert len({p.message.id for p in pages}) == len(pages)
            if incident.paged_at is not None and incident.is_open:
                assert min(p.message.severity for p in triggers) <= incident.severity

    @invariant()
    def order_is_kept(self) -> None:
        """For a receiver and an incident, nothing was sent before an earlier page was done with."""
        for _, pages in self._seen():
            for receiver in RECEIVERS:
                states = [p.state for p in pages if p.receiver == receiver]
                waiting = [place for place, state in enumerate(states) if state in WAITING]
                if waiting:
                    assert "sent" not in states[waiting[0] :]

    @invariant()
    def every_end_was_announced_by_a_beginning(self) -> None:
        """A provider hears of a key by its trigger first, unless it refused to take that one."""
        refused = {
            (page.receiver, page.message.dedup_key)
            for _, pages in self._seen()
            for page in pages
            if page.state == "dead" and page.message.kind is Kind.TRIGGER
        }
        for provider in self.providers.values():
            rung: set[str] = set()
            for message in provider.taken:
                if message.kind is Kind.TRIGGER:
                    rung.add(message.dedup_key)
                known = message.dedup_key in rung
                assert known or (provider.name, message.dedup_key) in refused

    @invariant()
    def nobody_heard_of_what_was_overtaken(self) -> None:
        """No provider took what was left out, and of a key that it took the end is not."""
        taken = {name: {m.id for m in one.taken} for name, one in self.providers.items()}
        for _, pages in self._seen():
            rung: set[tuple[str, str]] = set()
            for page in pages:
                key = page.receiver, page.message.dedup_key
                if page.state == "overtaken":
                    assert page.message.id not in taken[page.receiver]
                    assert page.message.kind is Kind.TRIGGER or key not in rung
                elif page.message.kind is Kind.TRIGGER and page.message.id in taken[page.receiver]:
                    rung.add(key)

    @invariant()
    def chains_verify(self) -> None:
        """Every timeline is an unbroken chain, with every key once."""
        with self.store.read() as tx:
            for incident in tx.incidents.search(limit=1000):
                chain = tx.incidents.timeline(incident.uuid)
                assert chain
                assert broken_at(chain) is None
                keys = [item.entry.key for item in chain if item.entry.key]
                assert len(set(keys)) == len(keys)

    @invariant()
    def acknowledgements_are_kept(self) -> None:
        """Once acknowledged, always acknowledged, by the same person at the same time.

        But for one that has lapsed, which was over for long: the timeline says so, it is paged
        anew, and the next one counts.
        """
        for incident, _ in self._seen():
            known = self.acknowledged.get(incident.uuid)
            lapsed = self._lapsed(incident)
            if lapsed is not None and known is not None and known < lapsed:
                assert incident.paged_at is None or incident.paged_at >= lapsed
                del self.acknowledged[incident.uuid]
                known = None
            if known is not None:
                assert incident.acknowledged_at == known
                assert incident.acknowledged_by == "ada"
            elif incident.acknowledged_at is not None:
                self.acknowledged[incident.uuid] = incident.acknowledged_at

    def _lapsed(self, incident: Incident) -> datetime | None:
        """When the last acknowledgement of an incident lapsed."""
        with self.store.read() as tx:
            chain = tx.incidents.timeline(incident.uuid)
        at = [item.entry.occurred_at for item in chain if item.entry.kind == "LAPSED"]
        return max(at, default=None)

    @invariant()
    def what_lapses_was_over(self) -> None:
        """An acknowledgement lapses only after its incident was normal for the whole grace, or
        where it came only after the end was told."""
        for incident, _ in self._seen():
            with self.store.read() as tx:
                chain = [item.entry for item in tx.incidents.timeline(incident.uuid)]
            normal: datetime | None = None
            told = False
            for entry in chain:
                if entry.kind == "NORMAL":
                    normal, told = entry.occurred_at, False
                if entry.kind == "ACK":
                    told = normal is not None
                if entry.kind == "LAPSED":
                    assert normal is not None
                    assert told or entry.occurred_at - normal > FLAPPING

    @invariant()
    def alerts_belong_to_incidents(self) -> None:
        """A firing alert is in an incident unless it is in shadow; a normal incident fires none
        that it is about."""
        with self.store.read() as tx:
            for alert in tx.incidents.firing().values():
                assert (alert.incident is None) == (alert.tier == "shadow")
            for incident in tx.incidents.open():
                alerts = about(tx.incidents.alerts_of(incident.uuid))
                fires = any(alert.firing for alert in alerts)
                assert not (fires and incident.normal_at is not None)


TestPaging = PagingMachine.TestCase
TestPaging.settings = settings(
    max_examples=25,
    stateful_step_count=30,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
