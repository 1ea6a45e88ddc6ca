"""Delay and harm by attack and mix, in this process: no Kafka, no daemon, no channels.

The pipeline is the daemon's own: `Ingest` on a recording in memory, `Decide` on a SQLite store. One
quiet lead-in is learned once; every row goes on from a copy of its store.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import chain
from pathlib import Path
from typing import Any

import msgspec

from monitor.config.settings import Settings, resolve
from monitor.decide import Decide
from monitor.incidents.model import Incident
from monitor.ingest import Ingest
from monitor.metrics import Metrics
from monitor.paging import Pager
from monitor.profiles import ProfileName
from monitor.store.store import Store
from monitor.stream.sources.batches import Batch, BatchSource
from monitor.stream.sources.simulate import PARTITIONS, Emission
from monitor.stream.sources.source import Record
from tests.bench.agentdojo import Replay, Truth
from tests.bench.agentdojo_runs import Corpus

CHUNK = 500
TAIL = timedelta(hours=1)
"""How much of the lead-in a row is given again: more than any bucket that may still be open."""
_KEY = b"replay"


class _Envelope(msgspec.Struct, frozen=True):
    source: str
    partitionkey: str


_envelope = msgspec.json.Decoder(_Envelope).decode


@dataclass(frozen=True, slots=True)
class Harm:
    """What happened at the attacked tenant's feature from the onset to a moment."""

    interactions: int
    harmful: int
    minutes: float

    def row(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "delay_min": round(self.minutes, 1),
            "delay_interactions": self.interactions,
            "harmful_before_page": self.harmful,
        }


def harm_until(replay: Replay, until: datetime) -> Harm:
    """Count at the attacked tenant and feature what came from the onset to `until`."""
    truth = replay.truth
    assert truth.onset is not None
    assert truth.tenant is not None
    tenant, onset, end = replay.tenant(truth.tenant), truth.onset.timestamp(), until.timestamp()
    interactions = harmful = 0
    for event in replay:
        if event.time > end:
            break
        if event.time < onset:
            continue
        about = _envelope(event.value)
        if about.partitionkey == tenant and about.source.endswith(f"/{truth.feature}"):
            interactions += 1
            harmful += event.cause == "harmful"
    return Harm(interactions, harmful, (end - onset) / 60)


def _record(event: Emission, offsets: list[int]) -> Record:
    """The event as its partition's log would hold it; `offsets` are the next ones."""
    offset = offsets[event.partition]
    offsets[event.partition] += 1
    return Record(offset, event.value, int(event.time * 1000))


def _batches(records: Iterable[tuple[int, Record]]) -> Iterator[Batch]:
    """Small batches in the order of time, so that no partition runs ahead of the others."""
    held: dict[int, list[Record]] = {}
    for count, (partition, record) in enumerate(records, 1):
        held.setdefault(partition, []).append(record)
        if count % CHUNK == 0:
            yield from held.items()
            held = {}
    yield from held.items()


class _OpenLog(BatchSource):
    """A recording that never says it has ended: its last buckets stay open."""

    exhausted = False


class Pipeline:
    """Loops 1 and 2 of a daemon on one store."""

    def __init__(self, store: Path, source: BatchSource, profile: ProfileName) -> None:
        configured = resolve(Settings(profile=profile))
        self._store = Store(f"sqlite:///{store}")
        metrics = Metrics()
        self._ingest = Ingest(self._store, source, configured.plan, metrics, digest_key=_KEY)
        pager = Pager(configured.policy)
        self._decide = Decide(
            self._store, configured.plan, configured.profile, pager, metrics, replay=True
        )
        self._now = datetime.now(UTC)

    def step(self) -> int:
        """Take some records and decide what they complete; how many were taken."""
        taken = self._ingest.step(self._now, timeout_s=0.0)
        while not self._decide.step(self._now).caught_up:
            pass
        return taken

    @property
    def finished(self) -> bool:
        """Everything was taken and every bucket is decided."""
        return self._ingest.finished

    def paged_since(self, since: datetime) -> Incident | None:
        """The first incident detected since then that was paged."""
        with self._store.read() as tx:
            found = tx.incidents.search(since=since, limit=1000)
        return next((one for one in reversed(found) if one.paged_at is not None), None)

    def close(self) -> None:
        """Let go of the store."""
        self._store.close()


@dataclass(frozen=True, slots=True)
class LeadIn:
    """The quiet time before every row, learned once."""

    store: Path
    profile: ProfileName
    quiet: Replay
    offsets: tuple[int, ...]
    tail: tuple[tuple[int, Record], ...]
    """Its last hour: a counter that goes on reads its open buckets again."""


def learn(quiet: Replay, folder: Path, *, profile: ProfileName = "page") -> LeadIn:
    """Feed all of `quiet` and leave the log open."""
    offsets = [0] * PARTITIONS
    since = (quiet.end - TAIL).timestamp()
    tail: list[tuple[int, Record]] = []

    def records() -> Iterator[tuple[int, Record]]:
        for event in quiet:
            one = (event.partition, _record(event, offsets))
            if event.time >= since:
                tail.append(one)
            yield one

    store = folder / "lead-in.db"
    source = _OpenLog(_batches(records()), partitions=PARTITIONS, max_records=CHUNK)
    pipeline = Pipeline(store, source, profile)
    pipeline.step()  # only learns which partitions there are
    while pipeline.step():
        pass
    pipeline.close()
    return LeadIn(store, profile, quiet, tuple(offsets), tuple(tail))


@dataclass(frozen=True, slots=True)
class Row:
    """One attack at one mix."""

    attack: str
    mix: float
    page: Harm | None
    """None: missed."""
    whole: Harm
    """The same counts over the whole time that was looked at."""
    signal: str = ""

    def json(self) -> dict[str, Any]:
        """For the last line; a miss has nulls."""
        nothing = dict.fromkeys(("delay_min", "delay_interactions", "harmful_before_page"))
        figures = nothing if self.page is None else self.page.row()
        return {
            "attack": self.attack,
            "mix": self.mix,
            "missed": self.page is None,
            **figures,
            "harmful_in_all": self.whole.harmful,
            "hours": round(self.whole.minutes / 60, 1),
        }


def measure(lead_in: LeadIn, attacked: Replay, folder: Path) -> Row:
    """Go on from the lead-in with `attacked`, until it pages or ends.

    Args:
        lead_in: learned; `attacked` begins where it ends.
        attacked: the attack, from its onset on.
        folder: for the row's store.
    """
    truth = attacked.truth
    assert truth.attack is not None
    store = folder / "row.db"
    shutil.copy(lead_in.store, store)
    offsets = list(lead_in.offsets)
    new = ((event.partition, _record(event, offsets)) for event in attacked)
    source = BatchSource(
        _batches(chain(lead_in.tail, new)), partitions=PARTITIONS, max_records=CHUNK
    )
    pipeline = Pipeline(store, source, lead_in.profile)
    found = None
    while found is None and not pipeline.finished:
        pipeline.step()
        found = pipeline.paged_since(attacked.start)
    pipeline.close()
    for file in folder.glob("row.db*"):
        file.unlink()
    page = None
    if found is not None and found.paged_at is not None:
        page = harm_until(attacked, found.paged_at)
    whole = harm_until(attacked, attacked.end)
    signal = (found.signal or "") if found is not None else ""
    return Row(truth.attack, truth.mix[0], page, whole, signal)


def table(
    corpus: Corpus,
    lead_in: LeadIn,
    attacks: Sequence[str],
    mixes: Sequence[float],
    *,
    feature: str,
    hours: float,
    folder: Path,
) -> Iterator[Row]:
    """A row for every attack and mix, each from the same state of the detectors."""
    quiet = lead_in.quiet
    for attack in attacks:
        for mix in mixes:
            truth = Truth("attack", quiet.end, attack, (mix, mix), tenant=0, feature=feature)
            attacked = replace(quiet, truth=truth, start=quiet.end, days=hours / 24)
            yield measure(lead_in, attacked, folder)
