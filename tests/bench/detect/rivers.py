"""river's own detectors on the same series, at the same budget, beside ours on these series."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from tests.bench.detect.heldout import BUDGET, line
from tests.bench.detect.report import Report
from tests.bench.detect.study import Found, Reading, Scene, Scores, Study, say
from tests.bench.peers_river import ALARMS, SWEPT

EVERY = 4


def run(study: Study, report: Report) -> None:
    """Every fourth series of the first seed: they run one by one in Python."""
    seed = study.seeds[0]
    every = 2 * EVERY if study.quick else EVERY
    scenes = {kind: part_of(study.scene(kind, seed), every) for kind in ("null", "incident")}
    ours = Reading(study)
    for kind, into in (("null", ours.quiet), ("incident", ours.hit)):
        into.append((scenes[kind], study.ours(kind, seed)[1][::every]))
    mine = ours.at(BUDGET)
    part = f"{len(scenes['null'].k)} series"
    report.peers.append(f"beside, {part} at 0.1: {'ours':<28} {line(mine)}")
    rows: dict[str, Found] = {}
    for name, scorer in SWEPT.items():
        rows[name] = reading_of(
            study, {kind: scorer(one) for kind, one in scenes.items()}, scenes
        ).at(BUDGET)
    for name, (alarm, settings) in ALARMS.items():
        for setting in settings:
            scores = {kind: alarm(one, setting) for kind, one in scenes.items()}
            rows[f"{name} {setting:g}"] = found = reading_of(study, scores, scenes).over(0.5)
            if found.false <= BUDGET:
                break
    for name, row in rows.items():
        report.peers.append(f"beside, {part}, {row.false:.2f}/week: {name:<28} {line(row)}")
    kept = {name: row for name, row in rows.items() if row.false <= 1.01 * BUDGET}
    report.figures["river"] = {name: [row.false, row.pod, row.median] for name, row in rows.items()}
    ranked = sorted(kept.values(), key=lambda row: row.pod, reverse=True)
    best, median = (ranked[0].pod, ranked[0].median) if ranked else (0.0, np.inf)
    say(f"river: best within the budget {100 * best:.1f} %, ours there {100 * mine.pod:.1f} %")
    report.least("ahead of river's best, same series", mine.pod - best, 0.2, "%")
    report.quarter("our median, of river's best", mine.median, median)


def reading_of(study: Study, scores: dict[str, Scores], scenes: dict[str, Scene]) -> Reading:
    """A detector on one quiet scene and one with incidents."""
    return Reading(
        study, [(scenes["null"], scores["null"])], [(scenes["incident"], scores["incident"])]
    )


def part_of(scene: Scene, every: int) -> Scene:
    """Every so many series of a scene."""
    rows = np.arange(0, len(scene.k), every)
    number = {int(row): at for at, row in enumerate(rows)}
    events = [
        {**one, "series": number[one["series"]]} for one in scene.events if one["series"] in number
    ]
    return replace(scene, k=scene.k[rows], n=scene.n[rows], events=events, nuisance=[])
