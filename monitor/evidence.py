"""What is kept of the past for incidents: the points their charts and reviews read. Pure.

An incident keeps the points of its own series, from six hours before its onset until an hour after
its end, for as long as there is a store: a row a bucket.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from monitor.config.settings import Configured
from monitor.silence import NO_DATA, VOLUME
from monitor.store.ageing_rows import Evidence
from monitor.stream.series import Dims, dims_of

BEFORE_S = 6 * 3600
"""A chart shows what came before: a review three hours, a list's spark 60 buckets."""
AFTER_S = 3600
"""A chart goes on for ten minutes after the end."""


@dataclass(frozen=True, slots=True)
class Held:
    """A span of one series that stays; unix seconds, [first, end)."""

    signal: str | None
    """Under which its points are stored; None: an incident without any."""
    dims: Dims | None
    """None: all series of the signal, where nobody can say any more which it was."""
    first: int
    end: int


@dataclass(frozen=True, slots=True)
class Part:
    """A span over which the same is held."""

    first: int
    end: int
    held: frozenset[Dims | None]

    @property
    def whole(self) -> bool:
        """Nothing of it may go."""
        return None in self.held

    @property
    def series(self) -> frozenset[Dims]:
        """What stays of it."""
        return frozenset(dims for dims in self.held if dims is not None)


def stored_series(
    configured: Configured, signal: str, dimensions: Mapping[str, str]
) -> tuple[str, Dims] | None:
    """Under which signal and values the points of an alert's series are stored; None: nowhere."""
    volume, counted = configured.plan.volume(), configured.counted(signal)
    if signal == NO_DATA and volume is not None:
        return VOLUME, dims_of(volume, dimensions)
    return None if counted is None else (counted.name, dims_of(counted, dimensions))


def held(configured: Configured, found: Iterable[Evidence], until: int) -> list[Held]:
    """What incidents hold of the time before `until`.

    Args:
        configured: knows where the points of a signal are. Those of a signal that is not counted
            any more stay whole.
        found: the incidents.
        until: what is younger is not asked for.
    """
    spans = []
    for one in found:
        first = int(one.began.timestamp()) - BEFORE_S
        end = until if one.ended is None else int(one.ended.timestamp()) + AFTER_S
        if first >= min(end, until):
            continue
        series = None
        if one.signal is not None:
            series = stored_series(configured, one.signal, one.dimensions) or (one.signal, None)
        signal, dims = series or (None, None)
        spans.append(Held(signal, dims, first, min(end, until)))
    return spans


def parts(spans: Iterable[Held], first: int, end: int) -> Iterator[Part]:
    """[first, end) cut up where something begins or ceases to be held, in order."""
    changes: dict[int, list[tuple[Dims | None, int]]] = defaultdict(list)
    for span in spans:
        begin, stop = max(span.first, first), min(span.end, end)
        if begin < stop:
            changes[begin].append((span.dims, 1))
            changes[stop].append((span.dims, -1))
    active: Counter[Dims | None] = Counter()
    at = first
    for edge in [*sorted(changes), end]:
        if edge > at:
            yield Part(at, edge, frozenset(dims for dims, count in active.items() if count))
            at = edge
        for dims, step in changes.get(edge, ()):
            active[dims] += step
