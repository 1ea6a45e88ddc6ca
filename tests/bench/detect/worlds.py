"""Tenants, correlated series and births: series, fleets and siblings in one configuration."""

from __future__ import annotations

from tests.bench.detect.others import last_line
from tests.bench.detect.report import Report
from tests.bench.detect.study import Study


def run(study: Study, report: Report) -> None:
    """The command of its own, at 0.25 false pages a world-week.

    Raises:
        NotRunError: it is not there, or could not run.
    """
    report.figures["worlds"] = found = last_line("bench_fleet", "--tools", str(study.tools))
    for world, pod, minutes in (("tenants", 0.99, 2), ("correlated", 0.97, 20)):
        one = found["fleet"]["at_budget"][world]
        median = _number(one["median_min"])
        report.least(f"{world} at 0.25/world-week: found", _number(one["found"]), pod, "%")
        report.most(f"{world} at 0.25/world-week: median", median, minutes, "min")
    born = found["launch"]
    report.most("week 1 among siblings: false pages", _number(born["false_week_1"]), 0.1)
    report.least("week 1 among siblings: x3 step found", _number(born["found"]), 0.8, "%")
    report.most("week 1 among siblings: median", _number(born["median_min"]), 45, "min")


def _number(value: float | None) -> float:
    """What was never found is null in JSON."""
    return float("inf") if value is None else value
