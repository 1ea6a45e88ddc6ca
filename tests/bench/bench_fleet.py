"""Fleets and births: one loud tenant, a weak shock on all, and the first week of a new series.

    python -m tests.bench.bench_fleet --tools DIR [--seeds 3] [--first 201] [--worlds 6]

DIR holds the scenario generator and the scoring (`rate_scenarios.py`, `rate_scoring.py`). A world
is a parent, its children and the pool of its children, all with the settings that are shipped; it
pages when one of them crosses its threshold. One factor on all thresholds brings the false pages of
both kinds of quiet worlds together to 0.25 a world-week; what the thresholds as shipped give is
beside it. New series are born at their own time of the week among two established siblings of
their class.
QUICK=1 takes one seed and few worlds. The last line is JSON.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from detectors.burst import BurstConfig, Bursts
from detectors.columns import Floats, Ints
from detectors.pool import Pool
from detectors.profiles import CHILDREN, PAGE, PAGE_FLEETS
from detectors.rate import RateBank

BUDGET = 0.25
"""False pages in a world-week."""
BIRTH_BUDGET = 0.1
"""False pages in the first week of a series."""
MINUTE = 60
DAY = 1_440
WEEK = 7 * DAY


@dataclass(frozen=True, slots=True)
class Tools:
    """The generator and the scoring."""

    scenarios: Any
    scoring: Any


@dataclass(frozen=True, slots=True)
class Heard:
    """Scores over their thresholds: shape (worlds, buckets); at 1 a world pages."""

    parent: Floats
    child: Floats
    pool: Floats
    warm: int
    events: list[dict[str, Any]]

    @property
    def world(self) -> Floats:
        """The furthest of the three."""
        return np.maximum(np.maximum(self.parent, self.child), self.pool)

    @property
    def weeks(self) -> float:
        """World-weeks that count."""
        return float(len(self.parent) * (self.parent.shape[1] - self.warm) / WEEK)


def load(tools: Path) -> Tools:
    """Import the generator and the scoring from where they lie."""
    sys.path.insert(0, str(tools))
    scenarios, scoring = (
        importlib.import_module(f"rate_{one}") for one in ("scenarios", "scoring")
    )
    return Tools(scenarios, scoring)


def listen(scene: Mapping[str, Any]) -> Heard:
    """Judge worlds, shape (worlds, children, buckets), minute by minute."""
    k, n = scene["K"], scene["N"]
    worlds, children, buckets = k.shape
    parents, leaves = RateBank(PAGE), RateBank(CHILDREN)
    bursts, pool = Bursts(BurstConfig()), Pool(PAGE_FLEETS)
    names = [str(world) for world in range(worlds)]
    ids = [f"{world}/{child:02}" for world in range(worlds) for child in range(children)]
    for one in ids:
        pool.add(one, one.split("/")[0])
    heard = {name: np.zeros((worlds, buckets), np.float32) for name in ("parent", "child", "pool")}
    whole = [np.ascontiguousarray(one.sum(axis=1).T) for one in (k, n)]
    parts = [np.ascontiguousarray(one.reshape(-1, buckets).T) for one in (k, n)]
    for at in range(buckets):
        start = at * MINUTE
        parent = parents.step(start, MINUTE, names, whole[0][at], whole[1][at])
        leaf = leaves.step(start, MINUTE, ids, parts[0][at], parts[1][at])
        latest = leaves.latest
        assert latest is not None
        burst = bursts.step(leaves.ids, latest)
        pool.step(leaves.ids, latest)
        heard["parent"][:, at] = parent.score / parent.threshold
        far = np.maximum(leaf.score / leaf.threshold, burst.score / burst.threshold)
        heard["child"][:, at] = far.reshape(worlds, -1).max(axis=1)
        heard["pool"][:, at] = list(pool.scores().values())
    heard["pool"] /= PAGE_FLEETS.threshold
    return Heard(**heard, warm=scene["warm"], events=scene["events"])


def worlds_of(tools: Tools, seed: int, worlds: int) -> dict[str, Heard]:
    """Quiet and shaken worlds of both kinds."""
    make = tools.scenarios
    return {
        "tenants_quiet": listen(make.tenants(n_worlds=worlds, seed=seed, incident=False)),
        "tenants": listen(make.tenants(n_worlds=worlds, seed=seed)),
        "correlated_quiet": listen(
            make.correlated(n_worlds=worlds, seed=seed, mult=1.2, incident=False)
        ),
        "correlated": listen(make.correlated(n_worlds=worlds, seed=seed, mult=1.2)),
    }


def found(tools: Tools, score: Floats, threshold: float, events: list[dict[str, Any]]) -> Floats:
    """Delays in minutes; infinite where missed."""
    return np.concatenate(list(tools.scoring.delays(score, threshold, events).values()))


def false_pages(tools: Tools, score: Floats, threshold: float, warm: int) -> int:
    """Pages of quiet worlds."""
    return sum(len(tools.scoring.pages(one, threshold, warm)) for one in score)


def fleet_row(tools: Tools, sets: list[dict[str, Heard]]) -> dict[str, Any]:
    """What one configuration finds in both kinds of worlds at the budget, and as shipped."""
    quiet = [heard for one in sets for name, heard in one.items() if name.endswith("_quiet")]
    warm, weeks = quiet[0].warm, sum(one.weeks for one in quiet)
    every = np.concatenate([one.world for one in quiet])
    factor = tools.scoring.calibrate(every, warm, BUDGET * weeks)
    row: dict[str, Any] = {"world_weeks": weeks, "factor": float(factor)}
    for label, at in (("at_budget", factor), ("as_shipped", 1.0)):
        told: dict[str, Any] = {"false_per_world_week": false_pages(tools, every, at, warm) / weeks}
        for kind in ("tenants", "correlated"):
            delays = np.concatenate([found(tools, s[kind].world, at, s[kind].events) for s in sets])
            calm = [s[f"{kind}_quiet"] for s in sets]
            many = sum(false_pages(tools, one.world, at, warm) for one in calm)
            told[kind] = {
                "incidents": len(delays),
                "found": float(np.isfinite(delays).mean()),
                "median_min": float(np.median(delays)),
                "false_per_world_week": many / sum(one.weeks for one in calm),
            }
        told["by_part"] = {
            part: sum(false_pages(tools, getattr(one, part), at, warm) for one in quiet) / weeks
            for part in ("parent", "child", "pool")
        }
        row[label] = told
    return row


def births(tools: Tools, seed: int, split: str, *, incident: bool) -> tuple[Any, Ints]:
    """New series, and at which minute of the week each is born (the generator's first draw)."""
    scene = tools.scenarios.launch(split, incident, seed=seed)
    rows = range(len(scene["K"]))
    born = [
        int(np.random.default_rng([seed, int(incident), row]).integers(0, WEEK)) for row in rows
    ]
    return scene, np.array(born)


def established(tools: Tools, seed: int, split: str) -> tuple[bytes, int]:
    """A bank that has seen two quiet weeks of two series of each class, and its next minute."""
    scene = tools.scenarios.grid(split, "null", weeks=2, warm_weeks=2, reps=2, seed=seed + 1_000)
    bank = RateBank(PAGE)
    ids = [f"{row // 2}/old{row % 2}" for row in range(len(scene["K"]))]
    k, n = np.ascontiguousarray(scene["K"].T), np.ascontiguousarray(scene["N"].T)
    for at in range(len(k)):
        bank.step(at * MINUTE, MINUTE, ids, k[at], n[at])
    return bank.snapshot(), len(k)


def first_week(
    bank: RateBank, begin: int, scene: Any, born: Ints, *, inherit: bool = True
) -> tuple[Floats, Floats]:
    """Score over threshold, and firing, of each new series in its own time: (series, week)."""
    k, n = scene["K"], scene["N"]
    rows, buckets = k.shape
    score, firing = np.zeros(k.shape, np.float32), np.zeros(k.shape, np.float32)
    ids = np.array([f"{row // 3}/new{row % 3}" for row in range(rows)])
    for at in range(int(born.max()) + buckets):
        age = at - born
        for row in np.flatnonzero(age == 0):
            like = [one for one in bank.ids if one.startswith(f"{row // 3}/old")]
            bank.bear(str(ids[row]), like if inherit else ())
        live = np.flatnonzero((age >= 0) & (age < buckets))
        t = age[live]
        start = (begin + at) * MINUTE
        told = bank.step(start, MINUTE, ids[live].tolist(), k[live, t], n[live, t])
        score[live, t] = told.score / told.threshold
        firing[live, t] = told.firing
    return score, firing


def launch_row(tools: Tools, seeds: list[int], split: str = "test") -> dict[str, Any]:
    """What is found of x3 steps in the first week of a new series, at a budget and as shipped."""
    calm: list[Floats] = []
    quiet: list[Floats] = []
    shaken: list[tuple[Floats, Floats, list[dict[str, Any]]]] = []
    for seed in seeds:
        snapshot, begin = established(tools, seed, split)
        scene, born = births(tools, seed, split, incident=False)
        score, firing = first_week(RateBank.restore(snapshot), begin, scene, born)
        calm.append(score)
        quiet.append(firing)
        scene, born = births(tools, seed, split, incident=True)
        found_in = first_week(RateBank.restore(snapshot), begin, scene, born)
        shaken.append((*found_in, scene["events"]))
    scores, states = np.concatenate(calm), np.concatenate(quiet)
    factor = tools.scoring.calibrate(scores, 0, BIRTH_BUDGET * len(scores))
    delays = [found(tools, score, factor, events) for score, _, events in shaken]
    shipped = [found(tools, firing, 0.5, events) for _, firing, events in shaken]
    return {
        "series": len(scores),
        "factor": float(factor),
        **_told(tools, scores, factor, np.concatenate(delays)),
        "as_shipped": _told(tools, states, 0.5, np.concatenate(shipped)),
    }


def _told(tools: Tools, score: Floats, threshold: float, delays: Floats) -> dict[str, float]:
    pages = [tools.scoring.pages(one, threshold) for one in score]
    return {
        "false_day_1": float(np.mean([(one < DAY).sum() for one in pages])),
        "false_week_1": float(np.mean([len(one) for one in pages])),
        "found": float(np.isfinite(delays).mean()),
        "median_min": float(np.median(delays)),
    }


def measure(tools: Tools, seeds: list[int], worlds: int) -> dict[str, Any]:
    """Everything, for another bench to print too."""
    sets = [worlds_of(tools, seed, worlds) for seed in seeds]
    return {"fleet": fleet_row(tools, sets), "launch": launch_row(tools, seeds)}


def finite(value: Any) -> Any:
    """`value` for JSON: what was never found has no delay."""
    if isinstance(value, dict):
        return {key: finite(one) for key, one in value.items()}
    return None if isinstance(value, float) and not np.isfinite(value) else value


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tools", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--first", type=int, default=201)
    parser.add_argument("--worlds", type=int, default=6)
    args = parser.parse_args()
    quick = bool(os.environ.get("QUICK"))
    seeds = [args.first + one for one in range(1 if quick else args.seeds)]
    began = time.perf_counter()
    row = measure(load(args.tools), seeds, 2 if quick else args.worlds)
    for name in ("at_budget", "as_shipped"):
        told = row["fleet"][name]
        print(f"{name}: {told['false_per_world_week']:.3f} false pages/world-week")
        for kind in ("tenants", "correlated"):
            one = told[kind]
            print(
                f"  {kind:10} {one['incidents']} incidents, found {100 * one['found']:.1f} %, "
                f"median {one['median_min']:.0f} min, false {one['false_per_world_week']:.3f}"
            )
    for name, one in (("at_budget", row["launch"]), ("as_shipped", row["launch"]["as_shipped"])):
        print(
            f"launch {name}: {row['launch']['series']} series, "
            f"false {one['false_week_1']:.3f} in week 1 ({one['false_day_1']:.3f} on day 1), "
            f"x3 found {100 * one['found']:.1f} %, median {one['median_min']:.0f} min"
        )
    print(f"{time.perf_counter() - began:.0f} s")
    print(json.dumps(finite(row), allow_nan=False))


if __name__ == "__main__":
    main()
