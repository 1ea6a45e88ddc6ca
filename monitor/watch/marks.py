"""How many events of a partition went astray in the last five minutes, and whose."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from monitor.store.stream_rows import PartitionRow
from monitor.stream.strays import Stray, since

WINDOW = timedelta(minutes=5)
ASTRAY = ("late", "clamped")


@dataclass(frozen=True, slots=True)
class Drift:
    """What one window came to."""

    events: int
    astray: int
    """Of them, those that came late, or lay so far ahead that they count at another time."""
    sources: Mapping[str, Stray] = field(default_factory=dict)
    """Whose they were, the most first; names from the stream."""


@dataclass(frozen=True, slots=True)
class Mark:
    """A partition's counts at the beginning of a window, and what the window before came to."""

    at: datetime
    totals: Mapping[str, int]
    strays: Mapping[str, Stray]
    drift: Drift = Drift(0, 0)


def mark(known: Mark | None, part: PartitionRow, now: datetime) -> Mark:
    """The mark that stands now: the known one, or a new one when its window is over."""
    if known is None:
        return Mark(now, part.totals, part.strays)
    if now - known.at < WINDOW:
        return known
    new = {fate: count - known.totals.get(fate, 0) for fate, count in part.totals.items()}
    drift = Drift(
        events=sum(new.values()) - new.get("clamped", 0),
        astray=sum(new.get(fate, 0) for fate in ASTRAY),
        sources=since(part.strays, known.strays),
    )
    return Mark(now, part.totals, part.strays, drift)
