"""What the auditor knows, for `tocsin doctor`: from its own files, store or no store."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path

from monitor.text import vis
from monitor.views import Health
from monitor.watch.episodes import Episode, fold
from monitor.watch.spool import parse
from monitor.watch.state import Places, all_places, health, load


def report(
    store: str, folder: Path | None, env: Mapping[str, str], now: datetime
) -> Iterator[Health]:
    """The auditor's findings, its heartbeat, and each trouble that is not on a timeline yet.

    Args:
        store: the store's URL.
        folder: `watch.spool` of the configuration.
        env: names the folders where nothing else does.
        now: the time.
    """
    for where in all_places(store, folder, env):
        yield from _of_one(where, now)


def _of_one(where: Places, now: datetime) -> Iterator[Health]:
    known = load(where.state)
    lines = list(health(known, now))
    # What is owed is told from the spool itself, with who has it.
    yield from (line for line in lines if line.name != "emergency")
    for disk in known.disks if known is not None else ():
        free, held = disk.free // 2**20, disk.held // 2**20
        text = f"{vis(disk.folder)}: {free} MiB free, {held} MiB held in reserve"
        yield Health(name="disk", state="ok", text=text)
    try:
        found = parse(where.spool.read_bytes())
    except FileNotFoundError:
        return
    except PermissionError:
        # It is the auditor's alone: who may read it could hold its lock.
        yield from (line for line in lines if line.name == "emergency")
        return
    except OSError as problem:
        text = f"{where.spool} cannot be read: {problem.strerror}"
        yield Health(name="spool", state="warn", text=text)
        return
    for episode in fold(found.records).values():
        yield _episode(episode)


def _episode(episode: Episode) -> Health:
    opened = episode.opened
    told = [
        message.removeprefix(f"{episode.id}:")
        for message, last in episode.tried.items()
        if last.outcome == "sent"
    ]
    reached = ", ".join(one.replace(":", " took the ") for one in told) or "nobody was reached yet"
    text = f"{vis(opened.title)}, since {opened.since:%Y-%m-%d %H:%M:%S} UTC; {reached}"
    if episode.closed is not None:
        text += "; it is over, and waits for the store"
    return Health(name="emergency", state="warn" if episode.closed else "bad", text=text)
