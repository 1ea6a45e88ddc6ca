from __future__ import annotations

import itertools
import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detectors.attribution import Cell, Explanation, Values, explain

MODELS, REGIONS, TENANTS = ("v40", "v41"), ("eu", "us"), ("t1", "t2", "t3")


def cells(
    factor: dict[tuple[str, ...], float], *, n: int = 1_000, rate: float = 0.05, at: int = 0
) -> list[Cell]:
    """Every combination at `rate`, times the factor of each listed set of values it contains."""
    made = []
    for model, region, tenant in itertools.product(MODELS, REGIONS, TENANTS):
        own = rate
        for moved, times in factor.items():
            if set(moved) <= {model, region, tenant}:
                own *= times
        values = {"model": model, "region": region, "tenant": tenant}
        made.append(Cell(values, round(n * own), n, at))
    return made


USUAL = cells({}, n=20_000)


def test_a_release_is_named_with_its_share_and_first_sight() -> None:
    """When one model moved, it is the first answer, in a sentence for the page."""
    best = explain(cells({("v41",): 4.0}), USUAL, first_seen={("model", "v41"): 50_520})[0]
    assert best.values == (("model", "v41"),)
    assert best.share == pytest.approx(1.0, abs=0.02)
    assert best.sentence() == "model v41: 100 % of the excess; first seen 14:02 UTC"


def test_a_pair_is_named_when_only_the_pair_moved() -> None:
    """One tenant on one model beats both its parents."""
    best = explain(cells({("v41", "t2"): 5.0}), USUAL)[0]
    assert best.values == (("model", "v41"), ("tenant", "t2"))


def test_three_values_are_named_when_only_together_they_moved() -> None:
    """One tenant on one model in one region beats everything it is part of."""
    best = explain(cells({("v41", "eu", "t2"): 8.0}), USUAL)[0]
    assert best.values == (("model", "v41"), ("region", "eu"), ("tenant", "t2"))


@pytest.mark.parametrize("times", [1.15, 1.3, 1.6, 0.8])
def test_a_small_move_of_much_traffic_is_explained(times: float) -> None:
    """A rate that moved by a seventh is listened to more closely than one that doubled."""
    usual = cells({}, n=200_000, rate=0.2)
    best = explain(cells({("v41",): times}, n=50_000, rate=0.2), usual)[0]
    assert best.values == (("model", "v41"),)
    assert best.share == pytest.approx(1.0, abs=0.05)


def test_everywhere_alike_is_said_so() -> None:
    """When all moved together no value is blamed."""
    best = explain(cells({(): 3.0}), USUAL)[0]
    assert best.values == ()
    assert best.sentence() == "everywhere alike: 100 % of the excess"


def test_two_causes_are_two_answers_and_not_the_whole() -> None:
    """Where two of three tenants moved, both are named before everywhere alike is."""
    found = explain(cells({("t1",): 6.0, ("t2",): 6.0}), USUAL)
    assert {one.values for one in found[:2]} == {(("tenant", "t1"),), (("tenant", "t2"),)}
    assert all(one.values for one in found)


def test_a_new_value_is_judged_by_the_rate_of_all() -> None:
    """A release without history is found, for it has no history of its own to hide in."""
    before = [cell for cell in USUAL if cell.values["model"] == "v40"]
    best = explain(cells({("v41",): 4.0}), before)[0]
    assert best.values == (("model", "v41"),)


def test_a_release_that_replaced_all_others_is_named_where_it_is_news() -> None:
    """With the new model alone in the window it is the same as the whole: what is new is told."""
    before = [cell for cell in USUAL if cell.values["model"] == "v40"]
    after = [cell for cell in cells({(): 4.0}) if cell.values["model"] == "v41"]
    assert explain(after, before)[0].values == ()
    best = explain(after, before, first_seen={("model", "v41"): 50_520})[0]
    assert best.values == (("model", "v41"),)


def test_more_volume_at_the_same_rate_explains_nothing() -> None:
    """A surge of one tenant's traffic is no cause of a higher rate elsewhere."""
    window = [
        Cell(one.values, one.k * 9, one.n * 9) if one.values["tenant"] == "t1" else one
        for one in cells({("us",): 3.0})
    ]
    assert explain(window, USUAL)[0].values == (("region", "us"),)


def test_a_fall_is_explained_as_a_rise_is() -> None:
    """Where refusals vanished is named, whether it is asked for or not."""
    for rising in (None, False):
        found = explain(cells({("eu",): 0.0}), USUAL, rising=rising)
        assert found[0].values == (("region", "eu"),)
    assert explain(cells({("eu",): 0.0}), USUAL, rising=True) == ()


def test_an_earlier_incident_is_not_taken_for_normal() -> None:
    """Two moments of an older spike of another value in the past do not hide the cause."""
    past = [one for at in range(6) for one in cells({}, n=2_000, at=at)]
    past[:24] = [one for at in range(2) for one in cells({("t3",): 12.0}, n=2_000, at=at)]
    best = explain(cells({("t3",): 4.0}, at=7), past)[0]
    assert best.values == (("tenant", "t3"),)
    assert best.expected == pytest.approx(4_000 * 0.05, rel=0.2)


def test_a_dimension_that_few_cells_know_is_no_cause_elsewhere() -> None:
    """A value that a cell leaves out is unknown: it is neither blamed nor cleared."""
    window = [Cell({"a": "x"}, 50, 100), Cell({"a": "y"}, 5, 100), Cell({}, 5, 100)]
    past = [Cell({"a": "x"}, 50, 1_000), Cell({"a": "y"}, 50, 1_000), Cell({}, 50, 1_000)]
    assert explain(window, past)[0].values == (("a", "x"),)


def test_without_a_baseline_or_a_window_nothing_is_claimed() -> None:
    """No history or no traffic gives no explanation."""
    assert explain([], USUAL) == ()
    assert explain(USUAL, []) == ()
    assert explain([], []) == ()
    assert explain([Cell({}, 0, 0)], USUAL) == ()
    assert explain(cells({("v41",): 4.0}), [Cell({}, 0, 0)]) == ()


@pytest.mark.parametrize(("k", "n"), [(2, 1), (-1, 3), (0, -1)])
def test_counts_that_are_none_are_refused(k: int, n: int) -> None:
    """K beyond n or below nought is an error, not an explanation."""
    with pytest.raises(ValueError, match="0 <= k <= n"):
        explain([Cell({}, k, n)], USUAL)


def test_very_many_dimensions_are_explained_in_bounded_time() -> None:
    """With fifty dimensions elements name fewer; the value that moved is still named."""
    rng = random.Random(5)
    rows = [{f"d{at}": rng.choice("ab") for at in range(50)} for _ in range(60)]
    past = [Cell(row, 10, 200) for row in rows]
    window = [Cell(row, 80 if row["d7"] == "a" else 10, 200) for row in rows]
    assert explain(window, past)[0].values == (("d7", "a"),)


COUNTS = st.integers(0, 50).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))
HOSTILE = st.sampled_from(["", "\x1b[2J", "\u202eevil", "'; drop", "\ud800", "x", "\x00", "a=b, c"])
ROWS = st.lists(
    st.builds(
        lambda names, values, counts, at: Cell(
            dict(zip(names, values, strict=True)), counts[0], counts[1], at
        ),
        st.permutations(["a", "\x1b]0;", ""]),
        st.tuples(HOSTILE, HOSTILE, HOSTILE),
        COUNTS,
        st.integers(-(2**62), 2**62),
    ),
    max_size=12,
)


@settings(max_examples=60)
@given(ROWS, ROWS, st.randoms(use_true_random=False))
def test_explanations_are_sound_whatever_the_cells(
    window: list[Cell], usual: list[Cell], rng: random.Random
) -> None:
    """Any counts and labels: shares are shares, values were there, and no order of rows matters."""
    found = explain(window, usual)
    there = {pair for cell in window for pair in cell.values.items()}
    assert len({one.values for one in found}) == len(found) <= 3
    for one in found:
        assert 0 <= one.share <= 1
        assert 0 < one.score < math.inf
        assert 0 <= one.chance <= 1
        assert one.expected >= 0
        assert 0 <= one.k <= one.n
        assert set(one.values) <= there
        assert list(one.values) == sorted(one.values)
    assert [one.score for one in found[:2]] == sorted((o.score for o in found[:2]), reverse=True)
    shuffled = [rng.sample(rows, len(rows)) for rows in (window, usual)]
    assert explain(*shuffled) == found


ELEMENTS = st.sampled_from(
    [
        *((one,) for one in (*MODELS, *REGIONS, *TENANTS)),
        *itertools.product(MODELS, TENANTS),
        *itertools.product(REGIONS, TENANTS),
        *itertools.product(MODELS, REGIONS, TENANTS),
    ]
)


@settings(max_examples=80, derandomize=True)
@given(
    moved=ELEMENTS,
    times=st.floats(5.0, 12.0),
    rate=st.floats(0.04, 0.08),
    seed=st.integers(0, 2**32),
)
def test_a_planted_cause_is_the_first_answer(
    moved: tuple[str, ...], times: float, rate: float, seed: int
) -> None:
    """Whatever was multiplied, in noisy counts: it is named, with about all of the excess."""
    rng = random.Random(seed)

    def noisy(cell: Cell) -> Cell:
        share = cell.k / cell.n
        k = sum(rng.random() < share for _ in range(400))
        return Cell(cell.values, k, 400, cell.at)

    past = [noisy(one) for at in range(8) for one in cells({}, n=10_000, rate=rate, at=at)]
    window = [noisy(one) for one in cells({moved: times}, n=10_000, rate=rate, at=9)]
    best = explain(window, past)[0]
    assert {value for _, value in best.values} == set(moved)
    assert best.share >= 0.6


def test_the_order_of_dimensions_and_their_names_decide_nothing() -> None:
    """The same counts under other names give the same answer under those names."""

    def renamed(found: tuple[Explanation, ...], names: dict[str, str]) -> list[Values]:
        return [tuple(sorted((names[name], value) for name, value in one.values)) for one in found]

    names = {"model": "z", "region": "y", "tenant": "a"}
    window = cells({("v41", "t2"): 5.0})
    other = [
        [Cell({names[d]: v for d, v in one.values.items()}, one.k, one.n) for one in rows]
        for rows in (window, USUAL)
    ]
    assert [one.values for one in explain(*other)][:1] == renamed(explain(window, USUAL), names)[:1]
