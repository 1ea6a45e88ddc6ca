"""R's `surveillance` beside ours on the same series, where R is there."""

from __future__ import annotations

import numpy as np

from tests.bench import peers_r
from tests.bench.detect.heldout import BUDGET, line
from tests.bench.detect.report import NotRunError, Report
from tests.bench.detect.rivers import part_of, reading_of
from tests.bench.detect.study import Reading, Study, say


def run(study: Study, report: Report) -> None:
    """Every second series of the first seed (in a quick run every sixth): R takes its time.

    Raises:
        NotRunError: there is no R, or no package.
    """
    peers_r.need()
    seed, every = study.seeds[0], 6 if study.quick else 2
    scenes = {kind: part_of(study.scene(kind, seed), every) for kind in ("null", "incident")}
    ours = Reading(study)
    for kind, into in (("null", ours.quiet), ("incident", ours.hit)):
        into.append((scenes[kind], study.ours(kind, seed)[1][::every]))
    mine = ours.at(BUDGET)
    part = f"{len(scenes['null'].k)} series"
    report.peers.append(f"beside, {part} at 0.1: {'ours':<28} {line(mine)}")
    best, median, found = 0.0, np.inf, {}
    for method in peers_r.METHODS:
        try:
            scores = {kind: peers_r.scores(scene, method) for kind, scene in scenes.items()}
        except NotRunError as problem:
            report.not_run[f"R's {method}"] = str(problem)
            continue
        row = reading_of(study, scores, scenes).at(BUDGET)
        found[method] = [row.pod, row.median]
        report.peers.append(f"beside, {part} at 0.1: {'R ' + method + ', hourly':<28} {line(row)}")
        say(report.peers[-1])
        if row.pod > best:
            best, median = row.pod, row.median
    report.figures |= {"r": found, "r_ours_pod": mine.pod, "r_ours_median": mine.median}
    if not found:
        raise NotRunError("none of its methods got through")
    report.least("ahead of R's best, same series", mine.pod - best, 0.2, "%")
    report.figures["r_best_median_ratio"] = mine.median / median
    report.quarter("our median, of R's best", mine.median, median)
