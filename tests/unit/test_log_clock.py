"""One partition's time, where each producer writes its own."""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.stream.cells import Emission, Progress
from monitor.stream.counting import Counter
from monitor.stream.log_clock import AGREED, AGREED_ALONE, GAP_S, WITNESSES, ClockState, LogClock
from monitor.stream.signals import default_signals, plan
from monitor.stream.tally import Tally
from tests.making import T0, arrival, document

TALLY = Tally(plan(default_signals()))
HOUR = 3600.0
Said = tuple[str, float]
"""A source, and the seconds after the beginning that it says it is."""


def clock(*said: Said) -> LogClock:
    """A clock that has heard these, and stands at the beginning."""
    made = LogClock(ClockState(watermark=0.0), 15)
    for source, at in said:
        made.see(source, at)
    return made


def steady(seconds: Iterable[int], *sources: str, gain: float = 0.0) -> list[Said]:
    """Every source speaks each second, `gain` seconds ahead."""
    return [(source, second + gain) for second in seconds for source in sources]


def test_time_goes_on_with_whoever_writes() -> None:
    """Steps within the lateness are never doubted, whoever else is silent."""
    assert clock(*steady(range(10), "a", "b"), *steady(range(10, 900), "a")).watermark == 899


@pytest.mark.parametrize("gain", [30.0, 6 * HOUR, 86_400.0 * 365])
@pytest.mark.parametrize("batch", [1, 50, 900])
def test_one_fast_source_among_others_moves_nothing(gain: float, batch: int) -> None:
    """However far ahead it is, and however many records it writes at a time."""
    one = clock(*steady(range(60), "a", "b"))
    for second in range(60, 180):
        for _ in range(batch if second == 60 else 1):
            one.see("fast", second + gain)
        one.see("a", float(second))
        one.see("b", float(second))
    assert one.watermark == 179


def test_a_source_that_contradicts_itself_is_not_believed() -> None:
    """One wrong time of the only source there is."""
    one = clock(*steady(range(5), "a"))
    assert not one.see("a", 86_400.0)
    assert not one.see("a", 6.0)
    assert one.watermark == 6


def test_who_is_contradicted_is_told_so_until_it_comes_back() -> None:
    """First nothing is known against it; then everything it says ahead of the others is."""
    one = clock(*steady(range(5), "a"))
    assert not one.see("fast", HOUR)
    assert not one.turned
    one.see("a", 5.0)
    assert one.turned
    assert one.see("fast", HOUR + 1)
    assert not one.see("fast", 6.0)
    assert not one.see("fast", 7.0)
    assert one.watermark == 7


def test_after_a_rest_the_majority_that_comes_back_is_believed() -> None:
    """Two of three sources are enough, with one record each; one is not."""
    one = clock(*steady(range(5), "a", "b", "c"))
    one.see("a", HOUR)
    assert one.watermark == 4
    one.see("b", HOUR + 2)
    assert one.watermark == HOUR + 2


def test_after_a_rest_a_fast_source_is_left_behind_by_the_majority() -> None:
    """The earliest time that the majority has reached is believed."""
    one = clock(*steady(range(5), "a", "b", "fast"))
    for said in (("fast", 9 * HOUR), ("a", HOUR), ("b", HOUR + 1)):
        one.see(*said)
    assert one.watermark == HOUR + 1


def test_a_quiet_source_that_is_alone_is_believed_at_once() -> None:
    """An event every five minutes is a topic too."""
    one = clock(("a", 0.0))
    for number in range(1, 50):
        one.see("a", float(number * GAP_S))
        assert one.watermark == number * GAP_S


@pytest.mark.parametrize(
    ("step", "records"), [(0.0, AGREED[0]), (AGREED[1], 2), (AGREED[1] / 4, 5)]
)
def test_a_source_that_is_alone_is_believed_after_a_long_rest(step: float, records: int) -> None:
    """After a hundred records, or a minute of its own time, whichever comes first."""
    one = clock(("a", 0.0))
    for number in range(records - 1):
        one.see("a", 8 * HOUR + number * step)
    assert one.watermark == 0
    one.see("a", 8 * HOUR + (records - 1) * step)
    assert one.watermark == 8 * HOUR + (records - 1) * step


@pytest.mark.parametrize(("step", "records"), [(0.0, AGREED_ALONE[0]), (AGREED_ALONE[1], 2)])
def test_a_source_whose_neighbours_are_gone_is_believed_later(step: float, records: int) -> None:
    """They may only be slower: a batch of one gateway comes whole."""
    one = clock(*steady(range(5), "a", "b"))
    for number in range(records - 1):
        one.see("a", 8 * HOUR + number * step)
    assert one.watermark == 4
    one.see("a", 8 * HOUR + (records - 1) * step)
    assert one.watermark == 8 * HOUR + (records - 1) * step


@pytest.mark.parametrize("shares", [[1] * 20, [95, 5], [94, 2, 2, 2]])
def test_a_quiet_partition_goes_on_with_each_event(shares: list[int]) -> None:
    """An event in six seconds, of whichever source: a step of so many is no doubt, and no delay."""
    rng, one, at = random.Random(7), LogClock(ClockState(), 15), 0.0
    lags = []
    for _ in range(3000):
        at += rng.expovariate(1 / 6)
        one.see(str(rng.choices(range(len(shares)), shares)[0]), at)
        lags.append(at - (one.watermark or 0.0))
    assert sum(lag > 0 for lag in lags) < 0.03 * len(lags)
    assert max(lags) < 120


def test_a_gateway_that_starts_under_a_new_name_is_believed_within_a_minute() -> None:
    """The one before is gone, which nobody can know: it may only be slower."""
    one = clock(*steady(range(100), "pod-1"), *steady(range(120, 180), "pod-2"))
    assert one.watermark == 99
    one.see("pod-2", 180.0)
    assert one.watermark == 180


def test_few_of_many_sources_are_no_majority() -> None:
    """Nine of two hundred, on one machine with a fast clock, one after the other."""
    names = [f"s{number}" for number in range(200)]
    one = clock(*((names[number % 200], number / 10) for number in range(6000)))
    for name in names[:9]:
        one.see(name, 600 + HOUR)
    one.see("s9", 600.0)
    assert one.watermark == 600


def test_the_first_record_of_all_decides_nothing() -> None:
    """A fast gateway may be the first that is heard; the second source settles it."""
    one = LogClock(ClockState(), 15)
    one.see("fast", 6 * HOUR)
    assert one.watermark is None
    one.see("a", 0.0)
    assert one.watermark == 0
    one.see("b", 1.0)
    assert one.see("fast", 6 * HOUR + 1)


def test_who_is_far_behind_contradicts_nobody() -> None:
    """A gateway that sends yesterday's events from its disk does not hold up time."""
    one = clock(*steady(range(5), "a", "b"))
    for number in range(3):
        one.see("old", number - 86_400.0)
        one.see("a", HOUR + number)
    one.see("b", HOUR + 3)
    assert one.watermark == HOUR + 3


def test_no_more_sources_are_remembered_than_needed() -> None:
    """An attacker may invent a name for each event."""
    one = clock(*((f"s{number}", number / 100) for number in range(5000)))
    assert len(one.state().witnesses) == WITNESSES
    assert one.watermark == 49.99


def test_a_broker_s_time_is_believed_and_contradicts() -> None:
    """After the topic was changed to LogAppendTime nothing is doubted any more."""
    one = clock(*steady(range(5), "a"))
    one.see("fast", 6 * HOUR)
    one.see_appended(HOUR)
    assert (one.watermark, one.turned) == (HOUR, True)
    assert one.see("fast", 6 * HOUR + 1)


SAID = st.lists(
    st.tuples(
        st.sampled_from("abc"),
        st.one_of(st.floats(0, 500), st.sampled_from([0.0, 40_000.0, 90_000.0, -9000.0])),
    ),
    max_size=80,
)


@settings(max_examples=300, deadline=None)
@given(said=SAID, cut=st.integers(0, 80))
def test_a_clock_goes_on_from_its_state(said: list[Said], cut: int) -> None:
    """It never goes back, and one that is put away and taken out again says the same."""
    whole, half = LogClock(ClockState(), 15), LogClock(ClockState(), 15)
    last = float("-inf")
    for number, (source, at) in enumerate(said):
        if number == cut:
            half = LogClock(half.state(), 15)
        assert whole.see(source, at) == half.see(source, at)
        assert whole.turned == half.turned
        assert (whole.watermark or last) >= last
        last = whole.watermark or last
    assert whole.state() == half.state()


# -- what is counted ------------------------------------------------------------------------------


def run(said: Iterable[Said], *, broker: bool = False) -> Counter:
    """Each event has the time its source says, and its record the same (CreateTime)."""
    counter = Counter(TALLY, Progress())
    for offset, (source, seconds) in enumerate(said):
        at = T0 + timedelta(seconds=seconds)
        made = arrival(offset, document(at, key=f"k{offset}", source=source), stamp=at)
        counter.add(replace(made, appended=broker))
    return counter


def volumes(emission: Emission) -> dict[int, int]:
    """Interactions by bucket, in minutes after the beginning."""
    return {
        (bucket.start - int(T0.timestamp())) // 60: sum(n[0] for n in bucket.base.values())
        for bucket in emission.buckets
    }


def test_a_fast_gateway_is_counted_with_the_others() -> None:
    """Its events count when they come, none of the others' is late, and it is named."""
    said: list[Said] = []
    for second in range(300):
        said += [("//gw/1", second), ("//gw/2", second + 6 * HOUR), ("//gw/3", second)]
    emission = run(said).take()
    assert volumes(emission) == dict.fromkeys(range(5), 180)
    assert emission.progress.totals == {"counted": 900, "clamped": 300}
    assert {name: stray.events for name, stray in emission.progress.strays.items()} == {
        "//gw/2": 300
    }
    assert emission.progress.strays["//gw/2"].seconds == pytest.approx(6 * HOUR, abs=2)


def test_a_gateway_that_is_fast_by_less_than_a_minute_makes_nobody_late() -> None:
    """It counts in its own minute, and time goes on with the others."""
    said: list[Said] = []
    for second in range(300):
        said += [("//gw/1", second), ("//gw/2", second + 45), ("//gw/3", second)]
    assert run(said).take().progress.totals == {"counted": 900}


def test_a_bucket_that_never_was_is_taken_back() -> None:
    """Written while nothing was known against it, it goes once the others say so."""
    counter = run([("a", 0), ("b", 1), ("fast", 6 * HOUR)])
    first = counter.take()
    assert volumes(first) == {0: 2, 360: 1}
    at = T0 + timedelta(seconds=2)
    counter.add(arrival(3, document(at, key="again", source="a"), stamp=at))
    second = counter.take()
    assert second.withdrawn == {int(T0.timestamp()) + 360 * 60}
    assert volumes(second) == {0: 4}
    assert second.progress.low_water == 0
    assert volumes(first.then(second)) == {0: 4}


def test_a_low_water_mark_is_not_held_by_the_future() -> None:
    """A year ahead, an event would keep a replay of a year of the log."""
    said = [("a", float(n)) for n in range(600)]
    said.insert(300, ("fast", 365 * 86_400.0))
    assert run(said).progress().low_water > 500


def test_a_quiet_topic_of_many_sources_is_counted_to_the_minute() -> None:
    """Each event is a step of minutes, none is doubted away, and none is late."""
    sources = "abc"
    said = [(sources[number % 3], 200.0 * number) for number in range(30)]
    counter = run(said)
    counter.finish()
    emission = counter.take()
    assert emission.progress.totals == {"counted": 30}
    assert volumes(emission) == {200 * number // 60: 1 for number in range(30)}


def test_a_rest_of_hours_costs_no_event() -> None:
    """Three sources, a night, and the same three again."""
    said = steady(range(60), "a", "b", "c") + steady(range(60), "a", "b", "c", gain=9 * HOUR)
    counter = run(said)
    assert volumes(counter.take()) == {0: 180, 540: 180}
    assert counter.progress().totals == {"counted": 360}


def test_the_broker_s_time_holds_whatever_producers_say() -> None:
    """With LogAppendTime an event may be a minute ahead of its record, and time is the record's."""
    counter = Counter(TALLY, Progress())
    for offset in range(200):
        at = T0 + timedelta(seconds=offset + 55 * (offset % 2))
        made = arrival(
            offset,
            document(at, key=f"k{offset}", source="ab"[offset % 2]),
            stamp=T0 + timedelta(seconds=offset),
        )
        counter.add(replace(made, appended=True))
    assert counter.progress().totals == {"counted": 200}


@settings(max_examples=200, deadline=None)
@given(said=SAID, takes=st.sets(st.integers(0, 80)))
def test_every_event_is_in_one_cell_or_late(said: list[Said], takes: set[int]) -> None:
    """Whatever is doubted, believed and taken back, and whenever it is written."""
    counter = Counter(TALLY, Progress())
    stored: dict[int, int] = {}
    for offset, (source, seconds) in enumerate(said):
        at = T0 + timedelta(seconds=seconds)
        counter.add(arrival(offset, document(at, key=f"k{offset}", source=source), stamp=at))
        if offset in takes:
            store(stored, counter.take())
    counter.finish()
    last = counter.take()
    store(stored, last)
    totals = last.progress.totals
    assert totals.get("counted", 0) + totals.get("late", 0) == len(said)
    assert sum(stored.values()) == totals.get("counted", 0)


def store(stored: dict[int, int], emission: Emission) -> None:
    """As the rows of a store."""
    for start in emission.withdrawn:
        stored.pop((start - int(T0.timestamp())) // 60, None)
    stored |= volumes(emission)
