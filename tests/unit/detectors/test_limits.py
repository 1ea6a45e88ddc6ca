from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detectors.burn_rate import (
    CREEPING,
    FAST,
    SLOW,
    Burn,
    BurnRateDetector,
    check_objective,
)
from detectors.columns import pack, unpack
from detectors.model import State, Verdict
from detectors.static import StaticDetector
from detectors.window import Hold, Window

COUNTS = st.lists(st.tuples(st.integers(1, 9), st.integers(0, 50)), min_size=1, max_size=80)


@given(COUNTS, st.sampled_from([60, 300, 1_800]))
@settings(max_examples=60, deadline=None)
def test_a_window_is_the_sum_of_its_last_minutes(
    steps: list[tuple[int, int]], length_s: int
) -> None:
    """However the buckets come, the window holds those of its span, and a snapshot the same."""
    window, seen, minute = Window(length_s, bucket_s=60), [], 0
    for step, n in steps:
        minute += step
        seen.append((minute, n))
        window.add(60 * minute, n // 2, n)
        kept = [n for m, n in seen if m > minute - length_s // 60]
        assert window.ahead(60 * minute) == (sum(n // 2 for n in kept), sum(kept))
    other = Window(length_s, bucket_s=60)
    other.load(window.dump())
    assert other.ahead(60 * minute + 120) == window.ahead(60 * minute + 120)


def test_a_long_window_is_short_by_a_sixtieth_at_most() -> None:
    """Three days in bins of 72 minutes: never more than three days, never less than 71 hours."""
    window = Window(3 * 86_400, bucket_s=60)
    for minute in range(5 * 1440):
        window.add(60 * minute, 0, 1)
        if minute > 4 * 1440:
            assert 60 * 1440 * 3 / 60 - 72 <= window.ahead(60 * minute)[1] <= 3 * 1440
    assert len(window.dump()) <= 60


def run(detector: BurnRateDetector | StaticDetector, rates: list[float], n: int) -> list[Verdict]:
    """The verdicts on minutes with these shares of `n` flagged."""
    verdicts = []
    for minute, rate in enumerate(rates):
        detector.learn_one({"t": 60 * minute, "k": round(rate * n), "n": n})
        assert detector.verdict is not None
        verdicts.append(detector.verdict)
    return verdicts


def fired_after(verdicts: list[Verdict], since: int) -> int | None:
    """Minutes from `since` on to the first that fires."""
    found = [i for i, v in enumerate(verdicts) if v.state is State.FIRING]
    return found[0] + 1 - since if found else None


def burning(burn: Burn, objective: float = 0.999) -> BurnRateDetector:
    """A window of the workbook."""
    return BurnRateDetector(
        objective=objective, factor=burn.factor, long_s=burn.long_s, short_s=burn.short_s
    )


@pytest.mark.parametrize(
    ("burn", "minutes"), [(FAST, 1), (SLOW, 3), (CREEPING, 5)], ids=["fast", "slow", "creeping"]
)
def test_the_workbooks_detection_times(burn: Burn, minutes: int) -> None:
    """With everything failing against 99.9 %, after days of calm: 0.9 min, 2.2 min and 4.3 min as
    chapter 5 has it (objective 99.9 %, long window x burn rate x budget), in whole minutes."""
    calm = burn.long_s // 60
    verdicts = run(burning(burn), [0.0] * calm + [1.0] * 10, 1_000)
    assert fired_after(verdicts, calm) == minutes


def test_it_ends_with_the_short_window() -> None:
    """An hour after the end of the trouble the long window still burns; nobody is kept awake."""
    verdicts = run(burning(FAST), [0.0] * 60 + [0.5] * 20 + [0.0] * 30, 1_000)
    states = [v.state for v in verdicts]
    assert states[79] is State.FIRING
    assert states[80 + 4 + 13] is State.FIRING
    assert states[80 + 4 + 14] is State.QUIET
    assert verdicts[105].observed > 14.4 * 0.001


@pytest.mark.parametrize("bucket_s", [60, 300])
def test_a_rate_near_its_limit_is_one_firing(bucket_s: int) -> None:
    """A rate that goes below its limit for ten minutes and back fires on; after a quarter of an
    hour below it in a row it is over, whatever the length of a bucket."""
    limit = StaticDetector(rate=0.3, min_n=10, window_s=bucket_s, bucket_s=bucket_s)
    slo = BurnRateDetector(objective=0.99, short_s=bucket_s, bucket_s=bucket_s, min_k=1)
    for detector in (limit, slo):
        states = []
        for start in range(0, 5_400, bucket_s):
            bad = start < 600 or 1_200 <= start < 1_800
            detector.learn_one({"t": start, "k": 40 if bad else 0, "n": 100})
            assert detector.verdict is not None
            states.append((start + bucket_s, detector.verdict.state))
        assert {state for end, state in states if end < 1_800 + 900} == {State.FIRING}
        assert {state for end, state in states if end >= 1_800 + 900} == {State.QUIET}


def test_a_burn_rate_says_what_it_has_seen() -> None:
    """Forty-four minutes after the first event nobody reads of 72 hours; a snapshot knows it too,
    and one of a version that did not is refused."""
    detector = burning(CREEPING, objective=0.999)
    verdicts = run(detector, [0.1] * 44, 100)
    assert "10.0 % bad over 44 min of 72 h and 10.0 % over 44 min of 6 h" in verdicts[-1].reason
    other = burning(CREEPING, objective=0.999)
    other.restore(detector.snapshot())
    other.learn_one({"t": 60 * 44, "k": 10, "n": 100})
    assert other.verdict is not None
    assert "over 45 min of 72 h" in other.verdict.reason
    header, _ = unpack(("tocsin-burn-rate", 2), detector.snapshot())
    with pytest.raises(ValueError, match="tocsin-burn-rate"):
        other.restore(pack(("tocsin-burn-rate", 1), header, {}))
    full = run(burning(FAST), [0.1] * 60, 100)[-1]
    assert "bad over 60 min and 10.0 % over 5 min" in full.reason


@pytest.mark.parametrize("factor", [14.4, 6.0, 2.0])
def test_a_rule_that_can_never_fire_is_refused(factor: float) -> None:
    """Beyond the objective at which everything may fail, the error says which one would do."""
    edge = 1 - 1 / factor
    check_objective(edge + 0.001, factor)
    with pytest.raises(ValueError, match=f"{factor:g}x can never fire: set an objective above"):
        check_objective(edge - 0.001, factor)
    with pytest.raises(ValueError, match="can never fire"):
        BurnRateDetector(objective=0.3, factor=factor)


@given(st.floats(0.01, 0.9999), st.floats(0.1, 100))
def test_what_is_not_refused_can_fire(objective: float, factor: float) -> None:
    """When everything fails, every rule that was accepted fires."""
    try:
        detector = BurnRateDetector(objective=objective, factor=factor)
    except ValueError:
        assert factor * (1 - objective) > 1 - 1e-6
        return
    verdicts = run(detector, [1.0] * 61, 100)
    assert verdicts[-1].state is State.FIRING


def test_too_little_traffic_is_said_and_not_taken_for_good() -> None:
    """One failure of seven fires nothing, and nothing is called quiet where too little came."""
    burn = BurnRateDetector(objective=0.99)
    verdicts = run(burn, [1 / 7] + [0.0] * 10, 7)
    assert {v.state for v in verdicts} == {State.WARMING}
    assert verdicts[0].reason == "too little traffic to tell: 7 of 100 over 1 min of 60 min"
    static = StaticDetector(rate=0.1)
    assert run(static, [1 / 7], 7)[0].reason == "too little traffic to tell: 7 of 50 over 5 min"
    few = BurnRateDetector(objective=0.999, min_k=5)
    assert State.FIRING not in {v.state for v in run(few, [0.04, 0.04] + [0.0] * 20, 100)[:1]}


def test_a_limit_must_hold_for_its_time() -> None:
    """Ten minutes beyond it with a dip between fire no rule that wants ten in a row."""
    detector = StaticDetector(rate=0.3, min_n=10, window_s=60, hold_s=600)
    dip = [0.5] * 6 + [0.1] + [0.5] * 9
    verdicts = run(detector, [*dip, 0.5], 100)
    assert [v.state for v in verdicts[:-1]] == [State.QUIET] * 16
    assert verdicts[-1].state is State.FIRING
    assert verdicts[-1].onset == 7 * 60
    assert "limit 30.0 %, for 10 min" in verdicts[-1].reason
    assert verdicts[10].reason.endswith("for 4 min so far")


def test_a_limit_downwards_fires_at_nothing() -> None:
    """A rate that must not fall fires at nought too, and says which way."""
    verdicts = run(StaticDetector(rate=0.05, direction="down", min_n=10), [0.2] * 9 + [0.0] * 9, 50)
    assert verdicts[8].state is State.QUIET
    assert verdicts[-1].state is State.FIRING
    assert (verdicts[-1].direction, verdicts[-1].observed) == ("down", 0.0)


@pytest.mark.parametrize(
    "bad",
    [
        {"rate": 0.0},
        {"rate": 1.5},
        {"rate": 1.0, "direction": "down"},
        {"direction": "sideways"},
        {"min_n": 0},
        {"window_s": 0},
        {"hold_s": -1},
    ],
)
def test_a_limit_that_means_nothing_is_refused(bad: dict[str, float]) -> None:
    """One that could never fire, or always, is an error where it is written."""
    with pytest.raises(ValueError, match=r"limit|direction|at least 1"):
        StaticDetector(**bad)  # type: ignore[arg-type] # that is the point


@pytest.mark.parametrize("bad", [{"objective": 1.0}, {"long_s": 60}, {"factor": 0}, {"min_k": 0}])
def test_a_burn_rate_that_means_nothing_is_refused(bad: dict[str, float]) -> None:
    """The same for an SLO."""
    with pytest.raises(ValueError, match=r"objective|window|burn rate|at least 1"):
        BurnRateDetector(**bad)  # type: ignore[arg-type] # that is the point


def test_a_hold_that_is_none_is_refused() -> None:
    """A snapshot with other values than a hold has is no snapshot."""
    with pytest.raises(ValueError, match="three"):
        Hold.load([1])
    with pytest.raises(ValueError, match="three"):
        Window(60, bucket_s=60).load([[1.0]])
