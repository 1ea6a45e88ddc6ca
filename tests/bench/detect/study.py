"""The scenes of the study, drawn once a seed, and every detector read off by the same rules.

The generator and the scoring are not in this repository: `--tools DIR` names the folder that holds
`rate_scenarios.py` and `rate_scoring.py`. A page is an upward crossing of the score, re-armed
after two quiet hours; an incident is found by a new page within it (or soon after its end).
"""

from __future__ import annotations

import functools
import importlib
import os
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detectors.calibration import config_for
from detectors.columns import Bools, Ints
from tests.bench.bench_rate_quality import judge
from tests.bench.detect.report import NotRunError

WEEK = 7 * 1440
Scores = NDArray[np.float32]
Scorer = Callable[["Scene"], Scores]
"""Scores of all buckets of a scene, shape (series, buckets); higher is more anomalous."""
Known = Scores | Bools
"""The same, or states: a state is over 0.5 where it fires."""


@dataclass(frozen=True, slots=True)
class Scene:
    """One draw of many series, of one kind."""

    k: Ints
    n: Ints
    events: list[dict[str, Any]]
    """Incidents, with the series they hit."""
    nuisance: list[dict[str, Any]]
    """What must not page."""
    warm: int
    """Buckets of warm-up, not counted."""
    truth: NDArray[np.float32] | None
    """The rate without noise and incidents, for the oracle only."""
    cells: list[dict[str, float]]

    @property
    def weeks(self) -> float:
        """Series-weeks that count."""
        return float(len(self.k) * (self.k.shape[1] - self.warm) / WEEK)

    @property
    def ends(self) -> Iterator[tuple[int, int]]:
        """Series and bucket up to which each incident may be found."""
        for event in self.events:
            start, end = int(event["start"]), int(event["end"])
            yield int(event["series"]), end + min(60, end - start)


@dataclass(frozen=True, slots=True)
class Found:
    """What one detector finds at one threshold."""

    threshold: float
    false: float
    """Pages per series-week in the quiet scenes."""
    pod: float
    """Share of incidents found."""
    median: float
    """Minutes; a miss is never."""
    by_type: dict[str, tuple[float, float]]
    delays: list[tuple[int, int, str, float]]
    """Draw, series, type, delay."""

    @classmethod
    def of(cls, threshold: float, false: float, delays: list[tuple[int, int, str, float]]) -> Found:
        """What these delays come to."""
        every = np.array([one[3] for one in delays])
        by_type = {}
        for kind in sorted({one[2] for one in delays}):
            mine = np.array([one[3] for one in delays if one[2] == kind])
            by_type[kind] = (float(np.isfinite(mine).mean()), float(np.median(mine)))
        found, median = float(np.isfinite(every).mean()), float(np.median(every))
        return cls(threshold, false, found, median, by_type, delays)


@dataclass(slots=True)
class Reading:
    """Scores of one detector on pairs of quiet scenes and scenes with incidents."""

    study: Study
    quiet: list[tuple[Scene, Known]] = field(default_factory=list)
    hit: list[tuple[Scene, Known]] = field(default_factory=list)

    @property
    def weeks(self) -> float:
        """Quiet series-weeks that count."""
        return sum(scene.weeks for scene, _ in self.quiet)

    def threshold(self, budget: float) -> float:
        """The smallest that keeps the false pages of all quiet scenes within `budget` a week."""
        rows = [row for scene, scores in self.quiet for row in scores[:, scene.warm :]]
        return float(self.study.scoring.calibrate(rows, 0, budget * self.weeks))

    def false(self, threshold: float) -> float:
        """Pages per series-week in the quiet scenes."""
        pages = self.study.scoring.pages
        count = sum(
            len(pages(row, threshold, s.warm)) for s, scores in self.quiet for row in scores
        )
        return float(count / self.weeks)

    def at(self, budget: float) -> Found:
        """What is found at an equal budget."""
        return self.over(self.threshold(budget))

    def over(self, threshold: float) -> Found:
        """What is found over this threshold."""
        found: list[tuple[int, int, str, float]] = []
        for draw, (scene, scores) in enumerate(self.hit):
            for event, delay in self.delays(scene, scores, threshold):
                found.append((draw, event["series"], event["type"], delay))
        return Found.of(threshold, self.false(threshold), found)

    def delays(
        self, scene: Scene, scores: Known, threshold: float
    ) -> Iterator[tuple[dict[str, Any], float]]:
        """Each incident with the minutes to its page."""
        pages = [self.study.scoring.pages(row, threshold) for row in scores]
        for event, (series, until) in zip(scene.events, scene.ends, strict=True):
            mine = pages[series]
            hits = mine[(mine >= event["start"]) & (mine < until)]
            yield event, float(hits[0] - event["start"] + 1) if len(hits) else np.inf


@dataclass(slots=True)
class Study:
    """What is drawn, and how much of it."""

    tools: Path
    data: Path | None
    seeds: tuple[int, ...]
    reps: int
    weeks: int
    warm_weeks: int
    quick: bool
    scenarios: Any = None
    scoring: Any = None
    _cells: Any = None
    _drawn: dict[tuple[Any, ...], Scene] = field(default_factory=dict)
    _ours: dict[tuple[Any, ...], tuple[Scores, Bools]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        sys.path.insert(0, str(self.tools))
        try:
            self.scenarios = importlib.import_module("rate_scenarios")
            self.scoring = importlib.import_module("rate_scoring")
        except ModuleNotFoundError as error:
            raise NotRunError(f"{error}: name the folder of rate_scenarios.py: --tools") from error
        self._cells = self.scenarios.cells

    def scene(self, kind: str, seed: int, *, split: str = "test", stress: bool = False) -> Scene:
        """A draw of the grid. The first seed has the study's own parameters, others draw anew."""
        key = (kind, seed, split, stress)
        if key not in self._drawn:
            size = (self.weeks, self.warm_weeks, self.reps)
            self._drawn[key] = self.draw(kind, seed, size, split=split, stress=stress, truth=True)
        return self._drawn[key]

    def draw(
        self, kind: str, seed: int, size: tuple[float, float, int], split: str = "test", **more: Any
    ) -> Scene:
        """A draw that is not kept: of so many weeks, with so many of warm-up, copies of a cell."""
        drawn = 20_260_101 if seed == 7 else 20_260_101 + seed
        self.scenarios.cells = functools.partial(self._cells, seed=drawn)
        return scene_of(self.scenarios.grid(split, kind, *size, seed, **more))

    def ours(
        self,
        kind: str,
        seed: int,
        *,
        split: str = "test",
        stress: bool = False,
        budget: float = 0.1,
    ) -> tuple[Scene, Scores, Bools]:
        """The scene with our scores and states at a budget."""
        scene = self.scene(kind, seed, split=split, stress=stress)
        key = (kind, seed, split, stress, budget)
        if key not in self._ours:
            self._ours[key] = scored(scene, budget)
        return (scene, *self._ours[key])

    def reading(self, scorer: Scorer, *, split: str = "test", stress: bool = False) -> Reading:
        """A detector on all seeds."""
        made = Reading(self)
        for seed in self.seeds:
            for kind, into in (("null", made.quiet), ("incident", made.hit)):
                scene = self.scene(kind, seed, split=split, stress=stress)
                into.append((scene, scorer(scene)))
        return made

    def our_reading(
        self,
        *,
        split: str = "test",
        stress: bool = False,
        states: bool = False,
        budget: float = 0.1,
    ) -> Reading:
        """Ours on all seeds: the score, or with `states` 1 where the shipped state fires."""
        made = Reading(self)
        for seed in self.seeds:
            for kind, into in (("null", made.quiet), ("incident", made.hit)):
                scene, score, firing = self.ours(
                    kind, seed, split=split, stress=stress, budget=budget
                )
                into.append((scene, firing.astype(np.float32) if states else score))
        return made

    def forget(self) -> None:
        """Let go of what was drawn."""
        self._drawn.clear()
        self._ours.clear()


def scene_of(made: dict[str, Any]) -> Scene:
    """The generator's answer."""
    return Scene(
        made["K"],
        made["N"],
        made["events"],
        made["nuisance"],
        made["warm"],
        made.get("P"),
        made["cells"],
    )


def scored(scene: Scene, budget: float) -> tuple[Scores, Bools]:
    """Our scores and states, as `tocsin detect score --budget` gives them."""
    said = judge(config_for(budget), scene.k, scene.n)
    return said.score.astype(np.float32), said.firing


def say(text: str) -> None:
    """A line of progress."""
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


def make(
    tools: Path, data: Path | None, seeds: tuple[int, ...] = (7, 21, 42), reps: int = 2
) -> Study:
    """The full study, or with QUICK=1 a slice of it: its first seed.

    Raises:
        NotRunError: the scenario generator is not there.
    """
    quick = bool(os.environ.get("QUICK"))
    if quick:
        return Study(tools, data, seeds[:1], reps=1, weeks=4, warm_weeks=3, quick=True)
    return Study(tools, data, seeds, reps=reps, weeks=8, warm_weeks=3, quick=False)
