"""The desk without a daemon: the store itself, asked as a daemon's desk is (break-glass)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec

from monitor.config.settings import load
from monitor.desk.desk import open_direct
from monitor.desk.methods import invoke
from monitor.desk.port import DeskPort
from runbooks.problems import Problems
from tui.desk_client import DeskClient


class DirectDesk(DeskClient):
    """A desk in this process; arguments go the way that they go to a daemon, and are checked so."""

    where = "the store"

    def __init__(self, desk: DeskPort) -> None:
        self._desk = desk

    def _ask(self, method: str, body: bytes) -> tuple[int, bytes]:
        return 200, msgspec.json.encode({"data": invoke(self._desk, method, body)})


def direct(store: str, config: Path | None, warn: Callable[[str], None]) -> DeskPort:
    """The store as `config` has it judged; mistakes in that leave the door open.

    Raises:
        DeskError: the store cannot be opened, or a living daemon owns it.
    """
    if config is None:
        return DirectDesk(open_direct(store))
    try:
        settings = load(config)[0]
        password = settings.store_password if settings.store == store else None
        settings = msgspec.structs.replace(settings, store=store, store_password=password)
        return DirectDesk(open_direct(store, settings))
    except Problems as found:
        why = str(found.problems[0]).partition("\n")[0]
    except OSError as error:
        why = str(error)
    warn(f"{config} is left out, it has mistakes: {why}; see: tocsin config check {config}")
    return DirectDesk(open_direct(store))
