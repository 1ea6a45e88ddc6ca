"""A whole installation on a clock that a test moves: real store, loops and log channels.

The log is a tape in memory that implements the port of a source; everything behind it is the
product. `advance` lets a minute pass: what was put on the tape is read, decided and delivered.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from monitor.alerting.digest import Daily
from monitor.config.settings import Configured, Paging, Settings, resolve
from monitor.config.shelf import Shelf
from monitor.daily import Digests
from monitor.decide import Decide
from monitor.deliver import Deliver
from monitor.desk.desk import Desk
from monitor.incidents.model import Incident, Rung
from monitor.incidents.timeline import Linked, broken_at
from monitor.ingest import Ingest
from monitor.metrics import Metrics
from monitor.notify.log import LogChannel
from monitor.notify.settings import LogSettings
from monitor.paging import Pager
from monitor.processes.posts import Sole
from monitor.store.store import Store
from monitor.stream.rules import Rule
from monitor.stream.sources.source import (
    Assigned,
    Chunk,
    Gap,
    Lag,
    Partition,
    Record,
    SourceEvent,
    Topology,
)
from monitor.views import Principal

KEY = b"the key of a test installation"
MINUTE = timedelta(minutes=1)


class Tape:
    """A topic of one partition in memory; implements `Source`."""

    finite = False

    def __init__(self, records: Sequence[Record] = ()) -> None:
        self.records = list(records)
        self.partition = Partition("interactions", "tape-1", 0)
        self.told: list[SourceEvent] = [Assigned((self.partition,))]
        self._at: int | None = None
        self._paused = False

    def put(self, made: Mapping[str, Any], stamp: datetime | None = None) -> None:
        """Append one event."""
        stamp_ms = None if stamp is None else int(stamp.timestamp() * 1000)
        self.records.append(Record(len(self.records), json.dumps(made).encode(), stamp_ms))

    def poll(self, timeout_s: float) -> list[SourceEvent]:
        told, self.told = self.told, []
        if self._at is not None and not self._paused and self._at < len(self.records):
            records = self.records[self._at :]
            self._at = len(self.records)
            told.append(Chunk(self.partition, records, self._at))
        return told

    def start(self, partition: Partition, offset: int | None) -> None:
        self._at = offset or 0

    def pause(self) -> None:
        self._paused = True

    def resume(self) -> None:
        self._paused = False

    def lags(self) -> list[Lag]:
        at = 0 if self._at is None else self._at
        return [Lag(self.partition, at, len(self.records))]

    def topology(self) -> Topology:
        return Topology(self.partition.topic, self.partition.topic_id, (0,))

    def lose(self, first: int, last: int) -> None:
        """The log no longer holds these offsets."""
        self.told.append(Gap(self.partition, first, last, "retention"))

    @property
    def exhausted(self) -> bool:
        return False

    def close(self) -> None:
        self.resume()


class Stage:
    """The installation. `now` moves only when a test moves it."""

    def __init__(
        self,
        path: Path,
        begin: datetime,
        *,
        profile: str = "loud",
        receivers: Sequence[str] = ("oncall",),
        escalation: Sequence[tuple[int, str]] = (),
        capped: bool = False,
        records: Sequence[Record] = (),
        rules: Sequence[Rule] = (),
        digest: Daily | None = None,
    ) -> None:
        """`escalation`: (seconds after the first page, receiver); `receivers[0]` is rung first."""
        settings = Settings(
            store=f"sqlite:///{path}",
            profile=profile,  # type: ignore[arg-type] # one of the three
            rules=tuple(rules),
            paging=Paging(receivers=tuple(LogSettings(name=name) for name in receivers)),
        )
        configured = resolve(settings)
        policy = replace(
            configured.policy,
            route=replace_receivers(configured, receivers[:1]),
            escalation=tuple(Rung(after, (name,)) for after, name in escalation),
            capped=capped,
            digest=digest,
        )
        self.configured = replace(configured, policy=policy)
        self.path = path
        self.now = begin
        self.tape = Tape(records)
        self.out = {name: io.StringIO() for name in receivers}
        self._open()

    def _open(self) -> None:
        plan, profile = self.configured.plan, self.configured.profile
        self.store = Store(f"sqlite:///{self.path}")
        self.pager = Pager(self.configured.policy)
        metrics = self.metrics = Metrics()
        self.ingest = Ingest(self.store, self.tape, plan, metrics, digest_key=KEY)
        rules = self.configured.settings.rules
        self.decide = Decide(self.store, plan, profile, self.pager, metrics, rules=rules)
        self.digests = Digests(self.store, self.pager, Sole())
        channels = {
            name: LogChannel(LogSettings(name=name), stream) for name, stream in self.out.items()
        }
        self.deliver = Deliver(self.store, channels, self.pager, metrics, lambda: self.now)
        self.shelf = Shelf()

    def restart(self) -> None:
        """The process was killed: only the store and the log are left."""
        self.deliver.close()
        self.store.close()
        self.tape = Tape(self.tape.records)
        self._open()

    def close(self) -> None:
        """Let go of threads and files."""
        self.deliver.close()
        self.store.close()

    def desk(self, name: str = "ada") -> Desk:
        """A desk that speaks for a responder."""
        principal = Principal(name=name, role="responder")
        return Desk(self.store, self.configured, self.shelf, principal, lambda: self.now)

    def tick(self) -> None:
        """Every loop does what is due now."""
        for _ in range(2):  # the first step of a process only learns its partitions
            self.ingest.step(self.now, timeout_s=0)
        self.ingest.flush(self.now)
        while not self.decide.step(self.now).caught_up:
            pass
        self.digests.step(self.now)
        while self.deliver.step(self.now):
            self.deliver.settle()
        self.deliver.settle()

    def advance(self, minutes: int = 1) -> None:
        """Let minutes pass, by halves: what nobody looks at for longer is unknown."""
        for _ in range(2 * minutes):
            self.now += MINUTE / 2
            self.tick()

    def feed(self, made: Iterable[Mapping[str, Any]]) -> None:
        """Put events on the tape."""
        for one in made:
            self.tape.put(one)

    # -- what came of it ------------------------------------------------------------------------

    def incidents(self) -> list[Incident]:
        """All, oldest first."""
        with self.store.read() as tx:
            return list(reversed(tx.incidents.search()))

    def only(self) -> Incident:
        """The one incident there is."""
        found = self.incidents()
        assert len(found) == 1, [i.title for i in found]
        return found[0]

    def timeline(self, incident: Incident) -> list[Linked]:
        """Its entries; the chain must hold."""
        with self.store.read() as tx:
            chain = tx.incidents.timeline(incident.uuid)
        assert broken_at(chain) is None
        return chain

    def kinds(self, incident: Incident) -> list[str]:
        """Kinds of its entries."""
        return [item.entry.kind for item in self.timeline(incident)]

    def pages(self, receiver: str = "oncall") -> list[dict[str, Any]]:
        """What a receiver got, in order."""
        return [json.loads(line) for line in self.out[receiver].getvalue().splitlines()]

    def rings(self, receiver: str = "oncall") -> list[str]:
        """Kinds of what a receiver got."""
        return [page["kind"] for page in self.pages(receiver)]


def replace_receivers(configured: Configured, receivers: Sequence[str]) -> Any:
    """The root of the route with only these receivers."""
    import msgspec

    return msgspec.structs.replace(configured.policy.route, receivers=tuple(receivers))
