"""From a parsed condition to Python closures: no evaluation of text, no names at run time.

A predicate runs for each event and each signal, some 20,000 times a second, so the common shapes
(a name against a literal) are one closure around one `operator.attrgetter`, which walks a dotted
path in C. What is odd (a None, a missing attribute, types that do not compare) leaves by an
exception handler, which costs nothing until it is taken.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from runbooks.nodes import (
    ITEM,
    Combination,
    Comparison,
    Constant,
    Name,
    Negation,
    Node,
    Quantifier,
)

Read = Callable[[Any], Any]
Test = Callable[[Any], bool]

_COLLECTIONS = (list, tuple, set, frozenset, Mapping)
_SIGNS: Final[dict[str, Callable[[Any, Any], Any]]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


@dataclass(frozen=True, slots=True)
class Getter:
    """How names are looked up in an object."""

    read: Callable[[tuple[str, ...]], Read]
    """For a path, the function that gives its value; None where the path ends early."""
    has: Callable[[Any, str], bool]
    """Whether an object has a first name at all (an item before its outer object)."""


def _attribute(path: tuple[str, ...]) -> Read:
    walk = operator.attrgetter(".".join(path))

    def read(subject: Any) -> Any:
        try:
            return walk(subject)
        except AttributeError:
            return None

    return read


def _key(path: tuple[str, ...]) -> Read:
    def read(subject: Any) -> Any:
        for part in path:
            if not isinstance(subject, Mapping):
                return None
            subject = subject.get(part)
        return subject

    return read


def _has_key(subject: Any, name: str) -> bool:
    return isinstance(subject, Mapping) and name in subject


ATTRIBUTES = Getter(_attribute, hasattr)
"""Names are attributes of objects: events."""
KEYS = Getter(_key, _has_key)
"""Names are keys of nested mappings: what a run's steps have captured."""


def compiled(node: Node, getter: Getter = ATTRIBUTES) -> Test:
    """The function that tells whether `node` holds for one object."""
    return _test(node, getter)


def _test(node: Node, getter: Getter) -> Test:
    if isinstance(node, Comparison):
        return _comparison(node, getter)
    if isinstance(node, Combination):
        return _combination(node, getter)
    if isinstance(node, Negation):
        part = _test(node.part, getter)
        return lambda subject: not part(subject)
    if isinstance(node, Quantifier) and node.word != "count":
        return _quantified(node, getter)
    read = _value(node, getter)
    return lambda subject: _truth(read(subject))


def _truth(value: object) -> bool:
    try:
        return bool(value)
    except (TypeError, ValueError):
        return False


def _value(node: Node, getter: Getter) -> Read:
    if isinstance(node, Constant):
        constant = node.value
        return lambda _: constant
    if isinstance(node, Name):
        return getter.read(node.parts)
    if isinstance(node, Quantifier) and node.word == "count":
        return _count(node, getter)
    return _test(node, getter)


def _combination(node: Combination, getter: Getter) -> Test:
    tests = [_test(part, getter) for part in node.parts]
    if len(tests) == 2:
        first, second = tests
        if node.word == "and":
            return lambda subject: first(subject) and second(subject)
        return lambda subject: first(subject) or second(subject)
    stop = node.word == "or"

    def combined(subject: Any) -> bool:
        for test in tests:
            if test(subject) is stop:
                return stop
        return not stop

    return combined


def _comparison(node: Comparison, getter: Getter) -> Test:
    left, right = node.left, node.right
    for one, other in ((left, right), (right, left)):
        if isinstance(one, Constant) and one.value is None and node.sign in {"==", "!="}:
            return _null(_value(other, getter), equal=node.sign == "==")
    if node.sign in {"in", "not in"}:
        return _membership(_value(left, getter), right, getter, inside=node.sign == "in")
    if isinstance(right, Constant):
        return _against(node.sign, _value(left, getter), right.value)
    return _between(node.sign, _value(left, getter), _value(right, getter))


def _null(read: Read, *, equal: bool) -> Test:
    if equal:
        return lambda subject: read(subject) is None
    return lambda subject: read(subject) is not None


def _against(sign: str, read: Read, constant: Any) -> Test:
    """A comparison with a literal; a literal None is never greater, smaller or inside."""
    if constant is None:
        return lambda _: False
    if sign == "==":
        return lambda subject: read(subject) == constant
    compare = _SIGNS[sign]

    def test(subject: Any) -> bool:
        value = read(subject)
        if value is None:
            return False
        try:
            return bool(compare(value, constant))
        except TypeError:
            return False

    return test


def _between(sign: str, left: Read, right: Read) -> Test:
    compare = _SIGNS[sign]

    def test(subject: Any) -> bool:
        one, other = left(subject), right(subject)
        if one is None or other is None:
            return False
        try:
            return bool(compare(one, other))
        except TypeError:
            return False

    return test


def _membership(read: Read, right: Node, getter: Getter, *, inside: bool) -> Test:
    if isinstance(right, Constant) and isinstance(right.value, tuple):
        return _among(read, right.value, inside=inside)
    listed = _value(right, getter)

    def test(subject: Any) -> bool:
        value, items = read(subject), listed(subject)
        if value is None or not isinstance(items, _COLLECTIONS):
            return False
        try:
            return (value in items) is inside
        except TypeError:
            return False

    return test


def _among(read: Read, constants: tuple[object, ...], *, inside: bool) -> Test:
    """Membership in a list of literals, by hash; an unhashable value is in no such list."""
    known = frozenset(constants)

    def test(subject: Any) -> bool:
        value = read(subject)
        if value is None:
            return False
        try:
            return (value in known) is inside
        except TypeError:
            return not inside

    return test


# -- over lists -------------------------------------------------------------------------------


def _scoped(getter: Getter) -> Getter:
    """Names inside a quantifier: the subject is a pair of the item and the outer subject."""

    def read(path: tuple[str, ...]) -> Read:
        first = path[0]
        outer = getter.read(path)
        inner = getter.read(path)
        if first == ITEM:
            rest = getter.read(path[1:]) if path[1:] else None
            return lambda pair: rest(pair[0]) if rest is not None else pair[0]
        return lambda pair: inner(pair[0]) if has(pair[0], first) else outer(pair[1])

    def has_in_pair(pair: Any, name: str) -> bool:
        return name == ITEM or has(pair[0], name) or getter.has(pair[1], name)

    has = getter.has
    return Getter(read, has_in_pair)


def _items(node: Quantifier, getter: Getter) -> Callable[[Any], Sequence[Any]]:
    read = getter.read(node.items.name.parts)

    def items(subject: Any) -> Sequence[Any]:
        value = read(subject)
        if isinstance(value, (list, tuple)):
            return value
        return tuple(value) if isinstance(value, (set, frozenset)) else ()

    return items


def _quantified(node: Quantifier, getter: Getter) -> Test:
    """`any` of nothing is false, `all` of nothing is true, as in Python."""
    assert node.body is not None
    items = _items(node, getter)
    test = _test(node.body, _scoped(getter))
    stop = node.word == "any"

    def quantified(subject: Any) -> bool:
        for item in items(subject):
            if test((item, subject)) is stop:
                return stop
        return not stop

    return quantified


def _count(node: Quantifier, getter: Getter) -> Read:
    items = _items(node, getter)
    if node.body is None:
        return lambda subject: len(items(subject))
    test = _test(node.body, _scoped(getter))
    return lambda subject: sum(1 for item in items(subject) if test((item, subject)))
