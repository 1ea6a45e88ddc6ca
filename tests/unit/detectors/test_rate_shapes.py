"""Rates near one, traffic in batches, moves that stay small, and both sides watched at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from detectors.calibration import config_for
from detectors.columns import Floats, Ints
from detectors.model import RateConfig, Watch
from detectors.profiles import PAGE
from detectors.rate import RateBank
from detectors.verdicts import Verdicts
from tests.unit.detectors.traffic import START, counts, episodes, feed

DAY = 1440


Drawn = tuple[Ints, Ints]
QUIET = 3 * DAY


def step(base: float, moved: float, *, before: int = QUIET, hours: int = 3) -> Floats:
    """A rate per minute that moves at the end."""
    return np.concatenate([np.full(before, base), np.full(hours * 60, moved)])


def judged(
    config: RateConfig, drawn: Sequence[Drawn], watch: Sequence[Watch] = ()
) -> list[Verdicts]:
    """What one bank says of several series, bucket by bucket."""
    bank, ids = RateBank(config), [str(number) for number in range(len(drawn))]
    for name, side in zip(ids, watch, strict=False):
        bank.add(name, alarm=replace(config.alarm, watch=side))
    k, n = (np.array([one[part] for one in drawn]).T for part in (0, 1))
    return [bank.step(START + 60 * at, 60, ids, k[at], n[at]) for at in range(len(k))]


NEAR_ONE: Sequence[tuple[float, float, Watch]] = (
    (0.6, 0.8, "up"),
    (0.75, 0.97, "up"),
    (0.9, 1.0, "both"),
    (0.9, 0.7, "down"),
)


def test_a_rate_near_one_is_seen_to_move() -> None:
    """Within the hour, in the terms in which it was counted, and nothing before."""
    drawn = [counts(step(base, moved), 50.0) for base, moved, _ in NEAR_ONE]
    said = judged(config_for(0.1), drawn, [watch for _, _, watch in NEAR_ONE])
    firing = np.array([one.firing for one in said])
    for row, (base, moved, _) in enumerate(NEAR_ONE):
        first = int(firing[:, row].argmax())
        assert QUIET <= first < QUIET + 60, (base, moved)
        verdict = said[-1][row]
        assert verdict.direction == ("up" if moved > base else "down")
        assert verdict.observed == pytest.approx(moved, abs=0.03)
        assert verdict.baseline == pytest.approx(base, abs=0.03)
        assert (verdict.excess > 0) == (moved > base)


def test_a_side_that_is_not_watched_is_silent() -> None:
    """A fall does not fire where only rises are watched, whichever way the series is tested."""
    drawn = [counts(step(base, moved), 50.0) for base, moved in ((0.9, 0.7), (0.1, 0.02))]
    assert not any(one.firing.any() for one in judged(config_for(0.1), drawn, ["up", "up"]))


def test_a_series_near_one_goes_on_from_a_snapshot() -> None:
    """Restored in the middle of a move it says what it would have said."""
    k, n = counts(step(0.8, 0.97), 50.0)
    whole = feed(RateBank(config_for(0.1)), k, n)
    cut = QUIET + 20
    bank = RateBank(config_for(0.1))
    feed(bank, k[:cut], n[:cut])
    restored = RateBank.restore(bank.snapshot())
    start = whole[0].start_s + 60 * cut
    rest = feed(restored, k[cut:], n[cut:], start=start)
    assert [one[0] for one in rest] == [one[0] for one in whole[cut:]]
    assert episodes(whole)


def test_batches_hours_apart_are_evidence() -> None:
    """400 interactions every two hours, at first 2 % of them flagged and then 30 %: the third
    batch fires at the latest."""
    n = np.zeros(12 * DAY, np.int64)
    n[::120] = 400
    rate = step(0.02, 0.3, before=11 * DAY, hours=24)
    k = np.random.default_rng(4).binomial(n, rate)
    said = feed(RateBank(config_for(0.1)), k, n)
    assert 11 * DAY <= episodes(said)[0] <= 11 * DAY + 240


def test_evidence_from_before_a_day_of_silence_is_forgotten() -> None:
    """A suspicious hour, a day without traffic, and normal traffic: the score begins anew."""
    k, n = counts(step(0.1, 0.145, hours=2), 50.0)
    bank = RateBank(config_for(0.1))
    before = feed(bank, k, n)[-1].score[0]
    assert before > 5
    quiet = feed(
        bank, *counts(np.full(5, 0.1), 50.0, seed=2), start=START + 60 * (len(k) + DAY + 1)
    )
    assert quiet[-1].score[0] < before - 3


@pytest.mark.parametrize("config", [config_for(0.1), PAGE], ids=["at a budget", "page"])
def test_a_steady_small_move_is_one_alarm(config: RateConfig) -> None:
    """For eight hours a rate stands between its baseline and a large move: it rings once."""
    cases = [(times, volume) for times in (1.5, 1.6, 2.0) for volume in (50.0, 200.0)]
    drawn = [counts(step(0.1, 0.1 * times, hours=8), volume) for times, volume in cases]
    firing = np.array([one.firing for one in judged(config, drawn)])
    begun = (firing[1:] & ~firing[:-1]).sum(axis=0)
    assert dict(zip(cases, begun.tolist(), strict=True)) == dict.fromkeys(cases, 1)


def test_two_watched_sides_share_the_budget() -> None:
    """The same evidence scores less where a fall would page too, by the logarithm of two."""
    k, n = counts(step(0.1, 0.145, hours=2), 50.0)
    config = config_for(0.1)
    both = replace(config, alarm=replace(config.alarm, watch="both"))
    one, two = (feed(RateBank(each), k, n)[-1].score[0] for each in (config, both))
    assert one - two == pytest.approx(np.log(2.0), abs=0.3)


@pytest.mark.parametrize(("bucket_s", "buckets"), [(10, 90), (60, 15), (900, 1), (3600, 1)])
def test_quiet_is_a_quarter_of_an_hour_whatever_the_bucket(bucket_s: int, buckets: int) -> None:
    """Or one bucket, where that is longer."""
    assert config_for(0.1, bucket_s).alarm.clear_buckets == buckets
