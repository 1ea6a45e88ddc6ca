"""`tocsin doctor`: is everything in place for this call? Secrets are never shown."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

from monitor.config.options import DEFAULT_STORE, find_config, socket_path, store_file
from monitor.views import DeskError, Health
from tui.cli.command import Call, command
from tui.cli.output import OK, PROBLEMS, ExitError
from tui.cli.place import config_of, place_of
from tui.desk_client import connect, place_name
from tui.lines.home import parts

if TYPE_CHECKING:
    from monitor.config.settings import Settings


@command("doctor", examples="tocsin doctor --store sqlite:///tocsin.db --json")
def doctor(call: Call) -> int:
    """Look at terminal, configuration, store and daemon. Exit 3 when something is bad."""
    own, watch = [*_terminal(call), *_configuration(call), *_desk(call)], list(_watch(call))
    told = {part.name for part in watch}
    found = [*(part for part in own if part.name not in told), *watch]
    call.answer("doctor", found, lambda: parts(found, call.face, width=_columns()))
    return PROBLEMS if any(part.state == "bad" for part in found) else OK


def _columns() -> int | None:
    """Of the terminal; None where there is none: then each part stays on one line."""
    return max(60, shutil.get_terminal_size().columns) if sys.stdout.isatty() else None


def _terminal(call: Call) -> Iterator[Health]:
    size = shutil.get_terminal_size()
    term = os.environ.get("TERM", "")
    if not sys.stdout.isatty():
        yield Health(name="terminal", state="warn", text="standard output is not a terminal")
    elif term in {"", "dumb"}:
        yield Health(name="terminal", state="bad", text=f"TERM={term or 'unset'}: no screen")
    elif size.columns < 60 or size.lines < 20:
        yield Health(
            name="terminal", state="bad", text=f"{size.columns}x{size.lines}: 60x20 needed"
        )
    else:
        yield Health(name="terminal", state="ok", text=f"{term} {size.columns}x{size.lines}")
    letters = "ASCII" if call.face.ascii else "UTF-8"
    yield Health(name="letters", state="ok", text=letters)


def _configuration(call: Call) -> Iterator[Health]:
    path = config_of(call.flags)
    if path is None:
        other = find_config(None, os.environ)
        text = "none: the defaults are used"
        if other is not None:
            text = f"{other} is not looked at: --config names one for the store or desk you typed"
        yield Health(name="config", state="ok", text=text)
        return
    from monitor.config.settings import load, resolve
    from runbooks.problems import Problems, summary

    try:
        settings = load(path)[0]
        resolve(settings)
    except Problems as problems:
        text = f"{path}: {summary(problems.problems)}; see `tocsin config check`"
        yield Health(name="config", state="bad", text=text)
    except OSError as error:
        yield Health(name="config", state="bad", text=f"{path}: {error.strerror}")
    else:
        yield Health(name="config", state="ok", text=str(path))
        yield from _source(settings)


def _source(settings: Settings) -> Iterator[Health]:
    """Kafka is asked whether the topic is there; where we may not read its password, nobody is."""
    from monitor.config.preflight import CONFIGURATION, try_source
    from monitor.config.settings import KafkaSource

    if isinstance(settings.source, KafkaSource):
        part, status = try_source(settings)
        if status == CONFIGURATION:
            part = Health(name=part.name, state="warn", text=f"not asked: {part.text}")
        yield part


def _desk(call: Call) -> Iterator[Health]:
    try:
        place = place_of(call.flags)
    except ExitError as error:
        yield Health(name="store", state="bad", text=error.message)
        return
    if place.desk is None:
        yield _store(place.store or DEFAULT_STORE)
    warned: list[str] = []
    try:
        desk = connect(place, warn=warned.append, timeout_s=5)
        who = desk.whoami()
        overview = desk.overview()
    except DeskError as error:
        yield Health(name="daemon", state="bad", text=error.message)
        return
    if warned:
        text = "no daemon is running; what follows is from the store itself"
        yield Health(name="daemon", state="bad", text=text)
    else:
        socket = socket_path(place.store or DEFAULT_STORE, place.socket, os.environ)
        where = place_name(desk) or str(socket)
        yield Health(name="daemon", state="ok", text=f"{where}; you are {who.name}, {who.role}")
    yield from (*overview.parts, overview.pager)


def _store(store: str) -> Health:
    file = store_file(store)
    if file is None:
        return Health(name="store", state="ok", text=store.partition("://")[0])
    if file.exists():
        return Health(name="store", state="ok", text=f"{file}, {file.stat().st_size // 1024} kB")
    return Health(name="store", state="warn", text=f"{file} is not there yet")


def _watch(call: Call) -> Iterator[Health]:
    """What Tocsin's auditor knows, from its own files: they are there when the store is not."""
    from datetime import UTC, datetime

    from monitor.config.settings import load
    from monitor.watch.report import report
    from runbooks.problems import Problems

    folder = None
    path = config_of(call.flags)
    with contextlib.suppress(Problems, OSError):
        folder = load(path)[0].watch.spool if path is not None else None
    with contextlib.suppress(ExitError):
        place = place_of(call.flags)
        if place.desk is None:
            store = place.store or DEFAULT_STORE
            yield from report(store, folder, os.environ, datetime.now(UTC))
