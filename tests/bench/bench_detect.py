"""`make bench-detect`: detection at an equal budget of false pages, against its goals.

    python -m tests.bench.bench_detect --tools DIR [--data DIR]

DIR of `--tools` holds the scenario generator and the scoring (`rate_scenarios.py`,
`rate_scoring.py`), that of `--data` the test data. QUICK=1 takes a slice of each part: one seed,
one week, which shows that it runs and little else; the whole takes about two hours on two cores.
DETECT=heldout,launch runs only these parts. Each part is a module of `tests/bench/detect` with
`run(study, report)`; one that cannot run here is named, with the reason. Lines that begin with
`beside` have no goal. The last line is one JSON object. The exit status is 1 where a goal is
missed.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import sys
import time
from pathlib import Path

from tests.bench.detect.report import NotRunError, Report
from tests.bench.detect.study import Study, make, say

PARTS = (
    "heldout",
    "rivers",
    "surveillance",
    "carried",
    "widths",
    "effects",
    "small_budget",
    "worlds",
    "launch",
    "attribution",
    "agentdojo",
    "cost",
)


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(one) for one in text.split(","))


def main() -> int:
    """Run the parts; the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tools", type=Path, default=Path("../shared/tools"))
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("DATA", "../shared/data")))
    parser.add_argument("--seeds", type=_numbers, default=(7, 21, 42))
    parser.add_argument("--reps", type=int, default=2, help="copies of each cell of the grid")
    args = parser.parse_args()
    wanted = [name for name in os.environ.get("DETECT", "").split(",") if name] or list(PARTS)
    unknown = sorted(set(wanted) - set(PARTS))
    if unknown:
        parser.error(f"no part {', '.join(unknown)}; known: {', '.join(PARTS)}")
    try:
        study = make(args.tools, args.data, args.seeds, args.reps)
    except NotRunError as reason:
        parser.error(str(reason))
    report = Report()
    size = {"quick": study.quick, "seeds": list(study.seeds), "parts": wanted}
    try:
        for name in wanted:
            _run(name, study, report)
    finally:  # what was found in an hour is not lost to what broke then
        for line in report.table():
            print(line)
        print(json.dumps({**size, **report.last_line()}, allow_nan=False), flush=True)
    return 1 if any(not row.met for row in report.rows) else 0


def _run(name: str, study: Study, report: Report) -> None:
    say(f"{name} begins")
    began = time.monotonic()
    try:
        importlib.import_module(f"tests.bench.detect.{name}").run(study, report)
    except ModuleNotFoundError as absent:
        report.not_run[name] = f"no module {absent.name}"
    except NotRunError as reason:
        report.not_run[name] = str(reason)
    say(f"{name} ended after {time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    sys.exit(main())
