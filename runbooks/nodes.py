"""The parsed form of a condition: what `expressions` reads and `compiling` runs."""

from __future__ import annotations

from dataclasses import dataclass, field

ITEM = "item"
"""Inside any, all and count: the item itself."""


@dataclass(frozen=True, slots=True)
class Constant:
    """A literal: a number, text, bool, None or a tuple of those."""

    value: object


@dataclass(frozen=True, slots=True)
class Name:
    """A dotted name."""

    parts: tuple[str, ...]
    col: int = field(default=0, compare=False)

    @property
    def dotted(self) -> str:
        return ".".join(self.parts)


@dataclass(frozen=True, slots=True)
class Items:
    """The list a quantifier goes over."""

    name: Name


@dataclass(frozen=True, slots=True)
class Comparison:
    """`left sign right`; sign is one of == != < <= > >= in, not in."""

    sign: str
    left: Node
    right: Node


@dataclass(frozen=True, slots=True)
class Combination:
    """Two or more conditions under one word, `and` or `or`."""

    word: str
    parts: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Negation:
    """`not part`."""

    part: Node


@dataclass(frozen=True, slots=True)
class Quantifier:
    """`any`, `all` or `count` over a list; `body` is None for a plain count."""

    word: str
    items: Items
    body: Node | None


Node = Constant | Name | Comparison | Combination | Negation | Quantifier


def names(node: Node) -> set[str]:
    """Every name in `node`; names inside a quantifier as `list[].name`."""
    return {dotted for dotted, _ in places(node)}


def places(node: Node, prefix: str = "") -> list[tuple[str, int]]:
    """Every name in `node` with its column, in the order of the text."""
    if isinstance(node, Constant):
        return []
    if isinstance(node, Name):
        return [(_within(prefix, node), node.col)]
    if isinstance(node, Comparison):
        return places(node.left, prefix) + places(node.right, prefix)
    if isinstance(node, Combination):
        return [place for part in node.parts for place in places(part, prefix)]
    if isinstance(node, Negation):
        return places(node.part, prefix)
    listed = _within(prefix, node.items.name)
    inner = places(node.body, f"{listed}[]") if node.body is not None else []
    return [(listed, node.items.name.col), *inner]


def _within(prefix: str, name: Name) -> str:
    if not prefix:
        return name.dotted
    if name.parts[0] == ITEM:
        return ".".join((prefix, *name.parts[1:]))
    return f"{prefix}.{name.dotted}"
