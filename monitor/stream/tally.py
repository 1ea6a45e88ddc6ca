"""The plan of counting, compiled: what one event adds to the counts of its bucket."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from monitor.stream.signals import DIMENSION_LIMITS, VALUE_LIMITS, Plan, Reader, Signal, reader

Predicate = Callable[[Any], bool]


@dataclass(frozen=True, slots=True)
class _Each:
    """A signal over the items of a list field, compiled."""

    name: str
    on: str
    items: str
    value: str
    k: Predicate
    n_each: Predicate | None
    by: tuple[int, ...]


def _each(plan: Plan, signal: Signal) -> _Each:
    return _Each(
        name=signal.name,
        on=signal.on,
        items=signal.each or "",
        value=signal.value or "",
        k=signal.k.compile(),
        n_each=signal.n_each.compile() if signal.n_each is not None else None,
        by=tuple(plan.dimensions.index(name) for name in signal.by),
    )


def label_limits(plan: Plan) -> dict[str, int]:
    """How many values of a dimension one partition admits, by its name in the vocabulary.

    Items have the name of their signal, sources that of the signal of volumes.
    """
    limits = {name: DIMENSION_LIMITS[name] for name in plan.dimensions}
    limits |= {s.name: VALUE_LIMITS.get(s.value or "", 200) for s in plan.items()}
    volume = plan.volume()
    return limits if volume is None else limits | {volume.name: VALUE_LIMITS["source"]}


class Tally:
    """The compiled plan: what one event adds. Shared by the counters of all partitions."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.readers: tuple[tuple[str, Reader], ...] = tuple(
            (name, reader(name)) for name in plan.dimensions
        )
        conditions: dict[str, Predicate] = {}
        for signal in plan.signals:
            conditions[str(signal.k)] = signal.k.compile()
            conditions[str(signal.n)] = signal.n.compile()
        self._slots = [
            (index, slot.on, [conditions[text] for text in slot.conditions])
            for index, slot in enumerate(plan.slots)
        ]
        self._eachs = [_each(plan, signal) for signal in plan.items()]
        self.limits = label_limits(plan)
        self.never = [(s.name, s.on, s.k.compile()) for s in plan.never()]
        self.width = len(plan.slots)
        volume = plan.volume()
        self.volume = None if volume is None else volume.name
        self.environment = plan.dimensions.index("environment")

    def base(self, kind: str, data: Any) -> list[int]:
        """The slots that the event belongs to."""
        return [
            index
            for index, on, conditions in self._slots
            if on in {kind, "any"} and all(condition(data) for condition in conditions)
        ]

    def narrow(self, kind: str, data: Any) -> Iterable[tuple[str, tuple[int, ...], str, int, int]]:
        """(signal, positions of `by`, value, k, n) for each distinct value among the items."""
        for each in self._eachs:
            if each.on not in {kind, "any"}:
                continue
            hits: dict[str, tuple[int, int]] = {}
            for item in getattr(data, each.items):
                value = getattr(item, each.value)
                if value is None:
                    continue
                k, n = hits.get(value, (0, 0))
                if each.n_each is None or each.n_each(item):
                    hits[value] = (k | int(each.k(item)), 1)
                else:
                    hits[value] = (k, n)
            for value, (k, n) in hits.items():
                if n:
                    yield each.name, each.by, str(value), k, n
