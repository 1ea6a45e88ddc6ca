"""Makes the table that `detectors/calibration.py` reads: how rare which evidence is.

    python -m tests.bench.calibrate_rate --tools DIR [--seeds 21 22] [--reps 2] [--write]

DIR holds the scenario generator (`rate_scenarios.py`). Quiet weeks of its dev grid, as the model
has them and under stress (heavy tails, random walks, blips), are judged in nats; for each kind of
count the evidence that quiet series reach at several budgets gives a straight line in the logarithm
of the budget. Under stress a budget may be overspent by the factor that is printed, no more: the
line is through the stricter of the two. --write replaces `detectors/calibrated.py`.
"""

from __future__ import annotations

import argparse
import importlib
import itertools
import json
import sys
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import detectors.calibrated
from detectors.calibration import CALIBRATED, threshold_for
from detectors.columns import Bools, Floats
from detectors.rate import RateBank

BUDGETS = (0.3, 0.1, 0.03)
EDGES = (0.0, 0.15, 0.4, 1.5, 8.0, 60.0, np.inf)
"""Bounds of the classes, in expected k a minute."""
OVERSPENT = 6.0
"""How many times its budget a quiet series may page when the world does not fit the model."""
LEAST_NATS = 5.0
"""Whatever the simulated weeks say of busy series: the real world has more in store."""
LEAST_UNIT, MOST_UNIT = 0.5, 1.0
"""Nats for a score of one: a textbook test has 1, and few pages say little about a tail."""


@dataclass(frozen=True, slots=True)
class Quiet:
    """Judged weeks in which nothing happened. Shapes (series, buckets) and (series,)."""

    nats: NDArray[np.float32]
    per_minute: Floats
    stress: Bools
    warm: int


def judge(scenes: list[dict[str, Any]], stress: list[bool]) -> Quiet:
    """Run one bank over all of it, in nats."""
    k, n = (np.ascontiguousarray(np.concatenate([one[x] for one in scenes]).T) for x in "KN")
    alarm = replace(CALIBRATED.alarm, threshold=9.0)
    bank = RateBank(replace(CALIBRATED, alarm=alarm, curve=()))
    ids = [str(row) for row in range(k.shape[1])]
    nats = np.zeros(k.shape[::-1], np.float32)
    for at in range(len(k)):
        nats[:, at] = bank.step(60 * at, 60, ids, k[at], n[at]).score
    warm = int(scenes[0]["warm"])
    rows = np.repeat(stress, [len(one["K"]) for one in scenes])
    return Quiet(nats, k[warm:].mean(axis=0), rows, warm)


def evidence(scoring: Any, quiet: Quiet, rows: Bools, budget: float) -> float:
    """Nats that these rows reach `budget` times a series-week."""
    weeks = rows.sum() * (quiet.nats.shape[1] - quiet.warm) / scoring.WEEK
    return float(scoring.calibrate(list(quiet.nats[rows]), quiet.warm, budget * weeks))


def line(scoring: Any, quiet: Quiet, rows: Bools) -> tuple[float, float]:
    """Nats at score 0 and nats for one more of score."""
    calm, wild = rows & ~quiet.stress, rows & quiet.stress
    nats = [
        max(
            LEAST_NATS,
            evidence(scoring, quiet, calm, budget),
            evidence(scoring, quiet, wild, OVERSPENT * budget),
        )
        for budget in BUDGETS
    ]
    scores = [threshold_for(budget) for budget in BUDGETS]
    unit = float(np.clip(np.polyfit(scores, nats, 1)[0], LEAST_UNIT, MOST_UNIT))
    return float(np.mean(nats) - unit * np.mean(scores)), unit


def curve(scoring: Any, quiet: Quiet) -> list[tuple[float, float, float]]:
    """The rows of `RateConfig.curve`."""
    rows = []
    for low, high in itertools.pairwise(EDGES):
        mine = (quiet.per_minute >= low) & (quiet.per_minute < high)
        if not mine.any():
            continue
        zero, unit = line(scoring, quiet, mine)
        middle = float(np.exp(np.log(quiet.per_minute[mine]).mean()))
        rows.append((round(middle, 3), round(zero, 2), round(unit, 2)))
        print(f"{mine.sum():4} series, {middle:8.3f} a minute: {zero:.2f} + {unit:.2f} score")
    return rows


def write(rows: list[tuple[float, float, float]], command: str) -> None:
    """Replace the shipped table."""
    table = "".join(f"    {row},\n" for row in rows)
    Path(detectors.calibrated.__file__).write_text(
        f'"""How rare which evidence is.\n\nMade on {datetime.now(UTC):%Y-%m-%d} by\n`{command}`\n'
        '(see there): do not edit.\n"""\n\nfrom __future__ import annotations\n\n'
        f"CURVE: tuple[tuple[float, float, float], ...] = (\n{table})\n"
        '"""Expected k a minute, nats at score 0, nats for one more of score."""\n',
        encoding="utf-8",
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tools", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[21, 22])
    parser.add_argument("--reps", type=int, default=2)
    parser.add_argument("--write", action="store_true")
    args = parser.parse_args()
    sys.path.insert(0, str(args.tools))
    scenarios, scoring = (
        importlib.import_module(f"rate_{one}") for one in ("scenarios", "scoring")
    )
    stress = [one for _ in args.seeds for one in (False, True)]
    scenes = [
        scenarios.grid("dev", "null", reps=args.reps, seed=seed, stress=one)
        for seed in args.seeds
        for one in (False, True)
    ]
    rows = curve(scoring, judge(scenes, stress))
    seeds = " ".join(map(str, args.seeds))
    if args.write:
        write(
            rows,
            f"python -m tests.bench.calibrate_rate --seeds {seeds} --reps {args.reps} --write",
        )
    print(json.dumps({"seeds": args.seeds, "reps": args.reps, "curve": rows}))


if __name__ == "__main__":
    main()
