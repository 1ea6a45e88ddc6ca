"""A tiny language of conditions: `outcome.status == 'refused' and not canary`.

One grammar for signal predicates, step conditions and settings. It can compare and combine, and
nothing else: no arithmetic, no attribute tricks, no calls besides three over lists, no evaluation
of text. So a condition from a file is data, and its cost is bounded by its length.

    condition  = conjunction {"or" conjunction}
    conjunction = negation {"and" negation}
    negation   = "not" negation | comparison
    comparison = operand [("==" | "!=" | "<" | "<=" | ">" | ">=" | "in" | "not" "in") operand]
    operand    = literal | name | "[" [literal {"," literal}] "]" | "(" condition ")"
               | ("any" | "all") "(" name "," condition ")" | "count" "(" name ["," condition] ")"
    literal    = number | 'text' | "text" | true | false | null
    name       = word {"." word}

Inside any, all and count a name means the item's field if the item has it, else the outer one;
`item` is the item itself (for lists of plain values). How the parsed form runs is in `compiling`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final, Literal, NoReturn, Self

from runbooks.compiling import ATTRIBUTES, Getter, compiled
from runbooks.nodes import (
    Combination,
    Comparison,
    Constant,
    Items,
    Name,
    Negation,
    Node,
    Quantifier,
    names,
)

MAX_LENGTH: Final = 2_000
MAX_DEPTH: Final = 20

_TOKEN = re.compile(
    r"""\s*(?:
      (?P<number>-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]{1,3})?(?![\w.]))
    | (?P<text>'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")
    | (?P<word>[A-Za-z][A-Za-z0-9_]*(?:\.[A-Za-z][A-Za-z0-9_]*)*)
    | (?P<sign>==|!=|<=|>=|<|>|\(|\)|\[|\]|,)
    )""",
    re.VERBOSE | re.ASCII,
)
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)
_CONSTANTS: Final[dict[str, bool | None]] = {"true": True, "false": False, "null": None}
_QUANTIFIERS: Final = ("any", "all", "count")
_RESERVED: Final = {*_CONSTANTS, *_QUANTIFIERS, "and", "or", "not", "in"}
_SIGNS: Final = {"==", "!=", "<", "<=", ">", ">="}


class ExpressionError(ValueError):
    """A condition that does not parse; `col` counts from 1 within its text."""

    def __init__(self, text: str, col: int) -> None:
        super().__init__(f"{text} (at character {col})")
        self.col = col


class Expression:
    """A parsed condition: two are equal when their texts are.

    Not a dataclass: msgspec would read one from a mapping, and this is read from text.
    """

    __slots__ = ("_root", "_text")

    def __init__(self, text: str, root: Node) -> None:
        self._text = text
        self._root = root

    @property
    def text(self) -> str:
        return self._text

    @property
    def root(self) -> Node:
        return self._root

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Expression) and other.text == self.text

    def __hash__(self) -> int:
        return hash(self.text)

    def __repr__(self) -> str:
        return f"Expression({self.text!r})"

    @classmethod
    def from_text(cls, text: str) -> Self:
        """Read `text`; the same as `parse`, for a Struct field of this type.

        Raises:
            ExpressionError: with the column.
        """
        return cls(text, _Parser(text).whole())

    @classmethod
    def json_schema(cls) -> dict[str, Any]:
        """The schema of the text form."""
        return {"type": "string", "minLength": 1, "maxLength": MAX_LENGTH}

    def names(self) -> set[str]:
        """Every dotted name used; inside any, all and count as `list[].name` (`item`: `list[]`)."""
        return names(self.root)

    def compile(self, getter: Getter = ATTRIBUTES) -> Callable[[object], bool]:
        """A fast function from one object to whether the condition holds; it never raises.

        A None anywhere along a name yields None. A comparison with None is false, also `!=` and
        `not in`, except against the word null. Values of types that do not compare are false.
        """
        return compiled(self.root, getter)

    def __str__(self) -> str:
        return self.text


def parse(text: str) -> Expression:
    """Read a condition.

    Raises:
        ExpressionError: with the column.
    """
    return Expression.from_text(text)


@dataclass(frozen=True, slots=True)
class _Token:
    kind: Literal["number", "text", "word", "sign", "end"]
    text: str
    col: int


def _tokens(text: str) -> Iterator[_Token]:
    position = 0
    end = len(text.rstrip())
    while position < end:
        match = _TOKEN.match(text, position)
        if match is None:
            col = position + len(text[position:]) - len(text[position:].lstrip()) + 1
            raise ExpressionError(f"{text[col - 1]!r} is not part of a condition", col)
        kind: Any = match.lastgroup
        yield _Token(kind, match[kind], match.start(kind) + 1)
        position = match.end()
    yield _Token("end", "", end + 1)


class _Parser:
    """Recursive descent over at most `MAX_LENGTH` characters and `MAX_DEPTH` levels."""

    def __init__(self, text: str) -> None:
        if len(text) > MAX_LENGTH:
            raise ExpressionError(f"longer than {MAX_LENGTH} characters", MAX_LENGTH + 1)
        self.tokens = list(_tokens(text))
        self.index = 0
        self.depth = 0

    @property
    def token(self) -> _Token:
        return self.tokens[self.index]

    def take(self, *texts: str) -> bool:
        """Step over the next token if it is the word or sign meant."""
        token = self.token
        if token.kind in {"word", "sign"} and token.text in texts:
            self.index += 1
            return True
        return False

    def want(self, text: str) -> None:
        if not self.take(text):
            self.fail(f"expected {text!r}")

    def fail(self, text: str) -> NoReturn:
        token = self.token
        found = "the end" if token.kind == "end" else token.text
        raise ExpressionError(f"{text}, found {found}", token.col)

    def whole(self) -> Node:
        if len(self.tokens) == 1:
            raise ExpressionError("the condition is empty", 1)
        node = self.condition()
        if self.index < len(self.tokens) - 1:
            self.fail("expected and, or, a comparison or the end")
        return node

    def condition(self) -> Node:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise ExpressionError(f"nested deeper than {MAX_DEPTH}", self.token.col)
        parts = [self.conjunction()]
        while self.take("or"):
            parts.append(self.conjunction())
        self.depth -= 1
        return parts[0] if len(parts) == 1 else Combination("or", tuple(parts))

    def conjunction(self) -> Node:
        parts = [self.negation()]
        while self.take("and"):
            parts.append(self.negation())
        return parts[0] if len(parts) == 1 else Combination("and", tuple(parts))

    def negation(self) -> Node:
        inverted = 0
        while self.take("not"):
            inverted += 1
            if inverted > MAX_DEPTH:
                self.fail(f"more than {MAX_DEPTH} times not")
        node = self.comparison()
        for _ in range(inverted):
            node = Negation(node)
        return node

    def comparison(self) -> Node:
        left = self.operand()
        token = self.token
        if token.kind == "sign" and token.text in _SIGNS:
            self.index += 1
            node = Comparison(token.text, left, self.operand())
        elif self.take("in"):
            node = Comparison("in", left, self.collection())
        elif token.text == "not" and token.kind == "word":
            self.index += 1
            self.want("in")
            node = Comparison("not in", left, self.collection())
        else:
            return left
        if self.token.text in _SIGNS | {"in"}:
            self.fail("comparisons do not chain: write a < b and b < c")
        return node

    def collection(self) -> Node:
        """What may stand behind `in`: a list or a name."""
        start = self.token
        node = self.operand()
        if isinstance(node, Name) or (isinstance(node, Constant) and isinstance(node.value, tuple)):
            return node
        raise ExpressionError("in wants a list or a name behind it", start.col)

    def operand(self) -> Node:
        if self.take("("):
            node = self.condition()
            self.want(")")
            return node
        if self.take("["):
            return Constant(self.items())
        token = self.token
        if token.kind in {"number", "text"} or (token.kind == "word" and token.text in _CONSTANTS):
            return Constant(self.literal())
        if token.kind != "word" or token.text in {"and", "or", "not", "in"}:
            self.fail("expected a name, a value or (")
        self.index += 1
        if token.text in _QUANTIFIERS and self.take("("):
            return self.quantifier(token)
        return self.name(token)

    def quantifier(self, token: _Token) -> Node:
        """The part of `any(name, condition)` behind the bracket."""
        listed = self.token
        if listed.kind != "word":
            self.fail(f"{token.text} wants the name of a list first")
        self.index += 1
        source = self.name(listed)
        body: Node | None = None
        if self.take(","):
            body = self.condition()
        elif token.text != "count":
            self.fail(f"{token.text} wants a comma and a condition behind the name")
        self.want(")")
        return Quantifier(token.text, Items(source), body)

    def name(self, token: _Token) -> Name:
        parts = tuple(token.text.split("."))
        if parts[0] in _RESERVED:
            raise ExpressionError(f"{token.text!r} is not a name", token.col)
        return Name(parts, token.col)

    def items(self) -> tuple[object, ...]:
        """The literals of a list behind its opening bracket."""
        found: list[object] = []
        while not self.take("]"):
            if found:
                self.want(",")
            found.append(self.literal())
        return tuple(found)

    def literal(self) -> object:
        token = self.token
        self.index += 1
        if token.kind == "number":
            return _number(token)
        if token.kind == "text":
            return _ESCAPE.sub(r"\1", token.text[1:-1])
        if token.kind == "word" and token.text in _CONSTANTS:
            return _CONSTANTS[token.text]
        self.index -= 1
        return self.fail("expected a number, a text, true, false or null")


def _number(token: _Token) -> int | float:
    if token.text.lstrip("-").isdigit():
        if len(token.text) > 20:
            raise ExpressionError("the number is too large", token.col)
        return int(token.text)
    number = float(token.text)
    if number in {float("inf"), float("-inf")}:
        raise ExpressionError("the number is too large", token.col)
    return number
