"""Which desk the flags, the environment and the configuration name."""

from __future__ import annotations

import os
from pathlib import Path

from monitor.options import find_config
from tui.cli.flags import Flags
from tui.cli.output import USAGE, ExitError
from tui.desk_client import Place


def place_of(flags: Flags) -> Place:
    """Store and socket of a call: flag, then environment, then configuration file.

    Only these two values of the file are read; `tocsin config check` judges the rest.

    Raises:
        ExitError: the configuration cannot be read.
    """
    if flags.store is not None or flags.socket is not None:
        return Place(store=flags.store, socket=flags.socket)
    path = find_config(flags.config, os.environ)
    if path is None:
        return Place()
    from runbooks.problems import Problems
    from runbooks.yaml import load_yaml

    try:
        data = load_yaml(path.read_bytes(), str(path)).data
    except OSError as error:
        raise ExitError(USAGE, "invalid", f"cannot read {path}: {error.strerror}") from error
    except Problems as problems:
        raise ExitError(
            USAGE, "invalid", str(problems.problems[0]), f"see `tocsin config check {path}`"
        ) from problems
    store, socket = _text(data, "store"), _text(data, "desk", "socket")
    return Place(store=store, socket=Path(socket) if socket else None)


def _text(data: object, *path: str) -> str | None:
    for name in path:
        data = data.get(name) if isinstance(data, dict) else None
    return data if isinstance(data, str) else None
