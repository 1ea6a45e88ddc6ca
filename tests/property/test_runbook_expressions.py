"""Conditions: never a crash, never a surprise."""

from __future__ import annotations

from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from runbooks.compiling import KEYS
from runbooks.expressions import Expression, ExpressionError, parse

NAMES = st.sampled_from(["a", "b", "a.x", "a.y.z", "list", "list.x", "item", "item.x", "gone"])
LITERALS = st.one_of(
    st.integers(-99, 99).map(str),
    st.sampled_from(["1.5", "true", "false", "null", "'x'", '"y"', "''", "1e3"]),
)
LISTS = st.lists(LITERALS, max_size=3).map(lambda items: f"[{', '.join(items)}]")
OPERANDS = NAMES | LITERALS
COMPARISONS = st.one_of(
    st.tuples(OPERANDS, st.sampled_from(["==", "!=", "<", "<=", ">", ">="]), OPERANDS).map(
        " ".join
    ),
    st.tuples(OPERANDS, st.sampled_from(["in", "not in"]), LISTS | NAMES).map(" ".join),
    st.tuples(LISTS, st.sampled_from(["==", "<"]), OPERANDS).map(" ".join),
    OPERANDS,
)
CONDITIONS = st.recursive(
    COMPARISONS,
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from(["and", "or"]), inner).map(lambda t: f"({' '.join(t)})"),
        inner.map(lambda c: f"not ({c})"),
        st.tuples(st.sampled_from(["any", "all", "count"]), NAMES, inner).map(
            lambda t: f"{t[0]}({t[1]}, {t[2]})"
        ),
    ),
    max_leaves=8,
)
SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(-3, 3), st.floats(), st.sampled_from(["x", "y", ""])
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["x", "y", "z", "a"]), inner, max_size=3)
    ),
    max_leaves=8,
)
SUBJECTS = st.dictionaries(st.sampled_from(["a", "b", "list", "item"]), VALUES, max_size=4)


class Thing:
    """An object with whatever attributes it is given."""

    def __init__(self, values: dict[str, Any]) -> None:
        self.__dict__.update({name: thing(value) for name, value in values.items()})

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Thing) and self.__dict__ == other.__dict__

    __hash__ = None  # type: ignore[assignment] # as unhashable as the dict it stands for

    def __bool__(self) -> bool:
        return bool(self.__dict__)


def thing(value: Any) -> Any:
    if isinstance(value, dict):
        return Thing(value)
    return [thing(item) for item in value] if isinstance(value, list) else value


def has_in(text: str) -> bool:
    """A mapping has keys to be in, an object has not: the one place the two differ."""
    return " in " in text


def parsed(text: str) -> Expression | None:
    """The condition, or None when it is refused within its text."""
    try:
        return parse(text)
    except ExpressionError as error:
        column = error.col
    assert 1 <= column <= len(text) + 1
    return None


@given(CONDITIONS, SUBJECTS)
@settings(max_examples=600, deadline=None)
def test_a_condition_gives_a_bool_on_anything(text: str, subject: dict[str, Any]) -> None:
    """Whatever the values, the answer is true or false and the same on objects and mappings."""
    condition = parsed(text)
    if condition is None:
        return
    on_keys = condition.compile(KEYS)(subject)
    assert isinstance(on_keys, bool)
    on_attributes = condition.compile()(Thing(subject))
    assert isinstance(on_attributes, bool)
    if not has_in(text):
        assert on_keys is on_attributes


@given(CONDITIONS, SUBJECTS)
@settings(max_examples=300, deadline=None)
def test_not_turns_a_condition_round(text: str, subject: dict[str, Any]) -> None:
    """Logic is two-valued: `not` always gives the opposite."""
    try:
        plain, turned = parse(text), parse(f"not ({text})")
    except ExpressionError:
        return
    assert plain.compile(KEYS)(subject) is not turned.compile(KEYS)(subject)


@given(st.text(max_size=60) | st.text("()[]'\"., <>=!andornti019\\", max_size=60))
@settings(max_examples=600, deadline=None)
def test_any_text_parses_or_says_where(text: str) -> None:
    """No text crashes the parser, and an error stays within the text."""
    condition = parsed(text)
    if condition is not None:
        assert condition.compile()(msgspec.UNSET) in {True, False}
