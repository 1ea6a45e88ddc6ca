"""The state at a budget as it is shipped: on held-out parameters, and where the model is wrong."""

from __future__ import annotations

from tests.bench.detect.report import Report
from tests.bench.detect.study import Study, say

BUDGET = 0.1


def run(study: Study, report: Report) -> None:
    """False pages against the budget, and what the stress set leaves to be found."""
    for name, stress in (("held-out", False), ("stress", True)):
        found = study.our_reading(stress=stress, states=True).over(0.5)
        share = found.false / BUDGET
        report.figures |= {
            f"carried_{name}_false_per_budget": share,
            f"carried_{name}_pod": found.pod,
            f"carried_{name}_median": found.median,
        }
        say(f"carried, {name}: {share:.2f} of the budget, {100 * found.pod:.1f} % found")
        what = f"state at 0.1, {name}: false pages / budget"
        if stress:
            report.most(what, share, 2.0)
            report.least("state at 0.1, stress: detected", found.pod, 0.88, "%")
            swept = study.our_reading(stress=True).at(BUDGET)
            report.figures["stress_equal_pod"] = swept.pod
            report.figures["stress_equal_median"] = swept.median
        else:
            report.most(what, share, 1.5)
            report.least(what, share, 0.5)
