"""The budget of a team: 0.008 false pages per series-week, on ten thousand quiet series-weeks."""

from __future__ import annotations

import numpy as np

from tests.bench.detect import oracle
from tests.bench.detect.report import Report
from tests.bench.detect.study import Reading, Scene, Scorer, Scores, Study, say, scored

BUDGET = 0.008
SERIES_WEEKS = 10_000
_FIRST_SEED = 1_000
_FLOOR = 2.0
"""Scores below are never a threshold at this budget; left out to save memory."""


def run(study: Study, report: Report) -> None:
    """Detection at the team's budget; the quiet weeks are drawn only for this."""
    wanted = 200 if study.quick else SERIES_WEEKS
    known: dict[str, Reading] = {}
    ways: dict[str, Scorer] = {"ours": _ours, "oracle": oracle.scores}
    for name, scorer in ways.items():
        known[name] = Reading(study)
        for seed in study.seeds:
            scene = study.scene("incident", seed)
            known[name].hit.append((scene, scorer(scene)))
    weeks, seed = 0.0, _FIRST_SEED
    while weeks < wanted:
        scene = study.scene("null", seed)
        for name, scorer in ways.items():
            known[name].quiet.append((_bare(scene), _tops(scene, scorer(scene))))
        weeks, seed = weeks + scene.weeks, seed + 1
        study.forget()
        say(f"0.008: {weeks:.0f} of {wanted} quiet series-weeks")
    mine, bound = (known[name].at(BUDGET) for name in ways)
    report.figures |= {
        "small_budget_pod": mine.pod,
        "small_budget_median": mine.median,
        "small_budget_oracle_pod": bound.pod,
        "small_budget_oracle_median": bound.median,
        "small_budget_series_weeks": weeks,
    }
    report.least("held-out at 0.008: detected", mine.pod, bound.pod - 0.03, "%", oracle=bound.pod)
    report.most(
        "held-out at 0.008: median", mine.median, 1.15 * bound.median, "min", oracle=bound.median
    )


def _ours(scene: Scene) -> Scores:
    return scored(scene, BUDGET)[0]


def _bare(scene: Scene) -> Scene:
    """Only the shape: the counts of so many weeks do not fit into memory."""
    width = scene.k.shape[1]
    empty = np.broadcast_to(np.zeros(1, np.int64), (len(scene.k), width))
    return Scene(empty, empty, [], scene.nuisance, scene.warm, None, scene.cells)


def _tops(scene: Scene, scores: Scores) -> Scores:
    # Half the memory; a hundredth of a nat is no matter.
    kept: Scores = np.where(scores >= _FLOOR, scores, 0).astype(np.float16)
    kept[:, : scene.warm] = 0
    return kept
