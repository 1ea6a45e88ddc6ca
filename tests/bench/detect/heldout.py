"""Held-out rates at an equal budget: ours, the oracle, by count class, and what peers find."""

from __future__ import annotations

import itertools

import numpy as np

from tests.bench.detect import oracle
from tests.bench.detect.report import Report
from tests.bench.detect.study import Found, Scene, Study, say
from tests.bench.peers import PEERS

BUDGET = 0.1
CLASSES = (3.0, 10.0, 30.0, 100.0, np.inf)
"""Bounds of the count classes, expected k a minute."""
STEPS = {"step2": 25.0, "step3": 6.0, "step5": 2.0}
"""Goals of the worst class, minutes."""


def run(study: Study, report: Report) -> None:
    """Everything at 0.1 false pages per series-week."""
    ours = study.our_reading()
    best = study.reading(oracle.scores)
    mine, bound = ours.at(BUDGET), best.at(BUDGET)
    say(f"held-out: ours {line(mine)}; oracle {line(bound)}")
    report.figures |= {
        "heldout_pod": mine.pod,
        "heldout_median": mine.median,
        "heldout_oracle_pod": bound.pod,
        "heldout_oracle_median": bound.median,
        "heldout_by_type": mine.by_type,
        "heldout_series_weeks": ours.weeks,
    }
    report.least("held-out at 0.1: detected", mine.pod, bound.pod - 0.01, "%", oracle=bound.pod)
    report.most(
        "held-out at 0.1: median", mine.median, 1.1 * bound.median, "min", oracle=bound.median
    )
    loud_rows([scene for scene, _ in ours.quiet], mine, report)
    rows = {name: study.reading(scorer).at(BUDGET) for name, scorer in PEERS.items()}
    name, peer = max(rows.items(), key=lambda one: one[1].pod)
    report.peers += [f"beside, held-out at 0.1: {one:<28} {line(row)}" for one, row in rows.items()]
    report.figures["peers"] = {one: [row.pod, row.median] for one, row in rows.items()}
    report.least(f"ahead of the best peer here ({name})", mine.pod - peer.pod, 0.2, "%")
    report.quarter("our median, of that peer's", mine.median, peer.median)


def loud_rows(scenes: list[Scene], mine: Found, report: Report) -> None:
    """Series with at least three flagged interactions a minute; no class is too small to count.

    Args:
        scenes: the quiet one of each draw, for the volume of its series.
        mine: what was found.
        report: takes the rows, and what could not be measured.
    """
    volume = [scene.k[:, : scene.warm].mean(axis=1) for scene in scenes]
    rows = [(float(volume[draw][series]), kind, delay) for draw, series, kind, delay in mine.delays]
    loud = [one for one in rows if one[0] >= CLASSES[0]]
    if not loud:
        report.not_run["k >= 3/min"] = "no incident drawn on such a series"
        return
    found = float(np.mean([np.isfinite(one[2]) for one in loud]))
    report.figures["loud_pod"] = found
    report.least(f"k >= 3/min ({len(loud)} incidents): detected", found, 0.995, "%")
    for kind, goal in STEPS.items():
        medians, cases = {}, {}
        for low, high in itertools.pairwise(CLASSES):
            delays = [one[2] for one in loud if one[1] == kind and low <= one[0] < high]
            if delays:
                medians[f"{low:g}-{high:g}"] = float(np.median(delays))
                cases[f"{low:g}-{high:g}"] = len(delays)
        report.figures |= {f"loud_{kind}_medians": medians, f"loud_{kind}_cases": cases}
        if not medians:
            report.not_run[f"k >= 3/min, {kind}"] = "no incident of the kind drawn"
            continue
        worst = max(medians, key=lambda name: medians[name])
        what = f"k >= 3/min, {kind}: median, worst class (of {cases[worst]})"
        report.most(what, medians[worst], goal, "min")


def line(found: Found) -> str:
    """One detector in words."""
    types = " ".join(f"{k} {100 * p:.0f}/{m:.0f}" for k, (p, m) in found.by_type.items())
    return f"{100 * found.pod:5.1f} % {found.median:6.1f} min  {types}"
