from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from detectors.absence import AbsenceDetector, SilenceLimits, silence
from detectors.columns import pack
from detectors.model import State
from detectors.week import hours

HOUR = 3_600
DAY = 86_400
WEEK = 7 * DAY
MONDAY = 4 * DAY + 2_950 * WEEK


def test_what_should_have_come_decides_not_the_length() -> None:
    """Ten minutes are an outage where a hundred would come, and nothing where ten would."""
    night, noon = silence(1_200, 600, 10.0), silence(1_200, 600, 100.0)
    assert (night.state, noon.state) == (State.QUIET, State.FIRING)
    assert noon.reason == "no interaction for 10 min where 100 would be usual"
    assert (noon.onset, noon.window_buckets) == (600, 10)
    assert (noon.expected, noon.excess) == (100.0, -100.0)


def test_a_restart_is_not_silence() -> None:
    """However busy, a pause under the least silence stays quiet."""
    assert silence(299, 0, 1e6).state is State.QUIET
    assert silence(300, 0, 1e6).state is State.FIRING


def test_a_series_never_seen_is_warming() -> None:
    """Silence of what never spoke is no news."""
    verdict = silence(HOUR, None, 100.0)
    assert (verdict.state, verdict.reason) == (State.WARMING, "nothing was ever seen")


def test_unknown_volume_fires_only_after_a_long_silence() -> None:
    """Without a usual volume, an hour decides, and the reason says so."""
    assert silence(HOUR - 1, 0, None).state is State.WARMING
    verdict = silence(HOUR, 0, None)
    assert verdict.state is State.FIRING
    assert verdict.reason == "no interaction for 60 min; usual volume not known"


def test_time_before_the_last_traffic_counts_as_none() -> None:
    """A clock that is behind the data gives no negative silence."""
    assert silence(0, 500, 0.0).score == 0


def test_a_week_begins_on_monday_and_its_hours_add_up() -> None:
    """Half of Sunday's last hour, and half of Monday's first."""
    half = HOUR // 2
    assert list(hours(MONDAY - half, MONDAY + half)) == [(167, half), (0, half)]
    assert sum(seconds for _, seconds in hours(MONDAY + 7, MONDAY + 9 * DAY)) == 9 * DAY - 7


def test_bad_limits_are_refused() -> None:
    """Limits are positive."""
    with pytest.raises(ValueError, match="silence"):
        SilenceLimits(min_expected=0)


def test_a_snapshot_of_another_model_is_refused() -> None:
    """Hours of the day, which it learned once, are no hours of the week."""
    day = {"volume": np.ones(24), "seconds": np.ones(24)}
    header = {"known_s": 1.0, "came": 0.0, "due": 0.0, "end": None, "last_seen": None}
    detector = AbsenceDetector()
    before = detector.snapshot()
    for version, reason in ((1, "2 is needed"), (2, "incomplete")):
        with pytest.raises(ValueError, match=reason):
            detector.restore(pack(("tocsin-absence", version), header, day))
    assert detector.snapshot() == before


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


def test_whoever_asks_on_the_way_hears_the_same() -> None:
    """A long silence is added up as it goes on; a question about later leaves no trace."""
    asked, left_alone = (AbsenceDetector(bucket_s=600) for _ in range(2))
    for start in range(0, 9 * DAY, 600):
        bucket = {"t": start, "n": 7 * (start < 8 * DAY)}
        asked.score_one({"t": start + 5 * DAY, "n": 0})
        for detector in (asked, left_alone):
            detector.learn_one(bucket)
        assert asked.verdict is not None
    last = left_alone.verdict
    assert last is not None
    assert last.state is State.FIRING
    assert asked.verdict == last


# -- five weeks of traffic --------------------------------------------------------------------

Rate = Callable[[int], float]
"""Interactions a minute, by seconds since the first Monday."""


def weekend(t: int) -> bool:
    """Whether it is Saturday or Sunday."""
    return t % WEEK >= 5 * DAY


def office(t: int) -> bool:
    """Whether it is between eight and six."""
    return 8 * HOUR <= t % DAY < 18 * HOUR


def between(t: int, day: int, start: int, end: int) -> bool:
    """Whether it is minute `start` to `end` after noon of that day."""
    noon = day * DAY + 12 * HOUR
    return noon + 60 * start <= t < noon + 60 * end


def firings(rate: Rate, begin: int = 0) -> list[int]:
    """Five weeks of chance traffic, from `begin` on; when silence began to fire.

    The detector is set as `monitor.silence` sets it; that a feature is forgotten is not its task.
    """
    detector = AbsenceDetector(warm_s=DAY, unknown_after_s=5 * WEEK)
    minutes = range(begin, 5 * WEEK, 60)
    counts = np.random.default_rng(1).poisson([rate(t) for t in minutes])
    found, firing = [], False
    for t, n in zip(minutes, counts.tolist(), strict=True):
        detector.learn_one({"t": MONDAY + t, "n": n})
        verdict = detector.verdict
        assert verdict is not None
        if verdict.state is State.FIRING and not firing:
            found.append(t + 60)
        firing = verdict.state is State.FIRING
    return found


def by_week(found: list[int]) -> list[int]:
    """How many in each week."""
    return [sum(t // WEEK == week for t in found) for week in range(5)]


@pytest.mark.parametrize(
    "rate",
    [
        pytest.param(lambda t: 10 * office(t), id="office hours"),
        pytest.param(lambda t: 2 * office(t), id="few in office hours"),
        pytest.param(lambda t: 10 * (office(t) and not weekend(t)), id="Monday to Friday"),
        pytest.param(lambda t: 10 * office(t) * (0.05 if weekend(t) else 1), id="quiet weekend"),
        pytest.param(
            lambda t: (10 if office(t) else 1) * (0.05 if weekend(t) else 1), id="with nights"
        ),
        pytest.param(
            lambda t: 10 if office(t - HOUR // 2) else 0.04, id="half hours and a lonely night"
        ),
        pytest.param(lambda t: 10 * office(t - HOUR * (t >= 3 * WEEK)), id="an hour later"),
        pytest.param(lambda t: 10 * office(t + HOUR * (t >= 3 * WEEK)), id="an hour earlier"),
        pytest.param(
            lambda t: 10 * office(t) * (0.1 if t // DAY == 21 else 1), id="holiday on a Monday"
        ),
        pytest.param(lambda t: 10 * (office(t) and t % WEEK < DAY), id="Mondays only"),
        pytest.param(lambda t: 10 * between(t, 3, 0, 90), id="tried out once"),
        pytest.param(lambda t: 0.3, id="little, day and night"),
    ],
)
@pytest.mark.parametrize("begin", [0, 2 * DAY + 14 * HOUR])
def test_a_rhythm_is_no_outage(rate: Rate, begin: int) -> None:
    """Nights, weekends, clocks that change, a holiday: in five weeks none of it fires, whatever day
    the feature was first seen."""
    assert by_week(firings(rate, begin)) == [0, 0, 0, 0, 0]


def test_an_outage_is_found_at_once_and_again_the_next_day() -> None:
    """Twenty minutes of none in a busy feature's third week, and the same a day later."""
    found = firings(lambda t: 60 * (not any(between(t, day, 0, 20) for day in (16, 17))))
    late = [t - day * DAY - 12 * HOUR for t, day in zip(found, (16, 17), strict=True)]
    assert all(0 < each <= 6 * 60 for each in late)


def test_an_outage_that_comes_back_is_found_as_quickly() -> None:
    """Three hours that fired make no quiet day: ten minutes later silence counts as before."""
    found = firings(lambda t: 10 * (not (between(t, 16, 0, 180) or between(t, 16, 190, 220))))
    late = [t - 16 * DAY - 12 * HOUR - 60 * at for t, at in zip(found, (0, 190), strict=True)]
    assert all(0 < each <= 6 * 60 for each in late)


def test_an_outage_in_the_first_week_is_found() -> None:
    """On its third day nobody knows what a Wednesday is, but what a noon is."""
    (found,) = firings(lambda t: 10 * (not between(t, 2, 0, 60)))
    assert 0 < found - 2 * DAY - 12 * HOUR <= 15 * 60


def test_a_new_nightly_pause_becomes_usual() -> None:
    """A feature that goes dark at night from its third week on: four nights are told, then none."""
    pause = 14 * DAY + 12 * HOUR
    found = firings(lambda t: 10 * (t < pause or 6 * HOUR <= t % DAY < 22 * HOUR))
    assert by_week(found) == [0, 0, 4, 0, 0]


def test_a_new_weekend_becomes_usual() -> None:
    """Day and night, but never on a weekend: two are told, then none."""
    assert by_week(firings(lambda t: 10 * (not weekend(t)))) == [1, 1, 0, 0, 0]


def test_an_outage_hardly_becomes_usual() -> None:
    """After an hour of silence that fired, the same hour of the next week is as closely watched."""
    found = firings(lambda t: 10 * (not any(between(t, day, 0, 60) for day in (16, 23))))
    late = [t - day * DAY - 12 * HOUR for t, day in zip(found, (16, 23), strict=True)]
    assert all(0 < each <= 6 * 60 for each in late)
