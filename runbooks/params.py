"""What a person may fill in: the parameters of a runbook and the fields a step captures.

Each kind knows how to accept a value that was typed or configured. A value that starts with a dash
would be an option to the command it reaches, so it is refused unless the runbook says otherwise.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import Annotated, Any, Final

import msgspec

from runbooks.durations import Duration
from runbooks.references import Value
from runbooks.urls import plain_url

_CONTROL = re.compile(
    r"[\x00-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
)
_NESTED = re.compile(r"[+*}]\)*[+*{]|\([^()]*[+*][^()]*\)[+*{]|\([^()]*\|[^()]*\)[+*{]")
_BACKREFERENCE = re.compile(r"\\[1-9]|\(\?P=|\(\?[^:P]")

MAX_TEXT: Final = 2_000


class ParamError(ValueError):
    """A value that its parameter does not accept, in words for the person who gave it."""


class Param(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What all parameters share."""

    title: Annotated[str, msgspec.Meta(max_length=200)] = ""
    """What to ask the person."""
    required: bool = False
    """Without it (and without a default) the run does not start."""

    def accept(self, value: object) -> Value:
        """The value as the run keeps it.

        Raises:
            ParamError: it does not fit.
        """
        raise NotImplementedError


class Text(Param, frozen=True, kw_only=True, tag="string", tag_field="type"):
    """Text of one line."""

    default: str | None = None
    pattern: Annotated[str, msgspec.Meta(max_length=200)] | None = None
    """A regular expression that the whole value matches."""
    max_length: Annotated[int, msgspec.Meta(ge=1, le=MAX_TEXT)] = 200
    """Characters."""
    allow_dash: bool = False
    """A value may start with `-`, where a command would read it as an option."""

    def __post_init__(self) -> None:
        if self.pattern is not None:
            check_pattern(self.pattern)

    def accept(self, value: object) -> Value:
        if not isinstance(value, str):
            raise ParamError(f"wants text, not {value!r}")
        if len(value) > self.max_length:
            raise ParamError(f"{len(value)} characters; at most {self.max_length}")
        if _CONTROL.search(value):
            raise ParamError("control and hidden characters are refused")
        if value.startswith("-") and not self.allow_dash:
            raise ParamError("a leading '-' would be read as an option")
        if self.pattern is not None and re.fullmatch(self.pattern, value, re.ASCII) is None:
            raise ParamError(f"{value!r} does not match {self.pattern}")
        return value


class Address(Param, frozen=True, kw_only=True, tag="url", tag_field="type"):
    """The base of an HTTP step: a plain http or https URL, as `urls` reads it."""

    default: str | None = None

    def accept(self, value: object) -> Value:
        if not isinstance(value, str):
            raise ParamError(f"wants a URL, not {value!r}")
        try:
            plain_url(value)
        except ValueError as error:
            raise ParamError(str(error)) from None
        return value


class Whole(Param, frozen=True, kw_only=True, tag="int", tag_field="type"):
    """A whole number; text of digits counts as one, because people type."""

    default: int | None = None
    min: int = 0
    max: int = 2**31 - 1

    def __post_init__(self) -> None:
        if self.min > self.max:
            raise ValueError(f"min {self.min} is over max {self.max}")

    def accept(self, value: object) -> Value:
        if isinstance(value, str) and re.fullmatch(r"-?[0-9]{1,18}", value):
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int):
            raise ParamError(f"wants a whole number, not {value!r}")
        if not self.min <= value <= self.max:
            raise ParamError(f"{value} is outside {self.min} to {self.max}")
        return value


class Number(Param, frozen=True, kw_only=True, tag="number", tag_field="type"):
    """A number with a fraction: a threshold."""

    default: float | None = None
    min: float = 0.0
    max: float = 1e12

    def accept(self, value: object) -> Value:
        if isinstance(value, str) and re.fullmatch(r"-?[0-9]{1,15}(\.[0-9]{1,15})?", value):
            value = float(value)
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise ParamError(f"wants a number, not {value!r}")
        if not self.min <= value <= self.max:
            raise ParamError(f"{value} is outside {self.min} to {self.max}")
        return float(value)


class Flag(Param, frozen=True, kw_only=True, tag="bool", tag_field="type"):
    """True or false."""

    default: bool | None = None

    def accept(self, value: object) -> Value:
        if isinstance(value, str) and value in {"true", "false"}:
            return value == "true"
        if not isinstance(value, bool):
            raise ParamError(f"wants true or false, not {value!r}")
        return value


class Choice(Param, frozen=True, kw_only=True, tag="enum", tag_field="type"):
    """One of a few words."""

    values: Annotated[tuple[str, ...], msgspec.Meta(min_length=1, max_length=50)]
    default: str | None = None

    def accept(self, value: object) -> Value:
        if not isinstance(value, str) or value not in self.values:
            raise ParamError(f"{value!r} is not one of {', '.join(self.values)}")
        return value


class Span(Param, frozen=True, kw_only=True, tag="duration", tag_field="type"):
    """A span of time; the run keeps its text."""

    default: Duration | None = None
    min: Duration | None = None
    max: Duration | None = None

    def accept(self, value: object) -> Value:
        try:
            span = value if isinstance(value, Duration) else Duration.from_text(str(value))
        except ValueError as error:
            raise ParamError(str(error)) from None
        low, high = self.min or timedelta(0), self.max or timedelta.max
        if not low <= span <= high:
            raise ParamError(f"{span} is outside its bounds")
        return str(span)


AnyParam = Text | Address | Whole | Number | Flag | Choice | Span


def check_pattern(pattern: str) -> None:
    """Refuse a regular expression that does not compile or can take exponential time.

    Python's engine backtracks; a repeat inside a repeat, or a repeated choice, is where that
    explodes, so neither is allowed. The test is by form and refuses some harmless patterns too.

    Raises:
        ValueError: with the reason.
    """
    try:
        re.compile(pattern, re.ASCII)
    except (re.error, OverflowError, RecursionError) as error:
        raise ValueError(f"pattern {pattern!r} does not compile: {error}") from None
    bare = re.sub(r"\\.|\[\^?\]?(?:\\.|[^\]])*\]", "x", pattern)
    if _NESTED.search(bare) or _BACKREFERENCE.search(pattern):
        raise ValueError(f"pattern {pattern!r} repeats a repeat: it could run for ever")


def bind(specs: Mapping[str, AnyParam], *layers: Mapping[str, object]) -> dict[str, Value]:
    """The values of all parameters: the first layer that has one wins, then the default.

    Args:
        specs: the parameters of the runbook.
        layers: what the person gave first, then what the operator configured. Only the first layer
            is checked for unknown names; configuration may know more than one runbook uses.

    Raises:
        ParamError: every value that does not fit, in one sentence each.
    """
    wrong: list[str] = []
    if layers:
        wrong += [f"{name}: no such parameter" for name in layers[0] if name not in specs]
    bound: dict[str, Value] = {}
    for name, spec in specs.items():
        given = _first(name, (*layers, {name: spec.default}))
        if given is None:
            if spec.required:
                wrong.append(f"{name}: is required")
            bound[name] = None
            continue
        try:
            bound[name] = spec.accept(given)
        except ParamError as error:
            wrong.append(f"{name}: {error}")
    if wrong:
        raise ParamError("; ".join(wrong))
    return bound


def _first(name: str, layers: Iterable[Mapping[str, Any]]) -> Any:
    return next((layer[name] for layer in layers if layer.get(name) is not None), None)
