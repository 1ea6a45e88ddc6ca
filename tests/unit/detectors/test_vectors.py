"""The covariance distance: silent on waves that all share, loud when one rate leaves the others."""

from __future__ import annotations

import functools

import numpy as np
import pytest

from detectors.model import State, Verdict
from detectors.testing import check_detector
from detectors.vectors import VectorDetector

Bucket = dict[str, float]
NAMES = ("blocked", "jailbreak", "refused")
BASE = {"blocked": 0.02, "jailbreak": 0.03, "refused": 0.06}
QUICK = functools.partial(VectorDetector, warm_blocks=100)
BLOCKS, APART = 500, 400


def waves(seed: int, blocks: int = BLOCKS) -> np.ndarray:
    """A factor around 1 that goes up and down over a few blocks."""
    rng = np.random.default_rng(seed)
    log = rng.normal(0, 0.4, blocks)
    for at in range(1, blocks):
        log[at] = 0.7 * log[at - 1] + 0.7 * log[at]
    return np.exp(log)


def buckets(seed: int, *, apart: bool, per_block: int = 8_000) -> list[Bucket]:
    """Three rates on one wave; with `apart`, refusals follow another from block `APART` on."""
    rng = np.random.default_rng([seed, 1])
    common, other = waves(seed), waves(seed + 1_000)
    made = []
    for at in range(BLOCKS):
        bucket: Bucket = {"t": 1_200.0 * at}
        for name in NAMES:
            wave = other if apart and name == "refused" and at >= APART else common
            rate = BASE[name] * wave[at] * np.exp(rng.normal(0, 0.05))
            n = int(rng.poisson(per_block))
            bucket[f"n.{name}"] = n
            bucket[f"k.{name}"] = int(rng.binomial(n, min(rate, 0.9)))
        made.append(bucket)
    return made


def fed(detector: VectorDetector, made: list[Bucket]) -> list[State]:
    """The state after each bucket."""
    states = []
    for bucket in made:
        detector.learn_one(bucket)
        assert detector.verdict is not None
        states.append(detector.verdict.state)
    return states


def test_a_warm_detector_of_one_rate_keeps_the_contract() -> None:
    """The public suite holds beyond the warm-up too, where distances are judged."""
    check_detector(lambda: VectorDetector(block_s=120, warm_blocks=20, threshold=4.0))


@pytest.mark.parametrize("seed", range(4))
def test_a_wave_that_all_rates_share_is_quiet(seed: int) -> None:
    """Rates that double and halve together have always done so."""
    states = fed(QUICK(), buckets(seed, apart=False))
    assert states[90] is State.WARMING
    assert states[-1] is State.QUIET
    assert State.FIRING not in states


@pytest.mark.parametrize("seed", range(4))
def test_a_rate_that_leaves_the_others_fires_and_is_named(seed: int) -> None:
    """Refusals as high and as low as ever, but at other times: no rate moved, the vector did."""
    detector = QUICK()
    states = fed(detector, made := buckets(seed, apart=True))
    assert State.FIRING not in states[:APART]
    assert State.FIRING in states[APART : APART + 72]
    before, after = (
        np.mean([one["k.refused"] / one["n.refused"] for one in part])
        for part in (made[:APART], made[APART:])
    )
    assert 0.75 < after / before < 1.35
    named = [
        verdict.reason
        for verdict in _verdicts(QUICK(), made[: APART + 72])
        if verdict.state is State.FIRING
    ]
    assert sum("refused is" in reason for reason in named) > len(named) / 2


def _verdicts(detector: VectorDetector, made: list[Bucket]) -> list[Verdict]:
    found = []
    for bucket in made:
        detector.learn_one(bucket)
        assert detector.verdict is not None
        found.append(detector.verdict)
    return found


@pytest.mark.parametrize("share", [0.02, 0.3])
def test_a_night_with_little_traffic_is_quiet(share: float) -> None:
    """Few interactions scatter more; that is chance, and no rare vector."""
    made = buckets(7, apart=False)
    rng = np.random.default_rng(3)
    for bucket in made[APART:]:
        for name in NAMES:
            bucket[f"n.{name}"] = int(bucket[f"n.{name}"] * share)
            bucket[f"k.{name}"] = int(rng.binomial(int(bucket[f"k.{name}"]), share))
    assert State.FIRING not in fed(QUICK(), made)


def test_a_rate_without_traffic_says_nothing() -> None:
    """A block in which a rate was not counted at all neither fires nor teaches."""
    made = buckets(8, apart=False)
    for bucket in made[APART:]:
        bucket["n.refused"] = bucket["k.refused"] = 0
    assert State.FIRING not in fed(QUICK(), made)


def test_it_comes_back_to_quiet() -> None:
    """Once the rates move together again, it says so, and the long break has not become usual."""
    made = buckets(9, apart=True)[: APART + 60]
    calm = buckets(9, apart=False)
    detector = QUICK()
    fed(detector, made + calm[APART + 60 :])
    assert detector.verdict is not None
    assert detector.verdict.state is State.QUIET
    again = [
        {**bucket, "t": bucket["t"] + 1_200.0 * BLOCKS} for bucket in buckets(9, apart=True)[APART:]
    ]
    assert State.FIRING in fed(detector, again[:72])


def test_an_expectation_that_comes_along_is_used() -> None:
    """A time of day that the baseline knows is no news: k that follows e is quiet, whatever n."""
    detector = QUICK()
    rng = np.random.default_rng(4)
    for at in range(BLOCKS):
        daily = 1 + 0.9 * np.sin(at / 11)
        e = {"a": 200 * daily, "b": 100 * (2 - daily)}
        bucket: Bucket = {"t": 1_200.0 * at}
        for name, expected in e.items():
            bucket |= {
                f"k.{name}": int(rng.poisson(expected)),
                f"n.{name}": 5_000,
                f"e.{name}": expected,
            }
        detector.learn_one(bucket)
        assert detector.verdict is not None
        assert detector.verdict.state is not State.FIRING


@pytest.mark.parametrize(
    "bad",
    [
        {"t": 9e9, "k.refused": 1, "n.refused": 2},
        {"t": 9e9, **{f"{letter}.{name}": 1 for letter in "kn" for name in (*NAMES, "new")}},
        {"t": 9e9, **{f"{letter}.{name}": 1 for letter in "k" for name in NAMES}},
        {"t": 9e9, **{f"k.{name}": 3 for name in NAMES}, **{f"n.{name}": 2 for name in NAMES}},
        {"t": 0, **{f"{letter}.{name}": 1 for letter in "kn" for name in NAMES}},
    ],
    ids=["fewer", "more", "no n", "k over n", "old"],
)
def test_a_bucket_of_other_rates_is_refused(bad: Bucket) -> None:
    """Names are fixed by the first bucket; what is refused changes nothing."""
    detector = QUICK()
    fed(detector, buckets(1, apart=False)[:50])
    before = detector.snapshot()
    with pytest.raises(ValueError, match=r"bucket|counts"):
        detector.learn_one(bad)
    assert detector.snapshot() == before


def test_a_stored_detector_goes_on_as_if_it_had_never_stopped() -> None:
    """Snapshots in the midst of a block and of a firing lose nothing."""
    made = buckets(2, apart=True)
    whole = _verdicts(QUICK(), made)
    for cut in (50, 150, APART + 40):
        first = QUICK()
        fed(first, made[:cut])
        second = QUICK()
        second.restore(first.snapshot())
        assert _verdicts(second, made[cut:]) == whole[cut:]


@pytest.mark.parametrize(
    "setting",
    [
        {"threshold": 0.0},
        {"smoothing": 0.0},
        {"smoothing": 1.1},
        {"block_s": 0},
        {"warm_blocks": 0},
    ],
)
def test_a_setting_out_of_range_is_refused(setting: dict[str, float]) -> None:
    """The message says what would be right."""
    with pytest.raises(ValueError, match="must be"):
        VectorDetector(**setting)  # type: ignore[arg-type]  # values are of the kinds they have
