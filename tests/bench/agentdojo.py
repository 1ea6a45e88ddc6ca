"""Real agent runs (AgentDojo) as a stream: quiet weeks, attacks and model swaps, the truth aside.

There are few benign tasks a pipeline, so load is drawn from them with replacement; the runs have no
timestamps, so arrivals are a seeded Poisson process under a day's and a week's curve.
`python -m tests.bench.agentdojo` prints the rates of the runs.
"""

from __future__ import annotations

import argparse
import heapq
import json
import os
import random
import zlib
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal

import msgspec

from monitor.stream.event import DATASCHEMA, Interaction
from monitor.stream.sections import Actor
from monitor.stream.sources.simulate import PARTITIONS, START, Emission, traffic_level
from monitor.stream.sources.turns import event_id, pseudonym
from tests.bench.agentdojo_runs import GPT4O, INJECTION_PREFIX, Corpus, Run, find_data

SUITES = ("banking", "slack", "travel", "workspace")
TENANTS = 12
_encode = msgspec.json.Encoder().encode


@dataclass(frozen=True, slots=True)
class Truth:
    """What was done to a replay, and when."""

    kind: Literal["quiet", "attack", "model_swap"]
    onset: datetime | None = None
    attack: str | None = None
    mix: tuple[float, float] = (0.0, 0.0)
    """Share of attacked turns at the onset and after the ramp, among those it aims at."""
    ramp: timedelta = timedelta(0)
    tenant: int | None = None
    feature: str | None = None
    pipeline: str = GPT4O
    to_pipeline: str | None = None


@dataclass(frozen=True)
class Replay:
    """A stream of events drawn from the corpus; iterate as often as you like, it is the same.

    `Emission.cause` is `harmful` for an attacked turn that reached its goal, `attacked` for one
    that did not, `swapped` for a benign turn under the new model, and None for the rest.
    """

    corpus: Corpus
    truth: Truth
    seed: int
    days: float
    per_day: float
    """Mean number of turns a day, all features together."""
    start: datetime = START
    daily: float = 0.6
    weekend: float = 0.7
    signals: bool = False
    partitions: int = PARTITIONS
    features: tuple[str, ...] = SUITES

    def __iter__(self) -> Iterator[Emission]:
        streams = [self._feature(place, name) for place, name in enumerate(self.features)]
        for _, _, emission in heapq.merge(*streams, key=lambda one: one[:2]):
            yield emission

    @property
    def end(self) -> datetime:
        """Where it ends."""
        return self.start + timedelta(days=self.days)

    def tenant(self, rank: int) -> str:
        """The pseudonym of a tenant."""
        return pseudonym("t_", self.seed, rank)

    def _feature(self, place: int, feature: str) -> Iterator[tuple[float, int, Emission]]:
        """One feature's turns, thinned from a Poisson process at the peak's rate."""
        rng = random.Random(f"{self.seed}/{feature}/{self.truth.kind}")
        tenants = [self.tenant(rank) for rank in range(TENANTS)]
        mean = (5 + 2 * self.weekend) / 7 * (1 - self.daily / 2)
        peak = self.per_day / len(self.features) / 86_400 / mean
        at, end = self.start.timestamp(), self.end.timestamp()
        sequence = 0
        while True:
            at += rng.expovariate(peak)
            if at >= end:
                return
            if rng.random() >= traffic_level(at, self.daily, self.weekend):
                continue
            sequence += 1
            conversation = f"c_{rng.getrandbits(64):016x}"
            rank = zlib.crc32(conversation.encode()) % TENANTS
            run, cause = self._draw(at, feature, rank, rng)
            event = Interaction(
                id=event_id(at, rng),
                source=f"//agentdojo/{feature}",
                time=datetime.fromtimestamp(at, UTC),
                dataschema=DATASCHEMA,
                partitionkey=tenants[rank],
                sequence=f"{sequence:016d}",
                data=msgspec.structs.replace(
                    self.corpus.data(run, signals=self.signals),
                    actor=Actor(
                        tenant=tenants[rank],
                        conversation=conversation,
                        turn=1,
                        pseudonym_key_id="k2026q4",
                    ),
                ),
            )
            partition = zlib.crc32(tenants[rank].encode()) % self.partitions
            yield at, place, Emission(at, partition, _encode(event), cause)

    def _draw(
        self, at: float, feature: str, rank: int, rng: random.Random
    ) -> tuple[Run, str | None]:
        """The run of one turn, and what the truth did to it."""
        truth = self.truth
        since = at - truth.onset.timestamp() if truth.onset is not None else -1.0
        pipeline, cause = truth.pipeline, None
        if since >= 0 and truth.kind == "model_swap" and truth.to_pipeline is not None:
            pipeline, cause = truth.to_pipeline, "swapped"
        if (
            since >= 0
            and truth.attack is not None
            and truth.feature in {None, feature}
            and truth.tenant in {None, rank}
        ):
            first, last = truth.mix
            ramp = truth.ramp.total_seconds()
            share = first + (last - first) * (min(since / ramp, 1.0) if ramp else 1.0)
            if rng.random() < share:
                run = rng.choice(self.corpus.attacked[truth.attack, feature, pipeline])
                return run, "harmful" if run.harmful else "attacked"
        return rng.choice(self.corpus.benign[feature, pipeline]), cause


def quiet(
    corpus: Corpus, *, seed: int, days: float = 28, per_day: float = 5000, pipeline: str = GPT4O
) -> Replay:
    """Weeks in which nothing happens."""
    return Replay(corpus, Truth("quiet", pipeline=pipeline), seed, days, per_day)


def attack(
    corpus: Corpus,
    *,
    seed: int,
    attack: str = "important_instructions",
    mix: tuple[float, float] = (0.02, 0.30),
    ramp: timedelta = timedelta(hours=12),
    quiet_days: float = 2,
    days: float = 3,
    per_day: float = 5000,
    tenant: int | None = 0,
    feature: str = "banking",
    pipeline: str = GPT4O,
) -> Replay:
    """Quiet days, then an attack on one tenant (or all) of one feature, its share rising.

    Raises:
        KeyError: the corpus has no such attack on this feature and pipeline.
    """
    if not corpus.attacked.get((attack, feature, pipeline)):
        raise KeyError(f"no runs of {attack} on {feature} under {pipeline}")
    onset = START + timedelta(days=quiet_days)
    truth = Truth("attack", onset, attack, mix, ramp, tenant, feature, pipeline)
    return Replay(corpus, truth, seed, days, per_day)


def model_swap(
    corpus: Corpus,
    *,
    seed: int,
    pipeline: str = GPT4O,
    to: str = "claude-3-haiku-20240307",
    quiet_days: float = 2,
    days: float = 4,
    per_day: float = 5000,
) -> Replay:
    """Quiet days, then another model everywhere; nobody attacks."""
    onset = START + timedelta(days=quiet_days)
    truth = Truth("model_swap", onset, pipeline=pipeline, to_pipeline=to)
    return Replay(corpus, truth, seed, days, per_day)


def rates(corpus: Corpus) -> dict[str, dict[str, float]]:
    """Shares per interaction: benign and by attack, for gpt-4o and for all pipelines."""
    groups: dict[str, dict[str, list[Run]]] = {
        "gpt-4o": defaultdict(list),
        "all": defaultdict(list),
    }
    for run in corpus.runs:
        if run.line.task.startswith(INJECTION_PREFIX):
            continue
        name = run.attack or "none"
        groups["all"][name].append(run)
        if run.line.pipeline == GPT4O:
            groups["gpt-4o"][name].append(run)
    return {
        f"{group} {name}": {
            "runs": len(runs),
            "out_of_set": round(sum(map(corpus.out_of_set, runs)) / len(runs), 4),
            "refusal_text": round(sum(run.line.refusal_text > 0 for run in runs) / len(runs), 4),
            "tool_errors": round(sum(len(run.line.tool_errors) for run in runs) / len(runs), 4),
            "harmful": round(sum(run.harmful for run in runs) / len(runs), 4),
        }
        for group, by_name in groups.items()
        for name, runs in sorted(by_name.items())
    }


def main() -> None:
    """Print the rates of the corpus; the last line is JSON."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--data", help="folder of test data (default: DATA, or ../shared/data)")
    data = parser.parse_args().data
    if data:
        os.environ["DATA"] = data
    folder = find_data()
    if folder is None:
        print("no agentdojo data: set DATA to the folder of test data")
        return
    table = rates(Corpus.load(folder))
    for name, row in table.items():
        print(f"{name:55}", "  ".join(f"{key} {value:g}" for key, value in row.items()))
    print(json.dumps(table))


if __name__ == "__main__":
    main()
