"""Plain data as YAML text that the strict loader reads back as it was.

PyYAML's own writer follows YAML 1.1: it leaves `1e3` bare, which this loader takes for a number.
Here a text is bare only where no reader could take it for anything else, and whatever could steer a
terminal is escaped.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

_BARE = re.compile(r"[A-Za-z_/][A-Za-z0-9_./-]*")
_WORDS = frozenset({"true", "false", "null", "yes", "no", "on", "off", "y", "n"})


def yaml_text(data: object) -> str:
    """`data` (dicts with text keys, lists, text, numbers, bools, None) in block style.

    >>> print(yaml_text({"a": {"b": ["on", 1, {"c": None}]}, "d": []}))
    a:
      b:
        - "on"
        - 1
        - c: null
    d: []
    """
    return "\n".join(_lines(data))


def _lines(data: object) -> Iterator[str]:
    if isinstance(data, dict) and data:
        for key, value in data.items():
            if isinstance(value, dict | list) and value:
                yield f"{_text(str(key))}:"
                yield from (f"  {line}" for line in _lines(value))
            else:
                yield f"{_text(str(key))}: {_scalar(value)}"
    elif isinstance(data, list) and data:
        for value in data:
            first, *rest = _lines(value)
            yield f"- {first}"
            yield from (f"  {line}" for line in rest)
    else:
        yield _scalar(data)


def _scalar(value: object) -> str:
    if isinstance(value, str):
        return _text(value)
    return json.dumps(value, allow_nan=False)


def _text(text: str) -> str:
    if _BARE.fullmatch(text) and text.lower() not in _WORDS:
        return text
    return '"' + "".join(map(_escaped, text)) + '"'


def _escaped(character: str) -> str:
    if character in '"\\':
        return f"\\{character}"
    if " " <= character <= "~":
        return character
    point = ord(character)
    return f"\\u{point:04x}" if point <= 0xFFFF else f"\\U{point:08x}"
