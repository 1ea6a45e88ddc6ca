from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detectors.chance import chance


@pytest.mark.parametrize("strays", [0.0, 0.2])
@pytest.mark.parametrize("expected", [2.0, 50.0, 5_000.0])
def test_quiet_counts_are_seldom_called_rare(strays: float, expected: float) -> None:
    """Among ten things that did nothing one is said to be rarer than 5 % in at most 5 of 100."""
    rng = np.random.default_rng(3)
    said = []
    for _ in range(200):
        rates = expected * np.exp(strays * rng.standard_normal((10, 41)))
        counts = rng.poisson(rates).astype(float)
        past = np.full(40, expected)
        said.append(
            min(
                chance(k[-1], expected, past_k=k[:-1], past_expected=past, among=10) for k in counts
            )
        )
    assert np.mean(np.array(said) < 0.05) <= 0.05


@given(
    k=st.integers(0, 10**9),
    expected=st.floats(1e-9, 1e9),
    past=st.lists(st.tuples(st.integers(0, 10**6), st.floats(0, 1e6)), max_size=9),
)
def test_a_chance_is_one(k: int, expected: float, past: list[tuple[int, float]]) -> None:
    """Whatever the counts, between 0 and 1, and more things looked at never make it smaller."""
    columns = np.array(past, float).reshape(-1, 2).T
    one, ten = (
        chance(k, expected, past_k=columns[0], past_expected=columns[1], among=among)
        for among in (1, 10)
    )
    assert 0 <= one <= ten <= 1


def test_a_rate_that_strays_by_itself_proves_less() -> None:
    """The same count is no surprise where the rate doubles every other hour."""
    calm, wild = np.full(40, 50.0), np.tile([25.0, 100.0], 20)
    found = [chance(120, 50, past_k=k, past_expected=calm, among=5) for k in (calm, wild)]
    assert found[0] < 0.001
    assert found[1] > 0.5


def test_one_earlier_incident_does_not_excuse_this_one() -> None:
    """A tenth of the past at ten times the rate leaves the chance about as small."""
    past = np.full(40, 50.0)
    past[:4] = 500.0
    assert chance(150, 50, past_k=past, past_expected=np.full(40, 50.0), among=5) < 0.001
