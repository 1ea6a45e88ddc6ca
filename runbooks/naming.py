"""Do the names of a condition exist? Asked when a file is loaded, not when an event is missed.

A condition never raises: a misspelt name is simply never true. So whoever loads a condition over
events checks its names against the event's class first.
"""

from __future__ import annotations

import types
import typing
from dataclasses import dataclass
from typing import Any, Literal

import msgspec

from runbooks.document import did_you_mean
from runbooks.expressions import Expression
from runbooks.nodes import (
    ITEM,
    Combination,
    Comparison,
    Constant,
    Name,
    Negation,
    Node,
)

_LISTS = (list, tuple, set, frozenset)


@dataclass(frozen=True, slots=True)
class Misnamed:
    """A name, or a value it is compared with, that can never be."""

    name: str
    col: int
    """In the condition, from 1."""
    text: str
    hint: str


def misnamed(expression: Expression, kind: type[msgspec.Struct]) -> list[Misnamed]:
    """What of the condition can never hold for a `kind`: unknown names, lists that are none.

    Text compared with `==`, `!=` or `in` is checked too where the field knows its values (a
    Literal or an enum).
    """
    found: list[Misnamed] = []
    _walk(expression.root, (kind,), found)
    return found


def _walk(node: Node, scopes: tuple[Any, ...], found: list[Misnamed]) -> None:
    if isinstance(node, Constant):
        return
    if isinstance(node, Name):
        _resolve(node, scopes, found)
    elif isinstance(node, Comparison):
        for side in (node.left, node.right):
            _walk(side, scopes, found)
        _values(node, scopes, found)
    elif isinstance(node, Combination):
        for part in node.parts:
            _walk(part, scopes, found)
    elif isinstance(node, Negation):
        _walk(node.part, scopes, found)
    else:
        listed = node.items.name
        before = len(found)
        annotation = _resolve(listed, scopes, found)
        element = _element(annotation)
        if element is None and len(found) == before:
            text = f"{listed.dotted} is not a list"
            found.append(Misnamed(listed.dotted, listed.col, text, ""))
        if node.body is not None and len(found) == before:
            _walk(node.body, (element, *scopes), found)


def _resolve(name: Name, scopes: tuple[Any, ...], found: list[Misnamed]) -> Any:
    """The annotation of a name: an item's field before one of what is around it."""
    first, rest = name.parts[0], name.parts[1:]
    if first == ITEM and len(scopes) > 1:
        return _follow(scopes[0], rest, name, found)
    for scope in scopes:
        if first in _fields(scope):
            return _follow(scope, name.parts, name, found)
    known = {field for scope in scopes for field in _fields(scope)}
    text = f"there is no {name.dotted}"
    found.append(Misnamed(name.dotted, name.col, text, did_you_mean(first, known)))
    return None


def _follow(scope: Any, parts: tuple[str, ...], name: Name, found: list[Misnamed]) -> Any:
    for part in parts:
        fields = _fields(scope)
        if part not in fields:
            hint = did_you_mean(part, fields)
            found.append(Misnamed(name.dotted, name.col, f"there is no {name.dotted}", hint))
            return None
        scope = fields[part]
    return scope


def _values(node: Comparison, scopes: tuple[Any, ...], found: list[Misnamed]) -> None:
    """Check literal text against the values that a field can have."""
    if not isinstance(node.left, Name) or not isinstance(node.right, Constant):
        return
    known = _choices(_resolve(node.left, scopes, []))
    value = node.right.value
    wanted = value if isinstance(value, tuple) else (value,)
    for one in wanted:
        if known and isinstance(one, str) and one not in known:
            text = f"{node.left.dotted} is never {one!r}"
            found.append(Misnamed(node.left.dotted, node.left.col, text, did_you_mean(one, known)))


def _members(annotation: Any) -> list[Any]:
    """The types of an annotation without Annotated, aliases and None."""
    if typing.get_origin(annotation) is typing.Annotated:
        return _members(typing.get_args(annotation)[0])
    if isinstance(annotation, typing.NewType):
        return _members(annotation.__supertype__)
    if typing.get_origin(annotation) in {typing.Union, types.UnionType}:
        return [inner for part in typing.get_args(annotation) for inner in _members(part)]
    return [] if annotation is type(None) or annotation is msgspec.UnsetType else [annotation]


def _fields(annotation: Any) -> dict[str, Any]:
    """The fields of the Structs in an annotation."""
    fields: dict[str, Any] = {}
    for member in _members(annotation):
        if isinstance(member, type) and issubclass(member, msgspec.Struct):
            fields.update({field.name: field.type for field in msgspec.structs.fields(member)})
    return fields


def _element(annotation: Any) -> Any:
    """What the lists in an annotation hold; None when there is no list."""
    for member in _members(annotation):
        if typing.get_origin(member) in _LISTS:
            return typing.get_args(member)[0]
    return None


def _choices(annotation: Any) -> set[str]:
    """The words that a field can be; empty when it can be others."""
    members = _members(annotation)
    if members and all(typing.get_origin(member) is Literal for member in members):
        return {str(value) for member in members for value in typing.get_args(member)}
    return set()
