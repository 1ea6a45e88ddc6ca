from __future__ import annotations

import numpy as np
import pytest

from detectors.columns import Floats
from detectors.drift import LevelChange, LevelDetector
from detectors.model import State


def notes(detector: LevelDetector, rate: Floats, *, volume: int = 60) -> list[LevelChange]:
    """Feed minutes of binomial counts and gather the notes."""
    rng = np.random.default_rng(3)
    found = []
    for minute, p in enumerate(rate):
        detector.learn_one({"t": 60 * minute, "k": int(rng.binomial(volume, p)), "n": volume})
        if detector.change:
            found.append(detector.change)
    return found


def test_a_new_level_is_noted_once_with_its_onset() -> None:
    """A release that doubles the rate for good gives one note, dated to the release."""
    detector = LevelDetector()
    found = notes(detector, np.repeat([0.1, 0.2], [1440, 1440]))
    assert len(found) == 1
    assert abs(found[0].onset - 60 * 1440) <= 1_200
    assert found[0].before == pytest.approx(0.1, rel=0.1)
    assert found[0].after == pytest.approx(0.2, rel=0.1)


def test_a_fall_is_noted_too() -> None:
    """The level may change either way."""
    found = notes(LevelDetector(), np.repeat([0.2, 0.1], [1440, 1440]))
    assert [round(one.after, 1) for one in found] == [0.1]


def test_a_steady_level_gives_no_note() -> None:
    """Ten quiet days are quiet."""
    assert notes(LevelDetector(), np.full(10 * 1440, 0.1)) == []


def test_a_small_move_is_not_worth_a_note() -> None:
    """What is sure but small is passed over."""
    assert notes(LevelDetector(min_ratio=3.0), np.repeat([0.1, 0.2], [1440, 1440])) == []


def test_many_small_steps_are_noted_in_the_end() -> None:
    """Steps too small for a note each add up to one."""
    steps = np.repeat(0.2 * 1.2 ** np.arange(4), 3 * 1440)
    found = notes(LevelDetector(min_ratio=1.3), steps, volume=300)
    assert [round(one.before, 2) for one in found] == [0.2]
    assert found[0].after == pytest.approx(0.29, abs=0.01)


def test_a_rate_that_has_its_hours_gives_no_note() -> None:
    """Ten days of twice as many in the evening as in the morning are ten days alike; a level that
    doubles on top of that is noted, once."""
    day = 0.1 * np.exp(0.4 * np.sin(2 * np.pi * np.arange(1440) / 1440))
    days = np.tile(day, 10)
    assert notes(LevelDetector(), days, volume=300) == []
    doubled = np.concatenate([days, np.tile(2 * day, 3)])
    found = notes(LevelDetector(), doubled, volume=300)
    assert len(found) == 1
    assert abs(found[0].onset - 60 * len(days)) <= 3_600
    assert found[0].after / found[0].before == pytest.approx(2.0, rel=0.1)


def test_it_never_fires() -> None:
    """A note is not a page, whatever happens."""
    detector = LevelDetector(block_s=60)
    states = set()
    for minute in range(300):
        detector.learn_one({"t": 60 * minute, "k": 0 if minute < 150 else 300, "n": 300})
        assert detector.verdict is not None
        states.add(detector.verdict.state)
    assert states == {State.WARMING, State.QUIET}


def test_memory_is_bounded() -> None:
    """However long the stream, no more than the given blocks are kept, or stored."""
    detector = LevelDetector(block_n=1, block_s=60, max_blocks=50)
    sizes = set()
    for minute in range(1_000):
        detector.learn_one({"t": 60 * minute, "k": 1, "n": 10})
        sizes.add(len(detector.snapshot()) // 1_000)
    assert max(sizes) <= 2
