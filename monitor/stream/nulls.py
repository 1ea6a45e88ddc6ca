"""Null means absent: many languages write it for a section or a list that is not there.

The structs take null for plain optional fields; for sections, lists and fields with a default it is
taken out here, only where the schema has such a field, so that an unknown key stays unknown.
"""

from __future__ import annotations

from typing import Any, get_args

import msgspec

from monitor.stream.event import Amend, Interaction

_Shape = dict[str, tuple[bool, type[msgspec.Struct] | None]]
_shapes: dict[type[msgspec.Struct], _Shape] = {}
_ROOTS: dict[object, type[msgspec.Struct]] = {one.type: one for one in (Interaction, Amend)}


def without_nulls(document: Any) -> Any:
    """The decoded JSON of an event without the optional fields that are null."""
    if isinstance(document, dict) and isinstance(kind := document.get("type"), str):
        root = _ROOTS.get(kind)
        return document if root is None else _prune(document, root)
    return document


def _prune(node: Any, struct: type[msgspec.Struct]) -> Any:
    if isinstance(node, list):
        return [_prune(item, struct) for item in node]
    if not isinstance(node, dict):
        return node
    shape = _shape(struct)
    made = {}
    for key, value in node.items():
        optional, inner = shape.get(key, (False, None))
        if value is not None or not optional:
            made[key] = value if inner is None else _prune(value, inner)
    return made


def _shape(struct: type[msgspec.Struct]) -> _Shape:
    """Of each field: may it be left out, and the struct inside it."""
    if struct not in _shapes:
        _shapes[struct] = {
            field.encode_name: (not field.required, _inside(field.type))
            for field in msgspec.structs.fields(struct)
        }
    return _shapes[struct]


def _inside(hint: Any) -> type[msgspec.Struct] | None:
    """The struct in a type such as `X`, `X | None` or `tuple[X, ...]`, annotated or not."""
    if isinstance(hint, type) and issubclass(hint, msgspec.Struct):
        return hint
    return next((found for found in map(_inside, get_args(hint)) if found is not None), None)
