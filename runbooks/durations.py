"""Spans of time as people write them: `90s`, `5m`, `1h30m`, `14d`."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any, Self

_WHOLE = re.compile(r"(?:[0-9]{1,9}(?:ms|d|h|m|s))+")
_PART = re.compile(r"([0-9]{1,9})(ms|d|h|m|s)")
_UNITS = {
    "d": timedelta(days=1),
    "h": timedelta(hours=1),
    "m": timedelta(minutes=1),
    "s": timedelta(seconds=1),
    "ms": timedelta(milliseconds=1),
}
_ORDER = ["d", "h", "m", "s", "ms"]
LONGEST = timedelta(days=3660)
"""Nothing a person sets here lasts longer; a longer span is a slip of the keyboard."""


class Duration(timedelta):
    """A `timedelta` that reads and writes `1h30m`; use it as the type of a field in a Struct."""

    @classmethod
    def from_text(cls, text: str) -> Self:
        """Read `text`: whole numbers with d, h, m, s or ms, largest unit first, each once.

        Raises:
            ValueError: it is written another way (`5 m`, `5mins`, `-5m`) or is over ten years.
        """
        units = [unit for _, unit in _PART.findall(text)] if _WHOLE.fullmatch(text) else []
        if not units or units != sorted(set(units), key=_ORDER.index):
            raise ValueError(f"{text!r} is not a duration: write for example 90s, 5m, 1h30m or 14d")
        span = sum((int(n) * _UNITS[u] for n, u in _PART.findall(text)), timedelta())
        if span > LONGEST:
            raise ValueError(f"{text!r} is over ten years")
        return cls(days=span.days, seconds=span.seconds, microseconds=span.microseconds)

    @classmethod
    def json_schema(cls) -> dict[str, Any]:
        """The schema of the text form."""
        return {
            "type": "string",
            "pattern": r"^(\d+d)?(\d+h)?(\d+m)?(\d+s)?(\d+ms)?$",
            "minLength": 2,
            "examples": ["90s", "5m", "1h30m"],
        }

    def __str__(self) -> str:
        return spell(self)


def spell(span: timedelta) -> str:
    """The span as `Duration.from_text` reads it, to the millisecond.

    >>> spell(timedelta(minutes=90))
    '1h30m'
    """
    rest = span
    out = []
    for unit in _ORDER:
        number, rest = divmod(rest, _UNITS[unit])
        if number:
            out.append(f"{number}{unit}")
    return "".join(out) or "0s"
