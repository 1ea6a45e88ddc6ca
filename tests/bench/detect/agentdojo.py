"""Attacks on real agent runs: interactions until somebody is paged."""

from __future__ import annotations

from tests.bench.detect.others import last_line
from tests.bench.detect.report import Report
from tests.bench.detect.study import Study


def run(study: Study, report: Report) -> None:
    """The command of its own, with the settings as they are shipped.

    Raises:
        NotRunError: the runs are not there.
    """
    found = last_line("bench_agentdojo_detect", data=str(study.data or ""))
    report.figures["agentdojo"] = found
    shipped = found["as_shipped"]
    for mix, goal in found["goal"].items():
        report.under(f"attack mix {mix}: interactions to the page", shipped["median"][mix], goal)
    false = shipped["false_pages_in_4_weeks"]
    report.most("quiet days: false pages of a team in 4 weeks", false, 1.0)
