"""The strict YAML loader: configuration and runbooks, and nothing a YAML file can do by surprise.

YAML 1.1 turns `no` into false, `17:00` into 1020 and twelve lines into a billion strings. This
loader reads a plain subset: mappings with text keys, lists, and scalars whose type is what JSON
says it is. What is refused is refused with its place and the way to write it.

It walks PyYAML's pure parser event by event instead of composing nodes: the C loader dies of a
signal on deep nesting, and the composer of both recurses.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import yaml as pyyaml

from runbooks.convert import convert, json_schema
from runbooks.document import Document, Path, Place, did_you_mean, path_of, suggest
from runbooks.problems import Problem, Problems

__all__ = [
    "Document",
    "convert",
    "did_you_mean",
    "json_schema",
    "load_yaml",
    "path_of",
    "suggest",
]

MAX_BYTES = 256 * 1024
MAX_DEPTH = 32
MAX_NODES = 20_000
MAX_PROBLEMS = 100

_INTEGER = re.compile(r"-?(?:0|[1-9][0-9]*)")
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")
_NOT_A_NUMBER = re.compile(r"[-+]?\.(?:inf|Inf|INF|nan|NaN|NAN)")
_OLD_BOOLEANS = frozenset({"yes", "no", "on", "off", "y", "n"})
_HIDDEN = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufeff]"
)
"""Control characters and those that reorder or hide text: never wanted in a file people review."""


class _TooDeep(pyyaml.MarkedYAMLError):
    """Nesting beyond `MAX_DEPTH`, found by the scanner before anything is built."""


class _Parser(pyyaml.SafeLoader):
    """PyYAML's pure scanner and parser with a limit on nesting.

    The limit sits in the scanner because the scanner looks ahead: it would hold a thousand open
    brackets, each rescanned for every token, before the parser emitted its first event.
    """

    def fetch_flow_collection_start(self, token_class: type) -> None:
        if self.flow_level >= MAX_DEPTH:
            self._refuse()
        super().fetch_flow_collection_start(token_class)

    def add_indent(self, column: int) -> bool:
        if len(self.indents) > MAX_DEPTH:
            self._refuse()
        return bool(super().add_indent(column))

    def _refuse(self) -> None:
        raise _TooDeep(problem=f"nested deeper than {MAX_DEPTH}", problem_mark=self.get_mark())


@dataclass(slots=True)
class _Frame:
    """One open collection while the events come by."""

    path: Path
    target: dict[str, object] | list[object]
    key: str | None = None
    """The key whose value comes next; None when a key comes next."""
    skip: bool = False
    """The value that comes next belongs to a refused key."""


@dataclass(slots=True)
class _Reading:
    """The state of one load."""

    file: str
    problems: list[Problem] = field(default_factory=list)
    values: dict[Path, Place] = field(default_factory=dict)
    keys: dict[Path, Place] = field(default_factory=dict)
    frames: list[_Frame] = field(default_factory=list)
    root: object = None
    documents: int = 0
    nodes: int = 0

    def refuse(self, mark: Any, code: str, text: str, hint: str = "") -> None:
        self.problems.append(Problem(self.file, *_spot(mark), code, text, hint))

    def exhausted(self) -> bool:
        return self.nodes > MAX_NODES or len(self.problems) >= MAX_PROBLEMS


def _spot(mark: Any) -> Place:
    """Line and column of a mark (the stubs know two kinds of it, and none for some events)."""
    return (mark.line + 1, mark.column + 1) if mark is not None else (1, 1)


def load_yaml(text: str | bytes, file: str) -> Document:
    """Read one YAML document as plain data with places.

    Args:
        text: the file's content; bytes must be UTF-8.
        file: the name that problems carry.

    Raises:
        Problems: everything found wrong. A slip of syntax ends the reading, so what stands after
            it is not looked at.
    """
    source = _decoded(text, file)
    reading = _Reading(file)
    try:
        parser = _Parser(source)
        while parser.check_event() and not reading.exhausted():
            _take(reading, parser.get_event())  # type: ignore[no-untyped-call] # the stubs leave it so
    except _TooDeep as error:
        reading.refuse(error.problem_mark, "too-deep", str(error.problem))
    except pyyaml.MarkedYAMLError as error:
        _refuse_syntax(reading, error)
    except pyyaml.reader.ReaderError as error:
        text = f"the character U+{ord(source[error.position]):04X} is refused"
        reading.problems.append(Problem(file, *_place(source, error.position), "character", text))
    if reading.nodes > MAX_NODES:
        reading.refuse(None, "too-many", f"more than {MAX_NODES} values in one file")
    if not reading.problems and reading.root is None:
        reading.refuse(None, "empty", "the file holds nothing")
    if reading.problems:
        raise Problems(reading.problems)
    return Document(file, reading.root, reading.values, reading.keys)


def _decoded(source: str | bytes, file: str) -> str:
    size = len(source if isinstance(source, bytes) else source.encode("utf-8", "surrogatepass"))
    if size > MAX_BYTES:
        text = f"{size} bytes; at most {MAX_BYTES} are read"
        raise Problems([Problem(file, 1, 1, "too-large", text)])
    text = _utf8(source, file) if isinstance(source, bytes) else source
    text = text.removeprefix("\ufeff")
    hidden = [
        Problem(
            file,
            *_place(text, found.start()),
            "character",
            f"the hidden character U+{ord(found.group()):04X} is refused",
            "remove it; it can mislead a reader",
        )
        for found in islice(_HIDDEN.finditer(text), 10)
    ]
    if hidden:
        raise Problems(hidden)
    return text


def _utf8(source: bytes, file: str) -> str:
    try:
        return source.decode("utf-8")
    except UnicodeDecodeError as error:
        before = source[: error.start]
        line, col = before.count(b"\n") + 1, error.start - before.rfind(b"\n")
        text = f"the byte 0x{source[error.start]:02x} is not UTF-8"
        raise Problems(
            [Problem(file, line, col, "encoding", text, "save the file as UTF-8")]
        ) from None


def _place(text: str, position: int) -> Place:
    before = text[:position]
    return before.count("\n") + 1, position - (before.rfind("\n") + 1) + 1


def _refuse_syntax(reading: _Reading, error: pyyaml.MarkedYAMLError) -> None:
    said = " ".join(str(part) for part in (error.problem, error.context) if part) or "not YAML"
    hint = "YAML wants spaces for indentation, not tabs" if "\\t" in said else ""
    # What was opened and never closed is told where it was opened, not at the end of the file.
    at_the_end = "end of stream" in said or "<stream end>" in said
    marks = (error.context_mark, error.problem_mark)
    mark = next((m for m in (marks if at_the_end else marks[::-1]) if m is not None), None)
    reading.refuse(mark, "syntax", said, hint)


def _take(reading: _Reading, event: pyyaml.Event) -> None:
    """Build on with one parser event."""
    if isinstance(event, pyyaml.DocumentStartEvent):
        reading.documents += 1
        if reading.documents > 1:
            reading.refuse(event.start_mark, "documents", "a second document: one file holds one")
        if event.tags or event.version:
            reading.refuse(event.start_mark, "directive", "% directives are refused")
    elif isinstance(event, pyyaml.NodeEvent):
        reading.nodes += 1
        _refuse_node(reading, event)
        if isinstance(event, pyyaml.ScalarEvent):
            _scalar(reading, event)
        elif isinstance(event, pyyaml.CollectionStartEvent):
            _open(reading, event)
        else:
            _place_value(reading, None, event)
    elif isinstance(event, pyyaml.CollectionEndEvent):
        reading.frames.pop()


def _refuse_node(reading: _Reading, event: pyyaml.NodeEvent) -> None:
    if isinstance(event, pyyaml.AliasEvent):
        text = f"the alias *{event.anchor} is refused"
        reading.refuse(event.start_mark, "alias", text, "write the value out where it is used")
    elif event.anchor is not None:
        text = f"the anchor &{event.anchor} is refused"
        reading.refuse(event.start_mark, "anchor", text, "write the value out where it is used")
    tag = getattr(event, "tag", None)
    if tag is not None:
        text = f"the tag {tag} is refused"
        reading.refuse(event.start_mark, "tag", text, "leave it out; the field decides the type")


def _open(reading: _Reading, event: pyyaml.CollectionStartEvent) -> None:
    target: dict[str, object] | list[object] = (
        {} if isinstance(event, pyyaml.MappingStartEvent) else []
    )
    frame = reading.frames[-1] if reading.frames else None
    if frame is not None and isinstance(frame.target, dict) and frame.key is None:
        kind = "mapping" if isinstance(target, dict) else "list"
        reading.refuse(event.start_mark, "key", f"a {kind} cannot be a key")
        frame.key, frame.skip = "", True
        reading.frames.append(_Frame((*frame.path, ""), target))
        return
    path = _place_value(reading, target, event)
    reading.frames.append(_Frame(path, target))


def _scalar(reading: _Reading, event: pyyaml.ScalarEvent) -> None:
    if (hidden := _HIDDEN.search(event.value)) is not None:
        point = f"U+{ord(hidden.group()):04X}"
        text = f"the hidden character {point} is refused"
        reading.refuse(event.start_mark, "character", text, "remove it; it can mislead a reader")
    frame = reading.frames[-1] if reading.frames else None
    if frame is not None and isinstance(frame.target, dict) and frame.key is None:
        _key(reading, frame, event)
    else:
        _place_value(reading, _value(reading, event), event)


def _key(reading: _Reading, frame: _Frame, event: pyyaml.ScalarEvent) -> None:
    """Take the key of the value that comes next."""
    key: str = event.value
    mark = event.start_mark
    frame.key, frame.skip = key, False
    plain = event.style is None
    if plain and key == "<<":
        frame.skip = True
        hint = "write the keys out where they are used"
        reading.refuse(mark, "merge-key", "the merge key << is refused", hint)
    elif plain and (key in {"", "~", "null", "true", "false"} or _NUMBER.fullmatch(key)):
        frame.skip = True
        reading.refuse(mark, "key", f"the key {key!r} is not text", f"write {key!r} in quotes")
    elif key in frame.target:
        frame.skip = True
        line = reading.keys[(*frame.path, key)][0]
        text = f"the key {key!r} is given twice; the first is on line {line}"
        reading.refuse(mark, "duplicate-key", text)
    else:
        reading.keys[(*frame.path, key)] = _spot(mark)


def _place_value(reading: _Reading, value: object, event: pyyaml.NodeEvent) -> Path:
    """Put `value` where it belongs and give its path."""
    if not reading.frames:
        if reading.documents == 1:
            reading.root = value
        path: Path = ()
    else:
        frame = reading.frames[-1]
        if isinstance(frame.target, list):
            path = (*frame.path, len(frame.target))
            frame.target.append(value)
        else:
            key = frame.key or ""
            path = (*frame.path, key)
            if not frame.skip:
                frame.target[key] = value
            skipped, frame.key, frame.skip = frame.skip, None, False
            if skipped:
                return path
    reading.values.setdefault(path, _spot(event.start_mark))
    return path


def _value(reading: _Reading, event: pyyaml.ScalarEvent) -> object:
    """The value of a scalar: text when quoted, else null, true, false, a JSON number or text."""
    text: str = event.value
    if event.style is not None:
        return text
    if text in {"", "null", "~"}:
        return None
    if text in {"true", "false"}:
        return text == "true"
    if _INTEGER.fullmatch(text):
        return _integer(reading, event)
    if _NUMBER.fullmatch(text):
        number = float(text)
        if math.isinf(number):
            reading.refuse(event.start_mark, "number", f"{text} is too large for a number")
        return number
    lowered = text.lower()
    if lowered in _OLD_BOOLEANS or lowered in {"true", "false", "null"}:
        hint = f"write true, false or null in small letters, or {text!r} in quotes for text"
        said = f"{text!r} is a boolean to some YAML readers and text to others"
        reading.refuse(event.start_mark, "ambiguous", said, hint)
    elif _NOT_A_NUMBER.fullmatch(text):
        reading.refuse(event.start_mark, "number", f"{text} is not a number one can compare with")
    return text


def _integer(reading: _Reading, event: pyyaml.ScalarEvent) -> int:
    text: str = event.value
    if len(text) > 20 or not -(2**63) <= int(text) < 2**63:
        reading.refuse(event.start_mark, "number", "the number does not fit in 64 bits")
        return 0
    return int(text)
