"""Agent runs as the counts that the road would make of them, drawn by the million.

What one run adds to each series is asked of the road once (`Tally`); a bucket is then a sum over
the runs that were drawn. `tests/unit/test_agentdojo_detect.py` holds it against the road itself.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from detectors.columns import Bools, Floats, Ints
from monitor.stream.series import Dims
from monitor.stream.signals import Plan, Signal
from monitor.stream.tally import Tally
from tests.bench.agentdojo import SUITES
from tests.bench.agentdojo_runs import GPT4O, Corpus, Run

Part = Literal["chosen", "held_out", "all"]
ATTACK = "important_instructions"
ENVIRONMENT = "prod"


@dataclass(frozen=True, slots=True)
class Pool:
    """Runs to draw from: the benign ones first, then the attacked."""

    runs: tuple[Run, ...]
    benign: int

    @classmethod
    def of(cls, corpus: Corpus, part: Part, attack: str = ATTACK) -> Pool:
        """Benign runs of all pipelines and attacked ones of gpt-4o, as the study has them.

        A task is wholly in one half: where settings are chosen, or where they are reported.
        """
        mine = [one for one in corpus.runs if part == "all" or _half(one) == part]
        benign = [one for one in mine if one.benign]
        attacked = [one for one in mine if one.attack == attack and one.line.pipeline == GPT4O]
        return cls((*benign, *attacked), len(benign))

    def draw(self, rng: np.random.Generator, count: int, attacked: Bools | None = None) -> Ints:
        """Places of `count` runs, with replacement; attacked ones where it says so."""
        drawn = rng.integers(0, self.benign, count)
        if attacked is not None:
            drawn[attacked] = rng.integers(self.benign, len(self.runs), int(attacked.sum()))
        return drawn


def _half(run: Run) -> Part:
    odd = zlib.crc32(f"{run.line.suite}.{run.line.task}".encode()) % 2
    return "held_out" if odd else "chosen"


Name = tuple[str, Dims]
"""Signal and dimension values of a series."""


class Counts:
    """The series of some signals over a pool.

    Attributes:
        names: The series; the order of all arrays.
        hits: Shape (runs, series): whether a run counts in k.
    """

    def __init__(self, corpus: Corpus, pool: Pool, plan: Plan, signals: Sequence[Signal]) -> None:
        self._signals = {signal.name: signal for signal in signals}
        self._feature = np.array([SUITES.index(run.line.suite) for run in pool.runs])
        tally = Tally(plan)
        found: dict[Name, tuple[list[int], list[int]]] = {}
        for at, run in enumerate(pool.runs):
            for name, hit in self._of(tally, corpus, run):
                k, n = found.setdefault(name, ([], []))
                n.append(at)
                if hit:
                    k.append(at)
        self.names: tuple[Name, ...] = tuple(sorted(found))
        shape = (len(pool.runs), len(self.names))
        self.hits: Bools = np.zeros(shape, np.bool_)
        self._seen: Bools = np.zeros(shape, np.bool_)
        for column, name in enumerate(self.names):
            k, n = found[name]
            self.hits[k, column] = self._seen[n, column] = True

    def _of(self, tally: Tally, corpus: Corpus, run: Run) -> list[tuple[Name, bool]]:
        """What one run adds to: the series, and whether to its k as well."""
        plan, data, feature = tally.plan, corpus.data(run), run.line.suite
        slots = set(tally.base("interaction", data))
        found: list[tuple[Name, bool]] = [
            ((name, dims), plan.numerators[name] in slots)
            for name, signal in self._signals.items()
            if signal.each is None and plan.denominators[name] in slots
            for dims in ((ENVIRONMENT,), (ENVIRONMENT, feature))
        ]
        found += [
            ((name, (ENVIRONMENT, feature, value)), bool(k))
            for name, _, value, k, _ in tally.narrow("interaction", data)
            if name in self._signals
        ]
        return found

    def column(self, signal: str) -> Bools:
        """Which runs count in the k of a signal, of the whole environment."""
        hits: Bools = self.hits[:, self.names.index((signal, (ENVIRONMENT,)))]
        return hits

    def sums(self, drawn: Ints, bucket: Ints, buckets: int) -> tuple[Floats, Floats]:
        """K and n, each of shape (buckets, series).

        Args:
            drawn: a run for each interaction.
            bucket: the bucket of each.
            buckets: how many there are.
        """
        k, n = (np.zeros((buckets, len(self.names))) for _ in range(2))
        turns = [
            np.bincount(bucket[self._feature[drawn] == place], minlength=buckets)
            for place in range(len(SUITES))
        ]
        for at, (name, dims) in enumerate(self.names):
            k[:, at] = np.bincount(bucket[self.hits[drawn, at]], minlength=buckets)
            n[:, at] = np.bincount(bucket[self._seen[drawn, at]], minlength=buckets)
            signal = self._signals[name]
            if signal.each is not None and signal.n_each is None:
                # The road has n for an item's value only where the value was seen in the bucket.
                n[:, at] = np.where(n[:, at] > 0, turns[SUITES.index(dims[1])], 0)
        return k, n
