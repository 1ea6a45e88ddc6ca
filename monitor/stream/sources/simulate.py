"""A product that does not exist, as a stream of events: seeded, as fast as it goes, and it ends.

Arrivals are a non-homogeneous Poisson process per feature (thinning, Lewis and Shedler 1979) under
a day's and a week's curve; tenants follow Zipf's law and are the partition key, as in production.
The same scenario, seed and start give the same bytes. What really happened to an event is told
beside it (`Emission.cause`), never in it.
"""

from __future__ import annotations

import gzip
import heapq
import itertools
import math
import random
import zlib
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import msgspec

from monitor.stream.event import Amend
from monitor.stream.sources.scenario import Effect, Feature, Scenario, load_product
from monitor.stream.sources.source import (
    Assigned,
    Chunk,
    Lag,
    Partition,
    Record,
    SourceEvent,
    Topology,
)
from monitor.stream.sources.turns import Session, Turn, pseudonym, turn_event

START = datetime(2026, 11, 16, tzinfo=UTC)
"""A Monday, midnight."""
PARTITIONS = 4
_DAY, _WEEK = 86_400.0, 604_800.0
_PEAK = 14 * 3600.0
"""Second of the day (UTC) with the most traffic."""
_MONDAY = datetime(1970, 1, 5, tzinfo=UTC).timestamp()
_encode = msgspec.json.Encoder().encode


class Emission(NamedTuple):
    """One record of the simulated log."""

    time: float
    """Event time, unix seconds."""
    partition: int
    value: bytes
    cause: str | None
    """Names of the effects that touched it, joined by `+`; None for ordinary weather."""


class Announced(NamedTuple):
    """A change record of the scenario, with its moment."""

    at: datetime
    kind: str
    text: str
    dimensions: dict[str, str]


def traffic_level(at: float, daily: float, weekend: float) -> float:
    """Traffic at unix second `at`, as a share of the peak's (14:00 UTC on a weekday).

    Args:
        at: the moment.
        daily: depth of the day's curve; 0 is flat, 1 means nobody at night.
        weekend: traffic on Saturday and Sunday, as a share of a weekday's.
    """
    curve = (1 + math.cos(2 * math.pi * ((at % _DAY) - _PEAK) / _DAY)) / 2
    weekday = ((at - _MONDAY) % _WEEK) < 5 * _DAY
    return (1 - daily + daily * curve) * (1.0 if weekday else weekend)


class Simulation:
    """One run of a scenario; iterate over it as often as you like, it is always the same."""

    def __init__(
        self,
        scenario: Scenario,
        *,
        seed: int = 7,
        start: datetime | None = None,
        end: datetime | None = None,
        partitions: int = PARTITIONS,
    ) -> None:
        """Place the scenario in time: from `start`, or so that it ends at `end`.

        Raises:
            ValueError: both `start` and `end` are given, or one has no zone.
        """
        if start is not None and end is not None:
            raise ValueError("give start or end, not both")
        at = start or (end - scenario.duration if end else START)
        if at.tzinfo is None:
            raise ValueError("a time needs a zone")
        self.scenario = scenario
        self.start = at.astimezone(UTC)
        self.end = self.start + scenario.duration
        self.partitions = partitions
        self.seed = seed
        self._features = load_product()
        self._tenants = [pseudonym("t_", seed, n) for n in range(scenario.tenants)]
        weights = [1 / (rank + 1) for rank in range(scenario.tenants)]
        self._weights = list(itertools.accumulate(weights))

    def announcements(self) -> list[Announced]:
        """The change records a release tool would send, in order of time."""
        return [
            Announced(self.start + one.at, one.kind, one.text, dict(one.dimensions))
            for one in sorted(self.scenario.announcements, key=lambda one: one.at)
        ]

    def __iter__(self) -> Iterator[Emission]:
        """Every event in order of time, amendments where they fall."""
        waiting: list[tuple[float, int, Emission]] = []
        number = itertools.count()
        sequences: dict[str, int] = {}
        for at, feature, rng, sessions in self._arrivals():
            while waiting and waiting[0][0] <= at:
                yield heapq.heappop(waiting)[2]
            turn = self._turn(at, feature, rng, sessions)
            sequences[feature.source] = sequence = sequences.get(feature.source, 0) + 1
            event = turn_event(turn, sequence, rng)
            partition = zlib.crc32(turn.session.tenant.encode()) % self.partitions
            cause = "+".join(effect.name for effect in turn.effects) or None
            late = self._feedback(turn, event.id, rng)
            if late is not None and late.time < self.end:
                emission = Emission(late.time.timestamp(), partition, _encode(late), cause)
                heapq.heappush(waiting, (emission.time, next(number), emission))
            if not any(effect.lost for effect in turn.effects):
                yield Emission(at, partition, _encode(event), cause)
        yield from (emission for _, _, emission in sorted(waiting))

    def _arrivals(self) -> Iterator[tuple[float, Feature, random.Random, list[Session]]]:
        """Features' turns in order of time; each feature has its own stream of chance."""

        def of_one(
            feature: Feature,
        ) -> Iterator[tuple[float, int, Feature, random.Random, list[Session]]]:
            place = self._features.index(feature)
            rng = random.Random(f"{self.seed}/{feature.name}")  # noqa: S311 - a simulation
            sessions: list[Session] = []
            peak = feature.per_minute / 60 * self.scenario.volume
            daily, weekend = self.scenario.daily, self.scenario.weekend
            at, end = self.start.timestamp(), self.end.timestamp()
            while peak > 0:
                at += rng.expovariate(peak)
                if at >= end:
                    return
                if rng.random() < traffic_level(at, daily, weekend):
                    yield at, place, feature, rng, sessions

        streams = [of_one(feature) for feature in self._features]
        for at, _, feature, rng, sessions in heapq.merge(*streams, key=lambda one: one[:2]):
            yield at, feature, rng, sessions

    def _turn(
        self, at: float, feature: Feature, rng: random.Random, sessions: list[Session]
    ) -> Turn:
        """The next turn of an open session, or the first of a new one, and what befalls it."""
        if sessions and rng.random() < 0.55:
            place = int(rng.random() * len(sessions))
            session = sessions[place] = sessions[place].next()
        else:
            rank = rng.choices(range(len(self._tenants)), cum_weights=self._weights)[0]
            session = Session(self._tenants[rank], rank, f"c_{rng.getrandbits(64):016x}", 1)
            sessions.append(session)
            if len(sessions) > 20:
                sessions.pop(0)
        since = timedelta(seconds=at - self.start.timestamp())
        effects = tuple(
            effect
            for effect in self.scenario.effects
            if _befalls(effect, feature, session, since) and rng.random() < _share(effect, since)
        )
        return Turn(at, feature, session, effects)

    def _feedback(self, turn: Turn, event: str, rng: random.Random) -> Amend | None:
        """A thumb, minutes later: down as often as the feature's usual, more after a refusal."""
        if rng.random() >= 0.08:
            return None
        unhappy = 4 * turn.feature.thumbs_down * (4 if turn.refusal > 0.1 else 1)
        happy = rng.random() >= unhappy
        return turn.amend(event, rng.expovariate(1 / 180), happy=happy, rng=rng)


def _befalls(effect: Effect, feature: Feature, session: Session, since: timedelta) -> bool:
    where = effect.where
    return (
        effect.onset <= since
        and (effect.until is None or since < effect.until)
        and where.feature in {None, feature.name}
        and where.source in {None, feature.source}
        and where.tenant in {None, session.rank}
    )


def _share(effect: Effect, since: timedelta) -> float:
    """Share of the turns touched, linear from the onset to the end of the ramp."""
    first, last = effect.share
    if not effect.ramp:
        return last
    return first + (last - first) * min((since - effect.onset) / effect.ramp, 1.0)


def write_ndjson(emissions: Iterable[Emission], path: Path, labels: Path | None = None) -> int:
    """Write the events to `path`, one a line, packed when its name ends in `.gz`.

    Args:
        emissions: what to write, as a `Simulation` gives it.
        path: file of the events.
        labels: file of the truth, one line for each event that an effect touched.

    Returns:
        Number of events.
    """
    opened = gzip.open if path.suffix == ".gz" else open
    count = 0
    truth: list[dict[str, object]] = []
    with opened(path, "wb") as out:
        for count, emission in enumerate(emissions, 1):
            out.write(emission.value + b"\n")
            if emission.cause is not None and labels is not None:
                truth.append({"line": count, "time": emission.time, "cause": emission.cause})
    if labels is not None:
        labels.write_bytes(b"".join(_encode(one) + b"\n" for one in truth))
    return count


class SimulatedSource:
    """A simulation as a source: finite, a few partitions, deterministic in its seed."""

    finite = True

    def __init__(self, simulation: Simulation, *, max_records: int = 2000) -> None:
        self.simulation = simulation
        self._max_records = max_records
        name = simulation.scenario.name
        begin = simulation.start.isoformat()
        self._partitions = [
            Partition(f"simulated:{name}", f"{name}/{simulation.seed}/{begin}", number)
            for number in range(simulation.partitions)
        ]
        self._ends: list[int] | None = None
        self._assigned = self._paused = self._closed = False
        self._positions: dict[int, int] = {}
        self._begin_again()

    def _begin_again(self) -> None:
        self._log: Iterator[Emission] = iter(self.simulation)
        self._heads = [0] * len(self._partitions)
        self._ended = False

    def poll(self, timeout_s: float) -> list[SourceEvent]:  # noqa: ARG002 - it never has to wait
        """The next records of every partition that was started; nothing until all of them were."""
        if not self._assigned:
            self._assigned = True
            return [Assigned(tuple(self._partitions))]
        if self._paused or self.exhausted or len(self._positions) < len(self._partitions):
            return []
        batches: list[list[Record]] = [[] for _ in self._partitions]
        taken = 0
        while taken < self._max_records:
            emission = next(self._log, None)
            if emission is None:
                self._ended = True
                break
            number = emission.partition
            offset = self._heads[number]
            self._heads[number] = offset + 1
            if offset >= self._positions[number]:
                taken += 1
                stamp = int(emission.time * 1000)
                batches[number].append(Record(offset, emission.value, stamp))
        chunks: list[SourceEvent] = []
        for partition, records in zip(self._partitions, batches, strict=True):
            if records:
                after = records[-1].offset + 1
                self._positions[partition.number] = after
                chunks.append(Chunk(partition, records, after))
        return chunks

    def start(self, partition: Partition, offset: int | None) -> None:
        """Read `partition` from `offset` on; the simulation is made again up to there."""
        self._positions[partition.number] = offset or 0
        self._begin_again()

    def pause(self) -> None:
        """Stop handing out."""
        self._paused = True

    def resume(self) -> None:
        """Go on."""
        self._paused = False

    def lags(self) -> list[Lag]:
        """Position and end of each partition; the first call plays the whole simulation once."""
        if self._ends is None:
            self._ends = [0] * len(self._partitions)
            for emission in self.simulation:
                self._ends[emission.partition] += 1
        return [
            Lag(partition, self._positions.get(partition.number, 0), self._ends[partition.number])
            for partition in self._partitions
        ]

    def topology(self) -> Topology:
        """The partitions of the simulated topic."""
        first = self._partitions[0]
        return Topology(first.topic, first.topic_id, tuple(p.number for p in self._partitions))

    @property
    def exhausted(self) -> bool:
        """True when everything was handed out."""
        return self._ended

    def close(self) -> None:
        """Nothing is held open."""
