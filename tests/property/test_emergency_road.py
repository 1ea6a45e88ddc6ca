"""The emergency road under kills at any moment: whom it told, and in which order."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from monitor.notify.channel import Kind, Message, Outcome, Retry, Sent, Unknown
from monitor.watch.emergency import LONGEST_RETRY_S, Road
from monitor.watch.spool import Spool
from tests.making import T0

NAMES = ("slack", "pagerduty")


@dataclass
class Receiver:
    """A receiver that folds repeats by key, and says what the test tells it to."""

    name: str
    kind: str = "test"
    says: str = "sent"
    heard: list[tuple[str, Kind]] = field(default_factory=list)
    """(dedup key, kind) of everything that reached it, whatever it answered."""

    def send(self, message: Message, now: datetime) -> Outcome:
        if self.says == "lost":
            return Retry("cannot connect")
        self.heard.append((message.dedup_key, message.kind))
        return Unknown("no answer came") if self.says == "mute" else Sent({"ts": "1"})

    def close(self) -> None:
        """Nothing is held."""


class Troubles(RuleBasedStateMachine):
    """Troubles come and go, receivers fail, auditors are killed."""

    @initialize()
    def begin(self) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.path = Path(self.folder.name) / "spool"
        self.receivers = {name: Receiver(name) for name in NAMES}
        self.now, self.opened, self.closed = T0, set[str](), set[str]()
        self.spool = Spool(self.path)
        self.road = Road(self.spool, self.receivers, NAMES)

    @rule()
    def trouble(self) -> None:
        self.opened.add(
            self.road.open(
                "storage", "storage", "down", ("a", "cure"), self.now, self.now, where="x"
            ).id
        )

    @rule()
    def over(self) -> None:
        running = self.road.running("storage")
        if running is not None:
            self.road.close("storage", "back", self.now)
            self.closed.add(running.id)

    @rule(name=st.sampled_from(NAMES), says=st.sampled_from(["sent", "lost", "mute"]))
    def receiver(self, name: str, says: str) -> None:
        self.receivers[name].says = says

    @rule(seconds=st.integers(1, 90))
    def time_passes(self, seconds: int) -> None:
        self.now += timedelta(seconds=seconds)
        self.road.step(self.now, self.now.timestamp())
        self.road.settle(20)

    @rule(torn=st.binary(max_size=40), reported=st.booleans())
    def killed(self, torn: bytes, reported: bool) -> None:
        """What was sent a moment ago may be noted or not; a record may be half written."""
        self.now += timedelta(seconds=61)
        self.road.step(self.now, self.now.timestamp())
        for job in self.road._busy.values():
            job.join(20)
        if reported:
            self.road.settle(20)
        self.spool.close()
        with self.path.open("ab") as file:
            file.write(torn.replace(b"\n", b""))
        self.spool = Spool(self.path)
        self.road = Road(self.spool, self.receivers, NAMES)

    @invariant()
    def nothing_is_lost_or_made_up(self) -> None:
        """Every trouble that was opened and is not filed is there, and no other."""
        assert set(self.road.episodes) == self.opened

    @invariant()
    def the_end_comes_after_the_beginning(self) -> None:
        """No receiver hears of a trouble again after it heard of its end."""
        for receiver in self.receivers.values():
            ended: set[str] = set()
            for key, kind in receiver.heard:
                assert kind is Kind.RESOLVE or key not in ended
                if kind is Kind.RESOLVE:
                    ended.add(key)

    def teardown(self) -> None:
        """When receivers answer again, each hears of every trouble, and of each end."""
        for receiver in self.receivers.values():
            receiver.says = "sent"
        for _ in range(4 * len(self.opened) + 2):
            self.now += timedelta(seconds=LONGEST_RETRY_S + 1)
            self.road.step(self.now, self.now.timestamp())
            self.road.settle(20)
        assert self.road.unsent() == 0
        for name, receiver in self.receivers.items():
            told = set(receiver.heard)
            for episode in self.opened:
                due = Kind.RESOLVE if episode in self.closed else Kind.TRIGGER
                assert (episode, due) in told, (name, episode)
        self.nothing_is_lost_or_made_up()
        self.the_end_comes_after_the_beginning()
        self.spool.close()
        self.folder.cleanup()


TestTroubles = Troubles.TestCase
TestTroubles.settings = settings(max_examples=30, stateful_step_count=25, deadline=None)
