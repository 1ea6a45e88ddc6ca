"""Who has the wrong time: the sources whose events come late, or lie far ahead of all others'."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

KEPT = 8
"""Sources of a partition that are kept by name."""


class Stray(NamedTuple):
    """Events of one source that were late, or clamped."""

    events: int
    seconds: int
    """How far the last one was from the partition's clock; above zero: ahead of it."""


def note(strays: dict[str, Stray], source: str, seconds: float) -> None:
    """One more; the source with the fewest gives way to a new one."""
    known = strays.get(source)
    if known is None and len(strays) >= KEPT:
        del strays[min(strays, key=lambda name: strays[name].events)]
    strays[source] = Stray(1 if known is None else known.events + 1, int(seconds))


def since(strays: Mapping[str, Stray], before: Mapping[str, Stray]) -> dict[str, Stray]:
    """What has come since `before`, the most first."""
    new = {
        source: stray._replace(events=stray.events - before.get(source, Stray(0, 0)).events)
        for source, stray in strays.items()
    }
    come = [(source, stray) for source, stray in new.items() if stray.events > 0]
    return dict(sorted(come, key=lambda each: -each[1].events))
