"""No file, however broken, does more than be refused."""

from __future__ import annotations

from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from runbooks.load import load_runbook
from runbooks.problems import Problems
from runbooks.yaml import load_yaml
from tests.unit.runbooks.test_load import GOOD

SOURCE = GOOD.encode()
PIECES = st.sampled_from(
    [b"[", b"]", b"{", b"}", b": ", b"- ", b"\n", b"\t", b"'", b'"', b"&a ", b"*a ", b"!x "]
) | st.sampled_from(
    [b">\n", b"<<: ", b"? ", b"---\n", b"%Y ", b"\xff", b"\x00", b"${", b"no", b"017", b".nan"]
)


def load(source: bytes) -> None:
    """Load and see that only problems with places leave."""
    try:
        load_runbook(source, "f.yaml")
    except Problems as refused:
        for problem in refused.problems:
            assert problem.line >= 1
            assert problem.text
            assert str(problem).replace("\n", "").isprintable()


@given(st.lists(PIECES | st.binary(max_size=6), max_size=40).map(b"".join))
@settings(max_examples=400, deadline=None)
def test_any_bytes_load_or_are_refused(source: bytes) -> None:
    """Random YAML-like bytes never crash the loader."""
    load(source)


@given(st.data())
@settings(max_examples=100, deadline=None)
def test_a_mutated_runbook_loads_or_is_refused(data: st.DataObject) -> None:
    """A shipped runbook with pieces put in, cut out or doubled never crashes the loader."""
    source = SOURCE
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(source)))
        until = data.draw(st.integers(at, min(len(source), at + 60)))
        piece = data.draw(PIECES | st.just(source[at:until] * 2))
        source = source[:at] + piece + source[until:]
    load(source)


PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=12),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.text(st.characters(min_codepoint=97, max_codepoint=122)), inner, max_size=4
        )
    ),
    max_leaves=12,
)


@given(PLAIN)
@settings(max_examples=300, deadline=None)
def test_json_is_read_as_json(value: Any) -> None:
    """JSON is YAML: what a JSON encoder writes comes back equal, with its types."""
    text = msgspec.json.encode({"root": value})
    read = load_yaml(text, "f").data
    assert read == {"root": value}
    assert msgspec.json.encode(read) == text


@given(st.data())
@settings(max_examples=120, deadline=None)
def test_a_runbook_with_a_wrong_part_loads_or_is_refused(data: st.DataObject) -> None:
    """Any value in the place of any part of a runbook is taken or explained, never a crash."""
    root: Any = load_yaml(SOURCE, "f").data
    place = root
    while True:
        keys = list(place) if isinstance(place, dict) else list(range(len(place)))
        key = data.draw(st.sampled_from(keys))
        deeper = isinstance(place[key], (dict, list)) and place[key]
        if not deeper or data.draw(st.integers(0, 3)) == 0:
            break
        place = place[key]
    if data.draw(st.booleans()):
        place[key] = data.draw(PLAIN)
    else:
        del place[key]
    load(msgspec.json.encode(root))
