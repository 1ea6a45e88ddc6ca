from __future__ import annotations

import numpy as np
import pytest

from detectors.baseline import SPEC, Baseline, Lesson, weekend
from detectors.columns import Columns
from detectors.model import RateConfig

HOUR = 3_600
DAY = 86_400


def fresh(rows: int = 1, config: RateConfig | None = None) -> tuple[Baseline, Columns]:
    columns = Columns(SPEC)
    columns.append(rows)
    return Baseline(config or RateConfig(), columns, 60), columns


def learn(baseline: Baseline, start: int, k: list[float], n: list[float]) -> None:
    counts_k, counts_n = np.array(k, float), np.array(n, float)
    x = counts_n * baseline.season(start)
    held = np.zeros(len(counts_k), np.bool_)
    baseline.learn(Lesson(start, counts_k, counts_k, counts_n, x, held))


def test_the_weekend_is_saturday_and_sunday() -> None:
    """1970-01-01 was a Thursday."""
    assert [weekend(day * DAY) for day in range(7)] == [0, 0, 1, 1, 0, 0, 0]


def test_nothing_learned_expects_nothing() -> None:
    """The rate of a new series is 0, and it is not warm."""
    baseline, columns = fresh()
    assert baseline.rate().tolist() == [0.0]
    assert not columns["warm"].any()


def test_a_rate_never_seen_is_small_but_not_never() -> None:
    """No event in n interactions is taken for half an event."""
    baseline, _ = fresh()
    for minute in range(100):
        learn(baseline, 60 * minute, [0], [10])
    assert baseline.rate()[0] == pytest.approx(0.5 / 1000, rel=0.02)


def test_a_rate_is_never_above_one() -> None:
    """All flagged is a rate of 1."""
    baseline, _ = fresh()
    learn(baseline, 0, [1], [1])
    assert baseline.rate()[0] == 1.0


def test_old_buckets_fade_by_the_half_life() -> None:
    """After one half-life at another rate, old and new weigh the same."""
    baseline, _ = fresh(config=RateConfig(season_days=1e9))
    for minute in range(20 * 1440):
        learn(baseline, 60 * minute, [2], [20])
    for minute in range(2 * 1440):
        learn(baseline, 60 * minute, [6], [20])
    assert baseline.rate()[0] == pytest.approx(0.2, rel=0.05)


def test_no_traffic_teaches_nothing_and_fades_nothing() -> None:
    """Buckets with n = 0 leave the baseline as it is."""
    baseline, columns = fresh()
    learn(baseline, 0, [2], [20])
    before = {name: value.copy() for name, value in columns.dump().items()}
    learn(baseline, 60, [0], [0])
    assert all((columns[name] == value).all() for name, value in before.items())


def test_hours_are_used_only_after_days_of_evidence() -> None:
    """One wild evening is no daily shape; a week of them is."""
    baseline, columns = fresh()
    columns["warm"][:] = True

    def day(number: int) -> None:
        for minute in range(1440):
            k = 6.0 if 18 * 60 <= minute < 20 * 60 else 2.0
            learn(baseline, number * DAY + 60 * minute, [k], [20.0])

    day(4)
    assert baseline.season(5 * DAY + 19 * HOUR).tolist() == [1.0]
    for number in range(5, 9):
        day(number)
    evening, noon = (float(baseline.season(11 * DAY + h * HOUR)[0]) for h in (19, 12))
    assert evening / noon > 2.0


def test_noise_is_learned_from_what_chance_does_not_explain() -> None:
    """A rate that swings keeps its noise; one that only chance moves loses the assumed one."""
    baseline, columns = fresh(2)
    columns["warm"][:] = True
    rng = np.random.default_rng(4)
    for minute in range(4_000):
        swing = 0.1 * np.exp(rng.normal(0, 0.4))
        k = [rng.binomial(2_000, 0.1), rng.binomial(2_000, min(swing, 1.0))]
        learn(baseline, 60 * minute, k, [2_000, 2_000])
    calm, wild = baseline.noise_short()
    assert calm < 0.01
    assert 0.08 < wild < 0.3


def test_doubt_falls_with_evidence() -> None:
    """The more events were seen, the less is added to the null."""
    baseline, columns = fresh(3)
    columns["level_k"][:] = [0, 10, 1_000]
    doubt = baseline.doubt(0)
    assert doubt[0] > doubt[1] > doubt[2]


def test_the_day_is_learned_from_whichever_part_of_its_hours_has_traffic() -> None:
    """Batches that begin a quarter past each hour teach the curve that those on the hour teach."""
    columns = Columns(SPEC)
    columns.append(2)
    baseline = Baseline(RateConfig(), columns, 900)
    for quarter in range(14 * 96):
        hour, part = (quarter // 4) % 24, quarter % 4
        k = 400 * 0.05 * (1.0 + 0.5 * np.sin(2 * np.pi * hour / 24))
        n = [400.0 * (part in parts) for parts in ((0, 1), (1, 2))]
        learn(baseline, 900 * quarter, [k * (one > 0) for one in n], n)
    sharp, late = columns["hour_factor"].T
    assert sharp.max() > 1.3
    assert late == pytest.approx(sharp, abs=0.02)


def test_a_series_that_has_just_begun_waits_for_the_next_hour() -> None:
    """The day is drawn once an hour; what a first quarter of an hour tells of it is nothing."""
    baseline, columns = fresh()
    drawn = []
    for minute in range(45, 185):
        learn(baseline, 60 * minute, [2], [20])
        drawn.append(columns["hour_error"][:, 0].tobytes())
    changes = [at + 46 for at in range(len(drawn) - 1) if drawn[at] != drawn[at + 1]]
    assert changes == [60, 120, 180]
