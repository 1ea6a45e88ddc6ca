"""The heaviest names in bounded memory."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from detectors.top import Top

NAMES = st.sampled_from([f"n{number}" for number in range(30)])


@given(st.lists(st.dictionaries(NAMES, st.floats(0.1, 100.0), max_size=8), max_size=60))
def test_what_is_heavy_is_kept_and_nothing_is_underestimated(
    stream: list[dict[str, float]],
) -> None:
    """Every name above `total / capacity` is among the leaders, memory stays bounded, and no weight
    is too small or too large by more than that."""
    top = Top(capacity=8, half_life=1e12)
    exact: dict[str, float] = {}
    for weights in stream:
        top.add(weights)
        for name, weight in weights.items():
            exact[name] = exact.get(name, 0.0) + weight
    total, kept = sum(exact.values()), top.dump()
    assert len(kept) <= 8
    for name, weight in exact.items():
        if weight > total / 8 * (1 + 1e-9):
            assert name in kept
        if name in kept:
            assert weight * (1 - 1e-6) <= kept[name] <= weight + total / 8 * (1 + 1e-6)


def test_what_was_heavy_fades() -> None:
    """A name that stops coming falls behind one that came since."""
    top = Top(capacity=4, half_life=10.0)
    top.add({"old": 100.0})
    for _ in range(50):
        top.add({"new": 5.0})
    assert top.leaders(2) == ["new", "old"]
    assert top.share("new") > 0.9


def test_restored_it_goes_on_the_same() -> None:
    """What was dumped and loaded ranks as before."""
    top, again = (Top(capacity=4, half_life=10.0) for _ in range(2))
    top.add({"a": 3.0, "b": 2.0})
    again.load(top.dump())
    top.add({"c": 1.0})
    again.add({"c": 1.0})
    assert again.dump() == top.dump()


def test_nonsense_is_refused() -> None:
    """No capacity, or no half-life, raises ValueError."""
    with pytest.raises(ValueError, match="above 0"):
        Top(capacity=0, half_life=1.0)
