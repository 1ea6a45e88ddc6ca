"""How much the rate detector finds at a given number of false pages, on simulated weeks.

    python -m tests.bench.bench_rate_quality --tools DIR [--split test] [--stress] [--reps 2]
        [--profile page] [--threshold 9.5]

DIR holds the scenario generator and the scoring (`rate_scenarios.py`, `rate_scoring.py`). Two
readings: the score swept at an equal budget of false pages (comparable with other detectors), and
the firing episodes of the profile as it is set, floors, warm-up and after-effects included.
QUICK=1 takes one copy of the grid. The last line is JSON.
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

from detectors.columns import Bools, Floats, Ints
from detectors.model import RateConfig
from detectors.profiles import profile
from detectors.rate import RateBank

BUDGETS = (0.1, 0.02)
AFTER = 240
"""Minutes after an incident in which a new episode is not yet a stray one."""


@dataclass(frozen=True, slots=True)
class Judged:
    """Scores and states, shape (series, buckets)."""

    score: Floats
    firing: Bools
    seconds: float

    def episodes(self) -> list[Ints]:
        """Per series, the buckets in which firing began."""
        begun = np.diff(self.firing.astype(np.int8), axis=1, prepend=0) == 1
        return [np.flatnonzero(row) for row in begun]


def judge(config: RateConfig, k: Ints, n: Ints, bucket_s: int = 60) -> Judged:
    """Run a bank over whole series, bucket by bucket."""
    bank = RateBank(config, bucket_s=bucket_s)
    ids = [str(row) for row in range(len(k))]
    score, firing = np.zeros(k.shape), np.zeros(k.shape, np.bool_)
    by_bucket_k, by_bucket_n = np.ascontiguousarray(k.T), np.ascontiguousarray(n.T)
    began = time.perf_counter()
    for at in range(k.shape[1]):
        verdicts = bank.step(at * bucket_s, bucket_s, ids, by_bucket_k[at], by_bucket_n[at])
        score[:, at], firing[:, at] = verdicts.score, verdicts.firing
    return Judged(score, firing, time.perf_counter() - began)


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
        f"{name:16} false {row['false_per_series_week']:.4f}/series-week  "
        f"found {100 * row['pod']:.1f} %  median {row['median_delay']:.1f} min  "
        f"stray {row['stray_per_series_week']:.3f}  {types}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tools", type=Path, required=True)
    parser.add_argument("--split", default="dev", choices=("dev", "test"))
    parser.add_argument("--stress", action="store_true")
    parser.add_argument("--reps", type=int, default=2)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--profile", default="page")
    parser.add_argument("--threshold", type=float)
    args = parser.parse_args()
    sys.path.insert(0, str(args.tools))
    scenarios, scoring = (
        importlib.import_module(f"rate_{one}") for one in ("scenarios", "scoring")
    )
    config = profile(args.profile)
    if args.threshold:
        config = replace(config, alarm=replace(config.alarm, threshold=args.threshold))
    reps = 1 if os.environ.get("QUICK") else args.reps
    setting = {"reps": reps, "stress": args.stress, "seed": args.seed}
    quiet, incidents = (scenarios.grid(args.split, one, **setting) for one in ("null", "incident"))
    null, hit = (judge(config, one["K"], one["N"]) for one in (quiet, incidents))
    rows, buckets = quiet["K"].shape
    weeks = rows * (buckets - quiet["warm"]) / scoring.WEEK
    both = {id(quiet["K"]): null.score, id(incidents["K"]): hit.score}
    result: dict[str, Any] = {"split": args.split, "series_weeks": weeks}
    for budget in BUDGETS:
        row = scoring.report(lambda k, n: both[id(k)], quiet, incidents, budget=budget)
        result[f"at_{budget}"] = row
        print(line(f"at {budget}, h {row['h']:.2f}", row))
    result["as_set"] = as_set(null, hit, incidents, weeks)
    result["threshold"] = config.alarm.threshold
    result["us_per_series_bucket"] = 1e6 * (null.seconds + hit.seconds) / (2 * rows * buckets)
    print(line(f"as set, h {config.alarm.threshold}", result["as_set"]))
    print(f"false pages in the {rows} series' warm-up: {result['as_set']['false_in_warm_up']}")
    print(json.dumps(finite(result), allow_nan=False))


if __name__ == "__main__":
    main()
