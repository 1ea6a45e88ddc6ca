"""Beside the product: tests that take one interaction after the other and know the true rate.

Each is set to one false alarm in `STUDY_BUDGET` quiet interactions on the pool it is played on.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from detectors.columns import Bools, Floats
from detectors.profiles import PAGE
from detectors.sequential import nb_llr, sr_step
from monitor.stream.signals import default_signals, plan
from tests.bench.agentdojo_counts import Counts, Pool
from tests.bench.agentdojo_runs import Corpus

MIXES = (0.10, 0.20, 0.50)
STUDY_BUDGET = 70_000
"""Quiet interactions to a false alarm: 6 alarms in 400,000 were counted."""
LONGEST = 3_000
"""Interactions after which an attack counts as missed."""
Stepper = Callable[[Floats, Bools], Floats]
"""From the statistic and whether each interaction counts to the statistic after it."""


def cusum(quiet: float, moved: float) -> Stepper:
    """Bernoulli CUSUM for a rise from `quiet` to `moved`."""
    hit, miss = np.log(moved / quiet), np.log((1 - moved) / (1 - quiet))

    def step(s: Floats, x: Bools) -> Floats:
        stepped: Floats = np.maximum(0.0, s + np.where(x, hit, miss))
        return stepped

    return step


def sequential(quiet: float) -> Stepper:
    """The product's test with the true baseline, fed single interactions: (ratios, worlds)."""
    ratios = np.array(PAGE.ratios)[:, None]
    null = np.full_like(ratios, quiet * (1 + PAGE.slack))
    moved = np.minimum(quiet * ratios, 0.9)
    none = np.zeros_like(ratios)
    hit, miss = (nb_llr(none + x, null, moved, none) for x in (1.0, 0.0))

    def step(s: Floats, x: Bools) -> Floats:
        llr = np.where(x, hit, miss)
        return sr_step(s, llr, np.full_like(llr, np.inf), np.ones_like(llr, np.bool_))

    return step


@dataclass(frozen=True, slots=True)
class Single:
    """A statistic over one flag of each interaction, without buckets."""

    step: Stepper
    rows: int
    """How many statistics run side by side; the largest is what counts."""
    start: float


def singly(one: Single, hits: Bools, pool: Pool, mix_draws: int, seed: int) -> list[float]:
    """Median delays at one false alarm in `STUDY_BUDGET` quiet interactions."""
    rng = np.random.default_rng([seed, 77])
    threshold, state = calibrated(one, hits, pool, rng)
    medians = []
    for mix in MIXES:
        s = state[:, rng.integers(0, state.shape[1], mix_draws)]
        found = np.full(mix_draws, np.inf)
        for at in range(1, LONGEST + 1):
            drawn = pool.draw(rng, mix_draws, rng.random(mix_draws) < mix)
            s = one.step(s, hits[drawn])
            found = np.where((s.max(axis=0) >= threshold) & np.isinf(found), at, found)
            if np.isfinite(found).all():
                break
        medians.append(float(np.median(found)))
    return medians


def calibrated(
    one: Single, hits: Bools, pool: Pool, rng: np.random.Generator, worlds: int = 1_000
) -> tuple[float, Floats]:
    """The threshold for the budget, and states of worlds that are quiet below it."""
    steps = 2 * STUDY_BUDGET // 100
    low, high = 2.0, 14.0
    flags = hits[pool.draw(rng, steps * worlds)].reshape(steps, worlds)
    wanted = steps * worlds / STUDY_BUDGET
    state = np.full((one.rows, worlds), one.start)
    for _ in range(12):
        threshold = (low + high) / 2
        state = np.full((one.rows, worlds), one.start)
        alarms = 0
        for at in range(steps):
            state = one.step(state, flags[at])
            over = state.max(axis=0) >= threshold
            if over.any():
                alarms += int(over.sum())
                state[:, over] = one.start
        low, high = (threshold, high) if alarms > wanted else (low, threshold)
    return high, state


def beside(corpus: Corpus, pool: Pool, draws: int, seed: int) -> dict[str, list[float]]:
    """Median delays of what knows the true rate and has no buckets."""
    chosen = plan(default_signals())
    counts = Counts(corpus, pool, chosen, [one for one in chosen.rates() if one.each is None])
    table = {}
    for signal in ("tool_misuse", "acting_tool_misuse"):
        hits = counts.column(signal)
        quiet = float(hits[: pool.benign].mean())
        moved = quiet * 0.08 / 0.028  # the study's two rates, kept in proportion
        for name, one in (
            ("cusum", Single(cusum(quiet, moved), 1, 0.0)),
            ("sequential", Single(sequential(quiet), len(PAGE.ratios), -np.inf)),
        ):
            table[f"{name}_{signal}"] = singly(one, hits, pool, draws, seed)
    return table
