"""No configuration, however broken, does more than be refused."""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.config.advice import advice
from monitor.config.settings import load, look, resolve
from runbooks.problems import Problems
from runbooks.yaml import load_yaml
from runbooks.yaml_text import yaml_text
from tests.unit.test_settings_effective import TEXT

EXAMPLE: Any = load_yaml(TEXT, "example").data
PIECES = st.sampled_from(
    [
        b"[",
        b"]",
        b"{",
        b"}",
        b": ",
        b"- ",
        b"\n",
        b"\t",
        b"'",
        b'"',
        b"&a ",
        b"*a ",
        b"!x ",
        b"<<: ",
    ]
) | st.sampled_from(
    [b"---\n", b"%Y ", b"\xff", b"\x00", b"\x1b", b"no", b"017", b".nan", b"$", b"~"]
)
LEAVES: st.SearchStrategy[Any] = st.sampled_from(
    [
        None,
        True,
        -1,
        2**62,
        1.5,
        "",
        "no",
        "x" * 300,
        [],
        {},
        [[]],
        {"a": {"b": []}},
        "\u202e",
        "$x",
    ]
) | st.sampled_from(
    ["5m", "-5m", "severity=~(", "feature=x", "https://h", "http://1", "C0123", "day"]
)


def tried(source: bytes) -> None:
    """Load as a start, a check and a reload do; only problems with their places may leave."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "tocsin.yaml"
        path.write_bytes(source)
        _, problems = look(path)
        assert all(str(problem).replace("\n", "").isprintable() for problem in problems)
        try:
            made, document = load(path)
            resolve(made)
        except Problems:
            return
        assert all(problem.line >= 0 for problem in advice(made, document))


@given(st.data())
@settings(max_examples=120, deadline=None)
def test_mutated_bytes_load_or_are_refused(data: st.DataObject) -> None:
    """Pieces put in, cut out or doubled anywhere in an example never crash the loader."""
    source = TEXT.encode()
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(source)))
        until = data.draw(st.integers(at, min(len(source), at + 60)))
        piece = data.draw(PIECES | st.just(source[at:until] * 2))
        source = source[:at] + piece + source[until:]
    tried(source)


def ways(node: object, way: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """The ways to every part of plain data, its root left out."""
    parts = (
        node.items()
        if isinstance(node, dict)
        else enumerate(node if isinstance(node, list) else ())
    )
    for key, value in parts:
        yield (*way, key)
        yield from ways(value, (*way, key))


@given(st.data())
@settings(max_examples=120, deadline=None)
def test_a_mutated_structure_loads_or_is_refused(data: st.DataObject) -> None:
    """Any part replaced, left out, doubled, misspelled or moved elsewhere never crashes it."""
    tree: Any = copy.deepcopy(EXAMPLE)
    for _ in range(data.draw(st.integers(1, 3))):
        known = list(ways(tree))
        if not known:
            break
        *above, key = data.draw(st.sampled_from(known))
        node: Any = tree
        for part in above:
            node = node[part]
        match data.draw(st.sampled_from(["replace", "leave out", "double", "misspell", "move"])):
            case "replace":
                node[key] = data.draw(LEAVES)
            case "leave out":
                del node[key]
            case "double" if hasattr(node, "append"):
                node.append(copy.deepcopy(node[key]))
            case "misspell" if hasattr(node, "items"):
                node[f"{key}s"] = node.pop(key)
            case _:
                elsewhere = data.draw(st.sampled_from(["paging", "desk", "tiers", "x"]))
                tree[elsewhere] = copy.deepcopy(node[key])
    tried(yaml_text(tree).encode())
