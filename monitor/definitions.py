"""Which points are a signal's own: those since it was last defined otherwise.

Points are stored by the name of the signal, and detectors are rebuilt from them. A signal that
counts what it counted goes on with all of them, whatever else of the set changed; one that is new,
or was defined anew under its name, begins with the bucket from which its set is in force. What each
name meant is a row of decide, written in the transaction of the first bucket that it judges so.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import msgspec

from monitor.store.store import Tx
from monitor.stream.signals import Plan, Signal

logger = logging.getLogger(__name__)

SNAPSHOT = "definitions"
_NAMED = 8


class _Kept(msgspec.Struct, frozen=True, array_like=True):
    definition: str
    since: int


class _Stored(msgspec.Struct, frozen=True):
    known: dict[str, _Kept]
    """All that ever was; what is gone may come back."""
    names: frozenset[str]
    """Those of the set in force."""
    other: frozenset[str]
    """Those of them that the set before did not have, or had otherwise."""
    changed_at: int


@dataclass(frozen=True, slots=True)
class Definitions:
    """What is known of the signals of a plan."""

    since: Mapping[str, int]
    """Points of a signal from before are another's; 0 where all are its own."""
    other: frozenset[str] = frozenset()
    """Signals that were not counted so by the set before this one."""
    changed_at: int = 0
    """From which bucket on this set is in force; a snapshot of then or before is of another."""
    unsaved: bytes | None = None
    """What is to be stored with the next bucket."""

    def save(self, tx: Tx, position: int) -> Definitions:
        """Write down what is not stored yet."""
        if self.unsaved is not None:
            tx.decisions.save_snapshot(SNAPSHOT, position, self.unsaved)
        return replace(self, unsaved=None)

    def own(self, signal: str, start: int) -> int:
        """From which bucket on, `start` at the earliest, the points of a signal are its own."""
        return max(start, self.since.get(signal, 0))


UNCHANGED = Definitions({})
"""Every signal is what it was."""


def defined(plan: Plan, signal: Signal) -> str:
    """All that decides what a point of the signal means."""
    what = (signal.kind, signal.on, str(signal.k), str(signal.n), signal.each, signal.value)
    return msgspec.json.encode((*what, str(signal.n_each), signal.by, plan.bucket_s)).decode()


def definitions(tx: Tx, plan: Plan, position: int | None) -> Definitions:
    """What is known of the signals of `plan`, which decides from `position` on."""
    new = {signal.name: defined(plan, signal) for signal in plan.signals}
    old = None if position is None else _read(tx)
    if old is None or position is None:
        # The first set of all, or that of a store where they were not kept or are damaged.
        counted = tx.decisions.first_counted
        other = [] if position is None else [name for name in new if counted(name) is None]
        known = {name: _Kept(text, 0) for name, text in new.items()}
        return _known(_Stored(known, frozenset(new), frozenset(other), 0), unsaved=True)
    then = {name: old.known[name].definition for name in old.names}
    if new == then:
        return _known(old, unsaved=False)
    known = dict(old.known)
    for name, text in new.items():
        if name not in known or known[name].definition != text:
            known[name] = _Kept(text, position)
    others = frozenset(name for name, text in new.items() if then.get(name) != text)
    made = _known(_Stored(known, frozenset(new), others, position), unsaved=True)
    _tell(made, then.keys() - new.keys(), position)
    return made


def _read(tx: Tx) -> _Stored | None:
    stored = tx.decisions.snapshot(SNAPSHOT)
    if stored is None:
        return None
    try:
        return msgspec.msgpack.decode(stored[1], type=_Stored)
    except ValueError as problem:
        logger.warning("what signals meant is not known, all points are theirs: %s", problem)
        return None


def _known(stored: _Stored, *, unsaved: bool) -> Definitions:
    since = {name: stored.known[name].since for name in stored.names}
    data = msgspec.msgpack.encode(stored) if unsaved else None
    return Definitions(since, stored.other, stored.changed_at, data)


def _tell(made: Definitions, gone: Iterable[str], position: int) -> None:
    new = [name for name, since in made.since.items() if since == position]
    back = made.other - set(new)
    parts = [
        f"{', '.join(sorted(names)[:_NAMED])}{' and others' * (len(names) > _NAMED)} {what}"
        for names, what in (
            (new, "warm up, new or defined anew"),
            (list(back), "are back, with what was known of them"),
            (list(gone), "are left out"),
        )
        if names
    ]
    rest = len(made.since) - len(new) - len(back)
    parts.append(f"{rest} others go on with what they know")
    logger.info("other signals from %s UTC on: %s", _utc(position), "; ".join(parts))


def _utc(bucket: int) -> str:
    return f"{datetime.fromtimestamp(bucket, UTC):%Y-%m-%d %H:%M}"
