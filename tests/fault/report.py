"""What the parts of the harness have found: keys for the last line, rows for the table."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table."""

    what: str
    ours: float
    goal: float
    """At most this."""
    unit: str = ""
    least: bool = False
    """At least the goal instead: so much was tried, or the rest proves nothing."""

    @property
    def met(self) -> bool:
        """Whether the goal is reached."""
        return self.ours >= self.goal if self.least else self.ours <= self.goal


@dataclass(slots=True)
class Report:
    """Filled by the parts, one after the other."""

    figures: dict[str, object] = field(default_factory=dict)
    rows: list[Row] = field(default_factory=list)
    beside: list[str] = field(default_factory=list)
    """What Alertmanager did under the same, in words."""
    not_run: dict[str, str] = field(default_factory=dict)
    """Reason by part."""

    @property
    def passed(self) -> bool:
        """Whether something was run, all of it, and every goal was reached."""
        return bool(self.rows) and not self.not_run and all(row.met for row in self.rows)

    def last_line(self) -> dict[str, object]:
        """All keys."""
        missed = [row.what for row in self.rows if not row.met]
        more = {"alertmanager": self.beside, "missed": missed, "not_run": self.not_run}
        return {**self.figures, **more}

    def table(self) -> Iterable[str]:
        """Its lines."""
        yield f"{'what':<60} {'ours':>10} {'goal':>10}"
        for row in self.rows:
            sign = ">=" if row.least else "<="
            ours, goal = f"{row.ours:g}{row.unit}", f"{sign}{row.goal:g}{row.unit}"
            yield f"{row.what:<60} {ours:>10} {goal:>10}{'' if row.met else '  MISSED'}"
        for line in self.beside:
            yield f"beside, Alertmanager: {line}"
        for part, reason in self.not_run.items():
            yield f"{part:<60} not run: {reason}"


Part = Callable[[Report], None]
