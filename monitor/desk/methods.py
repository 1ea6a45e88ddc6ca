"""The desk's methods as its doors see them: names, kinds and arguments, read off `DeskPort`."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
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
    known = {key: kind for key, kind in _hints(name).items() if key != "return"}
    try:
        arguments = msgspec.json.decode(body or b"{}", type=dict[str, Any])
        strange = sorted(arguments.keys() - known.keys())
        if strange:
            raise DeskError("invalid", f"{name} takes no {vis(strange[0], limit=60)!r}")
        typed = {key: msgspec.convert(value, known[key]) for key, value in arguments.items()}
        for key, value in typed.items():
            if isinstance(value, int) and not 0 <= value <= _MOST:
                raise DeskError("invalid", f"{name}: {key} is 0 to {_MOST}")
        inspect.signature(method).bind(**typed)
    except (msgspec.MsgspecError, TypeError) as problem:
        raise DeskError("invalid", f"{name}: {vis(str(problem), limit=200)}") from None
    answer: object = method(**typed)
    return answer
