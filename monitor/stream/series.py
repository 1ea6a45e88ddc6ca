"""From the counts of one bucket to the series of each signal: pure."""

from __future__ import annotations

from collections.abc import Mapping

from monitor.stream.signals import Plan, Signal

Dims = tuple[str, ...]
Pair = tuple[int, int]
"""k and n."""
Base = Mapping[Dims, list[int]]
Narrow = Mapping[tuple[str, Dims, str], list[int]]


def dimension_names(signal: Signal) -> tuple[str, ...]:
    """Names of a series' dimensions, in the order of its values."""
    return signal.by if signal.value is None else (*signal.by, signal.value)


def dims_of(signal: Signal, dimensions: Mapping[str, str]) -> Dims:
    """The values of named dimensions in the signal's order (JSON keeps none)."""
    return tuple(dimensions[name] for name in dimension_names(signal) if name in dimensions)


def named(signal: Signal, dims: Dims) -> dict[str, str]:
    """The other way: a series of the whole has the first dimension only."""
    return dict(zip(dimension_names(signal), dims, strict=False))


def expand(plan: Plan, base: Base, narrow: Narrow) -> dict[str, dict[Dims, Pair]]:
    """K and n of every series that the bucket mentions, by signal and dimension values."""
    series: dict[str, dict[Dims, Pair]] = {}
    for signal in plan.rates():
        if signal.each is None:
            series[signal.name] = _summed(plan, signal, base)
        else:
            series[signal.name] = _items(plan, signal, base, narrow)
    return series


def volumes(plan: Plan, base: Base, by: tuple[str, ...]) -> dict[Dims, int]:
    """Interactions by dimension values."""
    where = [plan.dimensions.index(name) for name in by]
    found: dict[Dims, int] = {}
    for key, counts in base.items():
        dims = tuple(key[i] for i in where)
        found[dims] = found.get(dims, 0) + counts[0]
    return found


def _summed(plan: Plan, signal: Signal, base: Base) -> dict[Dims, Pair]:
    where = [plan.dimensions.index(name) for name in signal.by]
    k_slot, n_slot = plan.numerators[signal.name], plan.denominators[signal.name]
    whole = signal.whole and signal.by[:1] == ("environment",) and len(signal.by) > 1
    found: dict[Dims, Pair] = {}
    for key, counts in base.items():
        dims = tuple(key[i] for i in where)
        for series in (dims, dims[:1]) if whole else (dims,):
            k, n = found.get(series, (0, 0))
            found[series] = (k + counts[k_slot], n + counts[n_slot])
    return found


def _items(plan: Plan, signal: Signal, base: Base, narrow: Narrow) -> dict[Dims, Pair]:
    found: dict[Dims, Pair] = {}
    whole: dict[Dims, int] = {}
    if signal.n_each is None:
        where = [plan.dimensions.index(name) for name in signal.by]
        n_slot = plan.denominators[signal.name]
        for key, counts in base.items():
            dims = tuple(key[i] for i in where)
            whole[dims] = whole.get(dims, 0) + counts[n_slot]
    for (name, by, value), (k, n) in narrow.items():
        if name == signal.name:
            found[(*by, value)] = (k, n if signal.n_each is not None else whole.get(by, n))
    return found
