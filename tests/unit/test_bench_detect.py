"""The parts of `make bench-detect` that need no scenario generator."""

from __future__ import annotations

import importlib.util
import json
import os
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from detectors.calibration import config_for, threshold_for
from tests.bench.bench_rate_quality import judge
from tests.bench.detect import oracle
from tests.bench.detect.heldout import loud_rows
from tests.bench.detect.report import NotRunError, Report
from tests.bench.detect.states import as_paged, firing
from tests.bench.detect.study import Found, Scene, make, scored
from tests.bench.detect.widths import Pair, found_of
from tests.bench.peers import PEERS
from tests.bench.peers_river import ALARMS, SWEPT

CELL = {"p0": 0.1, "rho": 1e-3, "ar_sd": 0.01, "ar_tau": 60.0}
DAY = 1_440
MOVE = (4 * DAY + 600, 4 * DAY + 720)
SCORING = Path(os.environ.get("TOOLS", "../shared/tools")) / "rate_scoring.py"
needs_scoring = pytest.mark.skipif(
    not SCORING.is_file(), reason="no rate_scoring.py: set TOOLS to the folder of the scoring"
)


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


@pytest.mark.parametrize(
    ("ours", "goal", "met"), [(28.9, 29, True), (29, 29, False), (np.inf, np.inf, False)]
)
def test_under_is_less_than(ours: float, goal: float, met: bool) -> None:
    """As many as the goal are not under it, and what never happens is under nothing."""
    report = Report()
    report.under("interactions", ours, goal)
    assert report.rows[0].met is met
    assert " < " in list(report.table())[1]


@pytest.mark.parametrize(
    ("ours", "peer", "met"),
    [
        (25.0, 100.0, True),
        (26.0, 100.0, False),
        (900.0, np.inf, True),
        (np.inf, 100.0, False),
        (np.inf, np.inf, False),
    ],
)
def test_a_peer_without_a_median_is_a_row_like_any(ours: float, peer: float, met: bool) -> None:
    """It finds less than half, so any median of ours is less; the row says so and stands."""
    report = Report()
    report.quarter("our median, of that peer's", ours, peer)
    assert report.rows[0].met is met
    assert ("less than half" in list(report.table())[1]) is bool(np.isinf(peer))


def test_the_worst_class_is_said_however_few_its_cases(scene: Scene) -> None:
    """One slow case is a row that misses; a kind that was not drawn is named as not run."""
    report = Report()
    loud_rows([scene], Found.of(9.0, 0.1, [(0, 0, "step2", 4.0), (0, 1, "step3", 40.0)]), report)
    lines = list(report.table())
    assert lines[2].startswith("k >= 3/min, step2: median, worst class (of 1)")
    assert [row.met for row in report.rows] == [True, True, False]
    assert lines[-1] == "k >= 3/min, step5: not run: no incident of the kind drawn"


def test_alarms_that_share_a_bank_fire_as_each_does_alone(scene: Scene) -> None:
    """Neither the alarms nor the settings of one touch what another says."""
    paged = as_paged("tool_misuse")
    configs = [config_for(0.1), paged, replace(config_for(0.1), delay_s=7_200)]
    k, n = (one[:, MOVE[0] - 500 : MOVE[0] + 60] for one in (scene.k, scene.n))
    found = firing(configs, k, n)
    assert found[0].sum() > found[1].sum() > 0
    for config, fired in zip(configs, found, strict=True):
        assert np.array_equal(fired, judge(config, k, n).firing)


def test_what_pages_has_the_floors_that_ship() -> None:
    """The signal's own where it states any, the profile's elsewhere; durations in buckets."""
    own, plain = (as_paged(name).alarm for name in ("refusal_rate", "tool_misuse"))
    assert (own.min_ratio, own.min_excess, own.min_duration_buckets) == (2.0, 50.0, 10)
    assert (plain.min_ratio, plain.min_excess, plain.min_duration_buckets) == (1.5, 10.0, 2)
    assert own.threshold == plain.threshold == threshold_for(1 / 120)
    assert as_paged("refusal_rate", 300).alarm.min_duration_buckets == 2


def test_wider_buckets_are_sums_and_keep_the_weeks(scene: Scene) -> None:
    """No count is lost; the time that counts is the same."""
    narrow = Pair(scene, scene, 60, 60)
    wide = narrow.wider(900)
    assert wide.quiet.k.shape == (2, 5 * DAY // 15)
    assert np.array_equal(wide.hit.n[:, 1], scene.n[:, 15:30].sum(axis=1))
    assert wide.quiet.k.sum() == scene.k.sum()
    assert wide.weeks == pytest.approx(scene.weeks)


@needs_scoring
@pytest.mark.parametrize(("bucket_s", "late"), [(60, 8.0), (300, 10.0), (900, 15.0)])
def test_a_page_is_known_at_the_end_of_its_bucket(scene: Scene, bucket_s: int, late: float) -> None:
    """Firing from the eighth minute on is found then in minutes, later in wider buckets."""
    pair = Pair(scene, scene, 60, 60).wider(bucket_s)
    calm, moved = (np.zeros(pair.hit.k.shape, np.bool_) for _ in range(2))
    first = (MOVE[0] + 7) * 60 // bucket_s
    moved[0, first : first + 3] = True
    calm[1, first] = calm[1, first + 3_600 // bucket_s] = True  # one page: not yet re-armed
    found = found_of(_scoring(), pair, calm, moved)
    assert (found.pod, found.median) == (1.0, late)
    assert found.false == pytest.approx(1 / pair.weeks)
    calm[1, first + 4 * 3_600 // bucket_s] = True
    moved[:] = False
    moved[0, MOVE[0] * 60 // bucket_s - 1] = True  # before it began
    missed = found_of(_scoring(), pair, calm, moved)
    assert (missed.pod, missed.median) == (0.0, np.inf)
    assert missed.false == pytest.approx(2 / pair.weeks)


def _scoring() -> ModuleType:
    spec = importlib.util.spec_from_file_location("scoring_of_the_study", SCORING)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_without_the_generator_it_says_what_it_wants(tmp_path: Path) -> None:
    """The folder is named by a flag."""
    with pytest.raises(NotRunError, match="--tools"):
        make(tmp_path, None)
