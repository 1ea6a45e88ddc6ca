"""The desk's methods as its doors see them: names, kinds and arguments, read off `DeskPort`."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cache
from typing import Any

import msgspec

from monitor.desk.port import DeskPort
from monitor.text import vis
from monitor.views import DeskError, Done

METHODS = tuple(
    name for name, _ in inspect.getmembers(DeskPort, inspect.isfunction) if not name.startswith("_")
)

_MOST = 2**53 - 1
"""No number of a row, a limit or a span is below 0 or above; a database would refuse it."""


@cache
def _hints(name: str) -> Mapping[str, Any]:
    return inspect.get_annotations(getattr(DeskPort, name), eval_str=True)


def arguments(name: str) -> dict[str, Any]:
    """What a method takes: its arguments and their types."""
    return {key: kind for key, kind in _hints(name).items() if key != "return"}


def _is_command(name: str) -> bool:
    kind = _hints(name)["return"]
    return isinstance(kind, type) and issubclass(kind, Done)


COMMANDS = frozenset(name for name in METHODS if _is_command(name))
"""Methods that change something: they answer with what was done, and are never repeated."""


def invoke(desk: DeskPort, name: str, body: bytes) -> object:
    """Call a method with the JSON object of its arguments.

    Raises:
        DeskError: `invalid` for arguments it does not take, or what the desk says.
    """
    method = getattr(desk, name)
    typed = _typed(name, body)
    try:
        inspect.signature(method).bind(**typed)
    except TypeError as problem:
        raise DeskError("invalid", f"{name}: {problem}") from None
    answer: object = method(**typed)
    return answer


def _typed(name: str, body: bytes) -> dict[str, Any]:
    """The arguments as the method wants them.

    Raises:
        DeskError: `invalid`, some are not.
    """
    known = arguments(name)
    try:
        given = msgspec.json.decode(body or b"{}", type=dict[str, Any])
        strange = sorted(given.keys() - known.keys())
        if strange:
            raise DeskError("invalid", f"{name} takes no {vis(strange[0], limit=60)!r}")
        typed = {key: msgspec.convert(value, known[key]) for key, value in given.items()}
    except RecursionError:
        raise DeskError("invalid", f"{name}: nested too deeply") from None
    except (msgspec.MsgspecError, UnicodeDecodeError) as problem:
        raise DeskError("invalid", f"{name}: {vis(str(problem), limit=200)}") from None
    for key, value in typed.items():
        if said := _unsound(value):
            raise DeskError("invalid", f"{name}: {key} {said}")
    return typed


def _unsound(value: object) -> str:
    """Why an argument of the right type is still none that a store takes; empty when it is."""
    if isinstance(value, datetime) and not _is_moment(value):
        return "is no UTC time: write it like 2026-11-22T09:00:00Z"
    if isinstance(value, int) and not 0 <= value <= _MOST:
        return f"is 0 to {_MOST}"
    if isinstance(value, dict) and any(
        isinstance(each, int) and abs(each) > _MOST for each in value.values()
    ):
        return f"has a number beyond {_MOST}"
    return ""


def _is_moment(at: datetime) -> bool:
    """Whether a time has a zone, and can be told in UTC."""
    try:
        at.astimezone(UTC)
    except OverflowError:
        return False
    return at.tzinfo is not None
