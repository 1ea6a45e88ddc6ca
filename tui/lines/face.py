"""How things are said: glyphs, clocks and durations, in Unicode or in ASCII, UTC or local time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from monitor.text import vis
from tui.lines.line import Role, cut, pad

if TYPE_CHECKING:
    from monitor.views import IncidentRow

STATES: Mapping[str, tuple[str, Role]] = {
    "triage": ("OPEN", "bad"),
    "active": ("ACK", "warn"),
    "mitigated": ("MITIG", "accent"),
    "resolved": ("RESLV", "ok"),
    "closed": ("CLOSED", "dim"),
    "merged": ("MERGED", "dim"),
    "cancelled": ("CANCEL", "dim"),
    "false_positive": ("FALSE", "dim"),
}
"""State of an incident: the word on the screen and how it is drawn."""

OVER = frozenset({"closed", "merged", "cancelled", "false_positive"})
"""States in which nobody owes anything any more; the list leaves them out."""

SEVERITY_ROLES: Mapping[str, Role] = {"SEV1": "bad", "SEV2": "bad", "SEV3": "warn", "SEV4": ""}


@dataclass(frozen=True, slots=True)
class Face:
    """The choices of one viewer; every pane is drawn through one."""

    ascii: bool = False
    local: bool = False

    # glyphs --------------------------------------------------------------------------------------

    @property
    def more(self) -> str:
        return "~" if self.ascii else "…"

    @property
    def rule(self) -> str:
        return "-" if self.ascii else "─"

    @property
    def heavy(self) -> str:
        return "=" if self.ascii else "━"

    @property
    def bar(self) -> str:
        return "|" if self.ascii else "│"

    @property
    def cursor(self) -> str:
        return ">" if self.ascii else "▸"

    @property
    def levels(self) -> str:
        """Fill of one character cell, from nothing to full."""
        return " .:-=+*#%" if self.ascii else " ▁▂▃▄▅▆▇█"

    # text ----------------------------------------------------------------------------------------

    def say(self, text: str, limit: int | None = 400) -> str:
        """`text` from outside, safe for this terminal; longer than `limit` characters is cut."""
        safe = vis(text, limit=limit)
        if self.ascii and not safe.isascii():
            return safe.encode("ascii", "backslashreplace").decode("ascii")
        return safe

    def cell(self, text: str, width: int) -> str:
        """`text` from outside in exactly `width` columns."""
        return pad(self.say(text), width, self.more)

    def short(self, text: str, width: int) -> str:
        """`text` from outside in at most `width` columns."""
        return cut(self.say(text), width, self.more)

    def dims(self, dimensions: Mapping[str, str]) -> str:
        """`chat-prod v41`: the values of the dimensions, in their order."""
        return self.say(" ".join(value for value in dimensions.values() if value))

    def pairs(self, dimensions: Mapping[str, str]) -> str:
        """`feature=chat model=v41`."""
        return self.say(" ".join(f"{key}={value}" for key, value in dimensions.items()))

    # time ----------------------------------------------------------------------------------------

    @property
    def zone(self) -> str:
        return "local" if self.local else "UTC"

    def clock(self, at: datetime, *, seconds: bool = True) -> str:
        """`14:31:07` in the viewer's zone."""
        shown = at.astimezone() if self.local else at
        return shown.strftime("%H:%M:%S" if seconds else "%H:%M")

    def stamp(self, at: datetime | None) -> str:
        """`2026-11-27 14:31:07Z`, or the local time with its offset; `-` for none."""
        if at is None:
            return "-"
        if self.local:
            return at.astimezone().strftime("%Y-%m-%d %H:%M:%S%z")
        return at.strftime("%Y-%m-%d %H:%M:%SZ")

    # figures -------------------------------------------------------------------------------------

    def spark(self, values: Sequence[float | None], width: int) -> str:
        """The last `width` values as one character each, from zero to their maximum."""
        shown = list(values)[-width:]
        top = max((value for value in shown if value is not None), default=0.0)
        steps = self.levels[1:]
        out = []
        for value in shown:
            if value is None:
                out.append(" ")
            elif top <= 0:
                out.append(steps[0])
            else:
                out.append(steps[min(len(steps) - 1, max(0, int(value / top * len(steps))))])
        return "".join(out).rjust(width)


def age(span: timedelta) -> str:
    """`00:52`, `12:10`, `1h04m`, `3d02h`: at most six characters for 99 days."""
    seconds = max(0, int(span.total_seconds()))
    minutes, second = divmod(seconds, 60)
    hours, minute = divmod(minutes, 60)
    days, hour = divmod(hours, 24)
    if days:
        return f"{days}d{hour:02d}h"
    if hours:
        return f"{hours}h{minute:02d}m"
    return f"{minutes:02d}:{second:02d}"


def ratio(rate: float | None, baseline: float | None) -> str:
    """`4.1x` of the baseline; `-` where there is none."""
    if rate is None or baseline is None or baseline <= 0:
        return "-"
    times = rate / baseline
    return f"{times:.1f}x" if times < 100 else f"{times:.0f}x"


def share(value: float | None) -> str:
    """A rate as a percentage with three significant places at most: `41.2%`, `0.35%`."""
    if value is None:
        return "-"
    part = value * 100
    if part == 0 or part >= 10:
        return f"{part:.1f}%"
    return f"{part:.2f}%" if part >= 0.1 else f"{part:.2g}%"


def state_word(row: IncidentRow) -> tuple[str, Role]:
    """The word for an incident's state and its role; one nobody has taken shouts."""
    word, role = STATES.get(row.state, (vis(row.state, limit=8).upper()[:6], ""))
    if row.state in {"triage", "active"}:
        return ("OPEN !", "bad") if row.acknowledged_at is None else ("ACK", "warn")
    return word, role
