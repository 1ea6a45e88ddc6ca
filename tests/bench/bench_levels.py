"""How often a level is noted for nothing, and how soon for something: simulated weeks.

    python -m tests.bench.bench_levels --tools DIR [--weeks 5] [--seed 7]

DIR holds `rate_scenarios.py`. Quiet series (seasons, trends, surges, gaps, releases of +-10 %) give
the notes a series-week; the same with their rate multiplied for good from the middle on give the
share that is noted, the median delay and the error of the onset. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

from detectors.drift import LevelDetector

Note = tuple[int, int]
"""Minute at which it was noted, and minute of its onset."""


def noted(k: Any, n: Any) -> list[Note]:
    """The notes on one series; k and n by minute."""
    detector, found = LevelDetector(), []
    for minute in np.flatnonzero(n).tolist():
        detector.learn_one({"t": 60 * minute, "k": float(k[minute]), "n": float(n[minute])})
        if detector.change is not None:
            found.append((minute, detector.change.onset // 60))
    return found


def moved(k: Any, n: Any, times: float, rng: np.random.Generator) -> Any:
    """The series with its rate multiplied from the middle on."""
    half = len(k) // 2
    late = np.minimum(n[half:], rng.poisson(k[half:] * times))
    return np.concatenate([k[:half], late])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tools", type=Path, required=True)
    parser.add_argument("--weeks", type=int, default=5)
    parser.add_argument("--seed", type=int, default=7)
    options = parser.parse_args()
    sys.path.insert(0, str(options.tools))
    import rate_scenarios  # type: ignore[import-not-found] # lies in the folder that is named

    quiet = rate_scenarios.grid("test", "null", weeks=options.weeks, reps=1, seed=options.seed)
    counts = [len(noted(k, n)) for k, n in zip(quiet["K"], quiet["N"], strict=True)]
    result: dict[str, Any] = {
        "notes_per_series_week": sum(counts) / len(counts) / options.weeks,
        "most_of_one_series": max(counts),
    }
    rng = np.random.default_rng(options.seed)
    for times in (1.5, 2.0):
        weeks = rate_scenarios.grid("test", "null", weeks=2, reps=1, seed=options.seed + 1)
        half = weeks["K"].shape[1] // 2
        first = [
            next((note for note in noted(moved(k, n, times, rng), n) if note[0] >= half), None)
            for k, n in zip(weeks["K"], weeks["N"], strict=True)
        ]
        late = [np.inf if one is None else (one[0] - half) / 60 for one in first]
        result[f"x{times:g}"] = {
            "noted": float(np.isfinite(late).mean()),
            "median_delay_h": float(np.median(late)),
            "onset_error_h": float(np.median([abs(o[1] - half) / 60 for o in first if o])),
        }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
