"""Which desk the flags, the environment and the configuration name."""

from __future__ import annotations

import os
from pathlib import Path

from monitor.config.options import find_config
from tui.cli.flags import Flags
from tui.cli.output import USAGE, ExitError
from tui.desk_client import Place
from tui.desks import LOCAL


def config_of(flags: Flags) -> Path | None:
    """The configuration that is meant for the place that the flags name; None for none.

    Beside a store or a desk that is typed, only one that is named too is meant for it.
    """
    typed = flags.store is not None or flags.desk not in {None, LOCAL}
    return find_config(flags.config, os.environ, typed=typed)


def place_of(flags: Flags) -> Place:
    """Store and socket of a call: flag, then environment, then configuration file.

    Only these two values of the file are read; `tocsin config check` judges the rest.

    Raises:
        ExitError: the configuration cannot be read.
    """
    if flags.desk is not None and flags.desk != LOCAL:
        return Place(desk=flags.desk)
    path = config_of(flags)
    if flags.store is not None:
        return Place(store=flags.store, socket=flags.socket, config=path)
    if path is None:
        return Place(socket=flags.socket)
    from monitor.config.files import read
    from runbooks.problems import Severity

    try:
        found = read(path)
    except OSError as error:
        raise ExitError(USAGE, "invalid", f"cannot read {path}: {error.strerror}") from error
    errors = [problem for problem in found.problems if problem.severity is Severity.ERROR]
    if errors or found.document is None:
        said = str(errors[0]) if errors else f"{path} holds nothing"
        raise ExitError(USAGE, "invalid", said, f"see `tocsin config check {path}`")
    data = found.document.data
    store, socket = _text(data, "store"), _text(data, "desk", "socket")
    if flags.socket is not None or socket is None:
        return Place(store=store, socket=flags.socket, config=path)
    return Place(store=store, socket=Path(socket), usual=True, config=path)


def _text(data: object, *path: str) -> str | None:
    for name in path:
        data = data.get(name) if isinstance(data, dict) else None
    return data if isinstance(data, str) else None
