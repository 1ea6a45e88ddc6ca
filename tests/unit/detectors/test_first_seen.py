from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detectors.first_seen import FirstSeenDetector, News, Use
from detectors.model import State


def detector(**settings: int) -> FirstSeenDetector:
    """One that has been warm since minute 2."""
    made = FirstSeenDetector(**{"warm_s": 60, "settle_s": 120, "every_s": 600, **settings})
    made.observe(0, [Use("old", 0, 5)])
    return made


def play(made: FirstSeenDetector, minutes: dict[int, list[Use]], end: int) -> list[News]:
    """The news of minutes 1 to `end`."""
    found = []
    for minute in range(1, end):
        news = made.observe(60 * minute, minutes.get(minute, []))
        if news is not None:
            found.append(news)
    return found


def test_uses_are_counted_until_it_is_told() -> None:
    """A new value is told after the settling time, with every use and place so far."""
    at = ("prod", "chat")
    uses = {5: [Use("new", 1, 2, at)], 6: [Use("new", 0, 1, ("prod", "search")), Use("old", 0, 9)]}
    (news,) = play(detector(), uses, 20)
    (new,) = news.found
    assert (new.value, new.first, new.k, new.n) == ("new", 300, 1, 3)
    assert new.places == [at, ("prod", "search")]
    assert (news.since, news.until, news.more, news.full) == (300, 420, 0, False)


def test_tellings_are_apart() -> None:
    """What comes right after a telling waits for the next, and no value is told twice."""
    uses = {m: [Use(f"v{m}", 0, 1), Use("v3", 0, 1)] for m in range(3, 30)}
    news = play(detector(), uses, 40)
    times = [one.until for one in news]
    assert all(b - a >= 600 for a, b in pairwise(times))
    told = [new.value for one in news for new in one.found]
    assert sorted(told) == sorted(set(told)) == sorted({f"v{m}" for m in range(3, 30)})


def test_a_flood_hides_nothing_that_matters() -> None:
    """Of ten thousand names fifty are kept, those that matter first; the rest is a number."""
    made = detector(every_s=0)
    junk = [Use(f"a{number:05}", 0, 1) for number in range(10_000)]
    (news,) = play(made, {5: [*junk, Use("wire_transfer", 1, 1)]}, 12)
    assert news.found[0].value == "wire_transfer"
    assert len(news.found) + news.more == 10_001
    assert len(news.found) <= 50
    assert len(made.snapshot()) < 200_000


def test_a_full_list_is_said_once() -> None:
    """When there is no room left nothing is new any more, and that is no secret."""
    made = detector(capacity=3, every_s=0)
    uses = {5: [Use(f"v{number}", 0, 1) for number in range(9)], 20: [Use("later", 0, 1)]}
    news = play(made, uses, 40)
    assert [len(one.found) for one in news] == [2]
    assert [one.full for one in news] == [True]
    upstream = detector(every_s=0)
    (said,) = [n for m in range(2, 9) if (n := upstream.observe(60 * m, [], unnamed=3))]
    assert said.full
    assert said.found == ()


def test_warming_is_by_the_first_bucket_of_all() -> None:
    """A field first used long after the start is news from its first use."""
    made = FirstSeenDetector(warm_s=600, settle_s=0)
    for minute in range(20):
        assert made.observe(60 * minute, [Use("early", 0, 1)] if minute == 9 else []) is None
    states = [made.verdict.state] if made.verdict else []
    assert made.observe(60 * 20, [Use("late", 0, 1)]) is not None
    states += [made.verdict.state] if made.verdict else []
    assert states == [State.QUIET, State.FIRING]


NAMES = st.sampled_from([f"n{number}" for number in range(12)])
BUCKETS = st.lists(
    st.lists(st.tuples(NAMES, st.integers(0, 1), st.integers(1, 3)), max_size=4),
    min_size=5,
    max_size=60,
)


@given(BUCKETS, st.integers(1, 60))
@settings(max_examples=60, deadline=None)
def test_every_value_is_told_at_most_once_whatever_is_killed(
    buckets: list[list[tuple[str, int, int]]], cut: int
) -> None:
    """With a restart anywhere the news are those of a process that never stopped."""

    def told(restart: int | None) -> list[News]:
        made = FirstSeenDetector(warm_s=120, settle_s=120, every_s=300, capacity=8)
        found = []
        for number, uses in enumerate(buckets):
            if number == restart:
                other = FirstSeenDetector(warm_s=120, settle_s=120, every_s=300, capacity=8)
                other.restore(made.snapshot())
                made = other
            news = made.observe(60 * number, [Use(v, min(k, n), n) for v, k, n in uses])
            found += [] if news is None else [news]
        return found

    whole = told(None)
    assert told(cut) == whole
    values = [new.value for news in whole for new in news.found]
    assert len(values) == len(set(values))
    assert sum(news.full for news in whole) <= 1


@pytest.mark.parametrize("bad", [{"capacity": 0}, {"warm_s": -1}, {"bucket_s": 0}])
def test_settings_out_of_range_are_refused(bad: dict[str, int]) -> None:
    """A detector that could never tell anything is not built."""
    with pytest.raises(ValueError, match="at least 1"):
        FirstSeenDetector(**bad)
