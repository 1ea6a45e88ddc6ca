from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest

from detectors.columns import Floats, Ints
from detectors.model import Alarm, RateConfig, State
from detectors.profiles import LOUD, PAGE
from detectors.rate import RateBank
from tests.unit.detectors.traffic import START, counts, episodes, feed


def six_hours_then(times: float, rate: float = 0.1, volume: float = 40.0) -> Floats:
    """Six quiet hours, one hour at `times` the rate, two quiet hours."""
    moved: Floats = np.repeat([rate, rate * times, rate], [360, 60, 120])
    return np.minimum(moved, 1.0)


def test_a_fivefold_rise_is_one_episode_found_within_ten_minutes() -> None:
    """Six quiet hours and x5 for one hour give exactly one episode, within ten minutes."""
    for seed in range(10):
        k, n = counts(six_hours_then(5.0), 40.0, seed=seed)
        begun = episodes(feed(RateBank(LOUD), k, n))
        assert len(begun) == 1
        assert 360 <= begun[0] < 370


def test_the_same_traffic_without_the_rise_never_fires() -> None:
    """Nine hours at one rate stay quiet."""
    for seed in range(10):
        k, n = counts(six_hours_then(1.0), 40.0, seed=seed)
        assert episodes(feed(RateBank(LOUD), k, n)) == []


def test_the_verdict_says_what_happened_since_when() -> None:
    """A firing verdict's counts, onset and window agree, and its reason says them in words."""
    k, n = counts(six_hours_then(5.0), 40.0)
    verdict = feed(RateBank(LOUD), k[:370], n[:370])[-1][0]
    assert verdict.state is State.FIRING
    assert verdict.direction == "up"
    assert verdict.onset is not None
    assert abs(verdict.onset - (START + 60 * 360)) <= 180
    since = (verdict.onset - START) // 60
    assert verdict.window_buckets == 370 - since
    assert (verdict.k, verdict.n) == (k[since:370].sum(), n[since:370].sum())
    assert verdict.baseline == pytest.approx(0.1, rel=0.1)
    assert verdict.observed == verdict.k / verdict.n
    assert verdict.excess == pytest.approx(verdict.k - 0.1 * verdict.n, rel=0.1)
    shape = (
        r"rate [45]\d\.\d % against a baseline of (9|10)\.\d % \([45]\.\dx\), "
        r"\d+ of \d+ over \d+ min, \d+ more than expected; score \d+\.\d over 7\.0"
    )
    assert re.fullmatch(shape, verdict.reason)


def test_how_sure_is_said_in_words() -> None:
    """On the calibrated scale the sentence says how often a quiet series gets so far."""
    k, n = counts(six_hours_then(5.0), 40.0)
    reason = feed(RateBank(PAGE), k[:364], n[:364])[-1][0].reason
    rare = r"a quiet series gets there (less than )?once in [\d,.]+ weeks"
    assert re.search(rf"; {rare} \(score \d+\.\d over \d+\.\d\)$", reason), reason


def test_warming_is_not_quiet() -> None:
    """Until the evidence is there the state is warming, even in the middle of a disaster."""
    verdicts = feed(RateBank(PAGE), *counts(np.repeat([0.1, 0.9], [60, 30]), 40.0))
    assert {one[0].state for one in verdicts} == {State.WARMING}
    assert all(one[0].score == 0 for one in verdicts)
    assert verdicts[-1][0].reason.startswith("still learning what is normal: ")


def test_warm_up_needs_sixty_buckets_and_thirty_events() -> None:
    """A busy series waits for its buckets, a rare one for its events; learning lags by an hour."""
    busy = feed(RateBank(PAGE), *counts(np.full(200, 0.5), 100.0))
    assert [one[0].state for one in busy].index(State.QUIET) == 119
    k, n = counts(np.full(900, 0.002), 40.0)
    rare = feed(RateBank(PAGE), k, n)
    first = [one[0].state for one in rare].index(State.QUIET)
    assert k[: first - 60].sum() < 30 <= k[: first - 59].sum()


def test_a_parents_prior_makes_a_new_series_warm_at_once() -> None:
    """With ten events of the parent, a new series is judged from its first bucket on."""
    bank = RateBank(PAGE)
    bank.add("a", prior=(10, 100))
    verdicts = feed(bank, *counts(np.repeat([0.1, 0.9], [30, 10]), 40.0))
    assert verdicts[0][0].state is State.QUIET
    assert len(episodes(verdicts)) == 1
    assert episodes(verdicts)[0] >= 30


def test_a_bad_prior_is_refused() -> None:
    """A prior is k of n."""
    for bad in ((1.0, 0.0), (-1.0, 5.0), (6.0, 5.0)):
        with pytest.raises(ValueError, match="prior"):
            RateBank(PAGE).add("a", prior=bad)


def test_one_event_after_a_day_of_none_does_not_page() -> None:
    """All zero for a day, then a single k: nobody is woken."""
    k = np.zeros(1500, np.int64)
    k[1450] = 1
    verdicts = feed(RateBank(PAGE), k, np.full(1500, 20))
    assert episodes(verdicts) == []
    assert verdicts[1449][0].state is State.WARMING
    assert feed(RateBank(PAGE), np.zeros(1600, np.int64), np.full(1600, 20))[-1][0].state is (
        State.QUIET
    )


def test_an_outage_after_days_of_no_error_is_found() -> None:
    """What never happened becomes warm after a day, and then is found when it does happen."""
    rate = np.repeat([0.0, 0.5], [1560, 10])
    begun = episodes(feed(RateBank(PAGE), *counts(rate, 20.0)))
    assert len(begun) == 1
    assert 1560 <= begun[0] <= 1564


def test_one_wild_bucket_alone_never_pages() -> None:
    """A blip of one bucket, however large, is not an incident."""
    rate = np.full(500, 0.1)
    rate[400] = 1.0
    assert episodes(feed(RateBank(PAGE), *counts(rate, 5_000.0))) == []


def test_a_fall_fires_only_where_falls_are_watched() -> None:
    """Refusals at zero are bad news for a two-sided alarm and no news for a one-sided one."""
    rate = np.repeat([0.1, 0.0], [360, 60])
    k, n = counts(rate, 40.0)
    assert episodes(feed(RateBank(PAGE), k, n)) == []
    both = RateBank(replace(PAGE, alarm=replace(PAGE.alarm, watch="both")))
    verdicts = feed(both, k, n)
    assert len(episodes(verdicts)) == 1
    verdict = verdicts[-1][0]
    assert verdict.direction == "down"
    assert verdict.excess < 0
    assert "(none left)" in verdict.reason
    assert "fewer than expected" in verdict.reason
    down = RateBank(replace(PAGE, alarm=replace(PAGE.alarm, watch="down")))
    assert episodes(feed(down, *counts(six_hours_then(5.0), 40.0))) == []


def test_a_rare_signal_at_zero_for_a_while_is_no_fall() -> None:
    """A fall needs twice the floor in missing interactions, for rare things are often absent."""
    both = replace(PAGE, alarm=replace(PAGE.alarm, watch="both", min_excess=10.0))
    k, n = counts(np.repeat([0.02, 0.0], [600, 300]), 10.0)
    verdicts = feed(RateBank(both), k, n)
    begun = episodes(verdicts)
    assert len(begun) == 1
    assert -verdicts[begun[0]][0].excess >= 20


def test_floors_hold_back_what_is_sure_but_small() -> None:
    """With the evidence there, ratio, excess and volume floors each keep the series quiet."""
    k, n = counts(six_hours_then(3.0), 40.0)
    alarm = Alarm(threshold=9.0, min_ratio=1.5, min_excess=10.0)
    assert episodes(feed(RateBank(RateConfig(alarm=alarm)), k, n))
    held = (
        replace(alarm, min_ratio=4.5),
        replace(alarm, min_excess=5_000.0),
        replace(alarm, min_n=50_000.0),
    )
    for one in held:
        verdicts = feed(RateBank(RateConfig(alarm=one)), k, n)
        assert episodes(verdicts) == []
        assert max(said[0].score for said in verdicts) >= 9.0


def test_a_longer_least_duration_fires_later() -> None:
    """The condition must hold for so many buckets in a row."""
    k, n = counts(six_hours_then(5.0), 40.0)
    first = {}
    for least in (1, 5):
        alarm = replace(LOUD.alarm, min_duration_buckets=least)
        first[least] = episodes(feed(RateBank(replace(LOUD, alarm=alarm)), k, n))[0]
    assert first[5] == first[1] + 4


def test_firing_ends_after_so_many_quiet_buckets_and_leaves_no_tail() -> None:
    """When the rate is back the firing ends soon, and the evidence with it."""
    k, n = counts(six_hours_then(5.0), 40.0)
    verdicts = feed(RateBank(LOUD), k, n)
    firing = [bool(one.firing[0]) for one in verdicts]
    end = len(firing) - firing[::-1].index(True)
    assert 430 <= end <= 450
    assert verdicts[end][0].score < 1.0
    assert not any(firing[end:])


def test_an_incident_does_not_teach_its_own_baseline() -> None:
    """After a long incident the baseline is near what it was before."""
    rate = np.repeat([0.1, 0.5, 0.1], [600, 240, 200])
    verdicts = feed(RateBank(PAGE), *counts(rate, 40.0))
    assert verdicts[590][0].baseline == pytest.approx(0.1, rel=0.1)
    assert verdicts[-1][0].baseline == pytest.approx(0.1, rel=0.3)


def test_rebase_takes_the_last_hour_as_normal() -> None:
    """A shift that a person called benign stops firing at once and is the new baseline."""
    bank = RateBank(PAGE)
    k, n = counts(np.repeat([0.1, 0.3], [600, 120]), 40.0)
    assert feed(bank, k, n)[-1][0].state is State.FIRING
    bank.rebase("a")
    more_k, more_n = counts(np.full(300, 0.3), 40.0, seed=2)
    later = feed(bank, more_k, more_n, start=START + 60 * 720)
    assert not any(one.firing[0] for one in later)
    assert later[0][0].baseline == pytest.approx(0.3, rel=0.1)


def test_a_busy_hour_of_the_day_is_learned() -> None:
    """A rate that doubles every evening stops being news after some days, and is expected."""
    minutes = np.arange(8 * 1440)
    rate = 0.1 * (1 + 0.6 * np.sin(2 * np.pi * minutes / 1440))
    verdicts = feed(RateBank(PAGE), *counts(rate, 60.0))
    expected = np.array([one[0].baseline for one in verdicts[7 * 1440 :]])
    assert np.corrcoef(expected, rate[7 * 1440 :])[0, 1] > 0.95
    assert not any(one.firing[0] for one in verdicts[4 * 1440 :])


def test_a_long_gap_changes_nothing_and_old_evidence_is_dropped() -> None:
    """After a gap of days the series is judged as before it; a firing from before is over."""
    bank = RateBank(LOUD)
    k, n = counts(six_hours_then(5.0)[:400], 40.0)
    assert feed(bank, k, n)[-1][0].state is State.FIRING
    later = START + 60 * 400 + 30 * 86_400
    verdict = bank.step(later, 60, ["a"], [4], [40])[0]
    assert verdict.state is State.QUIET
    # What was inside the learning delay at the gap was suspicious, so it was learned in part only.
    assert verdict.baseline == pytest.approx(0.1, rel=0.3)


def test_no_traffic_is_no_evidence() -> None:
    """Buckets of n = 0 neither raise nor clear anything, and say so."""
    bank = RateBank(LOUD)
    k, n = counts(six_hours_then(5.0)[:370], 40.0)
    score = feed(bank, k, n)[-1][0].score
    quiet = [bank.step(START + 60 * (370 + at), 60, ["a"], [0], [0]) for at in range(20)]
    assert {one[0].state for one in quiet} == {State.FIRING}
    assert {one[0].score for one in quiet} == {score}


def silent(minutes: int) -> tuple[Ints, Ints]:
    """Counts of so many minutes without traffic."""
    return np.zeros(minutes, np.int64), np.zeros(minutes, np.int64)


@pytest.mark.parametrize(("times", "ends"), [(1.0, True), (6.0, False)])
def test_silence_does_not_end_a_firing_and_traffic_that_is_back_is_judged(
    times: float, *, ends: bool
) -> None:
    """A surface that falls silent for hours while it fires stays so and says since when there is
    no traffic; what then comes ends it, or is more of the same episode."""
    bank = RateBank(LOUD)
    bad = counts(six_hours_then(5.0)[:400], 40.0)
    later = counts(np.full(30, 0.1 * times), 40.0, seed=3)
    k, n = (np.concatenate(parts) for parts in zip(bad, silent(200), later, strict=True))
    said = feed(bank, k, n)
    assert len(episodes(said)) == 1
    still = said[599][0]
    assert (still.state, still.silent_since) == (State.FIRING, START + 60 * 400)
    assert "; no traffic since 04:53 UTC; " in still.reason
    assert said[399][0].silent_since is said[600][0].silent_since is None
    assert bool(said[-1].firing[0]) is not ends


def test_a_firing_is_let_go_after_a_day_of_silence_and_teaches_nothing_wrong() -> None:
    """Nobody follows it for ever; minute by minute or in one leap, the bank is then the same."""
    banks = [RateBank(LOUD), RateBank(LOUD)]
    for bank in banks:
        assert feed(bank, *counts(six_hours_then(5.0)[:400], 40.0))[-1].firing[0]
    said = feed(banks[0], *silent(1440), start=START + 60 * 400)
    assert [bool(one.firing[0]) for one in said[-2:]] == [True, False]
    rest = counts(np.full(300, 0.1), 40.0, seed=3)
    walked, leapt = (feed(bank, *rest, start=START + 60 * 1840) for bank in banks)
    assert [one[0] for one in walked] == [one[0] for one in leapt]
    assert not episodes(walked)


def test_a_missing_id_is_not_judged_and_not_learned() -> None:
    """A series without data in a step has no verdict; others go on."""
    bank = RateBank(LOUD)
    bank.step(0, 60, ["a", "b"], [1, 2], [10, 10])
    verdicts = bank.step(60, 60, ["b"], [2], [10])
    assert (len(verdicts), list(verdicts.ids)) == (1, ["b"])
    assert bank.ids == ["a", "b"]


def test_each_series_may_have_its_own_alarm() -> None:
    """Series of one bank fire by their own thresholds."""
    bank = RateBank(LOUD)
    bank.add("deaf", alarm=replace(LOUD.alarm, threshold=1_000.0))
    k, n = counts(six_hours_then(5.0)[:380], 40.0)
    said = [
        bank.step(60 * at, 60, ["deaf", "a"], [k[at], k[at]], [n[at], n[at]]) for at in range(380)
    ]
    verdicts = said[-1]
    assert [one.state for one in verdicts] == [State.QUIET, State.FIRING]
    assert verdicts.firing_rows().tolist() == [1]
    bank.add("a", alarm=replace(LOUD.alarm, threshold=500.0))
    assert bank.step(60 * 380, 60, ["a"], [4], [40])[0].threshold == 500.0


def test_dropped_series_start_anew_and_others_keep_their_state() -> None:
    """Dropping one series leaves its neighbours' verdicts as they were."""
    k, n = counts(six_hours_then(5.0)[:380], 40.0)
    alone = feed(RateBank(LOUD), k, n, name="b")
    bank = RateBank(LOUD)
    for at in range(380):
        if at == 200:
            bank.drop(["a", "unknown"])
            assert bank.ids == ["b"]
        ids = ["a", "b"] if at < 200 else ["b"]
        own = [k[at]] * len(ids), [n[at]] * len(ids)
        verdicts = bank.step(START + 60 * at, 60, ids, *own)
        assert verdicts[-1] == alone[at][0]
    bank.drop(["b"])
    assert len(bank.step(START + 60 * 380, 60, [], [], [])) == 0


@pytest.mark.parametrize("huge", [10**9, 10**12, 2**52])
def test_huge_counts_are_judged_like_any(huge: int) -> None:
    """Counts near the end of exact floats give finite scores and the same decision."""
    bank = RateBank(PAGE)
    counted = [huge // 10] * 200 + [huge] * 6
    verdicts = [bank.step(60 * at, 60, ["a"], [k], [huge])[0] for at, k in enumerate(counted)]
    assert verdicts[199].state is State.QUIET
    assert verdicts[205].state is State.FIRING
    assert np.isfinite(verdicts[205].score)


def test_a_series_that_is_always_flagged_is_quiet() -> None:
    """k = n from the first bucket on is a baseline like any other."""
    verdicts = feed(RateBank(PAGE), np.full(300, 20), np.full(300, 20))
    assert verdicts[-1][0].state is State.QUIET
    assert verdicts[-1][0].baseline == pytest.approx(1.0)


def test_ten_second_buckets_find_the_same_move() -> None:
    """With buckets of 10 s the same traffic is found as fast, in time."""
    rate = np.repeat(six_hours_then(5.0), 6)
    k, n = counts(rate, 40.0 / 6)
    begun = episodes(feed(RateBank(LOUD, bucket_s=10), k, n))
    assert len(begun) == 1
    assert 0 <= begun[0] - 6 * 360 < 60


@pytest.mark.parametrize(
    ("start", "width", "ids", "k", "n", "message"),
    [
        (0, 60, ["a"], [1], [10], "not after"),
        (6_000, 10, ["a"], [1], [10], "buckets of 60 s"),
        (6_001, 60, ["a"], [1], [10], "not the start"),
        (6_000, 60, ["a", "a"], [1, 1], [10, 10], "twice"),
        (6_000, 60, ["a"], [1, 2], [10], "shape"),
        (6_000, 60, ["a"], [11], [10], "0 <= k <= n"),
        (6_000, 60, ["a"], [-1], [10], "0 <= k <= n"),
        (6_000, 60, ["a"], [float("nan")], [10], "0 <= k <= n"),
        (6_000, 60, ["a"], [1], [float("inf")], "finite"),
    ],
)
def test_bad_steps_are_refused_and_change_nothing(
    start: int, width: int, ids: list[str], k: list[float], n: list[float], message: str
) -> None:
    """A step that breaks a rule raises ValueError and leaves the bank as it was."""
    bank = RateBank(PAGE)
    bank.step(0, 60, ["a"], [1], [10])
    before = bank.snapshot()
    with pytest.raises(ValueError, match=message):
        bank.step(start, width, ids, k, n)
    assert bank.snapshot() == before


def test_a_snapshot_is_plain_data_and_complete() -> None:
    """A restored bank has the same ids, settings and bytes."""
    bank = RateBank(LOUD)
    bank.add("b", alarm=Alarm(watch="both", threshold=5.0), prior=(3, 30))
    feed(bank, *counts(np.full(100, 0.1), 10.0))
    stored = bank.snapshot()
    again = RateBank.restore(stored)
    assert again.snapshot() == stored
    assert (again.ids, again.config, again.last_start_s) == (["b", "a"], LOUD, START + 60 * 99)


def test_another_kind_of_snapshot_is_refused() -> None:
    """Foreign bytes and other versions raise ValueError, so that the caller replays instead."""
    stored = RateBank(LOUD).snapshot()
    for foreign in (b"", b"x", stored[:-30], stored.replace(b"header", b"hEader")):
        with pytest.raises(ValueError, match="snapshot"):
            RateBank.restore(foreign)


def test_a_bank_needs_a_whole_bucket() -> None:
    """Buckets are at least one second long."""
    with pytest.raises(ValueError, match="bucket_s"):
        RateBank(PAGE, bucket_s=0)
