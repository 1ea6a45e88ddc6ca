"""The parts of `make bench-detect` that need no scenario generator."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tests.bench.detect import oracle
from tests.bench.detect.report import NotRunError, Report
from tests.bench.detect.study import Scene, make, scored
from tests.bench.peers import PEERS
from tests.bench.peers_river import ALARMS, SWEPT

CELL = {"p0": 0.1, "rho": 1e-3, "ar_sd": 0.01, "ar_tau": 60.0}
DAY = 1_440
MOVE = (4 * DAY + 600, 4 * DAY + 720)


@pytest.fixture(scope="module")
def scene() -> Scene:
    """Two series of four quiet days and one more, on which the first moves to three times."""
    rng = np.random.default_rng(3)
    rate = np.full((2, 5 * DAY), 0.1, np.float32)
    moved = rate.copy()
    moved[0, MOVE[0] : MOVE[1]] = 0.3
    n = rng.poisson(60, rate.shape)
    event = {"series": 0, "type": "step3", "start": MOVE[0], "end": MOVE[1]}
    return Scene(rng.binomial(n, moved), n, [event], [], 4 * DAY, rate, [CELL, CELL])


def test_ours_and_the_oracle_rise_with_the_move_only(scene: Scene) -> None:
    """Within minutes, and far over anything of the series that did not move."""
    start = MOVE[0]
    for scores in (scored(scene, 0.1)[0], oracle.scores(scene)):
        assert scores.shape == scene.k.shape
        assert np.isfinite(scores).all()
        assert scores[0, start + 10] > 2 * scores[:, DAY:start].max()
        assert scores[0, start + 10] > 2 * scores[1].max()


@pytest.mark.parametrize("name", [*PEERS, *SWEPT])
def test_a_peer_scores_every_bucket_without_looking_ahead(name: str, scene: Scene) -> None:
    """Finite, of the scene's shape, and the same when the future is cut off."""
    scorer = {**PEERS, **SWEPT}[name]
    whole = scorer(scene)
    assert whole.shape == scene.k.shape
    assert np.isfinite(whole).all()
    cut = MOVE[0] + 30
    head = Scene(scene.k[:, :cut], scene.n[:, :cut], [], [], 4 * DAY, None, scene.cells)
    assert np.allclose(scorer(head), whole[:, :cut], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", ALARMS)
def test_the_eager_setting_of_a_drift_detector_sees_the_move(name: str, scene: Scene) -> None:
    """It raises an alarm while the rate is moved."""
    alarm, settings = ALARMS[name]
    found = alarm(scene, settings[0])
    assert found[0, MOVE[0] : MOVE[1] + 60].any()


def test_the_report_says_goals_misses_and_reasons() -> None:
    """A table for people, one line of valid JSON for programs; what was never found is null."""
    report = Report()
    report.least("found", 0.9, 0.93, "%", oracle=0.94)
    report.most("median", np.inf, 25, "min")
    report.most("cost", 2.5, 10, "us")
    report.figures |= {"median": np.inf, "peers": {"a": [np.float64(0.5), None]}}
    report.not_run["agentdojo"] = "no data"
    lines = list(report.table())
    assert [line.endswith("MISSED") for line in lines[1:4]] == [True, True, False]
    assert "94.0 %" in lines[1]
    assert "never" in lines[2]
    assert lines[-1] == "agentdojo: not run: no data"
    said = json.loads(json.dumps(report.last_line(), allow_nan=False))
    assert said["median"] is None
    assert said["missed"] == ["found", "median"]


def test_without_the_generator_it_says_what_it_wants(tmp_path: Path) -> None:
    """The folder is named by a flag."""
    with pytest.raises(NotRunError, match="--tools"):
        make(tmp_path, None)
