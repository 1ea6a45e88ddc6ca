"""What incidents hold of the past: spans of series, cut up where something changes."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from monitor.evidence import AFTER_S, BEFORE_S, Held, Part, held, parts
from monitor.silence import VOLUME
from monitor.store.ageing_rows import Evidence
from tests.ageing import CONFIGURED
from tests.making import T0, minutes

A, B = ("prod", "a"), ("prod", "b")
START = int(T0.timestamp())
spans = st.builds(
    lambda dims, first, length: Held("s", dims, first, first + length),
    st.sampled_from([A, B, None]),
    st.integers(-20, 60),
    st.integers(0, 40),
)


@given(st.lists(spans, max_size=8), st.integers(0, 20), st.integers(0, 40))
def test_parts_say_of_each_moment_what_is_held(found: list[Held], first: int, length: int) -> None:
    """They cover the span without holes or overlaps, and hold what any incident does, no more."""
    end = first + length
    made = list(parts(found, first, end))
    assert [at for part in made for at in range(part.first, part.end)] == list(range(first, end))
    for part in made:
        for at in range(part.first, part.end):
            assert part.held == {one.dims for one in found if one.first <= at < one.end}
        assert part.whole == (None in part.held)
        assert part.series == part.held - {None}


def evidence(**changes: object) -> Evidence:
    """An incident about refusals in chat."""
    made = {
        "signal": "refusal_rate",
        "dimensions": {"feature": "a", "environment": "prod"},
        "began": T0,
        "ended": T0 + minutes(60),
    }
    return Evidence(**{**made, **changes})  # type: ignore[arg-type] # as the fields say


def test_an_incident_holds_its_series_with_some_time_around() -> None:
    """Hours before its onset, an hour after its end; one that has not ended, all since."""
    until = START + 90 * 86_400
    (closed,) = held(CONFIGURED, [evidence()], until)
    assert closed == Held("refusal_rate", A, START - BEFORE_S, START + 3600 + AFTER_S)
    (still_open,) = held(CONFIGURED, [evidence(ended=None)], until)
    assert still_open == Held("refusal_rate", A, START - BEFORE_S, until)
    assert held(CONFIGURED, [evidence()], START - BEFORE_S) == []


def test_what_an_incident_is_about_decides_what_it_holds() -> None:
    """A silence holds volumes, one without a signal no points, an unknown signal all of its own."""
    until = START + 90 * 86_400
    silence, declared, unknown = held(
        CONFIGURED,
        [evidence(signal="no_data"), evidence(signal=None), evidence(signal="grievances")],
        until,
    )
    assert (silence.signal, silence.dims) == (VOLUME, A)
    assert (declared.signal, declared.dims) == (None, None)
    assert (unknown.signal, unknown.dims) == ("grievances", None)


def test_a_day_in_which_nothing_is_held_is_one_part() -> None:
    """Nothing is cut that need not be."""
    assert list(parts([], 0, 86_400)) == [Part(0, 86_400, frozenset())]
