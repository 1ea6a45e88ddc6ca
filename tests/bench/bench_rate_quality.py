"""How much the rate detector finds at a given number of false pages, on simulated weeks.

    python -m tests.bench.bench_rate_quality --tools DIR [--split test] [--seeds 7 31 32] [--reps 1]
        [--worlds plain stress] [--profile page] [--budget 0.1] [--no-oracle]

DIR holds the scenario generator and the scoring (`rate_scenarios.py`, `rate_scoring.py`). For each
seed and world three readings: the score swept at an equal budget of false pages (comparable with
other detectors), beside it the oracle's (the same test, told the true rate before any incident);
the score at the shipped threshold for the budget; and the firing episodes of the profile as it is
set, floors, warm-up and after-effects included. Under stress there is no true rate to tell.
QUICK=1 takes the first seed. The last line is JSON.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detectors.calibration import config_for, threshold_for
from detectors.columns import Bools, Floats, Ints
from detectors.model import RateConfig
from detectors.profiles import profile
from detectors.rate import RateBank

BUDGETS = (0.1, 0.02)
BUSY = 3.0
"""Expected k a minute from which a series is busy."""
AFTER = 240
"""Minutes after an incident in which a new episode is not yet a stray one."""


@dataclass(frozen=True, slots=True)
class Judged:
    """Scores and states, shape (series, buckets)."""

    score: NDArray[np.float32]
    firing: Bools
    seconds: float

    def episodes(self) -> list[Ints]:
        """Per series, the buckets in which firing began."""
        begun = np.diff(self.firing.astype(np.int8), axis=1, prepend=0) == 1
        return [np.flatnonzero(row) for row in begun]


def judge(
    config: RateConfig, k: Ints, n: Ints, bucket_s: int = 60, truth: Floats | None = None
) -> Judged:
    """Run a bank over whole series, bucket by bucket.

    Args:
        config: its settings.
        k: shape (series, buckets).
        n: the same.
        bucket_s: length of a bucket in seconds.
        truth: the true rate, which the bank is then told instead of what it learned.
    """
    bank = RateBank(config, bucket_s=bucket_s)
    if truth is not None:
        _tell(bank, truth, bucket_s)
    ids = [str(row) for row in range(len(k))]
    score, firing = np.zeros(k.shape, np.float32), np.zeros(k.shape, np.bool_)
    by_bucket_k, by_bucket_n = np.ascontiguousarray(k.T), np.ascontiguousarray(n.T)
    began = time.perf_counter()
    for at in range(k.shape[1]):
        verdicts = bank.step(at * bucket_s, bucket_s, ids, by_bucket_k[at], by_bucket_n[at])
        score[:, at], firing[:, at] = verdicts.score, verdicts.firing
    return Judged(score, firing, time.perf_counter() - began)


def _tell(bank: RateBank, truth: Floats, bucket_s: int) -> None:
    baseline = bank._baseline
    by_bucket = np.ascontiguousarray(truth.T)

    def season(start_s: int) -> Floats:
        rate, true = baseline.rate(), by_bucket[start_s // bucket_s]
        factor: Floats = np.divide(true, rate, out=np.ones_like(rate), where=rate > 0)
        return factor

    # Assigned, not inherited: an oracle knows what a baseline can only learn.
    setattr(baseline, "season", season)  # noqa: B010 - mypy forbids assigning a method
    setattr(baseline, "expected", lambda _up, _down: baseline.rate())  # noqa: B010 - as above


def as_set(null: Judged, incident: Judged, scenes: Any, weeks: float) -> dict[str, Any]:
    """What the profile's own episodes find and cost."""
    quiet, warm = null.episodes(), scenes["warm"]
    found: dict[str, list[float]] = {}
    spans: dict[int, list[tuple[int, int]]] = {}
    begun = incident.episodes()
    for event in scenes["events"]:
        start, end = event["start"], event["end"]
        mine = begun[event["series"]]
        hits = mine[(mine >= start) & (mine < end + min(60, end - start))]
        found.setdefault(event["type"], []).append(
            float(hits[0] - start + 1) if len(hits) else np.inf
        )
        spans.setdefault(event["series"], []).append((start, end + AFTER))
    stray = sum(
        all(not a <= at < b for a, b in spans.get(row, []))
        for row, mine in enumerate(begun)
        for at in mine[mine >= warm]
    )
    every = np.concatenate([np.array(one) for one in found.values()])
    return {
        "false_per_series_week": sum(int((one >= warm).sum()) for one in quiet) / weeks,
        "false_in_warm_up": sum(int((one < warm).sum()) for one in quiet),
        "pod": float(np.isfinite(every).mean()),
        "median_delay": float(np.median(every)),
        "stray_per_series_week": stray / weeks,
        "by_type": {
            name: (float(np.isfinite(one).mean()), float(np.median(one)))
            for name, one in found.items()
        },
    }


def finite(value: Any) -> Any:
    """`value` for JSON: what was never found has no delay."""
    if isinstance(value, dict):
        return {key: finite(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(one) for one in value]
    return None if isinstance(value, float) and not np.isfinite(value) else value


def line(name: str, row: dict[str, Any]) -> str:
    """One line of the table."""
    types = "  ".join(f"{k} {100 * p:.0f}/{m:.0f}" for k, (p, m) in sorted(row["by_type"].items()))
    return (
        f"{name:28} false {row['false_per_series_week']:.4f}/series-week  "
        f"found {100 * row['pod']:.1f} %  median {row['median_delay']:.1f} min  "
        f"stray {row['stray_per_series_week']:.3f}  {types}"
    )


@dataclass(frozen=True, slots=True)
class World:
    """Quiet and eventful weeks of one kind, and the tools that judge them."""

    quiet: Any
    incidents: Any
    scoring: Any

    def weeks(self) -> float:
        """Quiet series-weeks that are judged."""
        rows, buckets = self.quiet["K"].shape
        return float(rows * (buckets - self.quiet["warm"]) / self.scoring.WEEK)

    def judged(self, config: RateConfig, *, told: bool = False) -> tuple[Judged, Judged]:
        """Both, by one config."""
        k, n, truth = (np.concatenate([self.quiet[x], self.incidents[x]]) for x in "KNP")
        both = judge(config, k, n, truth=truth if told else None)
        rows = len(self.quiet["K"])
        return (
            Judged(both.score[:rows], both.firing[:rows], both.seconds),
            Judged(both.score[rows:], both.firing[rows:], both.seconds),
        )

    def report(self, pair: tuple[Judged, Judged], **at: float) -> dict[str, Any]:
        """One row of the scoring, at a budget or at a threshold `h`."""
        scores = {id(self.quiet["K"]): pair[0].score, id(self.incidents["K"]): pair[1].score}
        row: dict[str, Any] = self.scoring.report(
            lambda k, _n: scores[id(k)], self.quiet, self.incidents, **at
        )
        return row

    def busy(self, hit: Judged, h: float) -> dict[str, Any]:
        """What is found of the series with an expected k of at least `BUSY` a minute."""
        cells = self.incidents["cells"]
        busy = {row for row, one in enumerate(cells) if one["n0"] * one["p0"] >= BUSY}
        events = [one for one in self.incidents["events"] if one["series"] in busy]
        found = self.scoring.delays(hit.score, h, events)
        every = np.concatenate(list(found.values()))
        kinds = ("step2", "step3", "step5")
        return {
            "pod": float(np.isfinite(every).mean()),
            **{kind: float(np.median(found[kind])) for kind in kinds if kind in found},
        }


def measure(world: World, config: RateConfig, budget: float, *, oracle: bool) -> dict[str, Any]:
    """All readings of one world, printed as they come."""
    scored = config_for(budget)
    swept = world.judged(scored)
    rows: dict[str, Any] = {}
    for one in BUDGETS:
        rows[f"at_{one}"] = row = world.report(swept, budget=one)
        print(line(f"  at {one}, score {row['h']:.2f}", row), flush=True)
    rows["carried"] = row = world.report(swept, h=threshold_for(budget))
    print(line(f"  carried for {budget}", row), flush=True)
    rows["state"] = row = as_set(*swept, world.incidents, world.weeks())
    print(line(f"  state for {budget}", row), flush=True)
    rows["busy"] = world.busy(swept[1], threshold_for(budget))
    print(f"  busy series: {rows['busy']}", flush=True)
    if oracle:
        told = world.judged(replace(scored, doubt=0.0, season_doubt=0.0), told=True)
        for one in BUDGETS:
            rows[f"oracle_at_{one}"] = row = world.report(told, budget=one)
            print(line(f"  oracle at {one}", row), flush=True)
    rows["profile"] = row = as_set(*world.judged(config), world.incidents, world.weeks())
    print(line("  profile as set", row), flush=True)
    print(f"  false pages of the profile in the warm-up: {row['false_in_warm_up']}", flush=True)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tools", type=Path, required=True)
    parser.add_argument("--split", default="test", choices=("dev", "test"))
    parser.add_argument("--worlds", nargs="+", default=["plain", "stress"])
    parser.add_argument("--reps", type=int, default=1)
    parser.add_argument("--seeds", type=int, nargs="+", default=[7, 31, 32])
    parser.add_argument("--budget", type=float, default=0.1)
    parser.add_argument("--profile", default="page")
    parser.add_argument("--oracle", action=argparse.BooleanOptionalAction, default=True)
    args = parser.parse_args()
    sys.path.insert(0, str(args.tools))
    scenarios, scoring = (
        importlib.import_module(f"rate_{one}") for one in ("scenarios", "scoring")
    )
    result: dict[str, Any] = {"split": args.split, "reps": args.reps, "budget": args.budget}
    for seed in args.seeds[:1] if os.environ.get("QUICK") else args.seeds:
        for name in args.worlds:
            stress = name == "stress"
            quiet, incidents = (
                scenarios.grid(
                    args.split, kind, reps=args.reps, stress=stress, seed=seed, truth=True
                )
                for kind in ("null", "incident")
            )
            print(f"seed {seed}, {args.split}, {name}", flush=True)
            world = World(quiet, incidents, scoring)
            result[f"{name}_{seed}"] = measure(
                world, profile(args.profile), args.budget, oracle=args.oracle and not stress
            )
    print(json.dumps(finite(result), allow_nan=False))


if __name__ == "__main__":
    main()
