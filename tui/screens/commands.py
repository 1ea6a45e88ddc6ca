"""What can be done with an incident from any screen: each asks in the bar, then tells the desk."""

from __future__ import annotations

from collections.abc import Callable

from textual import work

from monitor.incidents.model import SEVERITIES
from monitor.views import VERDICTS
from tui.lines.line import cells
from tui.screens.desk_screen import DeskScreen
from tui.widgets.prompt_bar import Question


def pick(words: tuple[str, ...], typed: str) -> str:
    """The word that `typed` means: its number, or the beginning of only that one; else empty."""
    if typed.isdecimal():
        return words[int(typed) - 1] if 1 <= int(typed) <= len(words) else ""
    found = [word for word in words if typed and word.lower().startswith(typed.lower())]
    return found[0] if len(found) == 1 else ""


def menu(words: tuple[str, ...], width: int) -> str:
    """`1 true_positive  2 false_positive ...`, shorter where there is no room."""
    full = "  ".join(f"{number} {word}" for number, word in enumerate(words, start=1))
    if cells(full) + 16 <= width:
        return full
    return " ".join(f"{i} {word.partition('_')[0]}" for i, word in enumerate(words, start=1))


def one_of(words: tuple[str, ...]) -> Callable[[str], str]:
    """A check that a typed text means one of `words`."""
    return lambda typed: "" if pick(words, typed) else f"1-{len(words)} or the first letters"


def needed(typed: str) -> str:
    """A check that something was typed."""
    return "" if typed else "some words, please; Esc cancels"


class IncidentCommands(DeskScreen):
    """Commands on `self.ref`."""

    def _target(self) -> str:
        """The incident, or empty (and said so) when there is none or nothing may change."""
        if not self.ref:
            self.say("no incident here: d declares one")
            return ""
        return self.ref if self.may_change() else ""

    def _draft(self, ref: str, kind: str) -> str:
        """Where a text about `ref` is kept: another store has an incident of the same number."""
        row = next((row for row in self.tocsin.rows if row.id == ref), None)
        return f"{(row.uuid if row is not None else '') or ref}:{kind}"

    async def _reason(self, ref: str, label: str, kind: str, *, must: bool) -> str | None:
        draft, check = self._draft(ref, kind), needed if must else None
        return await self.ask(Question(label, draft=draft, check=check, guarded=kind.isupper()))

    @work(group="ask", exclusive=True)
    async def action_ack(self) -> None:
        if ref := self._target():
            await self.do(lambda: self.tocsin.desk.acknowledge(ref))

    @work(group="ask", exclusive=True)
    async def action_take(self) -> None:
        ref = self._target()
        if ref and await self.do(lambda: self.tocsin.desk.take(ref)) is not None:
            self.say(
                f"you command {ref}: Enter next step, n note, M mitigated, R resolve, E escalate",
                "ok",
            )

    @work(group="ask", exclusive=True)
    async def action_note(self) -> None:
        if not (ref := self._target()):
            return
        draft = self._draft(ref, "note")
        text = await self.ask(Question(f"note {ref}:", draft=draft, check=needed))
        if (
            text is not None
            and await self.do(lambda: self.tocsin.desk.note(ref, text=text)) is None
        ):
            self.tocsin.drafts.keep(draft, text)

    @work(group="ask", exclusive=True)
    async def action_severity(self) -> None:
        if not (ref := self._target()):
            return
        label = f"severity {menu(SEVERITIES, self.size.width)}:"
        typed = await self.ask(Question(label, check=one_of(SEVERITIES)))
        if typed is None:
            return
        severity = pick(SEVERITIES, typed)
        reason = await self._reason(ref, f"why {severity}:", "SEVERITY", must=True)
        if reason is not None:
            await self.do(
                lambda: self.tocsin.desk.set_severity(ref, severity=severity, reason=reason)
            )

    @work(group="ask", exclusive=True)
    async def action_escalate(self) -> None:
        if not (ref := self._target()):
            return
        label = f"page the next escalation step of {ref}; why (Enter sends):"
        reason = await self._reason(ref, label, "ESCALATE", must=False)
        if reason is not None:
            await self.do(lambda: self.tocsin.desk.escalate(ref, reason=reason))

    @work(group="ask", exclusive=True)
    async def action_mitigate(self) -> None:
        if not (ref := self._target()):
            return
        label = f"{ref} mitigated; how (Enter marks it):"
        reason = await self._reason(ref, label, "MITIGATE", must=False)
        if reason is not None:
            await self.do(lambda: self.tocsin.desk.mitigate(ref, reason=reason))

    @work(group="ask", exclusive=True)
    async def action_resolve(self) -> None:
        if not (ref := self._target()):
            return
        view = await self.fetch(lambda: self.tocsin.desk.incident(ref))
        if view is None:
            return
        label = f"verdict {menu(VERDICTS, self.size.width)}:"
        typed = await self.ask(Question(label, check=one_of(VERDICTS), guarded=True))
        if typed is None:
            return
        verdict, reason = pick(VERDICTS, typed), ""
        if view.resolve_lacks:
            lacks = "; ".join(view.resolve_lacks)
            asked = await self._reason(ref, f"{lacks}. Why safe:", "RESOLVE", must=True)
            if asked is None:
                return
            reason = asked
        await self.do(lambda: self.tocsin.desk.resolve(ref, verdict=verdict, reason=reason))

    @work(group="ask", exclusive=True)
    async def action_reopen(self) -> None:
        if not (ref := self._target()):
            return
        reason = await self._reason(ref, f"open {ref} again; why:", "REOPEN", must=True)
        if reason is not None:
            await self.do(lambda: self.tocsin.desk.reopen(ref, reason=reason))

    @work(group="ask", exclusive=True)
    async def action_close(self) -> None:
        if not (ref := self._target()):
            return
        reason = await self._reason(ref, f"close {ref}; why (Enter closes):", "CLOSE", must=False)
        if reason is not None:
            await self.do(lambda: self.tocsin.desk.close(ref, reason=reason))

    @work(group="ask", exclusive=True)
    async def action_declare(self) -> None:
        if not self.may_change():
            return
        title = await self.ask(Question("declare: what happens?", draft="declare", check=needed))
        if title is None:
            return
        label = f"severity {menu(SEVERITIES, self.size.width)}:"
        typed = await self.ask(Question(label, check=one_of(SEVERITIES)))
        feature = None if typed is None else await self.ask(Question("feature (Enter: none):"))
        if typed is None or feature is None:
            self.tocsin.drafts.keep("declare", title)
            return
        severity = pick(SEVERITIES, typed)
        done = await self.do(
            lambda: self.tocsin.desk.declare(title=title, severity=severity, feature=feature)
        )
        if done is not None and done.incident:
            self.tocsin.open_incident(done.incident)
