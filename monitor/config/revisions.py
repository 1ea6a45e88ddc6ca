"""Which configuration was in force when: kept in the store, and told to open incidents."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import msgspec

from monitor.config.effective import body, differences, digest, plain
from monitor.config.settings import Settings
from monitor.incidents.timeline import Entry
from monitor.store.revision_rows import Revision
from monitor.store.store import Store, Tx

SHOWN = 8
"""Keys named in one line."""
_PAGING = ("paging.", "tiers", "alertmanager")
"""Keys that change who is paged, and about what: they belong to "what changed" of a page."""


def changed_keys(before: Settings, after: Settings) -> list[str]:
    """The keys that differ, by name and without values."""
    return [found.key for found in differences(plain(before), plain(after))]


def in_words(keys: Sequence[str]) -> str:
    """`paging.route.receivers, tiers.error_rate and 3 more`."""
    more = len(keys) - SHOWN
    said = ", ".join(keys[:SHOWN])
    return f"{said} and {more} more" if more > 0 else said or "nothing"


def keep(
    tx: Tx,
    settings: Settings,
    keys: Sequence[str],
    *,
    who: str,
    via: str,
    now: datetime,
    tell: bool = True,
) -> Revision:
    """Store a revision and tell the open incidents of it.

    Args:
        tx: the open transaction.
        settings: what is in force from now on.
        keys: what is different from before.
        who: a person, or `start`.
        via: how they came in.
        now: when.
        tell: also write it on timelines and as a change; not for a recording, whose incidents are
            of another time.
    """
    text = body(plain(settings))
    note = in_words(keys) if keys else "the first start"
    revision = tx.revisions.add(
        who=who, via=via, digest=digest(text), body=text, note=note, now=now
    )
    if keys and tell:
        _tell(tx, revision, keys, now)
    tx.touch()
    return revision


def keep_start(store: Store, settings: Settings, now: datetime, *, tell: bool = True) -> Revision:
    """The revision that a start puts in force: the last one, or a new one if it is another.

    Raises:
        StoreUnavailable: nothing was written.
    """
    data = plain(settings)
    with store.write() as tx:
        last = tx.revisions.latest()
        if last is not None and last.digest == digest(body(data)):
            return last
        before = {} if last is None else msgspec.json.decode(last.body)
        keys = [found.key for found in differences(before, data)] if last is not None else []
        return keep(tx, settings, keys, who="start", via="", now=now, tell=tell)


def _tell(tx: Tx, revision: Revision, keys: Sequence[str], now: datetime) -> None:
    name = f"r{revision.id}"
    by = "at a start" if revision.who == "start" else f"by {revision.who}"
    for incident in tx.incidents.open():
        entry = Entry(
            kind="CONFIG",
            text=f"configuration {name} {by}: {in_words(keys)} changed",
            actor=revision.who if revision.who != "start" else "tocsin",
            occurred_at=now,
            key=f"config:{revision.id}",
            data={"revision": revision.id, "keys": list(keys)},
        )
        tx.incidents.append(incident.uuid, (entry,), now)
    if any(key.startswith(_PAGING) for key in keys):
        title = f"{name}: {in_words(keys)}"[:200]
        tx.incidents.add_change(
            kind="config", title=title, at=now, dimensions={}, actor=revision.who, now=now
        )
