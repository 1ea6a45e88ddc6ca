"""From the counts of one bucket to the series of each signal: pure."""

from __future__ import annotations

from collections.abc import Mapping
from operator import add

from monitor.stream.signals import Plan, Signal

Dims = tuple[str, ...]
Pair = tuple[int, int]
"""k and n."""
Base = Mapping[Dims, list[int]]
Narrow = Mapping[tuple[str, Dims, str], list[int]]
Sums = dict[Dims, list[int]]
"""Counters by dimension values."""


def dimension_names(signal: Signal) -> tuple[str, ...]:
    """Names of a series' dimensions, in the order of its values."""
    return signal.by if signal.value is None else (*signal.by, signal.value)


def dims_of(signal: Signal, dimensions: Mapping[str, str]) -> Dims:
    """The values of named dimensions in the signal's order (JSON keeps none)."""
    return tuple(dimensions[name] for name in dimension_names(signal) if name in dimensions)


def kin(signal: Signal, dims: Dims) -> Dims:
    """What a series has in common with its siblings: signal, environment, value of the item."""
    where = dims[:1] if signal.by[:1] == ("environment",) else ()
    value = dims[-1:] if signal.value is not None else ()
    return (signal.name, str(len(dims)), *where, *value)


def named(signal: Signal, dims: Dims) -> dict[str, str]:
    """The other way: a series of the whole has the first dimension only."""
    return dict(zip(dimension_names(signal), dims, strict=False))


def expand(plan: Plan, base: Base, narrow: Narrow) -> dict[str, dict[Dims, Pair]]:
    """K and n of every series that the bucket mentions, by signal and dimension values."""
    # Most signals share their dimensions: all slots are summed once for each set of them.
    sums: dict[Dims, Sums] = {}
    series: dict[str, dict[Dims, Pair]] = {}
    for signal in plan.rates():
        for by in (signal.by, signal.by[:1]):
            if by not in sums:
                sums[by] = slot_sums(plan, base, by)
        if signal.each is None:
            series[signal.name] = _summed(plan, signal, sums)
        else:
            series[signal.name] = _items(plan, signal, sums[signal.by], narrow)
    return series


def volumes(plan: Plan, base: Base, by: tuple[str, ...]) -> dict[Dims, int]:
    """Interactions by dimension values."""
    where = [plan.dimensions.index(name) for name in by]
    found: dict[Dims, int] = {}
    for key, counts in base.items():
        dims = tuple(key[i] for i in where)
        found[dims] = found.get(dims, 0) + counts[0]
    return found


def slot_sums(plan: Plan, base: Base, by: Dims) -> Sums:
    """Every slot, summed over all dimensions but `by`."""
    where = [plan.dimensions.index(name) for name in by]
    found: Sums = {}
    for key, counts in base.items():
        dims = tuple(key[i] for i in where)
        known = found.get(dims)
        found[dims] = counts if known is None else list(map(add, known, counts))
    return found


def _summed(plan: Plan, signal: Signal, sums: Mapping[Dims, Sums]) -> dict[Dims, Pair]:
    k_slot, n_slot = plan.numerators[signal.name], plan.denominators[signal.name]
    whole = signal.whole and signal.by[:1] == ("environment",) and len(signal.by) > 1
    return {
        dims: (counts[k_slot], counts[n_slot])
        for by in ((signal.by, signal.by[:1]) if whole else (signal.by,))
        for dims, counts in sums[by].items()
    }


def _items(plan: Plan, signal: Signal, sums: Sums, narrow: Narrow) -> dict[Dims, Pair]:
    found: dict[Dims, Pair] = {}
    n_slot = plan.denominators[signal.name]
    for (name, by, value), (k, n) in narrow.items():
        if name == signal.name:
            own = signal.n_each is not None or by not in sums
            found[(*by, value)] = (k, n if own else sums[by][n_slot])
    return found
