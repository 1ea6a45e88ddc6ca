"""Which configuration was in force when: kept in the store, and told to open incidents.

Machines that share a store may have files of two ages for the time of an upgrade. What none had
before is a revision as soon as one starts with it. What is known changes nothing by being started
with again; it is a revision again when the owner of the decisions, who is one, has it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime

import msgspec

from monitor.config.effective import body, differences, digest, plain, shared
from monitor.config.settings import Settings
from monitor.incidents.timeline import Entry
from monitor.store.revision_rows import Revision
from monitor.store.store import Store, Tx

START = "start"
"""Who put a revision in force that no person asked for."""
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
    by: str = "",
    tell: bool = True,
) -> Revision:
    """Store a revision and tell the open incidents of it.

    Args:
        tx: the open transaction.
        settings: what is in force from now on.
        keys: what is different from before.
        who: a person, or `START`.
        via: how they came in.
        now: when.
        by: how it came into force, in words; empty: by `who`.
        tell: also write it on timelines and as a change; not for a recording, whose incidents are
            of another time.
    """
    data = plain(settings)
    note = in_words(keys) if keys else "the first start"
    revision = tx.revisions.add(
        who=who, via=via, digest=digest(data), body=body(data), note=note, now=now
    )
    if keys and tell:
        _tell(tx, revision, keys, by or f"by {who}", now)
    tx.touch()
    return revision


def is_of(revision: Revision, data: Mapping[str, object]) -> bool:
    """Whether `revision` is of this configuration, but for what one machine has for itself."""
    # The digest of a revision from before this was told apart is another.
    return revision.digest == digest(data) or shared(_data(revision)) == shared(data)


def keep_start(store: Store, settings: Settings, now: datetime, *, tell: bool = True) -> Revision:
    """The revision of a start: the one that is known of it, or a new one.

    Raises:
        StoreUnavailable: nothing was written.
    """
    data = plain(settings)
    with store.write() as tx:
        last = tx.revisions.latest()
        if last is not None and is_of(last, data):
            return last
        if (known := tx.revisions.known(digest(data))) is not None:
            return known
        keys = _changed(last, data)
        return keep(tx, settings, keys, who=START, via="", now=now, by="at a start", tell=tell)


def keep_owners(
    store: Store,
    settings: Settings,
    now: datetime,
    guard: Callable[[Tx], None] = lambda _: None,
    *,
    tell: bool = True,
) -> Revision:
    """The revision by which is decided from now on: the last one, or a new one.

    Args:
        store: keeps them.
        settings: of who begins to decide.
        now: when.
        guard: sees to it that nothing is written by who does not decide any more.
        tell: as for `keep`.

    Raises:
        StoreUnavailable: nothing was written.
        Fenced: the same; another decides.
    """
    data = plain(settings)
    with store.write() as tx:
        guard(tx)
        last = tx.revisions.latest()
        if last is not None and is_of(last, data):
            return last
        known = tx.revisions.known(digest(data))
        by = "of who decides now" if known is None else f"(r{known.id} again) of who decides now"
        keys = _changed(last, data)
        return keep(tx, settings, keys, who=START, via="", now=now, by=by, tell=tell)


def _changed(last: Revision | None, data: Mapping[str, object]) -> list[str]:
    if last is None:
        return []
    return [found.key for found in differences(shared(_data(last)), shared(data))]


def _data(revision: Revision) -> dict[str, object]:
    data: dict[str, object] = msgspec.json.decode(revision.body)
    return data


def _tell(tx: Tx, revision: Revision, keys: Sequence[str], by: str, now: datetime) -> None:
    name = f"r{revision.id}"
    for incident in tx.incidents.open():
        entry = Entry(
            kind="CONFIG",
            text=f"configuration {name} {by}: {in_words(keys)} changed",
            actor="tocsin" if revision.who == START else revision.who,
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
