"""`${params.x}`, `${steps.x.y}`, `${incident.id}`, `${secrets.x}`: the only ways a value gets in.

Where a machine reads the result (an argument, a header, a path segment) an element is either a
literal or exactly one reference, so a value can never grow into its neighbours and is never parsed
again. Mixed text is for the eyes only: titles and instructions.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from runbooks.problems import visible

_ONE = re.compile(r"\$\{([a-z]+)\.([A-Za-z][A-Za-z0-9_-]*)(?:\.([A-Za-z][A-Za-z0-9_]*))?\}")
_TEMPLATES = ("{{", "{%", "$(", "`")

Value = str | int | bool | float | None
"""What a parameter or a captured value can be."""


@dataclass(frozen=True, slots=True)
class Reference:
    """One `${...}`."""

    space: str
    """params, steps, incident or secrets."""
    name: str
    """The parameter, step, incident field or secret."""
    part: str = ""
    """For a step: the captured name."""

    def __str__(self) -> str:
        return f"${{{self.space}.{self.name}{'.' if self.part else ''}{self.part}}}"


def reference(text: str) -> Reference | None:
    """The reference that `text` is as a whole, or None when it is a literal.

    Raises:
        ValueError: it mixes text and references, or looks like a template of another tool.
    """
    match = _ONE.fullmatch(text)
    if match is not None:
        return _checked(match)
    if "${" in text:
        raise ValueError(
            f"{text!r} mixes text and a reference, or misspells one: "
            "an element is a literal or exactly one ${params.x}, ${steps.x.y}, ${incident.id}"
        )
    for sign in _TEMPLATES:
        if sign in text:
            raise ValueError(f"{text!r} holds {sign!r}: there are no templates and no shell here")
    return None


def _checked(match: re.Match[str]) -> Reference:
    space, name, part = match[1], match[2], match[3] or ""
    if space not in {"params", "steps", "incident", "secrets"}:
        raise ValueError(f"{match[0]} names {space!r}: known are params, steps, incident, secrets")
    if (space == "steps") is not bool(part):
        shape = "${steps.STEP.NAME}" if space == "steps" else f"${{{space}.NAME}}"
        raise ValueError(f"{match[0]} is not of the form {shape}")
    return Reference(space, name, part)


def references(text: str) -> list[Reference]:
    """Every reference in a text for the eyes.

    Raises:
        ValueError: one of them is misspelt.
    """
    found = [_checked(match) for match in _ONE.finditer(text)]
    if text.count("${") != len(found):
        raise ValueError(f"{visible(text, limit=80)!r} misspells a reference")
    return found


def displayed(text: str, look_up: Callable[[Reference], Value]) -> str:
    """`text` with its references replaced, for the eyes; the sink still encodes the whole.

    A value that is not known yet stays as the reference.
    """

    def shown(match: re.Match[str]) -> str:
        value = look_up(_checked(match))
        return match[0] if value is None else spelled(value)

    return _ONE.sub(shown, text)


def spelled(value: Value) -> str:
    """A value as an argument, a header or a path segment spells it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return "" if value is None else str(value)


def resolved(
    reference: Reference,
    params: Mapping[str, Value],
    captured: Mapping[str, Mapping[str, Value]],
    incident: Mapping[str, Value],
) -> Value:
    """The value of a reference, or None when there is none (secrets never have one here)."""
    if reference.space == "params":
        return params.get(reference.name)
    if reference.space == "steps":
        return captured.get(reference.name, {}).get(reference.part)
    if reference.space == "incident":
        return incident.get(reference.name)
    return None
