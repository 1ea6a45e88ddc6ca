"""What the parts have found: rows for the table, keys for the last line."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np


class NotRunError(Exception):
    """A part, or a peer, cannot run here; the message says what it wants."""


_SIGNS = {"least": ">=", "most": "<=", "under": "<"}


@dataclass(frozen=True, slots=True)
class Row:
    """One figure with its goal."""

    what: str
    ours: float
    goal: float
    sense: Literal["least", "most", "under"]
    unit: str = ""
    oracle: float | None = None

    @property
    def met(self) -> bool:
        """Whether the goal is reached; a figure that is never, or no number, reaches none."""
        if self.sense == "least":
            return bool(self.ours >= self.goal)
        good = self.ours < self.goal if self.sense == "under" else self.ours <= self.goal
        return bool(good and np.isfinite(self.ours))


@dataclass(slots=True)
class Report:
    """Filled by the parts, one after the other."""

    figures: dict[str, Any] = field(default_factory=dict)
    rows: list[Row] = field(default_factory=list)
    peers: list[str] = field(default_factory=list)
    """Lines of the table of peers."""
    not_run: dict[str, str] = field(default_factory=dict)
    """Reason by part or peer."""

    def least(self, what: str, ours: float, goal: float, unit: str = "", **more: float) -> None:
        """A figure that should be at least `goal`."""
        self.rows.append(Row(what, ours, goal, "least", unit, **more))

    def most(self, what: str, ours: float, goal: float, unit: str = "", **more: float) -> None:
        """A figure that should be at most `goal`."""
        self.rows.append(Row(what, ours, goal, "most", unit, **more))

    def under(self, what: str, ours: float, goal: float, unit: str = "", **more: float) -> None:
        """A figure that should be less than `goal`."""
        self.rows.append(Row(what, ours, goal, "under", unit, **more))

    def quarter(self, what: str, ours: float, peer: float) -> None:
        """Our median delay, at most a quarter of a peer's.

        Of a peer that finds less than half there is no median: any of ours that is one is less.
        """
        if not np.isfinite(peer):
            what += " (it finds less than half)"
        self.most(what, ours / peer if np.isfinite(ours) else np.inf, 0.25)

    def table(self) -> Iterator[str]:
        """Its lines."""
        yield f"{'what':<62} {'ours':>12} {'goal':>12} {'oracle':>12}"
        for row in self.rows:
            sign = _SIGNS[row.sense]
            oracle = "" if row.oracle is None else _number(row.oracle, row.unit)
            yield (
                f"{row.what:<62} {_number(row.ours, row.unit):>12} "
                f"{sign + ' ' + _number(row.goal, row.unit):>12} {oracle:>12}"
                f"{'' if row.met else '  MISSED'}"
            )
        yield from self.peers
        for name, reason in self.not_run.items():
            yield f"{name}: not run: {reason}"

    def last_line(self) -> dict[str, Any]:
        """All keys, what is no number as null."""
        missed = [row.what for row in self.rows if not row.met]
        found: dict[str, Any] = finite({**self.figures, "missed": missed, "not_run": self.not_run})
        return found


def _number(value: float, unit: str) -> str:
    if not np.isfinite(value):
        return "never"
    return f"{100 * value:.1f} %" if unit == "%" else f"{value:.4g}{' ' + unit if unit else ''}"


def finite(value: Any) -> Any:
    """`value` for JSON: what was never found has no delay."""
    if isinstance(value, dict):
        return {str(key): finite(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(one) for one in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float):
        return round(value, 5) if np.isfinite(value) else None
    return value
