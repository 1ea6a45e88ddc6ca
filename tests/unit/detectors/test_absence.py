from __future__ import annotations

import pytest

from detectors.absence import AbsenceDetector, SilenceLimits, expected_between, silence
from detectors.model import State

HOUR = 3_600
DAY = 86_400


def test_silence_at_noon_fires_and_the_same_silence_at_night_does_not() -> None:
    """What should have come decides, not the length alone."""
    usual = [1.0] * 8 + [600.0] * 12 + [1.0] * 4
    night = silence(3 * HOUR, 2 * HOUR, usual)
    noon = silence(12 * HOUR, 12 * HOUR - 600, usual)
    assert (night.state, noon.state) == (State.QUIET, State.FIRING)
    assert noon.reason == "no interaction for 10 min where 100 would be usual"
    assert (noon.onset, noon.window_buckets) == (12 * HOUR - 600, 10)
    assert (noon.expected, noon.excess) == (100.0, -100.0)


def test_a_restart_is_not_silence() -> None:
    """However busy, a pause under the least silence stays quiet."""
    busy = [1e6]
    assert silence(299, 0, busy).state is State.QUIET
    assert silence(300, 0, busy).state is State.FIRING


def test_a_series_never_seen_is_warming() -> None:
    """Silence of what never spoke is no news."""
    verdict = silence(HOUR, None, [100.0])
    assert (verdict.state, verdict.reason) == (State.WARMING, "nothing was ever seen")


def test_unknown_volume_fires_only_after_a_long_silence() -> None:
    """Without a usual volume, an hour decides, and the reason says so."""
    assert silence(HOUR - 1, 0, None).state is State.WARMING
    verdict = silence(HOUR, 0, None)
    assert verdict.state is State.FIRING
    assert verdict.reason == "no interaction for 60 min; usual volume not known"


def test_time_before_the_last_traffic_counts_as_none() -> None:
    """A clock that is behind the data gives no negative silence."""
    assert silence(0, 500, [100.0]).score == 0


@pytest.mark.parametrize("days", [0, 1, 3])
def test_expected_volume_adds_up_over_midnight_and_days(days: int) -> None:
    """Half of one hour and half of the next, plus whole days."""
    usual = [float(hour) for hour in range(24)]
    start = 23 * HOUR + HOUR // 2
    got = expected_between(usual, start, start + HOUR + days * DAY)
    assert got == pytest.approx(23 / 2 + 0 / 2 + days * sum(usual))


def test_bad_limits_and_volumes_are_refused() -> None:
    """Limits are positive; a day has 24 hours."""
    with pytest.raises(ValueError, match="silence"):
        SilenceLimits(min_expected=0)
    with pytest.raises(ValueError, match="1 or 24"):
        expected_between([1.0, 2.0], 0, 60)


def test_the_detector_learns_the_hours_and_judges_by_them() -> None:
    """After days of a busy day and an idle night, silence fires by day only."""

    def after(hour: int) -> str:
        detector = AbsenceDetector(bucket_s=600)
        end = 5 * DAY + hour * HOUR
        for start in range(0, end, 600):
            busy = 8 <= (start // HOUR) % 24 < 20
            detector.learn_one({"t": start, "n": 100 if busy else int(start % HOUR == 0)})
        for start in range(end, end + 1_200, 600):
            detector.learn_one({"t": start, "n": 0})
        assert detector.verdict is not None
        return detector.verdict.state.value

    assert (after(12), after(2)) == ("firing", "quiet")


def test_an_outage_hardly_becomes_usual() -> None:
    """Twenty minutes of silence that fired hardly move the usual volume."""
    detector = AbsenceDetector()
    for minute in range(600):
        detector.learn_one({"t": 60 * minute, "n": 10})
    before = detector.usual()
    detector.learn_one({"t": 60 * 620, "n": 0})
    assert detector.verdict is not None
    assert detector.verdict.state.value == "firing"
    detector.learn_one({"t": 60 * 640, "n": 10})
    after = detector.usual()
    assert before is not None
    assert after is not None
    assert sum(after) == pytest.approx(sum(before), rel=0.05)
    assert detector.verdict.state.value == "quiet"
