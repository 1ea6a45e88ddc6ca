"""How often the true cause of real incidents is named first, and how long naming takes.

    python -m tests.bench.bench_attribution --data DIR

DIR holds `causes.json` and a CSV a case (`min`, attributes, `value` = k, `cnt` = n). The minute of
the incident is explained against all minutes before it. The last line is JSON.
"""

from __future__ import annotations

import argparse
import csv
import json
import time
from pathlib import Path

from detectors.attribution import Cell, Values, explain


def cells(path: Path, moment: int) -> tuple[list[Cell], list[Cell]]:
    """The incident's minute, and everything before it."""
    window: list[Cell] = []
    before: list[Cell] = []
    with path.open(newline="") as lines:
        for row in csv.DictReader(lines):
            minute, k, n = (int(float(row.pop(name))) for name in ("min", "value", "cnt"))
            if minute <= moment:
                (window if minute == moment else before).append(Cell(row, k, n))
    return window, before


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    args = parser.parse_args()
    causes = json.loads((args.data / "causes.json").read_text())
    first = third = wrong = true = 0
    seconds = 0.0
    for case in causes:
        listed = case["cause"] if isinstance(case["cause"], list) else [case["cause"]]
        want: set[Values] = {tuple(sorted((d, str(v)) for d, v in one.items())) for one in listed}
        window, before = cells(args.data / f"{case['case']}.csv", case["timestamp"])
        began = time.perf_counter()
        found = [one.values for one in explain(window, before, limit=3)]
        seconds += time.perf_counter() - began
        true += len(want)
        first += len(want & set(found[:1]))
        wrong += len(set(found[:1]) - want)
        third += len(want & set(found))
    result = {
        "cases": len(causes),
        "f1_first": 2 * first / (first + wrong + true),
        "recall_at_3": third / true,
        "ms_per_case": 1e3 * seconds / len(causes),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
