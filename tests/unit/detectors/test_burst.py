"""Bursts: a rate far off within minutes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detectors.burst import BurstConfig, Bursts
from detectors.shift import Bucket

IDS = ("small", "large", "idle")
EXPECTED = (0.2, 12.0, 0.0)


def bucket(minute: int, k: tuple[float, float, float]) -> Bucket:
    """A minute of a small series, a large one, and one without traffic."""
    e = np.array(EXPECTED)
    return Bucket(
        start_s=60 * minute,
        k=np.array(k),
        n=np.array([10.0, 600.0, 0.0]),
        e=e,
        doubt=np.full(3, 0.1),
        unseasoned=np.zeros(3),
        v_short=np.full(3, 0.05),
        v_long=np.full(3, 0.01),
        live=e > 0,
    )


def test_a_few_events_of_a_small_series_say_it_all() -> None:
    """Four flagged turns a minute where one comes in five minutes: told in the second minute."""
    bursts = Bursts(BurstConfig())
    for minute in range(30):
        assert not bursts.step(
            IDS, bucket(minute, (float(minute % 5 == 0), 12.0, 0.0))
        ).firing.any()
    assert not bursts.step(IDS, bucket(30, (5.0, 12.0, 0.0))).firing.any()
    told = bursts.step(IDS, bucket(31, (5.0, 12.0, 0.0)))
    assert told.firing.tolist() == [True, False, False]
    verdict = told[0]
    assert verdict.k >= 10
    assert verdict.onset is not None
    assert 29 * 60 <= verdict.onset <= 30 * 60
    assert "score" in verdict.reason


def test_one_wild_bucket_is_no_burst() -> None:
    """A single bucket, however wild, does not fire alone."""
    bursts = Bursts(BurstConfig())
    for minute in range(10):
        k = 10.0 if minute == 5 else 0.0
        assert not bursts.step(IDS, bucket(minute, (k, 12.0, 0.0))).firing.any()


def test_what_moves_little_is_no_burst() -> None:
    """Twice the rate of a large series is beyond doubt, and not what this is for."""
    bursts = Bursts(BurstConfig())
    told = [bursts.step(IDS, bucket(minute, (0.0, 24.0, 0.0))) for minute in range(30)]
    assert not any(one.firing.any() for one in told)


def test_a_gap_is_forgotten() -> None:
    """What was before a gap of more than the longest window does not count."""
    bursts = Bursts(BurstConfig())
    bursts.step(IDS, bucket(0, (5.0, 12.0, 0.0)))
    assert not bursts.step(IDS, bucket(20, (5.0, 12.0, 0.0))).firing.any()


COUNT = st.sampled_from([0.0, 0.0, 1.0, 5.0, 1e3, 1e12])


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from([1, 1, 1, 2, 9]), st.tuples(COUNT, COUNT)),
        min_size=2,
        max_size=30,
    ),
    st.data(),
)
def test_a_restart_anywhere_changes_no_word(
    history: list[tuple[int, tuple[float, float]]], data: st.DataObject
) -> None:
    """Stored and restored, bursts say what they would have said; scores are finite."""
    cut = data.draw(st.integers(0, len(history) - 1))
    whole, parts = Bursts(BurstConfig()), Bursts(BurstConfig())
    minute = 0
    for number, (gap, (small, large)) in enumerate(history):
        minute += gap
        if number == cut:
            parts = Bursts.restore(parts.snapshot(), BurstConfig())
        one = whole.step(IDS, bucket(minute, (small, large, 0.0)))
        other = parts.step(IDS, bucket(minute, (small, large, 0.0)))
        assert np.isfinite(one.score).all()
        assert list(one) == list(other)


def test_what_is_no_snapshot_of_these_settings_is_refused() -> None:
    """Other bytes, or other settings, raise ValueError."""
    stored = Bursts(BurstConfig()).snapshot()
    with pytest.raises(ValueError, match="other settings"):
        Bursts.restore(stored, BurstConfig(threshold=9.0))
    with pytest.raises(ValueError, match="snapshot"):
        Bursts.restore(b"PK\x03\x04", BurstConfig())
