from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from monitor.alerting import pages
from monitor.alerting.alerts import Alert, Cause
from monitor.alerting.fitting import ChangeFact, suspects
from tests.making import alert

ONSET = alert().onset_at
MODEL = Cause(dimensions={"model": "m2"}, share=0.9)


def change(minutes: float, title: str = "x", **dimensions: str) -> ChangeFact:
    """A release so many minutes before the onset."""
    return ChangeFact("release", title, ONSET - timedelta(minutes=minutes), dimensions)


def named(changes: list[ChangeFact], one: Alert) -> list[str]:
    """Titles, likeliest first."""
    return [suspect.change.title for suspect in suspects(changes, one)]


def test_the_change_that_names_the_cause_goes_before_nearer_ones() -> None:
    """A release of the model that explains the excess, 20 minutes ago, beats a flag just before."""
    one = replace(alert(), causes=(MODEL,))
    changes = [change(20, "model", model="m2"), change(1, "near"), change(0, "other", model="m1")]
    assert named(changes, one) == ["model", "near", "other"]
    first = suspects(changes, one)[0]
    assert first.reason == "20 min before the onset, names model m2"
    assert suspects(changes, one)[2].reason == "0 min before the onset, but of another model"


def test_without_a_cause_the_nearest_in_time_and_place_is_first() -> None:
    """One that names where it fires is worth a little more than one that names nothing."""
    changes = [change(10, "old"), change(5, "new"), change(6, "here", feature="chat")]
    assert named(changes, alert()) == ["here", "new", "old"]


def test_a_change_of_another_place_or_time_is_no_suspect() -> None:
    """Another feature, later than the onset's bucket, or more than an hour before."""
    changes = [change(5, feature="search"), change(-1), change(61)]
    assert suspects(changes, alert()) == ()
    assert named([change(-0.9, "same minute")], alert()) == ["same minute"]


def test_a_cause_of_two_values_is_named_by_a_change_of_either() -> None:
    """The change must not contradict the other value."""
    pair = Cause(dimensions={"model": "m2", "tenant": "t1"}, share=0.8)
    one = replace(alert(), causes=(pair,))
    assert suspects([change(5, tenant="t1")], one)[0].reason.endswith("names tenant t1")
    assert "names" not in suspects([change(5, tenant="t1", model="m3")], one)[0].reason


def test_the_first_line_names_cause_and_change_and_not_what_does_not_fit() -> None:
    """A change of another model than the one that explains it stays out of the first line."""
    one = replace(alert(), causes=(MODEL,))
    first, _, third = pages.lines([one], [change(5, "m2 out", model="m2"), change(1, "flag")])
    assert first.endswith("; model m2 explains 90% of it; after release m2 out")
    assert third == "release m2 out 5 min before the onset, names model m2 (+1 more)"
    first, _, third = pages.lines([one], [change(5, "m1 out", model="m1")])
    assert "m1" not in first
    assert third == "release m1 out 5 min before the onset, but of another model"


FACTS = st.builds(
    lambda at, dims: ChangeFact("flag", "t", ONSET + timedelta(seconds=at), dims),
    st.integers(-5_000, 5_000),
    st.dictionaries(st.sampled_from(["feature", "model", "x"]), st.sampled_from(["chat", "m2"])),
)
CAUSES = st.lists(
    st.builds(
        lambda dims, share: Cause(dimensions=dims, share=share),
        st.dictionaries(st.sampled_from(["model", "x"]), st.sampled_from(["m2", "\x1b"])),
        st.floats(0, 1),
    ),
    max_size=3,
)


@given(st.lists(FACTS, max_size=6), CAUSES)
def test_suspects_are_ranked_whatever_was_recorded(
    changes: list[ChangeFact], causes: list[Cause]
) -> None:
    """Best first, each from the changes, none of another place, and no order of them matters."""
    one = replace(alert(), causes=tuple(causes))
    found = suspects(changes, one)
    assert [s.score for s in found] == sorted((s.score for s in found), reverse=True)
    assert all(s.score > 0 and s.change in changes for s in found)
    assert all(_agrees(s.change.dimensions, one.dimensions) for s in found)
    turned = suspects(reversed(changes), one)
    assert [(s.score, s.reason) for s in turned] == [(s.score, s.reason) for s in found]


def _agrees(mine: Mapping[str, str], theirs: Mapping[str, str]) -> bool:
    return all(theirs.get(name, value) == value for name, value in mine.items())
