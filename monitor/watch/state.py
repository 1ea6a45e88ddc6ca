"""What the auditor last knew, in a small file that is there when the store is not.

The daemon shows it on `/statusz`, `/metrics` and in the overview; `tocsin doctor` reads it itself.
"""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import msgspec

from monitor.config.options import state_dir, store_file
from monitor.text import vis
from monitor.views import Health

logger = logging.getLogger(__name__)

STALE = timedelta(seconds=60)
"""An auditor that has written nothing for so long is not there."""
SHOWN = 5
SPOOL, STATE = ".spool", ".watch.json"


@dataclass(frozen=True, slots=True)
class Places:
    """Where the auditor keeps what it needs."""

    spool: Path
    state: Path
    reserves: tuple[Path, ...]
    """One on each disk: the spool's, and a SQLite store's."""


def places(store: str, folder: Path | None, env: Mapping[str, str], daemon: str = "") -> Places:
    """Beside a SQLite store, else in the state folder, unless a folder is named.

    Args:
        store: the store's URL.
        folder: `watch.spool` of the configuration.
        env: names the folders where nothing else does.
        daemon: tells apart the daemons of one machine on a server's store (`Place.key`).
    """
    file = store_file(store)
    if file is not None:
        base, name = folder or file.absolute().parent, file.name
    else:
        base = folder or state_dir(env)
        name = _server_name(store) + (f"-{daemon}" if daemon else "")
    beside = base / f"{name}.reserve"
    reserves = [beside]
    if file is not None and not _same_disk(base, file.absolute().parent):
        reserves.append(file.absolute().with_name(f"{file.name}.reserve"))
    return Places(base / f"{name}{SPOOL}", base / f"{name}{STATE}", tuple(reserves))


def all_places(store: str, folder: Path | None, env: Mapping[str, str]) -> list[Places]:
    """Those of every daemon of this machine on a store, living or not; at least one."""
    known = places(store, folder, env)
    if store_file(store) is not None:
        return [known]
    base, name = known.spool.parent, _server_name(store)
    keys = {
        path.name.removeprefix(name).removesuffix(suffix).removeprefix("-")
        for suffix in (SPOOL, STATE)
        for path in base.glob(f"{name}*{suffix}")
    }
    return [places(store, folder, env, key) for key in sorted(keys)] or [known]


def _server_name(store: str) -> str:
    """One name for each store, which tells nothing of its address."""
    return "store-" + hashlib.sha256(store.encode()).hexdigest()[:12]


def _same_disk(one: Path, other: Path) -> bool:
    try:
        return one == other or one.stat().st_dev == other.stat().st_dev
    except OSError:
        return False


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """A finding as it is shown."""

    check: str
    level: str
    since: datetime
    text: str
    cure: str


class Disk(msgspec.Struct, frozen=True, kw_only=True):
    """A disk as it is shown; bytes."""

    folder: str
    free: int
    held: int


class State(msgspec.Struct, frozen=True, kw_only=True):
    """All of it."""

    version: int = 1
    at: datetime
    started: datetime
    pid: int
    host: str
    findings: tuple[Found, ...] = ()
    heartbeat_to: str = ""
    """Empty when none is configured."""
    heartbeat_since: datetime | None = None
    """When the first was due."""
    heartbeat_at: datetime | None = None
    withheld: str = ""
    heartbeat_problem: str = ""
    episodes: int = 0
    """Troubles of the emergency road that are not on a timeline yet."""
    unsent: int = 0
    disks: tuple[Disk, ...] = ()
    said: str = ""
    """What was found damaged at the start."""


def save(path: Path, state: State) -> bool:
    """Replace the file; False where that was not possible (it is no record, only a view).

    Its group may read it, as it may use the desk's socket.
    """
    fresh = path.with_name(path.name + ".new")
    try:
        file = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o640)
        with os.fdopen(file, "wb") as stream:
            stream.write(msgspec.json.encode(state))
        fresh.rename(path)
    except OSError as problem:
        with suppress(OSError):
            fresh.unlink()
        logger.warning("cannot write %s: %s", path, problem.strerror)
        return False
    return True


def load(path: Path) -> State | None:
    """As last written; None where there is none, or it cannot be read."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=State)
    except (OSError, msgspec.MsgspecError):
        return None


def health(state: State | None, now: datetime) -> Iterator[Health]:
    """The auditor's lines for people; nothing where no auditor has ever run."""
    if state is None:
        return
    age = now - state.at
    if age > STALE:
        text = f"has looked at nothing for {int(age.total_seconds())} s (pid {state.pid}); "
        yield Health(name="auditor", state="bad", text=text + "is `tocsin run` running?")
    elif not state.findings:
        text = f"looked {int(age.total_seconds())} s ago, found nothing"
        yield Health(name="auditor", state="ok", text=text)
    for found in state.findings[:SHOWN]:
        text = f"{vis(found.text, limit=300)}, since {found.since:%H:%M:%S} UTC; {found.cure}"
        level = "bad" if found.level == "bad" else "warn"
        yield Health(name=found.check, state=level, text=text)  # type: ignore[arg-type] # bad or warn
    if state.episodes:
        text = f"{state.episodes} not on a timeline yet, {state.unsent} messages unsent"
        yield Health(name="emergency", state="warn", text=text)
    if state.said:
        yield Health(name="spool", state="warn", text=vis(state.said, limit=300))
    if state.heartbeat_to:
        yield _heartbeat(state, now)


def _heartbeat(state: State, now: datetime) -> Health:
    last = (
        "never accepted"
        if state.heartbeat_at is None
        else f"last accepted {int((now - state.heartbeat_at).total_seconds())} s ago"
    )
    where = f"{state.heartbeat_to}: {last}"
    if state.withheld:
        text = f"{where}; withheld: {vis(state.withheld, limit=300)}"
        return Health(name="heartbeat", state="bad", text=text)
    if state.heartbeat_problem:
        text = f"{where}; {vis(state.heartbeat_problem, limit=300)}"
        return Health(name="heartbeat", state="warn", text=text)
    return Health(name="heartbeat", state="ok", text=where)


def one_line(path: Path, now: datetime) -> Health:
    """The auditor in one line, for the overview of a daemon that has one."""
    lines = list(health(load(path), now))
    if not lines:
        return Health(name="auditor", state="warn", text="has not looked yet")
    order = {"bad": 0, "warn": 1, "ok": 2}
    worst = min(lines, key=lambda line: order[line.state])
    text = worst.text if worst.name == "auditor" else f"{worst.name}: {worst.text}"
    more = sum(line.state != "ok" for line in lines) - 1
    return Health(
        name="auditor", state=worst.state, text=text + (f" (+{more} more)" if more > 0 else "")
    )
