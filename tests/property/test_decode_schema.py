"""The published schema and the decoder say the same, for any event and for any damage to one."""

from __future__ import annotations

import json
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

import jsonschema  # type: ignore[import-untyped] # it ships no type information
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from monitor.stream.decode import Decoded, Rejected, Skipped, decode
from monitor.stream.event import YEARS, schema
from monitor.stream.sources.source import Record
from tests.property.schema_strategies import documents

SCHEMA = schema()
FULL = json.loads((Path(__file__).parents[1] / "unit" / "event_full.json").read_bytes())
_RELAXED = settings(
    deadline=None,
    max_examples=120,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


@cache
def validator() -> Any:
    """A validator of the published schema."""
    return jsonschema.Draft202012Validator(SCHEMA)


def read(document: Any) -> Decoded | Rejected | Skipped:
    """The document as a record, decoded."""
    return decode(Record(0, json.dumps(document).encode()), key=b"key")


@_RELAXED
@given(documents(SCHEMA))
def test_what_the_schema_allows_is_decoded(document: Any) -> None:
    """An event made from the schema is accepted, unless its year is out of bounds."""
    assert validator().is_valid(document)
    found = read(document)
    if isinstance(found, Rejected):
        assert found.rule == "time"
        assert int(document["time"][:4]) not in YEARS
    else:
        assert isinstance(found, Decoded)
        assert found.event.type == document["type"]
        assert found.event.data.deployment.feature in {
            document["data"]["deployment"]["feature"],
            "__redacted__",
        }


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-5, 10**19)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8)
    | st.sampled_from(["violation", "prod", "2026-11-16T00:00:00Z", "t_0a", "__other__"]),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3)
    ),
    max_leaves=4,
)


def places(node: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every path into a document."""
    found = [path] if path else []
    if isinstance(node, dict):
        for key, value in node.items():
            found += places(value, (*path, key))
    elif isinstance(node, list):
        for at, value in enumerate(node):
            found += places(value, (*path, at))
    return found


PLACES = places(FULL)


@_RELAXED
@given(st.sampled_from(PLACES), JSON, st.booleans())
def test_the_decoder_accepts_what_the_schema_accepts_and_nothing_else(
    place: tuple[Any, ...], value: Any, remove: bool
) -> None:
    """With any part of a full event replaced or removed, schema and decoder agree."""
    document = json.loads(json.dumps(FULL))
    node = document
    for step in place[:-1]:
        node = node[step]
    if remove:
        del node[place[-1]]
    else:
        node[place[-1]] = value
    if place == ("time",) or _has_integral_float(document):
        return  # the schema's `format` is no assertion, and JSON Schema calls 1.0 an integer
    assert isinstance(read(document), Decoded) == validator().is_valid(document)


def _has_integral_float(node: Any) -> bool:
    if isinstance(node, dict):
        return any(map(_has_integral_float, node.values()))
    if isinstance(node, list):
        return any(map(_has_integral_float, node))
    return isinstance(node, float) and node.is_integer()


@_RELAXED
@given(st.data())
def test_damage_never_raises(data: st.DataObject) -> None:
    """Bytes cut, doubled, flipped or inserted give an event or a refusal, and no exception."""
    raw = bytearray(json.dumps(FULL).encode())
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, max(len(raw) - 1, 0)))
        kind = data.draw(st.sampled_from(["cut", "flip", "insert", "drop"]))
        if kind == "cut":
            del raw[at:]
        elif kind == "flip" and raw:
            raw[at] = data.draw(st.integers(0, 255))
        elif kind == "insert":
            raw[at:at] = data.draw(st.binary(max_size=6))
        else:
            del raw[at : at + data.draw(st.integers(1, 40))]
    found = decode(Record(0, bytes(raw)), key=b"key")
    assert isinstance(found, Decoded | Rejected)


SECRET = "zq7-marker"


def test_no_refusal_carries_content() -> None:
    """Whatever string stands in any field, no refusal, row or path repeats it."""
    texts = (f"{SECRET} a b c d e", f"{SECRET}@example.com", f"{SECRET} - at `$.data`\n")
    for place, text in product(PLACES, texts):
        document = json.loads(json.dumps(FULL))
        node = document
        for step in place[:-1]:
            node = node[step]
        node[place[-1]] = text
        found = read(document)
        said = repr(found.quarantine) if isinstance(found, Decoded) else repr(found)
        assert SECRET not in said, place
        if isinstance(found, Decoded):
            assert SECRET not in repr(found.event), place


@pytest.mark.parametrize("key", [f"{SECRET}", f"x` - at `$.{SECRET}", f"{SECRET}\n", "messages"])
def test_no_refusal_repeats_an_unknown_key(key: str) -> None:
    """A key is content too: only names of the schema appear in a path."""
    for place in ((), ("data",), ("data", "gen_ai"), ("data", "redaction", "entity_counts")):
        document = json.loads(json.dumps(FULL))
        node = document
        for step in place:
            node = node[step]
        node[key] = {key: key}
        found = read(document)
        assert isinstance(found, Rejected)
        assert SECRET not in repr(found)
        assert "messages" not in repr(found)
