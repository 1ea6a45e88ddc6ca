"""Plain data into Structs, with every problem at once."""

from __future__ import annotations

from datetime import date, timedelta
from enum import StrEnum
from typing import Annotated, Any, Literal

import jsonschema  # type: ignore[import-untyped] # it ships no type information
import msgspec
import pytest

from runbooks.convert import convert, json_schema, spelled
from runbooks.durations import Duration, spell
from runbooks.expressions import Expression, parse
from runbooks.problems import Problems
from runbooks.yaml import load_yaml


class Colour(StrEnum):
    RED = "red"
    GREEN = "green"


class Wait(msgspec.Struct, tag="wait", tag_field="type", forbid_unknown_fields=True, frozen=True):
    hold: Duration
    times: Annotated[int, msgspec.Meta(ge=1)] = 1


class Say(msgspec.Struct, tag="say", tag_field="type", forbid_unknown_fields=True, frozen=True):
    text: Annotated[str, msgspec.Meta(max_length=5)]
    colour: Colour = Colour.RED


class Span(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    low: float
    high: float

    def __post_init__(self) -> None:
        if self.low > self.high:
            raise ValueError("low is over high")


class Root(msgspec.Struct, forbid_unknown_fields=True, frozen=True, rename={"when": "if"}):
    steps: tuple[Wait | Say, ...]
    spans: dict[str, Span] = {}
    when: Expression = parse("true")
    level: Literal["low", "high"] | None = None
    day: date | None = None
    one: Span | None = None
    limit: float | str = 1.0
    hold: Duration = Duration(minutes=5)
    tags: frozenset[str] = frozenset()


def found(text: str, kind: Any = Root) -> list[str]:
    with pytest.raises(Problems) as caught:
        convert(load_yaml(text, "f"), kind)
    return [str(problem) for problem in caught.value.problems]


def test_good_data_becomes_the_struct() -> None:
    """Tagged unions, text classes, dates and defaults are built."""
    text = """
steps: [{type: wait, hold: 1h30m}, {type: say, text: hi, colour: green}]
spans: {a: {low: 1, high: 2}}
if: "a.b == 'x'"
day: 2026-01-02
limit: word
tags: [a, b]
"""
    root = convert(load_yaml(text, "f"), Root)
    assert root.steps == (Wait(Duration(minutes=90)), Say("hi", Colour.GREEN))
    assert isinstance(root.steps[0], Wait)
    assert root.steps[0].hold == timedelta(minutes=90)
    assert root.when == parse("a.b == 'x'")
    assert (root.day, root.limit, root.hold) == (date(2026, 1, 2), "word", timedelta(minutes=5))


def test_every_problem_is_found_at_its_place() -> None:
    """Unknown keys, missing keys, wrong types and what a class refuses come together."""
    text = """steps:
  - {type: wait, hold: 5 m, times: 0}
  - {type: say, colour: gren}
  - {type: sya, text: x}
  - {text: x}
  - 7
setps: 1
spans:
  a: {low: 2, high: 1}
  b: {low: x}
if: "a ="
level: middle
day: 2026-13-01
one: []
"""
    said = found(text)
    for expected in (
        "f:2:24: error[value]: steps[0].hold: '5 m' is not a duration",
        "f:2:36: error[value]: steps[0].times: expected a whole number >= 1",
        "f:3:5: error[missing-key]: steps[1]: the key 'text' is missing",
        "f:3:25: error[value]: steps[1].colour: 'gren' is not one of its values",
        "f:4:12: error[value]: steps[2].type: 'sya' is not one of its values",
        "f:5:5: error[missing-key]: steps[3]: the key 'type' is missing",
        "f:6:5: error[type]: steps[4]: expected a mapping, got a whole number",
        "f:7:1: error[unknown-key]: the key 'setps' is unknown",
        "f:9:6: error[value]: spans.a: low is over high",
        "f:10:12: error[type]: spans.b.low: expected a number, got text",
        "f:10:6: error[missing-key]: spans.b: the key 'high' is missing",
        "f:11:5: error[value]: if: '=' is not part of a condition (at character 3)",
        "f:12:8: error[value]: level: 'middle' is not one of its values",
        "f:13:6: error[value]: day: Invalid RFC3339 encoded date",
        "f:14:6: error[type]: one: expected a mapping, got a list",
    ):
        assert any(line.startswith(expected) for line in said), expected
    assert len(said) == 15
    assert any("did you mean 'steps'?" in line for line in said)
    assert any("did you mean 'green'?" in line for line in said)
    assert any("did you mean 'say'?" in line for line in said)


def test_numbers_that_yaml_kept_as_text_are_explained() -> None:
    """`017` in a number's place says how to write it."""
    (said,) = found("steps: [{type: wait, hold: 1m, times: 017}]")
    assert "decimal digits" in said


def test_a_root_that_is_no_mapping_is_refused() -> None:
    """A list or word at the root is one problem, not a crash."""
    assert "expected a mapping" in found("- a")[0]
    assert "expected a mapping" in found("word")[0]


def test_the_schema_accepts_what_convert_accepts() -> None:
    """The JSON Schema is valid, says the defaults, and agrees on a good and a bad document."""
    schema = json_schema(Root)
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    good = {"steps": [{"type": "say", "text": "hi"}, {"type": "wait", "hold": "5m"}]}
    assert validator.is_valid(good)
    assert not validator.is_valid({"steps": [{"type": "say", "text": "too long"}]})
    assert not validator.is_valid({**good, "extra": 1})
    properties = schema["$defs"]["Root"]["properties"]
    assert properties["hold"]["default"] == "5m"
    assert properties["if"]["default"] == "true"


def test_paths_are_spelled_as_people_write_them() -> None:
    """Keys with dots, indices in brackets."""
    assert spelled(("steps", 2, "argv", 0)) == "steps[2].argv[0]"


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90s", 90), ("5m", 300), ("1h30m", 5400), ("14d", 1209600), ("500ms", 0.5), ("0s", 0)],
)
def test_durations_read_and_write(text: str, seconds: float) -> None:
    """A duration is whole numbers with units, and prints as it reads."""
    span = Duration.from_text(text)
    assert span.total_seconds() == seconds
    assert Duration.from_text(spell(span)) == span


@pytest.mark.parametrize(
    "text",
    ["", "5", "5 m", "5mins", "-5m", "1m1h", "5m5m", "1.5h", "m", "9999999d", "\u0665m", "5M"],
)
def test_other_spellings_of_durations_are_refused(text: str) -> None:
    """What two people could read differently is no duration."""
    with pytest.raises(ValueError, match=r"not a duration|ten years"):
        Duration.from_text(text)
