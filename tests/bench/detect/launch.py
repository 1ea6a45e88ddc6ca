"""The first week of a series that has no kin to learn from, as in a file of counts."""

from __future__ import annotations

import numpy as np

from tests.bench.detect.report import Report
from tests.bench.detect.study import Reading, Study, scene_of, scored

BUDGET = 0.1


def run(study: Study, report: Report) -> None:
    """The state at the budget, from the first bucket on."""
    ours = Reading(study)
    reps = 1 if study.quick else 3
    for seed in study.seeds:
        for incident, into in ((False, ours.quiet), (True, ours.hit)):
            made = study.scenarios.launch("test", incident, reps=reps, seed=seed + 4)
            scene = scene_of(made)
            into.append((scene, scored(scene, BUDGET)[1].astype(np.float32)))
    found = ours.over(0.5)
    report.figures |= {
        "launch_false_week_1": found.false,
        "launch_pod": found.pod,
        "launch_median": found.median,
    }
    report.most("week 1 without kin: false pages", found.false, 0.1)
    report.least("week 1 without kin: x3 step found", found.pod, 0.8, "%")
    report.most("week 1 without kin: median", found.median, 45, "min")
