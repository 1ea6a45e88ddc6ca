"""The corpus of bad configurations: each refused whole, at its place, safely and soon.

The numbers are those of the corpus that the design lists (48 kinds); kinds of runbooks and of
things a configuration cannot say (schedules, includes) are asked in the form they have here.
"""

from __future__ import annotations

import time
import tracemalloc
from dataclasses import dataclass
from pathlib import Path

import pytest

from monitor.config.settings import load, look
from runbooks.problems import Problems

DEEP = b"paging: " + b"[" * 100_000
BOMB = b"a: &a [x, x]\n" + b"".join(
    b"%c: &%c [*%c, *%c]\n" % (98 + i, 98 + i, 97 + i, 97 + i) for i in range(20)
)
RECEIVER = "paging:\n  receivers:\n    - {type: slack, name: s, channel: C0123, token: {env: X}}\n"


@dataclass(frozen=True)
class Bad:
    """One bad file and how it is told."""

    number: str
    source: bytes
    line: int
    code: str
    words: str = ""


def bad(number: str, source: str | bytes, line: int, code: str, words: str = "") -> Bad:
    raw = source.encode() if isinstance(source, str) else source
    return Bad(number, raw, line, code, words)


def hook(url: str) -> str:
    return (
        "paging:\n  receivers:\n"
        f"    - {{type: webhook, name: w, secret: {{env: X}}, url: '{url}'}}\n"
    )


def routed(matcher: str) -> str:
    return f"paging:\n  route:\n    routes:\n      - matchers: ['{matcher}']\n"


CORPUS = [
    bad("1 empty", "", 1, "empty"),
    bad("1 only comments", "# nothing\n", 1, "empty"),
    bad("2 scalar root", "word\n", 1, "type", "expected a mapping"),
    bad("3 list root", "- a\n", 1, "type", "expected a mapping"),
    bad("4 two documents", "version: 1\n---\nversion: 1\n", 2, "documents"),
    bad("5 tab indent", "paging:\n\troute: {}\n", 2, "syntax", "not tabs"),
    bad("6 unclosed quote", 'version: 1\nstore: "x\n', 2, "syntax"),
    bad("8 Latin-1", b"version: 1\nstore: caf\xe9\n", 2, "encoding"),
    bad("9 UTF-16", "version: 1\n".encode("utf-16"), 1, "encoding"),
    bad("10 NUL", b"version: 1\nstore: a\x00b\n", 2, "character"),
    bad("11 duplicate key", "version: 1\nstore: a\nstore: b\n", 3, "duplicate-key", "line 2"),
    bad("12 duplicate by merge", "a: &x {b: 1}\nc: {<<: *x, b: 2}\n", 2, "merge-key"),
    bad("13 billion laughs", BOMB, 1, "anchor"),
    bad("14 merge bomb", "a: &a {x: 1}\nb: {<<: [*a, *a]}\n", 2, "merge-key"),
    bad("15 recursive anchor", "a: &a [*a]\n", 1, "anchor"),
    bad("16 deep flow", DEEP, 1, "too-deep"),
    bad("17 long scalar", b"store: " + b"x" * 10_000_000, 0, "too-large"),
    bad("18 python object", 'a: !!python/object/apply:os.system ["id"]\n', 1, "tag"),
    bad("19 unknown tag", "store: !secret x\n", 1, "tag"),
    bad("20 Norway", "paging:\n  fallback: no\n", 2, "ambiguous"),
    bad("20 on", "http: on\n", 1, "ambiguous"),
    bad("21 sexagesimal is text", "version: 17:00\n", 1, "type", "a whole number"),
    bad("22 octal is text", "version: 017\n", 1, "type", "decimal digits"),
    bad("22 underscore is text", "version: 1_000\n", 1, "type", "decimal digits"),
    bad("22 exponent is no whole number", "version: 1e3\n", 1, "type"),
    bad("23 infinity", "version: .inf\n", 1, "number"),
    bad("23 not a number", "version: .nan\n", 1, "number"),
    bad("24 date", "version: 2026-11-22\n", 1, "type", "a whole number"),
    bad("25 equals sign", "=: 1\n", 1, "unknown-key"),
    bad("26 long integer", "version: " + "9" * 5000 + "\n", 1, "number"),
    bad("27 key is a number", "1: a\n", 1, "key", "in quotes"),
    bad("28 list as key", "? [a]\n: 1\n", 1, "key"),
    bad("29 typo", "paging:\n  recievers: []\n", 2, "unknown-key", "did you mean 'receivers'?"),
    bad("30 wrong type", "paging:\n  group_by: environment\n", 2, "type", "a list"),
    bad("30 wrong type deeper", "stream: {bucket: 60}\n", 1, "type"),
    bad("31 blank in duration", "stream: {bucket: 5 m}\n", 1, "value", "1h30m"),
    bad("31 words in duration", "stream: {bucket: 5mins}\n", 1, "value", "1h30m"),
    bad("31 negative duration", "stream: {lateness: -5s}\n", 1, "value"),
    bad("31 zero bucket", "stream: {bucket: 0s}\n", 1, "value", "10s to 5m"),
    bad("31 huge duration", "stream: {lateness: 999999999d}\n", 1, "value", "ten years"),
    bad(
        "32 time without a zone",
        "source: {type: kafka, bootstrap: [b], topic: t,\n  start: 2026-11-22T09:00:00}\n",
        1,
        "value",
        "earliest",
    ),
    bad(
        "33 nobody to page",
        RECEIVER + "  route:\n    routes:\n      - {matchers: [severity=SEV1], receivers: [s]}\n",
        4,
        "nobody",
    ),
    bad("34 unknown receiver", RECEIVER + "  route: {receivers: [S]}\n", 4, "unknown", "'s'"),
    bad("34 unknown fallback", RECEIVER + "  fallback: slak\n", 4, "unknown", "no receiver"),
    bad("34 unknown signal", "tiers:\n  refusal_rat: page\n", 2, "unknown", "'refusal_rate'"),
    bad("34 unknown dimension", "paging:\n  group_by: [fature]\n", 2, "unknown", "'feature'"),
    bad("36 include", "include: other.yaml\n", 1, "unknown-key"),
    bad("37 include outside", "store: !include ../../etc/passwd\n", 1, "tag"),
    bad("37 a file that is not there", "version: 1\nsignals_file: /none/x\n", 2, "file", "/none/x"),
    bad("38 invalid pattern", routed('signal=~"("'), 4, "value", "bad pattern"),
    bad("38 evil pattern", routed('signal=~"(a+)+$"'), 4, "value", "for ever"),
    bad("38 evil alternatives", routed('signal=~"(a|aa)*$"'), 4, "value", "for ever"),
    bad("38 many repeats", routed('signal=~".*a.*b.*c.*d.*"'), 4, "value", "for ever"),
    bad(
        "39 secret inline",
        "paging:\n  receivers:\n    - {type: slack, name: s, channel: C0123,\n"
        "       token: hunter2hunter2}\n",
        4,
        "type",
        "{file: PATH}",
    ),
    bad(
        "39 secret elsewhere",
        "paging:\n  links:\n    a: https://h/?t=xoxb-0123456789ab\n",
        3,
        "secret-inline",
        "slack",
    ),
    bad(
        "39 password inline",
        "source: {type: kafka, bootstrap: [b], topic: t,\n"
        "  security: {sasl_plain_password: hunter2hunter2}}\n",
        2,
        "secret-inline",
        "sasl_password",
    ),
    bad("39 no reference", RECEIVER.replace("{env: X}", "{}"), 3, "value", "{keyring:"),
    bad("39 two references", RECEIVER.replace("{env: X}", "{env: X, file: z}"), 3, "value"),
    bad("39 no variable", RECEIVER.replace("env: X", "env: hunter2-hunter2"), 3, "value"),
    bad("39 keyring without a name", RECEIVER.replace("env: X", "keyring: a"), 3, "value"),
    bad("40 plain http", hook("http://h/x"), 3, "value", "https"),
    bad("40 file", hook("file:///etc/passwd"), 3, "value"),
    bad("40 user info", hook("https://me:hunter2hunter2@h/"), 3, "secret-inline"),
    bad("40 number", hook("http://2130706433/"), 3, "value"),
    bad("40 no host", hook("https://"), 3, "value"),
    bad("40 link to a script", 'paging: {links: {a: "javascript:x"}}\n', 1, "value"),
    bad(
        "41 relative command",
        "runbooks:\n  allow:\n    commands:\n      - {path: bin/x}\n",
        4,
        "value",
    ),
    bad(
        "41 path in an origin",
        "runbooks:\n  allow:\n    http:\n      - {origin: 'https://h/x'}\n",
        4,
        "value",
        "paths have their own field",
    ),
    bad(
        "42 parameter of no runbook",
        "runbooks:\n  defaults: {chang_api: x}\n",
        2,
        "unknown",
        "'change_api'",
    ),
    bad(
        "43 unknown variable",
        "paging:\n  links: {a: 'https://h/$signl'}\n",
        2,
        "unknown",
        "'signal'",
    ),
    bad("43 lone dollar", "paging:\n  links: {a: 'https://h/$'}\n", 2, "value", "$$"),
    bad("44 Slack channel by name", RECEIVER.replace("C0123", "'#ops'"), 3, "value"),
    bad("45 percent over 100", "stream: {lateness: 11m}\n", 1, "value", "10m"),
    bad("46 two receivers of a name", RECEIVER + "    - {type: log, name: s}\n", 4, "duplicate"),
    bad("46 label that is none", routed('__name__="x"'), 4, "unknown", "no label"),
    bad("46 name with a blank", RECEIVER.replace("name: s", "name: s s"), 3, "value"),
    bad("47 newer", "version: 2\n", 1, "value"),
    bad("47 older", "version: 0\n", 1, "value"),
    bad("48 escape in a name", b"version: 1\n\x1b]0;x\x07: 1\n", 2, "character", "U+001B"),
    bad("48 bidi in a comment", "version: 1 # \u202e gnp\n", 1, "character", "U+202E"),
    bad("48 escape, quoted", 'profile: "\\e[2J"\n', 1, "character"),
    bad("48 markup", "profile: '[@click=app.quit]x'\n", 1, "value", "quiet"),
    bad(
        "too many routes", "paging:\n  route:\n    routes:\n" + "      - {}\n" * 501, 3, "too-many"
    ),
    bad("address", "http: 127.0.0.1:99999\n", 1, "value", "HOST:PORT"),
]


@pytest.mark.parametrize("each", CORPUS, ids=lambda each: each.number)
def test_every_kind_is_refused_at_its_place(each: Bad, tmp_path: Path) -> None:
    """The file is refused whole, with place, code, reason and what to do, and nothing unsafe."""
    path = tmp_path / "tocsin.yaml"
    path.write_bytes(each.source)
    started = time.monotonic()
    with pytest.raises(Problems) as caught:
        load(path)
    assert time.monotonic() - started < 10  # a hundredth of it on an idle machine
    found = caught.value.problems
    assert any(
        (p.line, p.code) == (each.line, each.code) and each.words in f"{p.text} {p.hint}"
        for p in found
    ), str(caught.value)
    said = str(caught.value)
    assert said.replace("\n", "").isprintable()
    assert len(said) < 100_000
    assert "hunter2" not in said
    assert "xoxb" not in said


@pytest.mark.parametrize("number", ["13 billion laughs", "16 deep flow", "17 long scalar"])
def test_a_bomb_takes_little_memory(number: str, tmp_path: Path) -> None:
    """What is written to fill the memory is refused before it does."""
    path = tmp_path / "tocsin.yaml"
    path.write_bytes(next(each.source for each in CORPUS if each.number == number))
    tracemalloc.start()
    try:
        with pytest.raises(Problems):
            load(path)
        assert tracemalloc.get_traced_memory()[1] < 20_000_000
    finally:
        tracemalloc.stop()


def test_a_file_cut_anywhere_is_refused_or_whole(tmp_path: Path) -> None:
    """7: truncated at each byte, nothing but problems leaves the loader."""
    source = CORPUS_GOOD.encode()
    path = tmp_path / "tocsin.yaml"
    for length in range(len(source)):
        path.write_bytes(source[:length])
        _, problems = look(path)
        assert all(p.line >= 0 and p.text for p in problems)


CORPUS_GOOD = """version: 1
source: {type: kafka, bootstrap: ["b:9092"], topic: "t"}
paging:
  receivers:
    - {type: log, name: day}
  route: {receivers: [day]}
  links: {wiki: "https://wiki/$signal"}
"""


def test_the_largest_file_is_read_soon(tmp_path: Path) -> None:
    """A quarter of a megabyte of routes takes seconds at most, good or bad."""
    nodes = "".join(
        f"      - {{matchers: ['tenant=\"{'x' * 400}{i}\"'], receivers: [a]}}\n" for i in range(480)
    )
    text = (
        "paging:\n  receivers: [{type: log, name: a}]\n  route:\n    receivers: [a]\n    routes:\n"
    )
    path = tmp_path / "tocsin.yaml"
    path.write_text(text + nodes)
    started = time.monotonic()
    load(path)
    assert time.monotonic() - started < 20
