"""Hypothesis strategies out of a JSON Schema, for the keywords the event's schema uses.

A keyword that is not known here raises: silently ignoring one would make the property hollow.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

from hypothesis import strategies as st

_SAID_ELSEWHERE = {
    "description",
    "title",
    "default",
    "examples",
    "discriminator",
    "$defs",
    "$schema",
    "$id",
}
_KNOWN = {
    "string": {"minLength", "maxLength", "pattern", "format", "not"},
    "integer": {"minimum", "maximum"},
    "number": {"minimum", "maximum"},
    "boolean": set[str](),
    "null": set[str](),
    "array": {"items", "minItems", "maxItems"},
    "object": {"properties", "required", "additionalProperties", "propertyNames", "maxProperties"},
}


def documents(schema: dict[str, Any]) -> st.SearchStrategy[Any]:
    """Values that `schema` allows."""
    return _node(schema, schema["$defs"])


def _node(node: dict[str, Any], definitions: dict[str, Any]) -> st.SearchStrategy[Any]:
    node = {key: value for key, value in node.items() if key not in _SAID_ELSEWHERE}
    if "$ref" in node:
        target = definitions[node.pop("$ref").rsplit("/", 1)[1]]
        return _node({**target, **node}, definitions)
    if "anyOf" in node:
        options = node.pop("anyOf")
        assert not node, node
        return st.one_of([_node(option, definitions) for option in options])
    if "enum" in node:
        assert set(node) == {"enum"}, node
        return st.sampled_from(node["enum"])
    kind = node.pop("type")
    unknown = set(node) - _KNOWN[kind]
    assert not unknown, f"the schema grew keywords that this strategy does not know: {unknown}"
    if kind == "object":
        return _object(node, definitions)
    if kind == "array":
        items = _node(node["items"], definitions)
        return st.lists(items, max_size=min(node["maxItems"], 3))
    if kind == "string":
        return _string(node)
    plain: dict[str, st.SearchStrategy[Any]] = {
        "integer": st.integers(node.get("minimum"), node.get("maximum")),
        "number": st.floats(node.get("minimum"), node.get("maximum"))
        | st.integers(node.get("minimum"), node.get("maximum")),
        "boolean": st.booleans(),
        "null": st.none(),
    }
    return plain[kind]


def _object(node: dict[str, Any], definitions: dict[str, Any]) -> st.SearchStrategy[Any]:
    if "properties" not in node:
        return st.dictionaries(
            st.from_regex(node["propertyNames"]["pattern"]),
            _node(node["additionalProperties"], definitions),
            max_size=3,
        )
    assert node["additionalProperties"] is False
    parts = {name: _node(part, definitions) for name, part in node["properties"].items()}
    required = set(node.get("required", ()))
    return st.fixed_dictionaries(
        {name: part for name, part in parts.items() if name in required},
        optional={name: part for name, part in parts.items() if name not in required},
    )


def _string(node: dict[str, Any]) -> st.SearchStrategy[str]:
    if node.get("format") == "date-time":
        zones = st.integers(-23 * 60, 23 * 60).map(lambda m: timezone(timedelta(minutes=m)))
        return st.datetimes(timezones=st.just(UTC) | zones).map(datetime.isoformat)
    shortest, longest = node["minLength"], node["maxLength"]
    refused = node["not"]["enum"]
    slugs = st.text("abcxyz0123456789._-:/", min_size=shortest, max_size=min(longest, 24))
    wild = st.from_regex(node["pattern"]).filter(lambda text: shortest <= len(text) <= longest)
    return (slugs | slugs | wild).filter(lambda text: text not in refused)
