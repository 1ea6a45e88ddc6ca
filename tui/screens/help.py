"""Help: the keys of the screen one comes from, on one page, our verbs first."""

from __future__ import annotations

from tui.actions import ACTIONS, Action, Screen
from tui.lines.line import Line
from tui.screens.reading import Reading

_LEGEND = (
    "[ ] waiting  [>] running  [x] done  [!] failed  [-] skipped  [?] unknown  [<] undone",
    "chart: D detected  a acked  c change  s step  M mitigated  R resolved",
    "Enter runs a read-only step; y confirms a reversible one; the id typed, a destructive one.",
    "Over a slow link: ssh -C. Screen reader or log: tocsin inc watch INC.",
)


def _row(action: Action, ref: str) -> Line:
    cli = action.cli.format(ref=ref or "INC")
    return Line.of((f" {action.key:>5} ", "bold"), f"{action.help:<50} ", (cli, "dim"))


def lines(screen: Screen, ref: str) -> list[Line]:
    """The keys of `screen` and the signs on it."""
    wanted = [action for action in ACTIONS if action.on(screen)]
    safe = [a for a in wanted if not (len(a.key) == 1 and a.key.isupper())]
    outward = [a for a in wanted if a not in safe]
    made = [Line.of(("  what others see, or what ends something", "accent"))] if outward else []
    made.extend(_row(action, ref) for action in outward)
    made.append(Line.of(("  safe, or taken back as easily", "accent")))
    made.extend(_row(action, ref) for action in safe)
    made.append(Line.of((" j k g G, arrows: move.", "dim")))
    made.extend(Line.of((f" {text}", "dim")) for text in _LEGEND)
    return made


class Help(Reading):
    """The help of one screen.

    Args:
        screen: `home` or `incident`.
        ref: the incident that the commands name.
    """

    def __init__(self, screen: str, ref: str) -> None:
        where: Screen = "incident" if screen == "incident" else "home"
        super().__init__(f"keys of {where}, and the command that does the same", lines(where, ref))
