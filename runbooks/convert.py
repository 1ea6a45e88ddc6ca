"""Plain data into a msgspec Struct, with every mistake at once and each at its place.

msgspec stops at the first error, which is right for a stream and wrong for a person. So the data is
walked field by field and element by element beside the type; msgspec itself judges each leaf, and
at the end builds the value.

A field may have any class of ours as its type that has `from_text(cls, text)`; what it raises as
`ValueError` becomes a problem at the field. `json_schema(cls)` then describes its text form. A
Struct may say in a class variable `wanted` what to write where somebody wrote no mapping.
"""

from __future__ import annotations

import enum
import functools
import re
import types
import typing
from pathlib import PurePath
from typing import Any, TypeVar

import msgspec

from runbooks.document import Document, Path, did_you_mean, path_of
from runbooks.problems import Problem, Problems
from runbooks.schemas import json_schema

__all__ = ["build", "check", "convert", "json_schema", "spelled"]

T = TypeVar("T")

_AT = re.compile(r" - at `(?P<path>[^`]*)`$", re.DOTALL)
_UNTYPED_NUMBER = re.compile(r"[-+]?[0-9][0-9_.:xobXOB]*")
_WORDS = {
    "str": "text",
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "array": "a list",
    "object": "a mapping",
    "null": "nothing",
}


def convert(document: Document, kind: type[T]) -> T:
    """The document's data as a `kind` (a msgspec Struct, or any type msgspec knows).

    Raises:
        Problems: unknown keys (with the one that was probably meant), missing keys, wrong types and
            whatever a `__post_init__` or `from_text` refused, all of them.
    """
    found = check(document, kind)
    if found:
        raise Problems(found)
    try:
        return build(document.data, kind)
    except msgspec.ValidationError as error:
        raise Problems([_translated(document, (), error)]) from None


def check(document: Document, kind: Any, path: Path = ()) -> list[Problem]:
    """What `convert` would refuse, without building; `path` picks a part of the document."""
    value: Any = document.data
    for part in path:
        value = value[part]
    walk = _Walk(document)
    walk.value(value, kind, path)
    return walk.problems


def build(data: object, kind: type[T]) -> T:
    """`data` as a `kind`, by msgspec, with our text classes.

    Raises:
        msgspec.ValidationError: the first thing wrong.
    """
    return msgspec.convert(data, type=kind, strict=True, dec_hook=_from_text)


def _from_text(kind: type, value: object) -> object:
    if issubclass(kind, PurePath) and isinstance(value, str):
        return kind(value)
    reader = getattr(kind, "from_text", None)
    if reader is None:
        raise NotImplementedError(f"{kind.__name__} has no from_text")
    if isinstance(value, kind):
        return value
    if isinstance(value, bool):
        value = "true" if value else "false"  # a condition may be written without quotes
    if not isinstance(value, str):
        raise ValueError(f"Expected `str`, got `{_kind_of(value)}`")  # noqa: TRY004 - msgspec reports ValueError with its path
    return reader(value)


def _kind_of(value: object) -> str:
    if value is None:
        return "null"
    if isinstance(value, dict):
        return "object"
    return "array" if isinstance(value, list) else type(value).__name__


def _is_struct(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, msgspec.Struct)


class _Walk:
    """Data and type, side by side."""

    def __init__(self, document: Document) -> None:
        self.document = document
        self.problems: list[Problem] = []

    def value(self, value: object, kind: Any, path: Path) -> None:
        """Check one value against one annotation and go on into its parts."""
        bare = _bare(kind)
        origin, arguments = typing.get_origin(bare), typing.get_args(bare)
        if _is_struct(bare) or _is_struct(origin):
            self.struct(value, bare, path)
        elif origin in {typing.Union, types.UnionType}:
            self.union(value, kind, arguments, path)
        elif origin in {list, set, frozenset} or (origin is tuple and arguments[1:] == (...,)):
            self.sequence(value, kind, arguments[0], path)
        elif origin is dict and isinstance(value, dict):
            self.mapping(value, kind, arguments, path)
        elif origin is typing.Literal:
            self.choice(value, [str(a) for a in arguments], path)
        elif isinstance(bare, type) and issubclass(bare, enum.Enum):
            self.choice(value, [str(member.value) for member in bare], path)
        else:
            self.leaf(value, kind, path)

    def leaf(self, value: object, kind: Any, path: Path) -> None:
        """Let msgspec judge a whole value."""
        try:
            build(value, kind)
        except msgspec.ValidationError as error:
            self.problems.append(_translated(self.document, path, error, value))

    def choice(self, value: object, known: list[str], path: Path) -> None:
        """Check one of a fixed set of words."""
        if not isinstance(value, str) or value not in known:
            shown = repr(value) if isinstance(value, str) else _words(_kind_of(value))
            text = f"{self.name(path)}{shown} is not one of its values"
            hint = did_you_mean(value if isinstance(value, str) else "", known)
            self.problems.append(self.document.problem(path, "value", text, hint))

    def sequence(self, value: object, kind: Any, item: Any, path: Path) -> None:
        """Check a list, each element for itself."""
        if not isinstance(value, list):
            self.leaf(value, kind, path)
            return
        before = len(self.problems)
        for index, element in enumerate(value):
            self.value(element, item, (*path, index))
        if len(self.problems) == before:
            self.leaf(value, kind, path)

    def mapping(self, value: dict[str, object], kind: Any, types_: Any, path: Path) -> None:
        """Check a mapping with free keys, each value for itself."""
        before = len(self.problems)
        for key, element in value.items():
            self.value(element, types_[1], (*path, key))
        if len(self.problems) == before:
            self.leaf(value, kind, path)

    def union(self, value: object, kind: Any, members: tuple[Any, ...], path: Path) -> None:
        """Check an optional value, a tagged Struct, or what msgspec can tell apart."""
        if value is None and type(None) in members:
            return
        real = [member for member in members if member is not type(None)]
        if len(real) == 1:
            self.value(value, real[0], path)
        elif isinstance(value, dict) and any(_is_struct(_bare(member)) for member in real):
            self.tagged(value, [m for m in real if _is_struct(_bare(m))], path)
        elif isinstance(value, list) and (lists := [m for m in real if _is_list(m)]):
            self.value(value, lists[0], path)
        else:
            self.leaf(value, kind, path)

    def tagged(self, value: dict[str, object], members: list[Any], path: Path) -> None:
        """Pick the Struct that the tag names."""
        configs = [_config(member) for member in members]
        field = configs[0].tag_field
        if field is None:
            self.value(value, members[0], path)
            return
        tags = {str(config.tag): m for config, m in zip(configs, members, strict=True)}
        tag = value.get(field)
        if field not in value:
            hint = f"one of: {', '.join(sorted(tags))}"
            text = f"{self.name(path)}the key {field!r} is missing"
            self.problems.append(self.document.problem(path, "missing-key", text, hint))
        elif not isinstance(tag, str) or tag not in tags:
            self.choice(tag, sorted(tags), (*path, field))
        else:
            self.value(value, tags[tag], path)

    def struct(self, value: object, kind: Any, path: Path) -> None:
        """Check a Struct: its keys, then each field, then what it checks itself."""
        if not isinstance(value, dict):
            text = f"{self.name(path)}expected a mapping, got {_words(_kind_of(value))}"
            hint = getattr(kind, "wanted", "")
            self.problems.append(self.document.problem(path, "type", text, hint))
            return
        before = len(self.problems)
        tag = _config(kind).tag_field
        fields = _fields(kind)
        known = set(fields) | ({tag} if tag else set())
        for key in value:
            if key not in known:
                hint = did_you_mean(key, known)
                text = f"{self.name(path)}the key {key!r} is unknown"
                found = self.document.problem((*path, key), "unknown-key", text, hint, key=True)
                self.problems.append(found)
        for name, field in fields.items():
            if name in value:
                self.value(value[name], field.type, (*path, name))
            elif field.required:
                text = f"{self.name(path)}the key {name!r} is missing"
                self.problems.append(self.document.problem(path, "missing-key", text))
        if len(self.problems) == before and hasattr(kind, "__post_init__"):
            self.leaf(value, kind, path)

    def name(self, path: Path) -> str:
        """The field's own name, so that a problem reads without the file open."""
        return f"{spelled(path)}: " if path else ""


def spelled(path: Path) -> str:
    """A path as people write it: `steps[2].argv`."""
    out = ""
    for part in path:
        out += f"[{part}]" if isinstance(part, int) else f".{part}" if out else part
    return out


def _config(kind: Any) -> msgspec.structs.StructConfig:
    bare = _bare(kind)
    config: msgspec.structs.StructConfig = (typing.get_origin(bare) or bare).__struct_config__
    return config


@functools.cache
def _fields(kind: Any) -> dict[str, msgspec.structs.FieldInfo]:
    """The fields by their names in a file; resolving annotations costs a millisecond a class."""
    return {field.encode_name: field for field in msgspec.structs.fields(kind)}


def _bare(kind: Any) -> Any:
    """The annotation without `Annotated` and aliases around it."""
    while True:
        if typing.get_origin(kind) is typing.Annotated:
            kind = typing.get_args(kind)[0]
        elif isinstance(kind, typing.NewType):
            kind = kind.__supertype__
        else:
            return kind


def _is_list(kind: Any) -> bool:
    return typing.get_origin(_bare(kind)) in {list, tuple, set, frozenset}


def _words(kind: str) -> str:
    return _WORDS.get(kind, kind)


def _translated(
    document: Document, path: Path, error: msgspec.ValidationError, value: object = None
) -> Problem:
    """What msgspec said, as a problem at the right place and in plain words."""
    text = str(error)
    found = _AT.search(text)
    if found is not None:
        text = text[: found.start()]
        path = (*path, *path_of(found["path"]))
    code = "type" if text.startswith("Expected") and ", got" in text else "value"
    text = re.sub(r"`(str|int|float|bool|array|object|null)`", lambda m: _words(m[1]), text)
    text = text.replace("Expected", "expected", 1) if text.startswith("Expected") else text
    name = f"{spelled(path)}: " if path else ""
    return document.problem(path, code, name + text, _number_hint(value) if code == "type" else "")


def _number_hint(value: object) -> str:
    if isinstance(value, str) and _UNTYPED_NUMBER.fullmatch(value):
        return f"{value!r} is read as text; write a number in decimal digits, without quotes"
    return ""
