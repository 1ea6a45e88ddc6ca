"""The strict YAML loader."""

from __future__ import annotations

import time
from contextlib import suppress
from itertools import pairwise
from pathlib import Path

import pytest

from runbooks.problems import Problem, Problems
from runbooks.yaml import MAX_BYTES, load_yaml

REFUSED: dict[str, tuple[str | bytes, str]] = {
    "empty": ("", "empty"),
    "whitespace": (" \n\n", "empty"),
    "comments only": ("# nothing\n", "empty"),
    "two documents": ("a: 1\n---\nb: 2\n", "documents"),
    "tab indent": ("a:\n\tb: 1\n", "syntax"),
    "unclosed quote": ("a: 'x\n", "syntax"),
    "unclosed flow": ("a: [1, 2\n", "syntax"),
    "Latin-1": ("a: café".encode("latin-1"), "encoding"),
    "UTF-16": ("a: 1".encode("utf-16"), "encoding"),
    "NUL": ("a: x\x00y", "character"),
    "raw escape": ("a: x\x1b[2J", "character"),
    "escaped escape": ('a: "x\\e[2J"', "character"),
    "escaped NUL": ('a: "\\0"', "character"),
    "bidi in a value": ("a: x\u202ey", "character"),
    "bidi in a comment": ("a: 1 # \u2066 safe\n", "character"),
    "noncharacter": ("a: x\ufffe", "character"),
    "lone surrogate": ("a: \ud800", "character"),
    "duplicate key": ("a: 1\nb: 2\na: 3\n", "duplicate-key"),
    "duplicate in flow": ("x: {a: 1, a: 2}", "duplicate-key"),
    "merge key": ("a: {<<: {b: 1}}", "merge-key"),
    "anchor": ("a: &x 1\n", "anchor"),
    "alias": ("a: &x [1]\nb: *x\n", "alias"),
    "recursive anchor": ("a: &x [*x]\n", "alias"),
    "python tag": ("a: !!python/object/apply:os.system [id]\n", "tag"),
    "unknown tag": ("a: !thing 1\n", "tag"),
    "known tag": ("a: !!str 1\n", "tag"),
    "binary": ("a: !!binary aGk=\n", "tag"),
    "no": ("a: no\n", "ambiguous"),
    "on": ("a: on\n", "ambiguous"),
    "y": ("a: y\n", "ambiguous"),
    "OFF": ("a: OFF\n", "ambiguous"),
    "True": ("a: True\n", "ambiguous"),
    "Null": ("a: Null\n", "ambiguous"),
    ".inf": ("a: .inf\n", "number"),
    "-.INF": ("a: -.INF\n", "number"),
    ".nan": ("a: .nan\n", "number"),
    "1e999": ("a: 1e999\n", "number"),
    "2^63": ("a: 9223372036854775808\n", "number"),
    "5,000 digits": (f"a: {'9' * 5000}\n", "number"),
    "number as key": ("1: a\n", "key"),
    "true as key": ("true: a\n", "key"),
    "null as key": ("~: a\n", "key"),
    "list as key": ("? [a]\n: 1\n", "key"),
    "mapping as key": ("? {a: 1}\n: 1\n", "key"),
    "directive": ("%YAML 1.2\n---\na: 1\n", "directive"),
    "tag directive": ("%TAG ! tag:x,2026:\n---\na: 1\n", "directive"),
    "33 deep": ("[" * 33 + "]" * 33, "too-deep"),
}
BOMBS = {
    "billion laughs": "a: &a [x, x]\n"
    + "\n".join(f"{c}: &{c} [*{p}, *{p}, *{p}, *{p}]" for p, c in pairwise("abcdefghi")),
    "merge bomb": "a: &a {x: 1}\n"
    + "".join(f"b{i}: &b{i} {{<<: [{', '.join(['*a'] * 10)}]}}\n" for i in range(9)),
    "deep flow": "[" * 100_000,
    "deep mapping": "{a: " * 50_000,
    "deep block": "- " * 50_000,
    "deep keys": "? " * 50_000,
    "deep indent": "".join(f"{' ' * i}a:\n" for i in range(600)),
    "ten megabytes": "a: " + "x" * 10_000_000,
    "many anchors": "".join(f"k{i}: &a{i} 1\n" for i in range(5_000)),
    "many quotes": "a: " + "'" * 40_001,
    "digits": "a: " + "9" * 80_000,
}


def problems(source: str | bytes) -> tuple[Problem, ...]:
    with pytest.raises(Problems) as caught:
        load_yaml(source, "f.yaml")
    return caught.value.problems


@pytest.mark.parametrize("name", REFUSED)
def test_bad_input_is_refused_with_its_code_and_place(name: str) -> None:
    """Each kind of bad input is refused whole, with a code, a line and a column."""
    source, code = REFUSED[name]
    found = problems(source)
    assert code in {problem.code for problem in found}
    assert all(problem.line >= 1 and problem.col >= 1 for problem in found)
    assert all(str(problem).isprintable() or "\n  hint:" in str(problem) for problem in found)


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_is_refused_quickly(name: str) -> None:
    """No small text takes long: 100 ms by the clock of the process, three tries on a noisy box."""
    best = 1.0
    for _ in range(3):
        start = time.process_time()
        problems(BOMBS[name])
        best = min(best, time.process_time() - start)
    assert best < 0.1


def test_every_truncation_of_a_runbook_parses_or_is_refused() -> None:
    """A file cut at any byte gives data or problems, never another error."""
    source = Path("runbooks/library/tool-misuse.yaml").read_bytes()[:3_000]
    for length in range(0, len(source), 7):
        with suppress(Problems):
            load_yaml(source[:length], "f.yaml")


def test_scalars_are_what_json_says_they_are() -> None:
    """Times, octals, underscores and dates stay text; numbers are JSON numbers."""
    text = (
        "a: 17:00\nb: 017\nc: 1_000\nd: 2026-01-02\ne: 0x1F\nf: 1e3\ng: -3\nh: 0.5\n"
        "i: true\nj: null\nk: ~\nl:\nm: 'no'\nn: '1'\no: .5\np: +1\nq: 0o7\nr: '='\n"
    )
    assert load_yaml(text, "f").data == {
        "a": "17:00",
        "b": "017",
        "c": "1_000",
        "d": "2026-01-02",
        "e": "0x1F",
        "f": 1000.0,
        "g": -3,
        "h": 0.5,
        "i": True,
        "j": None,
        "k": None,
        "l": None,
        "m": "no",
        "n": "1",
        "o": ".5",
        "p": "+1",
        "q": "0o7",
        "r": "=",
    }


def test_keys_are_always_text() -> None:
    """A key like `on` or `n` is text: only values are ambiguous."""
    assert load_yaml("on: 1\nn: 2\n'1': 3\n", "f").data == {"on": 1, "n": 2, "1": 3}


def test_all_problems_come_at_once_in_the_order_of_the_file() -> None:
    """Independent mistakes are reported together."""
    found = problems("a: no\nb: .nan\na: 2\nc: &x 1\n")
    assert [(p.line, p.code) for p in found] == [
        (1, "ambiguous"),
        (2, "number"),
        (3, "duplicate-key"),
        (4, "anchor"),
    ]
    assert "line 1" in found[2].text


def test_places_lead_back_to_the_file() -> None:
    """A path, also in msgspec's spelling, gives line and column of value or key."""
    document = load_yaml("steps:\n  - id: a\n    argv: [x,\n      yy]\n", "f")
    assert document.locate(("steps", 0, "argv", 1)) == (4, 7)
    assert document.locate("$.steps[0].argv") == (3, 11)
    assert document.locate(("steps", 0, "argv"), key=True) == (3, 5)
    assert document.locate(("steps", 0, "missing")) == (2, 5)
    assert document.locate(()) == (1, 1)


def test_size_is_judged_before_reading() -> None:
    """A file over the limit is refused by its size alone."""
    assert problems(b"#" * (MAX_BYTES + 1))[0].code == "too-large"


def test_a_byte_order_mark_of_utf8_is_no_content() -> None:
    """Editors that write one are forgiven."""
    assert load_yaml(b"\xef\xbb\xbfa: 1\n", "f").data == {"a": 1}
    assert load_yaml("a: 1\r\nb: 2\r\n", "f").data == {"a": 1, "b": 2}


def test_roots_other_than_mappings_are_data_too() -> None:
    """The loader takes lists and scalars; the type decides."""
    assert load_yaml("- 1\n- a\n", "f").data == [1, "a"]
    assert load_yaml("word", "f").data == "word"
