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

    @property
    def met(self) -> bool:
        """Whether the goal is reached."""
        return self.ours <= self.goal


@dataclass(slots=True)
class Report:
    """Filled by the parts, one after the other."""

    figures: dict[str, object] = field(default_factory=dict)
    rows: list[Row] = field(default_factory=list)
    beside: list[str] = field(default_factory=list)
    """What Alertmanager did under the same, in words."""
    not_run: dict[str, str] = field(default_factory=dict)
    """Reason by part."""

    def last_line(self) -> dict[str, object]:
        """All keys."""
        missed = [row.what for row in self.rows if not row.met]
        more = {"alertmanager": self.beside, "missed": missed, "not_run": self.not_run}
        return {**self.figures, **more}

    def table(self) -> Iterable[str]:
        """Its lines."""
        yield f"{'what':<52} {'ours':>10} {'goal':>8}"
        for row in self.rows:
            ours, goal = f"{row.ours:g}{row.unit}", f"{row.goal:g}{row.unit}"
            yield f"{row.what:<52} {ours:>10} {goal:>8}{'' if row.met else '  MISSED'}"
        for line in self.beside:
            yield f"beside, Alertmanager: {line}"
        for part, reason in self.not_run.items():
            yield f"{part:<52} not run: {reason}"


Part = Callable[[Report], None]
