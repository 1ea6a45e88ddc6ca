"""The heaviest names of a stream of weighted counts, in bounded memory.

Space-saving (Metwally, Agrawal and El Abbadi, "Efficient computation of frequent and top-k
elements in data streams", 2005) with weights that fade. river's `HeavyHitters` takes one item at a
time; what comes here are the sums of a bucket.
"""

from __future__ import annotations

from collections.abc import Mapping


class Top:
    """Names with their fading weights.

    A name that is heavier than `total / capacity` is always among them, and no weight is
    overestimated by more than that.

    >>> top = Top(capacity=2, half_life=100.0)
    >>> for _ in range(10):
    ...     top.add({"a": 5.0, "b": 3.0, "c": 1.0})
    >>> top.leaders(1)
    ['a']
    """

    def __init__(self, *, capacity: int, half_life: float) -> None:
        """`half_life` in calls of `add`.

        Raises:
            ValueError: one of them is not above 0.
        """
        if capacity < 1 or half_life <= 0:
            raise ValueError("capacity and half_life must be above 0")
        self._capacity = capacity
        self._keep = 0.5 ** (1.0 / half_life)
        self._weights: dict[str, float] = {}

    def add(self, weights: Mapping[str, float]) -> None:
        """Let what is known fade by a step, and add `weights`, which are above 0."""
        known = self._weights
        for name in known:
            known[name] *= self._keep
        for name in sorted(weights, key=lambda one: (-weights[one], one)):
            if name in known:
                known[name] += weights[name]
                continue
            inherited = 0.0
            if len(known) >= self._capacity:
                least = min(known, key=lambda one: (known[one], one))
                inherited = known.pop(least)
            known[name] = inherited + weights[name]

    def leaders(self, many: int) -> list[str]:
        """The `many` heaviest, the heaviest first."""
        return sorted(self._weights, key=lambda name: (-self._weights[name], name))[:many]

    def share(self, name: str) -> float:
        """Part of the weight of all that is known, 0 to 1."""
        total = sum(self._weights.values())
        return self._weights.get(name, 0.0) / total if total > 0 else 0.0

    def dump(self) -> dict[str, float]:
        """Everything known, as plain data."""
        return dict(self._weights)

    def load(self, weights: Mapping[str, float]) -> None:
        """Replace everything known by what `dump` gave."""
        self._weights = dict(weights)
