"""Everything a key does: one table that keys, key rows, help and palette are made from.

Lower case is safe or reversible, upper case is outward or ends something (`G`, to the bottom, is
the one exception). A letter means the same on every screen. Nothing needs Ctrl or Alt.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from textual.binding import Binding

Screen = Literal["home", "incident", "all"]


@dataclass(frozen=True, slots=True)
class Action:
    """One thing a person can do."""

    id: str
    """Names the binding (`tocsin.<id>`) and the screen's `action_<id>`."""
    keys: str
    """As Textual writes them, comma-separated."""
    label: str
    """One word for the key row."""
    help: str
    where: Screen
    cli: str = ""
    """The command that does the same; `{ref}` stands for the incident."""

    @property
    def key(self) -> str:
        """The key as a person reads it."""
        names = {
            "question_mark": "?",
            "colon": ":",
            "slash": "/",
            "plus": "+",
            "exclamation_mark": "!",
            "enter": "Enter",
            "escape": "Esc",
            "tab": "Tab",
        }
        first = self.keys.split(",")[0]
        return names.get(first, first)

    def on(self, screen: Screen) -> bool:
        """Whether it works on `screen`."""
        return self.where in {"all", screen}


_INC = "tocsin inc"

ACTIONS: Sequence[Action] = (
    Action("choose", "enter", "run", "run or tick the step under the cursor; start a runbook",
           "incident", f"{_INC} step {{ref}} N --run|--done"),
    Action("open", "enter", "open", "open the incident under the cursor", "home",
           "tocsin open {ref}"),
    Action("ack", "a", "ack", "acknowledge: stops the pager", "all", f"{_INC} ack {{ref}}"),
    Action("take", "c", "command", "take command; acknowledges too", "all",
           f"{_INC} take {{ref}}"),
    Action("note", "n", "note", "write into the timeline", "all", f"{_INC} note {{ref}} TEXT"),
    Action("fail", "x", "fail", "mark the step as failed, with a reason", "incident",
           f"{_INC} step {{ref}} N --fail --reason R"),
    Action("skip", "s", "skip", "skip the step, with a reason", "incident",
           f"{_INC} step {{ref}} N --skip --reason R"),
    Action("undo", "u", "undo", "undo the step: runs its rollback", "incident",
           f"{_INC} step {{ref}} N --undo"),
    Action("verify", "v", "verify", "run the wait step, or say what verification lacks",
           "incident", f"{_INC} verify {{ref}}"),
    Action("runbook", "w", "runbook", "the text of the runbook", "incident",
           "tocsin runbook show NAME"),
    Action("mitigate", "M", "mitigated", "mark as mitigated", "incident",
           f"{_INC} mitigate {{ref}}"),
    Action("resolve", "R", "resolve", "resolve, with a verdict", "incident",
           f"{_INC} resolve {{ref}} --verdict V"),
    Action("escalate", "E", "escalate", "page the next escalation step", "incident",
           f"{_INC} escalate {{ref}}"),
    Action("severity", "S", "severity", "change the severity", "incident",
           f"{_INC} sev {{ref}} SEV2 --reason R"),
    Action("reopen", "O", "reopen", "open a resolved incident again", "incident",
           f"{_INC} reopen {{ref}} --reason R"),
    Action("close", "C", "close", "close: nothing more is owed", "incident",
           f"{_INC} close {{ref}}"),
    Action("abort", "B", "break off", "break the running runbook off", "incident",
           f"{_INC} abort {{ref}} --reason R"),
    Action("export", "X", "export", "write the review into a file", "incident",
           "tocsin review export {ref} -f md -d DIR"),
    Action("declare", "d", "declare", "open an incident that no detector found", "all",
           f"{_INC} declare --sev S --title T"),
    Action("filter", "slash", "filter", "show only what matches; Esc clears", "all",
           f"{_INC} list --state S"),
    Action("pane_1", "1", "1", "the list of incidents", "all", f"{_INC} list"),
    Action("pane_2", "2", "2", "the runbook; at home the signals", "all", "tocsin signal list"),
    Action("pane_3", "3", "3", "the signal's chart; at home the parts", "all", "tocsin doctor"),
    Action("pane_4", "4", "4", "the timeline", "incident", f"{_INC} watch {{ref}}"),
    Action("next_pane", "tab", "next", "the next pane", "all"),
    Action("zoom", "plus", "zoom", "the pane over the whole screen, and back", "all"),
    Action("pause", "p", "pause", "hold the screen still, and go on", "all"),
    Action("clock", "t", "local", "times in UTC or in your zone", "all", "tocsin --local ..."),
    Action("copy", "y", "copy", "copy what is under the cursor, and show it", "all"),
    Action("messages", "exclamation_mark", "log", "the messages so far", "all"),
    Action("palette", "colon,ctrl+p", "all", "every action with its command", "all",
           "tocsin --help"),
    Action("help", "question_mark,f1", "help", "the keys of this screen", "all",
           "tocsin --help"),
    Action("back", "escape", "back", "one step back", "all"),
    Action("quit", "q", "back", "back; from the list, leave", "all"),
)  # fmt: skip


def bindings(screen: Screen) -> list[Binding]:
    """The key bindings of `screen`, each with an id that a keymap can name."""
    return [
        Binding(action.keys, action.id, action.help, show=False, id=f"tocsin.{action.id}")
        for action in ACTIONS
        if action.on(screen) and action.id not in {"choose", "open"}  # the lists' own Enter
    ]


def key_row(screen: Screen, ids: Sequence[str], width: int) -> str:
    """` a ack  c command ...` in `width` columns; `? help  : all` at its end is never left out."""
    by_id = {action.id: action for action in ACTIONS if action.on(screen)}
    words = [f"{by_id[name].key} {by_id[name].label}" for name in ids]
    end = "? help  : all"
    while words and len("  ".join([*words, end])) + 1 > width:
        words.pop()
    return " " + "  ".join([*words, end])
