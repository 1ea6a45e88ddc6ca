"""The timeline: append-only entries, each hashed over the one before it.

A correction is a new entry that names the old one; nothing is changed or removed. The chain shows
an edit, a deletion or a reordering; it cannot show a cut-off tail unless the head is known
elsewhere, so the head travels in the review.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

import msgspec

GENESIS = "0" * 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One fact about an incident, before it has a place in the chain."""

    kind: str
    """Upper case: DETECT, PAGE, ACK, NOTE, STEP, ..."""
    text: str
    actor: str
    occurred_at: datetime
    key: str = ""
    """Idempotency: a second entry with the same key is not appended; empty: always appended."""
    data: Mapping[str, object] = field(default_factory=dict)
    revises: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Linked:
    """An entry in its place."""

    seq: int
    entry: Entry
    recorded_at: datetime
    previous: str
    digest: str


def digest(previous: str, seq: int, entry: Entry, recorded_at: datetime) -> str:
    """SHA-256 over the previous digest and the entry in one canonical form (sorted JSON)."""
    body = msgspec.json.encode(
        {
            "previous": previous,
            "seq": seq,
            "kind": entry.kind,
            "text": entry.text,
            "actor": entry.actor,
            "occurred_at": entry.occurred_at,
            "recorded_at": recorded_at,
            "data": entry.data,
            "revises": entry.revises,
        },
        order="deterministic",
    )
    return hashlib.sha256(body).hexdigest()


def link(head: Linked | None, entry: Entry, now: datetime) -> Linked:
    """`entry` as the next after `head`."""
    seq = 1 if head is None else head.seq + 1
    previous = GENESIS if head is None else head.digest
    return Linked(
        seq=seq,
        entry=entry,
        recorded_at=now,
        previous=previous,
        digest=digest(previous, seq, entry, now),
    )


def broken_at(chain: Iterable[Linked]) -> int | None:
    """The `seq` of the first entry that does not fit the chain, or None when all do."""
    previous, expected = GENESIS, 1
    for item in chain:
        true = digest(previous, expected, item.entry, item.recorded_at)
        if item.seq != expected or item.previous != previous or item.digest != true:
            return item.seq
        previous, expected = item.digest, expected + 1
    return None
