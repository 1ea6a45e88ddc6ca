from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from detectors.attribution import Cell, explain

MODELS, REGIONS, TENANTS = ("v40", "v41"), ("eu", "us"), ("t1", "t2", "t3")


def cells(
    factor: dict[tuple[str, ...], float], *, n: int = 1_000, rate: float = 0.05
) -> list[Cell]:
    """Every combination at `rate`, times the factor of each listed set of values it contains."""
    made = []
    for model, region, tenant in itertools.product(MODELS, REGIONS, TENANTS):
        own = rate
        for moved, times in factor.items():
            if set(moved) <= {model, region, tenant}:
                own *= times
        values = {"model": model, "region": region, "tenant": tenant}
        made.append(Cell(values, round(n * own), n))
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


def test_everywhere_alike_is_said_so() -> None:
    """When all moved together no value is blamed."""
    best = explain(cells({(): 3.0}), USUAL)[0]
    assert best.values == ()
    assert best.sentence() == "everywhere alike: 100 % of the excess"


def test_a_new_value_is_judged_by_the_rate_of_all() -> None:
    """A release without history is found, for it has no history of its own to hide in."""
    before = [cell for cell in USUAL if cell.values["model"] == "v40"]
    best = explain(cells({("v41",): 4.0}), before)[0]
    assert best.values == (("model", "v41"),)


def test_more_volume_at_the_same_rate_explains_nothing() -> None:
    """A surge of one tenant's traffic is no cause of a higher rate elsewhere."""
    window = cells({("us",): 3.0})
    window = [
        Cell(one.values, one.k * 9, one.n * 9) if one.values["tenant"] == "t1" else one
        for one in window
    ]
    assert explain(window, USUAL)[0].values == (("region", "us"),)


def test_a_fall_is_explained_as_a_rise_is() -> None:
    """Where refusals vanished is named."""
    assert explain(cells({("eu",): 0.0}), USUAL)[0].values == (("region", "eu"),)


def test_without_a_baseline_or_a_window_nothing_is_claimed() -> None:
    """No history or no traffic gives no explanation."""
    assert explain([], USUAL) == ()
    assert explain(USUAL, []) == ()
    assert explain([Cell({}, 0, 0)], USUAL) == ()


COUNTS = st.integers(0, 50).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))
ROWS = st.lists(
    st.builds(
        lambda a, b, counts: Cell({"a": a, "b": b}, *counts),
        st.sampled_from("xyz"),
        st.sampled_from("pq"),
        COUNTS,
    ),
    max_size=12,
)


@given(ROWS, ROWS)
def test_explanations_are_ranked_and_their_shares_are_shares(
    window: list[Cell], usual: list[Cell]
) -> None:
    """Whatever the counts: best first, positive evidence, shares between 0 and 1."""
    found = explain(window, usual)
    assert [one.score for one in found] == sorted((one.score for one in found), reverse=True)
    assert all(one.score > 0 and 0 <= one.share <= 1 and len(one.values) <= 2 for one in found)
    assert found == explain(reversed(window), reversed(usual))
