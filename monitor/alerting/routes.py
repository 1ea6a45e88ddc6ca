"""The route tree in Alertmanager's words: which receivers get an incident with these labels.

Matchers see trusted labels only: signal, severity, environment and vocabulary values.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Literal

import msgspec

_MATCHER = re.compile(r"^\s*([a-zA-Z_][a-zA-Z0-9_]*)\s*(=~|!~|!=|=)\s*(.*?)\s*$")
_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"')
_LONE_QUOTE = re.compile(r'(?<!\\)"')
_ESCAPED = re.compile(r"\\.|\[\^?\]?[^\]]*\]", re.DOTALL)
"""An escaped character, or a class of characters: neither repeats nor groups."""
_MOST_REPEATS = 3


class Matcher(msgspec.Struct, frozen=True):
    """One label condition, e.g. `severity=~"SEV1|SEV2"`; patterns match the whole value."""

    name: str
    op: Literal["=", "!=", "=~", "!~"]
    value: str

    def matches(self, labels: Mapping[str, str]) -> bool:
        """An absent label has the empty value, as in Alertmanager."""
        actual = labels.get(self.name, "")
        if self.op in {"=", "!="}:
            return (actual == self.value) == (self.op == "=")
        return (re.fullmatch(self.value, actual) is not None) == (self.op == "=~")


def parse_matcher(text: str) -> Matcher:
    """Parse `name=value`, `name!="value"`, `name=~"pattern"`, `name!~"pattern"`.

    Raises:
        ValueError: not a matcher, a quote that is not closed, or a pattern that does not compile.
    """
    found = _MATCHER.match(text)
    if found is None:
        raise ValueError(f'not a matcher: {text!r}; write for example severity=~"SEV1|SEV2"')
    name, op, value = found.groups()
    if quoted := _QUOTED.fullmatch(value):
        value = quoted.group(1)
    elif _LONE_QUOTE.search(value):
        raise ValueError(f"not a matcher: {text!r} has a quote that is not closed")
    if op in {"=~", "!~"}:
        try:
            re.compile(value)
        except (re.error, OverflowError, RecursionError) as problem:
            raise ValueError(f"bad pattern in {text!r}: {problem}") from None
        if (slow := _slow(value)) is not None:
            raise ValueError(f"bad pattern in {text!r}: {slow}")
    return Matcher(name, op, value)  # type: ignore[arg-type] # the pattern admits just these four


def _slow(pattern: str) -> str | None:
    """Why matching could take more than a moment: label values are other people's text.

    A repeated group is how a backtracking matcher comes to exponential time (`(a+)+`, `(a|aa)*`),
    and each further repeat multiplies by the length of the value.
    """
    bare = _ESCAPED.sub("x", pattern)
    if re.search(r"\)[*+{]", bare):
        return "a group that repeats may take for ever; list the alternatives instead"
    if sum(bare.count(sign) for sign in "*+{") > _MOST_REPEATS:
        return f"more than {_MOST_REPEATS} repeats may take for ever"
    if re.search(r"\\[1-9]", pattern):
        return "a back-reference may take for ever"
    return None


class Route(msgspec.Struct, frozen=True, kw_only=True):
    """One node: it takes what its matchers take; the first child to take it wins, or `go_on`."""

    receivers: tuple[str, ...] = ()
    matchers: tuple[Matcher, ...] = ()
    routes: tuple[Route, ...] = ()
    go_on: bool = False
    """`continue` in the configuration: later siblings may take it too."""


class Hop(msgspec.Struct, frozen=True):
    """A receiver and the way to it, for the timeline."""

    receiver: str
    reason: str


def route(root: Route, labels: Mapping[str, str]) -> list[Hop]:
    """The receivers for `labels`, each once, with the matchers that led there."""
    hops: dict[str, Hop] = {}
    for node, path in _leaves(root, labels, "root"):
        for receiver in node.receivers:
            hops.setdefault(receiver, Hop(receiver, path))
    return list(hops.values())


def _leaves(node: Route, labels: Mapping[str, str], path: str) -> list[tuple[Route, str]]:
    found: list[tuple[Route, str]] = []
    for child in node.routes:
        if not all(matcher.matches(labels) for matcher in child.matchers):
            continue
        named = ",".join(f"{m.name}{m.op}{m.value}" for m in child.matchers) or "any"
        inherits = (
            child if child.receivers else msgspec.structs.replace(child, receivers=node.receivers)
        )
        found += _leaves(inherits, labels, f"{path} > {named}")
        if not child.go_on:
            break
    return found or [(node, path)]
