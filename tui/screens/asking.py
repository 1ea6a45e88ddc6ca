"""Values that a runbook wants from a person: what to ask, what an answer means, what is wrong."""

from __future__ import annotations

from functools import partial

from monitor.views import Param
from tui.widgets.prompt_bar import Question

_FLAGS = {"true": True, "yes": True, "y": True, "false": False, "no": False, "n": False}


def convert(param: Param, typed: str) -> str | int | bool:
    """The value of `typed` for `param`; a word of a list may be shortened or be its number.

    Raises:
        ValueError: it is not of the parameter's type or not one of its values; says what is wanted.
    """
    if param.values:
        return _one_of(param.values, typed)
    if param.type == "int":
        try:
            return int(typed)
        except ValueError:
            raise ValueError("a whole number") from None
    if param.type == "bool":
        if typed.lower() not in _FLAGS:
            raise ValueError("yes or no")
        return _FLAGS[typed.lower()]
    return typed


def _one_of(values: list[str], typed: str) -> str:
    if typed in values:
        return typed
    if typed.isdecimal() and 1 <= int(typed) <= len(values):
        return values[int(typed) - 1]
    found = [value for value in values if value.lower().startswith(typed.lower())]
    if len(found) != 1:
        raise ValueError(f"1-{len(values)} or the first letters")
    return found[0]


def _objection(param: Param, typed: str) -> str:
    if not typed:
        return "a value is needed; Esc cancels" if param.required else ""
    try:
        convert(param, typed)
    except ValueError as error:
        return str(error)
    return ""


def question(param: Param, head: str) -> Question:
    """`head name 1 this 2 that (what it is):`, with the default typed already."""
    hint = f" ({param.description})" if param.description else ""
    values = "".join(f" {number} {value}" for number, value in enumerate(param.values, start=1))
    return Question(
        f"{head} {param.name}{values}{hint}:",
        initial="" if param.default is None else str(param.default),
        check=partial(_objection, param),
    )
