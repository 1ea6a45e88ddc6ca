"""The home screen in lines: header, list of incidents, preview, signals, parts."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from itertools import pairwise

from monitor.views import Health, IncidentRow, Overview, SignalNow
from tui.lines.face import OVER, SEVERITY_ROLES, Face, age, ratio, share, state_word
from tui.lines.item import Item
from tui.lines.line import Line, Role, cells, sides, wrap

WIDE = 80
"""Columns of the list from which it shows the spark line."""

NAME_WIDTH = 16
"""Columns that the name of a part gets at most."""

_HEALTH: dict[str, tuple[str, Role]] = {
    "ok": ("ok", "ok"),
    "warn": ("WARN", "warn"),
    "bad": ("BAD", "bad"),
}


def header(view: Overview | None, width: int, face: Face, *, notes: Sequence[str] = ()) -> Line:
    """Counts, pager, lag and the desk's clock; `notes` are modes such as PAUSED."""
    if view is None:
        return Line.of((" tocsin", "bold"), ("  waiting for the desk", "dim")).fit(width)
    pager, role = _HEALTH[view.pager.state]
    lag = "" if view.lag_s is None else f"  lag {view.lag_s:.1f}s"
    unseen = f"  {view.unacknowledged} unacked" if view.unacknowledged else ""
    left = Line.of(
        (" tocsin", "bold"),
        f"  {view.open_incidents} open",
        (unseen, "bad"),
        f"  {view.yours} yours",
        "  pager ",
        (pager, role),
        lag,
        ("  no daemon" if not view.daemon else "" if view.live else "  RECORDING", "warn"),
        (f"  profile {face.say(view.profile)}" if width >= 100 else "", "dim"),
        *((f"  {note}", _NOTE) for note in notes),
    )
    at = view.now
    return sides(left, Line.of(f"{face.clock(at, seconds=width >= 100)} {face.zone} "), width)


_NOTE: Role = "warn"


def active_first(rows: Sequence[IncidentRow]) -> list[IncidentRow]:
    """What people still owe something first, newest first in each group."""
    rank = {"triage": 0, "active": 0, "mitigated": 1, "resolved": 2}
    newest = sorted(rows, key=lambda row: row.detected_at, reverse=True)
    return sorted(newest, key=lambda row: rank.get(row.state, 3))


def matching(rows: Sequence[IncidentRow], words: str) -> list[IncidentRow]:
    """The rows in which every word occurs; without words those that are not over."""
    wanted = words.lower().split()
    if not wanted:
        return [row for row in rows if row.state not in OVER]
    return [row for row in rows if all(word in _haystack(row) for word in wanted)]


def _haystack(row: IncidentRow) -> str:
    parts = (row.id, row.title, row.state, row.severity, row.owner or "", row.signal or "")
    return " ".join((*parts, *row.dimensions.values(), state_word(row)[0])).lower()


def filter_line(words: str, shown: int, known: int, width: int, face: Face) -> Line:
    """Which incidents are listed, and how many of how many."""
    what = face.say(words) if words else "not closed"
    right = Line.of((f"{shown} of {known} ", "dim"))
    return sides(Line.of((" filter: ", "dim"), (what, "accent" if words else "dim")), right, width)


def columns(width: int) -> Line:
    """The heads of the list."""
    signal = "SIGNAL 60 MIN  " if width - 1 >= WIDE else ""
    what = max(4, _what_width(width - 1))
    heads = f" SEV  STATE  ID        AGE    {'WHAT':<{what}} {signal}OWNER"
    return Line.of((heads, "dim")).fit(width)


def _what_width(width: int) -> int:
    return width - 30 - (15 if width >= WIDE else 0) - 8


def rows(view: Sequence[IncidentRow], now: datetime, width: int, face: Face) -> list[Item]:
    """The list: one line an incident."""
    room = max(4, _what_width(width))
    items = []
    for row in view:
        word, role = state_word(row)
        title = face.say(row.title)
        spark = ""
        if width >= WIDE:
            spark = face.spark(_thirteen(row.spark), 13) + "  "
        line = Line.of(
            (f"{face.cell(row.severity, 4)} ", SEVERITY_ROLES.get(row.severity, "")),
            (f"{word:<6} ", role),
            (face.cell(row.id, 9) + " ", "bold"),
            f"{age(now - row.detected_at):<6} ",
            face.cell(f"{title}  {where(row, face)}", room) + " ",
            (spark, "bad" if row.firing else "dim"),
            face.short(row.owner or "-", 7),
        )
        items.append(Item(row.id, (line,), copy=face.say(row.id)))
    return items


def where(row: IncidentRow, face: Face) -> str:
    """The values of the dimensions that the title does not name already."""
    title = row.title.lower()
    return face.dims({k: v for k, v in row.dimensions.items() if v.lower() not in title})


def _thirteen(values: Sequence[float | None]) -> list[float | None]:
    if len(values) <= 13:
        return list(values)
    edges = [round(i * len(values) / 13) for i in range(14)]
    groups = [values[a:b] for a, b in pairwise(edges)]
    return [max((v for v in group if v is not None), default=None) for group in groups]


def empty(view: Overview | None, words: str, face: Face) -> list[Line]:
    """What stands in an empty list."""
    if words:
        return [Line.of((f"  nothing matches {face.say(words)}; / changes the filter", "dim"))]
    if view is None:
        return []
    seen = "nothing read yet" if view.event_now is None else f"{face.clock(view.event_now)}"
    return [
        Line(),
        Line.of(("  No incident is open.", "ok")),
        Line.of((f"  Verdicts up to {seen}; profile {face.say(view.profile)}.", "dim")),
        Line.of(("  d declares one, / shows closed ones (try: / closed).", "dim")),
    ]


def preview(row: IncidentRow | None, width: int, face: Face) -> list[Line]:
    """Three lines about the incident under the cursor."""
    if row is None:
        return []
    times = [f"detected {face.clock(row.detected_at)}"]
    for label, at in (
        ("acked", row.acknowledged_at),
        ("mitigated", row.mitigated_at),
        ("resolved", row.resolved_at),
    ):
        if at is not None:
            times.append(f"{label} +{age(at - row.detected_at)}")
    firing: tuple[str, Role] = ("firing", "bad") if row.firing else ("signal normal", "ok")
    if row.signal is None:
        firing = ("declared by a person", "dim")
    paged = "paged" if row.paged else "not paged"
    spark = face.spark(row.spark, min(60, max(10, width - 12)))
    return [
        Line.of(f" {face.say(row.title)}"),
        Line.of(
            " ", firing, f"  {paged}  {face.say(row.signal or '')} ", face.pairs(row.dimensions)
        ),
        Line.of(f" {'  '.join(times)}  owner {face.say(row.owner or 'nobody')}"),
        Line.of(" ", (spark, "accent"), ("  60 min" if row.spark else "", "dim")),
    ]


def signals(view: Sequence[SignalNow], width: int, face: Face) -> list[Item]:
    """One line a paging series: name, times of its baseline, verdict."""
    words: dict[str, tuple[str, Role]] = {
        "firing": ("ALARM", "bad"),
        "warming": ("warming", "dim"),
        "quiet": ("ok", "ok"),
    }
    items = []
    order = {"firing": 0, "warming": 2, "quiet": 1}
    for row in sorted(view, key=lambda each: (order[each.state], each.signal)):
        where = face.dims(row.dimensions)
        rate = f" {share(row.rate):>6}" if width >= 48 else ""
        figures = f"{rate} {ratio(row.rate, row.baseline):>5} "
        name = face.cell(f"{face.say(row.signal)} {where}", max(8, width - len(figures) - 8))
        word, role = words[row.state]
        key = f"{row.signal}|{sorted(row.dimensions.items())}"
        items.append(Item(key, (Line.of(name, figures, (f"{word:<7}", role)),), copy=name.strip()))
    return items


def parts(
    view: Sequence[Health], face: Face, *, width: int | None = None, brief: bool = False
) -> list[Line]:
    """One line a part of Tocsin.

    Args:
        view: the parts.
        face: how things are said.
        width: a longer line is broken.
        brief: only those are broken that need a person.
    """
    room = max((cells(face.say(part.name)) for part in view), default=0)
    name_width = min(NAME_WIDTH, max(10, room))
    lines = []
    for part in view:
        word, role = _HEALTH[part.state]
        text = face.say(part.text)
        whole = width is None or (brief and part.state == "ok")
        told = [text] if whole else wrap(text, (width or 0) - name_width - 7)
        head = f" {face.cell(part.name, name_width)} "
        lines.append(Line.of(head, (f"{word:<4}", role), f" {told[0]}"))
        lines.extend(Line.of(" " * (name_width + 7) + more) for more in told[1:])
    return lines


def worst_first(view: Sequence[Health]) -> list[Health]:
    """What needs a person comes first, else in the order given."""
    return sorted(view, key=lambda part: tuple(_HEALTH).index(part.state), reverse=True)
