from __future__ import annotations

from dataclasses import replace

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from detectors.model import Alarm, RateConfig, State, Verdict
from detectors.rate import RateBank

CONFIG = RateConfig(
    alarm=Alarm(watch="both", threshold=4.0, min_ratio=1.2, min_excess=2.0, clear_buckets=3),
    warm_buckets=5,
    warm_expected=3.0,
    delay_s=300,
)
"""Quick to warm and quick to fire, so that short histories reach every state."""

IDS = ("a", "b", "c")
COUNT = st.one_of(st.integers(0, 30), st.sampled_from([0, 0, 1, 1000, 10**9, 10**12]))


@st.composite
def steps(draw: st.DrawFn) -> list[tuple[int, dict[str, tuple[int, int]]]]:
    """Buckets in order, with gaps, missing series and wild counts."""
    history, bucket = [], draw(st.integers(0, 10**6))
    for _ in range(draw(st.integers(1, 60))):
        bucket += draw(st.sampled_from([1, 1, 1, 1, 2, 7, 2_000]))
        row = {}
        for name in draw(st.sets(st.sampled_from(IDS))):
            n = draw(COUNT)
            row[name] = (draw(st.integers(0, n)) if draw(st.booleans()) else n // 10, n)
        history.append((60 * bucket, row))
    return history


def run(
    bank: RateBank,
    history: list[tuple[int, dict[str, tuple[int, int]]]],
    *,
    backwards: bool = False,
) -> list[dict[str, Verdict]]:
    """Verdicts by series, step by step."""
    said = []
    for start, row in history:
        ids = sorted(row, reverse=backwards)
        verdicts = bank.step(start, 60, ids, [row[i][0] for i in ids], [row[i][1] for i in ids])
        said.append(dict(zip(ids, verdicts, strict=True)))
    return said


@settings(max_examples=40, deadline=None)
@given(steps(), st.integers(0, 60))
def test_a_restart_anywhere_changes_no_verdict(
    history: list[tuple[int, dict[str, tuple[int, int]]]], cut: int
) -> None:
    """Snapshot and restore between any two buckets give the verdicts of an unbroken run."""
    whole = run(RateBank(CONFIG), history)
    first = RateBank(CONFIG)
    before = run(first, history[:cut])
    after = run(RateBank.restore(first.snapshot()), history[cut:])
    assert before + after == whole


@settings(max_examples=40, deadline=None)
@given(steps())
def test_the_order_of_series_in_a_step_does_not_matter(
    history: list[tuple[int, dict[str, tuple[int, int]]]],
) -> None:
    """A series' verdicts depend on its own counts only."""
    assert run(RateBank(CONFIG), history) == run(RateBank(CONFIG), history, backwards=True)


@settings(max_examples=40, deadline=None)
@given(steps())
def test_verdicts_are_whole_whatever_comes(
    history: list[tuple[int, dict[str, tuple[int, int]]]],
) -> None:
    """No history gives a score that is no number, counts that disagree, or an empty reason."""
    for said in run(RateBank(CONFIG), history):
        for verdict in said.values():
            assert np.isfinite([verdict.score, verdict.expected, verdict.baseline]).all()
            assert 0 <= verdict.score <= 2 * verdict.threshold
            assert 0 <= verdict.k <= verdict.n
            assert verdict.window_buckets >= 1
            assert verdict.reason
            assert (verdict.onset is not None) == (verdict.state is State.FIRING)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(0.01, 0.3), st.floats(5, 200))
def test_more_flagged_interactions_never_lower_the_score_of_a_rise(
    seed: int, rate: float, volume: float
) -> None:
    """After the same history, a bucket with more k scores at least as high."""
    rng = np.random.default_rng(seed)
    config = replace(CONFIG, alarm=replace(CONFIG.alarm, watch="up", threshold=50.0))
    bank = RateBank(config)
    n = rng.poisson(volume, 40) + 1
    for at in range(40):
        bank.step(60 * at, 60, ["a"], [rng.binomial(n[at], rate)], [n[at]])
    stored, last = bank.snapshot(), int(n[-1])
    scores = [
        RateBank.restore(stored).step(60 * 40, 60, ["a"], [k], [last])[0].score
        for k in sorted({0, last // 4, last // 2, last})
    ]
    assert scores == sorted(scores)
