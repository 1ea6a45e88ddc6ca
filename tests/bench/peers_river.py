"""river's own detectors on the rate of one series, as a user of river would set them up.

Each is run series by series in Python, so on a part of the series only; how many is said. Scores
are swept where a detector gives one; drift detectors give alarms, and several settings are tried.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import numpy as np
from river import anomaly, drift, preprocessing

from detectors.columns import Floats
from tests.bench.detect.study import Scene, Scores

STEP = 5
"""Minutes that are taken together where one would be too noisy."""


def rates(scene: Scene) -> Floats:
    """k / n, the last known where there was no traffic; shape (series, buckets)."""
    rate = np.divide(scene.k, scene.n, out=np.full(scene.k.shape, np.nan), where=scene.n > 0)
    known = np.maximum.accumulate(
        np.where(np.isnan(rate), 0, np.arange(rate.shape[1])[None, :]), axis=1
    )
    filled: Floats = np.nan_to_num(np.take_along_axis(rate, known, axis=1))
    return filled


def _pooled(scene: Scene) -> Floats:
    """Rates of whole steps, in twice the square root, which evens their spread out."""
    cut = scene.k.shape[1] // STEP * STEP
    k, n = (one[:, :cut].reshape(len(one), -1, STEP).sum(axis=2) for one in (scene.k, scene.n))
    rate: Floats = np.sqrt(np.divide(k, n, out=np.zeros(k.shape), where=n > 0))
    return rate


def _known_at_the_end(pooled: Floats, buckets: int) -> Scores:
    """A score of a step, from the step's last bucket on."""
    wide = np.repeat(pooled, STEP, axis=1)
    found = np.zeros((len(pooled), buckets), np.float32)
    found[:, STEP - 1 : STEP - 1 + wide.shape[1]] = wide[:, : buckets - STEP + 1]
    return found


def half_space_trees(scene: Scene) -> Scores:
    """HalfSpaceTrees on the scaled rate of five minutes, window 250."""
    found = []
    for row in _pooled(scene):
        model = preprocessing.MinMaxScaler() | anomaly.HalfSpaceTrees(
            n_trees=10, height=8, window_size=250, seed=1
        )
        found.append(list(_scored(model, row)))
    return _known_at_the_end(np.array(found), scene.k.shape[1])


def gaussian(scene: Scene) -> Scores:
    """GaussianScorer's z of the rate of five minutes over a day."""
    found = []
    for row in _pooled(scene):
        model = anomaly.GaussianScorer(window_size=288, grace_period=100)
        scores = []
        for value in row.tolist():
            inner = model.gaussian
            sigma = getattr(inner, "sigma", 0.0) or 0.0
            scores.append(max((value - inner.mu) / sigma, 0.0) if sigma > 0 else 0.0)
            model.learn_one(None, value)
        found.append(scores)
    return _known_at_the_end(np.array(found), scene.k.shape[1])


def _scored(model: object, row: Floats) -> Iterator[float]:
    score, learn = model.score_one, model.learn_one  # type: ignore[attr-defined]  # a pipeline has them by its last step
    for value in row.tolist():
        x = {"rate": value}
        yield score(x)
        learn(x)


def adwin(scene: Scene, delta: float) -> Scores:
    """1 where ADWIN sees a change to a higher mean."""
    found = np.zeros(scene.k.shape, np.float32)
    for series, row in enumerate(rates(scene)):
        detector = drift.ADWIN(delta=delta)
        for at, value in enumerate(row.tolist()):
            before = detector.estimation
            detector.update(value)
            found[series, at] = detector.drift_detected and detector.estimation > before
    return found


def page_hinkley(scene: Scene, threshold: float) -> Scores:
    """1 where PageHinkley sees the standardised rate go up."""
    found = np.zeros(scene.k.shape, np.float32)
    warm = rates(scene)[:, : scene.warm]
    spread = warm.std(axis=1) + 1e-12
    for series, row in enumerate(rates(scene)):
        detector = drift.PageHinkley(threshold=threshold, delta=0.005, mode="up")
        for at, value in enumerate((row / spread[series]).tolist()):
            detector.update(value)
            found[series, at] = detector.drift_detected
    return found


SWEPT: Mapping[str, Callable[[Scene], Scores]] = {
    "river HalfSpaceTrees": half_space_trees,
    "river GaussianScorer, z": gaussian,
}
ALARMS: Mapping[str, tuple[Callable[[Scene, float], Scores], tuple[float, ...]]] = {
    "river ADWIN": (adwin, (1e-5, 1e-10, 1e-20, 1e-40)),
    "river PageHinkley": (page_hinkley, (50.0, 200.0, 800.0, 3200.0)),
}
"""Settings, the most eager first; the first within the budget is reported."""
