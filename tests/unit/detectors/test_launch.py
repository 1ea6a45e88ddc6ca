"""A new series: what it takes over from its siblings, and what it says of itself."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detectors.launch import pooled
from detectors.model import State, Verdict
from detectors.profiles import PAGE
from detectors.rate import RateBank

DAY = 1_440
OLD = ("old-0", "old-1", "old-2")


def grown(rates: tuple[float, ...], *, days: int = 4, swing: float = 0.0) -> RateBank:
    """A bank of established siblings with 100 interactions in each bucket of ten minutes."""
    bank = RateBank(PAGE, bucket_s=600)
    rng = np.random.default_rng(7)
    for at in range(days * DAY // 10):
        hour = 1.0 + swing * np.sin(2 * np.pi * (at % 144) / 144)
        k = rng.binomial(100, np.minimum(1.0, np.array(rates) * hour))
        bank.step(600 * at, 600, OLD[: len(rates)], k, [100] * len(rates))
    return bank


def first(bank: RateBank, *, at: int, k: int, n: int = 100) -> Verdict:
    """The verdict on the first bucket of the new series."""
    return bank.step(600 * at, 600, ["new"], [k], [n])[0]


def test_a_new_series_starts_at_the_level_of_its_siblings() -> None:
    """With established siblings it is judged from its first bucket, against their rate, and its
    reason says that it is warming and how much of the evidence is its own."""
    bank = grown((0.1, 0.1, 0.1))
    bank.bear("new", OLD)
    verdict = first(bank, at=4 * 144, k=10)
    assert verdict.state is State.QUIET
    assert verdict.baseline == pytest.approx(0.1, rel=0.1)
    assert "warming, 0 % of the evidence is its own" in verdict.reason


def test_without_siblings_a_new_series_learns_alone() -> None:
    """With no siblings, or with such as know nothing of themselves, it warms up first."""
    for like, days in (((), 4), (OLD, 0)):
        bank = grown((0.1, 0.1, 0.1), days=days)
        bank.bear("new", like)
        assert first(bank, at=5 * 144, k=10).state is State.WARMING


def test_one_sibling_is_no_example() -> None:
    """A single sibling may be a stranger: nothing is taken from it."""
    bank = grown((0.1,))
    bank.bear("new", OLD)
    assert first(bank, at=4 * 144, k=10).state is State.WARMING


def test_siblings_that_differ_teach_less() -> None:
    """A rate far from siblings that differ widely is less evidence than from siblings alike."""
    scores = []
    for rates in ((0.1, 0.1, 0.1), (0.03, 0.1, 0.3)):
        bank = grown(rates)
        bank.bear("new", OLD)
        scores.append(max(first(bank, at=4 * 144 + at, k=25).score for at in range(4)))
    assert scores[0] > scores[1] + 1


def test_the_shape_of_the_day_is_inherited() -> None:
    """Born at the siblings' high hour, a series is expected to be high."""
    bank = grown((0.1, 0.1, 0.1), days=8, swing=0.6)
    bank.bear("new", OLD)
    assert first(bank, at=8 * 144 + 36, k=16).baseline > 0.13


def test_a_known_series_is_not_born_again() -> None:
    """To bear a series that exists changes nothing."""
    bank = grown((0.1, 0.1, 0.1))
    before = bank.snapshot()
    bank.bear("old-0", OLD)
    assert bank.snapshot() == before


def test_a_strong_step_in_the_first_hours_is_found() -> None:
    """Three times the rate, two hours after birth, fires within 40 minutes."""
    bank = grown((0.1, 0.1, 0.1))
    bank.bear("new", OLD)
    rng = np.random.default_rng(3)
    fired = []
    for at in range(24):
        rate = 0.1 if at < 12 else 0.3
        verdict = first(bank, at=4 * 144 + at, k=int(rng.binomial(100, rate)))
        if verdict.state is State.FIRING:
            fired.append(at)
    assert fired
    assert 12 <= fired[0] <= 16


@given(
    st.lists(
        st.tuples(st.floats(0.5, 1e6), st.floats(1.0, 1e9)), min_size=2, max_size=20, unique=True
    )
)
def test_a_pooled_rate_lies_between_those_it_pools(pairs: list[tuple[float, float]]) -> None:
    """Whatever the counts, the pooled rate is one of a typical series, and the spread is finite."""
    k, x = (np.array(one) for one in zip(*pairs, strict=True))
    rate, spread = pooled(k, x)
    assert (k / x).min() * (1 - 1e-9) <= rate <= (k / x).max() * (1 + 1e-9)
    assert 0 <= spread < np.inf
