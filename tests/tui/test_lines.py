from __future__ import annotations

import unicodedata
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.views import Chart, ChartPoint
from tui.actions import ACTIONS, Screen, bindings, key_row
from tui.cli.output import table
from tui.lines.chart import draw
from tui.lines.face import Face, age, ratio, share
from tui.lines.line import Line, Span, cells, cut, pad, sides, wrap
from tui.themes import ROLES, THEMES

TEXT = st.text(st.characters(), max_size=60)
HIDDEN = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}


@settings(max_examples=2000)
@given(TEXT)
def test_no_span_holds_a_control(text: str) -> None:
    """A span has no control, format, surrogate or private character, whatever it is made of."""
    assert not any(unicodedata.category(c) in HIDDEN for c in Span(text).text)


@settings(max_examples=500)
@given(
    st.lists(st.tuples(TEXT, st.sampled_from(["", "dim", "bad"])), max_size=5), st.integers(0, 90)
)
def test_fit_is_exact(parts: list[tuple[str, str]], width: int) -> None:
    """A fitted line has exactly the asked width, with wide and combining characters too."""
    line = Line.of(*parts)  # type: ignore[arg-type] # drawn from the roles
    assert line.fit(width).width == width


@settings(max_examples=500)
@given(TEXT, st.integers(1, 40))
def test_cut_and_pad_keep_to_the_width(text: str, width: int) -> None:
    """`cut` never exceeds its width, `pad` has it exactly."""
    safe = Face().say(text)
    assert cells(cut(safe, width)) <= width
    assert cells(pad(safe, width)) == width


@settings(max_examples=500)
@given(TEXT, st.integers(2, 40))
def test_wrap_keeps_every_character(text: str, width: int) -> None:
    """Wrapped lines fit, and hold all of the text but the spaces broken at."""
    safe = Face().say(text)
    lines = wrap(safe, width)
    assert all(cells(line) <= width for line in lines)
    assert "".join(lines).replace(" ", "") == safe.replace(" ", "")


@given(TEXT)
def test_ascii_face_says_ascii(text: str) -> None:
    """An ASCII face escapes everything else."""
    assert Face(ascii=True).say(text).isascii()


@settings(max_examples=300)
@given(TEXT, TEXT, st.integers(1, 60))
def test_sides_fill_the_width(left: str, right: str, width: int) -> None:
    """Left and right together take exactly the width."""
    assert sides(Line.of(left), Line.of(right), width).width == width


def test_spark_is_scaled_to_its_maximum() -> None:
    """Zero is the lowest level, the maximum the highest, a gap a blank."""
    assert Face().spark([0.0, None, 1.0], 3) == "▁ █"
    assert Face(ascii=True).spark([0.0, None, 1.0], 4) == " . %"
    assert Face().spark([], 3) == "   "
    assert Face().spark([0.0, 0.0], 2) == "▁▁"


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, "00:00"), (52, "00:52"), (3600, "1h00m"), (90_000, "1d01h"), (-5, "00:00")],
)
def test_age_in_words(seconds: int, words: str) -> None:
    """Ages have at most six characters."""
    assert age(timedelta(seconds=seconds)) == words


def test_figures_in_words() -> None:
    """Rates and ratios say nothing where nothing can be said."""
    assert share(None) == ratio(None, 0.1) == ratio(0.1, 0.0) == "-"
    assert share(0.412) == "41.2%"
    assert share(0.0035) == "0.35%"
    assert ratio(0.41, 0.1) == "4.1x"


def _luminance(color: str) -> float:
    parts = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("theme", THEMES, ids=lambda theme: theme.name)
def test_every_text_colour_has_contrast(theme: object) -> None:
    """Each role and the plain text reach 7:1 on the background (WCAG 2 relative luminance)."""
    background = _luminance(theme.background)  # type: ignore[attr-defined] # a Theme
    for role in (*ROLES, ""):
        color = theme.variables[role] if role else theme.foreground  # type: ignore[attr-defined]
        pair = sorted((_luminance(color), background))
        assert (pair[1] + 0.05) / (pair[0] + 0.05) >= 7, (role, color)


@pytest.mark.parametrize("screen", ["home", "incident"])
def test_no_key_has_two_meanings(screen: Screen) -> None:
    """On each screen a key does one thing, and ids are unique."""
    made = bindings(screen)
    keys = [key for binding in made for key in binding.key.split(",")]
    assert len(keys) == len(set(keys))
    assert len({binding.id for binding in made}) == len(made)
    lists = {"j", "k", "g", "G"}
    assert not lists & set(keys)


def test_outward_actions_are_upper_case_and_named() -> None:
    """What others see has an upper-case key, what is undone easily has not; each has a command."""
    outward = {"mitigate", "resolve", "escalate", "severity", "reopen", "close", "abort", "export"}
    for action in ACTIONS:
        upper = len(action.key) == 1 and action.key.isupper()
        assert upper == (action.id in outward), action
        if upper:
            assert action.cli


@pytest.mark.parametrize("width", [60, 80, 120])
def test_the_key_row_always_ends_in_help(width: int) -> None:
    """However narrow, the last row fits and names help and palette."""
    row = key_row("incident", [a.id for a in ACTIONS if a.on("incident")], width)
    assert len(row) <= width
    assert row.endswith("? help  : all")


def test_an_empty_chart_says_why() -> None:
    """A person declared it, or its signal is counted but is no rate."""
    at = datetime(2026, 11, 27, tzinfo=UTC)
    chart = Chart(signal="", dimensions={}, bucket_s=60, points=[], marks=[])
    news = Chart(signal="new_category", dimensions={}, bucket_s=60, points=[], marks=[])
    assert draw(chart, 60, 4, Face())[0].text == " no signal: declared by a person"
    said = draw(news, 60, 4, Face())[0].text
    assert said == " nothing to draw: new_category is not counted as a rate"
    full = ChartPoint(at=at, rate=0.1, baseline=None, n=10)
    drawn = Chart(signal="s", dimensions={}, bucket_s=60, points=[full], marks=[])
    assert "nothing" not in draw(drawn, 60, 4, Face())[0].text


@settings(max_examples=100)
@given(st.lists(st.tuples(TEXT, TEXT, TEXT), max_size=5), st.integers(50, 160))
def test_a_clipped_table_keeps_to_the_width(rows: list[tuple[str, str, str]], width: int) -> None:
    """The widest of the columns that give way does, to twelve columns; the others stay whole."""
    body = [["INC-0001", *row] for row in rows]
    heads = ("ID", "WHAT", "WHERE", "OWNER")
    whole = table(heads, body, Face())
    lines = table(heads, body, Face(), clip=("WHAT", "WHERE"), width=width)
    fixed = 8 + max([5, *(cells(Face().say(row[2])) for row in rows)]) + 6
    assert max(line.width for line in lines) <= max(width, fixed + 24)
    if max(line.width for line in whole) <= width:
        assert [line.text for line in lines] == [line.text for line in whole]
