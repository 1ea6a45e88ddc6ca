"""The state at a budget as it is shipped: on held-out parameters, and where the model is wrong."""

from __future__ import annotations

from detectors.calibration import config_for
from tests.bench.detect.heldout import line
from tests.bench.detect.report import Report
from tests.bench.detect.small_budget import BUDGET as SMALL_BUDGET
from tests.bench.detect.states import TYPICAL, as_paged, of_pair
from tests.bench.detect.study import Found, Reading, Study, say

BUDGET = 0.1
PAGE_BUDGET = 1 / 120
"""What `detectors.profiles.PAGE` is set to: one false page in 4 weeks of 30 series."""


def run(study: Study, report: Report) -> None:
    """False pages against the budget, and what the stress set leaves to be found."""
    for name, stress in (("held-out", False), ("stress", True)):
        found = _spent(report, "carried", name, study.our_reading(stress=stress, states=True))
        if stress:
            report.least("state at 0.1, stress: detected", found.pod, 0.88, "%")
            swept = study.our_reading(stress=True).at(BUDGET)
            report.figures["stress_equal_pod"] = swept.pod
            report.figures["stress_equal_median"] = swept.median
        small, *paged = _readings(study, stress=stress)
        _spent(report, "carried_small", name, small, SMALL_BUDGET)
        for signal, reading in zip(TYPICAL, paged, strict=True):
            _beside(report, f"carried_page_{signal}", name, reading, PAGE_BUDGET)


def _readings(study: Study, *, stress: bool) -> list[Reading]:
    """The state at the small budget, then of each typical signal as it pages; on all seeds."""
    configs = [config_for(SMALL_BUDGET), *(as_paged(signal) for signal in TYPICAL)]
    made = [Reading(study) for _ in configs]
    for seed in study.seeds:
        quiet, hit = (study.scene(kind, seed, stress=stress) for kind in ("null", "incident"))
        for reading, (calm, moved) in zip(made, of_pair(configs, quiet, hit), strict=True):
            reading.quiet.append((quiet, calm))
            reading.hit.append((hit, moved))
        say(f"carried, {'stress' if stress else 'held-out'}: states of seed {seed}")
    return made


def _spent(report: Report, key: str, name: str, reading: Reading, budget: float = BUDGET) -> Found:
    """Rows: false pages within bounds of the budget, the same bounds whatever the budget."""
    found = _beside(report, key, name, reading, budget)
    what, share = f"state at {budget:g}, {name}: false pages / budget", found.false / budget
    if name == "stress":
        report.most(what, share, 2.0)
    else:
        report.most(what, share, 1.5)
        report.least(what, share, 0.5)
    return found


def _beside(report: Report, key: str, name: str, reading: Reading, budget: float) -> Found:
    """Figures and a line, no goal."""
    found = reading.over(0.5)
    share, pages = found.false / budget, round(found.false * reading.weeks)
    report.figures |= {
        f"{key}_{name}_false_per_budget": share,
        f"{key}_{name}_false_pages": pages,
        f"{key}_{name}_pod": found.pod,
        f"{key}_{name}_median": found.median,
    }
    report.peers.append(
        f"beside, {key}, {name}: {pages} false pages in {reading.weeks:.0f} series-weeks, "
        f"{share:.2f} of {budget:.4f}: {line(found)}"
    )
    say(report.peers[-1])
    return found
