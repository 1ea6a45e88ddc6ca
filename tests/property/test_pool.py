"""What holds of a pool of rates, whoever is silent, comes first or is loud."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detectors.fleet import Fleet, PoolConfig
from detectors.pool import Pool
from detectors.shift import Bucket

MINUTE = 60
SERIES = tuple(f"s{number:02}" for number in range(12))


def bucket(start: int, k: list[float], e: list[float]) -> Bucket:
    """A bucket of well known series; one with nothing expected is not live."""
    full = np.array(e, np.float64)
    return Bucket(
        start_s=start,
        k=np.array(k, np.float64),
        n=20.0 * full + np.array(k, np.float64),
        e=full,
        doubt=np.full(len(e), 0.02),
        unseasoned=np.zeros(len(e)),
        v_short=np.full(len(e), 0.02),
        v_long=np.full(len(e), 0.005),
        live=full > 0,
    )


def pool(names: tuple[str, ...] = SERIES, *, groups: int = 1) -> Pool:
    """Every series in one group, or dealt out to several."""
    made = Pool(PoolConfig(threshold=6.0))
    for at, name in enumerate(names):
        made.add(name, f"g{at % groups}", watch="both")
    return made


def fed(
    made: Pool, names: tuple[str, ...], minutes: int, times: dict[str, float], *, seed: int = 1
) -> list[list[Fleet]]:
    """Two quiet hours, then `minutes` in which the rates of some are multiplied."""
    expected = {name: 1.0 + 3.0 * number for number, name in enumerate(SERIES)}
    said = []
    for minute in range(120 + minutes):
        rng = {name: np.random.default_rng([seed, minute, int(name[1:])]) for name in names}
        factor = {name: times.get(name, 1.0) if minute >= 120 else 1.0 for name in names}
        k = [float(rng[name].poisson(expected[name] * factor[name])) for name in names]
        e = [expected[name] for name in names]
        said.append(made.step(names, bucket(MINUTE * minute, k, e)))
    return said


@settings(max_examples=15, deadline=None)
@given(st.permutations(SERIES), st.integers(0, 99))
def test_the_order_of_series_changes_nothing(order: list[str], seed: int) -> None:
    """A pool says the same, to the bit, in whatever order its series arrive and are handed in."""
    times = dict.fromkeys(SERIES, 1.3)
    shuffled = tuple(order)
    one = fed(pool(), SERIES, 30, times, seed=seed)
    other = fed(pool(shuffled), shuffled, 30, times, seed=seed)
    assert one == other


@settings(max_examples=15, deadline=None)
@given(st.integers(1, 20), st.integers(0, 99))
def test_a_silent_series_is_no_evidence(silent: int, seed: int) -> None:
    """Series without traffic leave every score as it is without them."""
    alone, among = pool(), pool()
    for number in range(silent):
        among.add(f"t{number:02}", "g0", watch="both")
    names = (*SERIES, *(f"t{number:02}" for number in range(silent)))
    rng = np.random.default_rng(seed)
    for minute in range(60):
        e = [float(one) for one in range(1, len(SERIES) + 1)]
        k = [float(one) for one in rng.poisson(e)]
        alone.step(SERIES, bucket(MINUTE * minute, k, e))
        among.step(names, bucket(MINUTE * minute, k + [0.0] * silent, e + [0.0] * silent))
    assert among.scores()["g0"] == pytest.approx(alone.scores()["g0"], abs=1e-9)


@pytest.mark.parametrize("loud", ["s00", "s05", "s11"])
@pytest.mark.parametrize("times", [5.0, 100.0])
def test_one_loud_series_is_no_fleet(loud: str, times: float) -> None:
    """One series far off, however large it is, does not fire the pool."""
    assert not any(one.firing for said in fed(pool(), SERIES, 120, {loud: times}) for one in said)


def test_a_weak_shock_on_all_fires_one_fleet_and_ends() -> None:
    """1.3x on every series, found on none, is one fleet that fires once and is over afterwards."""
    made = pool(groups=1)
    said = fed(made, SERIES, 60, dict.fromkeys(SERIES, 1.3))
    first = next(minute for minute, one in enumerate(said) if one)
    fleet = said[-1][0]
    assert 120 <= first < 150
    assert fleet.firing
    assert fleet.rising
    assert fleet.ratio == pytest.approx(1.3, abs=0.08)
    assert abs(fleet.onset - 120 * MINUTE) <= 10 * MINUTE
    assert fleet.series == len(SERIES)
    assert fleet.moved >= len(SERIES) - 3
    assert "everywhere a little" in fleet.reason
    told = said[-1]
    for minute in range(180, 300):
        e = [1.0 + 3.0 * number for number in range(len(SERIES))]
        told = made.step(SERIES, bucket(MINUTE * minute, list(e), e))
    assert told == []


def test_a_fall_fires_only_where_falls_are_watched() -> None:
    """0.7x on every series fires a fleet watched both ways, and not one watched for rises."""
    times = dict.fromkeys(SERIES, 0.7)
    both = fed(pool(), SERIES, 90, times)[-1]
    assert [one.rising for one in both] == [False]
    rises = Pool(PoolConfig(threshold=6.0))
    for name in SERIES:
        rises.add(name, "g0", watch="up")
    assert not any(fed(rises, SERIES, 90, times))


def test_few_series_are_no_fleet() -> None:
    """Three series that all move are three alerts, not a fleet."""
    three = SERIES[:3]
    assert not any(fed(pool(three), three, 60, dict.fromkeys(three, 2.0)))


COUNT = st.sampled_from([0.0, 0.0, 1.0, 3.0, 1e3, 1e9, 1e12])


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from([1, 1, 1, 2, 5000]), st.lists(COUNT, min_size=6, max_size=6)),
        min_size=1,
        max_size=50,
    )
)
def test_scores_are_finite_whatever_comes(history: list[tuple[int, list[float]]]) -> None:
    """Wild counts, gaps and tiny expectations never make a score that is no number."""
    names = SERIES[:6]
    made, minute = pool(names, groups=2), 0
    for gap, k in history:
        minute += gap
        made.step(names, bucket(MINUTE * minute, k, [1e-9, 0.0, 0.1, 3.0, 1e6, 1e12]))
        assert all(np.isfinite(one) and one >= 0 for one in made.scores().values())


@settings(max_examples=10, deadline=None)
@given(st.integers(1, 170))
def test_a_restart_anywhere_changes_no_word(cut: int) -> None:
    """Stored and restored between any two buckets, a pool says what an unbroken one says."""
    times = dict.fromkeys(SERIES, 1.4)
    whole = fed(pool(groups=2), SERIES, 50, times)
    made, said = pool(groups=2), []
    expected = {name: 1.0 + 3.0 * number for number, name in enumerate(SERIES)}
    for minute in range(170):
        if minute == cut:
            made = Pool.restore(made.snapshot())
        factor = 1.4 if minute >= 120 else 1.0
        rng = {name: np.random.default_rng([1, minute, int(name[1:])]) for name in SERIES}
        k = [float(rng[name].poisson(expected[name] * factor)) for name in SERIES]
        said.append(made.step(SERIES, bucket(MINUTE * minute, k, list(expected.values()))))
    assert said == whole


def test_what_is_no_snapshot_is_refused() -> None:
    """Bytes of another kind, or a snapshot cut short, raise ValueError."""
    stored = pool().snapshot()
    for foreign in (b"", b"PK\x03\x04", stored[:-20]):
        with pytest.raises(ValueError, match="snapshot"):
            Pool.restore(foreign)


def test_a_bucket_out_of_order_is_refused() -> None:
    """A bucket that is not after the last raises ValueError and changes nothing."""
    made = pool()
    fed(made, SERIES, 1, {})
    before = made.snapshot()
    with pytest.raises(ValueError, match="not after"):
        made.step(SERIES, bucket(0, [1.0] * 12, [1.0] * 12))
    assert made.snapshot() == before
