"""Working a runbook: starting one, and what can be done with the step under the cursor.

Three tiers of confirmation: a read-only step runs on Enter, a reversible one wants `y`, a
destructive one wants the incident's id typed out.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

from textual import work

from monitor.views import IncidentView, Param, RunbookRow, StepAction, StepView
from tui.drafts import write_private
from tui.messages import IncidentNews
from tui.screens.asking import convert, question
from tui.screens.commands import IncidentCommands, needed
from tui.screens.reading import Reading, text_lines
from tui.widgets.line_list import LineList
from tui.widgets.prompt_bar import Question

_YES = {"y": "y"}


class StepCommands(IncidentCommands):
    """The runbook's keys."""

    @property
    def news(self) -> IncidentNews | None:
        """The last facts."""
        raise NotImplementedError

    @property
    def _steps(self) -> list[StepView]:
        run = self.news.view.run if self.news is not None else None
        return run.steps if run is not None else []

    @property
    def step_here(self) -> StepView | None:
        """The step under the cursor of the runbook pane."""
        key = self.query_one("#runbook", LineList).key
        return next((step for step in self._steps if step.id == key), None)

    def to_current(self) -> None:
        """Put the cursor on the current step: at the first sight, and when a person starts one."""
        step = next((step for step in self._steps if step.current), None)
        if step is not None:
            self.query_one("#runbook", LineList).go(step.id)

    # Enter ---------------------------------------------------------------------------------------

    @work(group="ask", exclusive=True)
    async def choose(self, key: str) -> None:
        """Do the thing under the cursor: start the runbook, run or tick the step."""
        if not self._target():
            return
        if self.news is not None and self.news.view.run is None:
            await self._start(key.removeprefix("start:"))
            return
        step = self.step_here
        if step is None:
            self.say("no step here")
        elif step.state == "unknown" and "done" in step.actions:
            await self._settle(step)
        elif step.actions:
            await self._act(step)
        else:
            await self._next(step)

    async def _next(self, step: StepView) -> None:
        """Enter on a step that is over goes on with the current one; never ticks it unread."""
        current = next((each for each in self._steps if each.current and each.actions), None)
        if current is None or current.id == step.id:
            self.say(f"step {step.number} is {step.state}: nothing to do on it")
            return
        self.query_one("#runbook", LineList).go(current.id)
        if "run" in current.actions:
            await self._act(current)
        else:
            self.say(f"step {current.number} is yours to do: Enter ticks it")

    async def _settle(self, step: StepView) -> None:
        """A step whose outcome nobody saw is never repeated by a habit of pressing Enter."""
        label = f"step {step.number} unknown; how do you know it worked (Esc, x: it failed):"
        note = await self.ask(Question(label, check=needed, guarded=True))
        if note is not None:
            await self._send(step, "done", note=note)

    async def _act(self, step: StepView) -> None:
        if "run" in step.actions:
            await self._run(step)
        elif "done" in step.actions:
            await self._tick(step)
        elif step.state == "running":
            self.say(f"step {step.number} is running")
        else:
            can = ", ".join(step.actions)
            self.say(f"step {step.number} is {step.state}: {can} can be done with it")

    async def _tick(self, step: StepView) -> None:
        """A manual step is done, with the values that its runbook wants to keep."""
        given = await self._values(step.asks, f"step {step.number}")
        if given is not None:
            captured = {name: str(value) for name, value in given.items()}
            await self._send(step, "done", captured=captured or None)

    async def _run(self, step: StepView) -> None:
        confirm = await self._confirm(step, step.request or step.text)
        if confirm is not None:
            await self._send(step, "run", confirm=confirm)

    async def _confirm(self, step: StepView, what: str) -> str | None:
        """What confirms the step: nothing, `y`, or the typed target; None when it was not given."""
        wanted = step.confirm
        if wanted is None:
            return ""
        undo = f"  undo: {step.undo}" if step.undo else "  NO UNDO"
        if wanted == "y":
            label = f"y runs step {step.number}, Esc cancels: {what}{undo}"
            return await self.ask(Question(label, keys=_YES, guarded=True))
        return await self._type_out(wanted, f"run step {step.number}")

    async def _type_out(self, wanted: str, what: str) -> str | None:
        """`wanted`, typed by the person letter by letter; None when it was not."""
        label = f"DANGER type {wanted} to {what}, Esc cancels:"

        def check(typed: str) -> str:
            return "" if typed == wanted else f"not {wanted}"

        return await self.ask(Question(label, check=check, guarded=True))

    async def _send(
        self,
        step: StepView,
        action: StepAction,
        *,
        note: str = "",
        confirm: str = "",
        captured: dict[str, str] | None = None,
    ) -> None:
        ref, number = self.ref, step.number
        await self.do(
            lambda: self.tocsin.desk.step(
                ref, number=number, action=action, note=note, confirm=confirm, captured=captured
            )
        )

    # starting ------------------------------------------------------------------------------------

    async def _start(self, name: str) -> None:
        """Ask for the parameters of a runbook, start it, and run its first read-only step."""
        rows = self.news.runbooks if self.news is not None else []
        row = next((each for each in rows if each.id == name), None)
        if row is None:
            self.say("no runbook here: see `tocsin runbook list`")
            return
        params = await self._params(row)
        if params is None:
            self.say("not started")
            return
        ref = self.ref
        started = await self.do(
            lambda: self.tocsin.desk.start_run(ref, runbook=name, params=params or None)
        )
        if started is None:
            return
        view = await self.fetch(lambda: self.tocsin.desk.incident(ref))
        first = _first_check(view)
        if first is not None:
            await self._send(first, "run")

    async def _params(self, row: RunbookRow) -> dict[str, str | int | bool] | None:
        """Only what nobody has set: the request is shown before anything is changed."""
        wanted = [param for param in row.params if param.required and param.default is None]
        return await self._values(wanted, row.id)

    async def _values(
        self, params: Sequence[Param], head: str
    ) -> dict[str, str | int | bool] | None:
        """One answer a parameter; None when the person left."""
        given: dict[str, str | int | bool] = {}
        for number, param in enumerate(params, start=1):
            typed = await self.ask(
                question(param, f"{head} {number}/{len(params)}" if len(params) > 1 else head)
            )
            if typed is None:
                return None
            if typed:
                given[param.name] = convert(param, typed)
        return given

    # the other keys ------------------------------------------------------------------------------

    @work(group="ask", exclusive=True)
    async def action_fail(self) -> None:
        await self._with_reason("fail", "failed")

    @work(group="ask", exclusive=True)
    async def action_skip(self) -> None:
        await self._with_reason("skip", "skipped")

    async def _with_reason(self, action: StepAction, word: str) -> None:
        step = self._allowed(action)
        if step is None:
            return
        label = f"step {step.number} {word}; why:"
        draft = self._draft(self.ref, f"{action}:{step.number}")
        reason = await self.ask(Question(label, draft=draft, check=needed))
        if reason is not None:
            await self._send(step, action, note=reason)

    def _allowed(self, action: StepAction) -> StepView | None:
        """The step under the cursor, when `action` can be done with it."""
        step = self.step_here
        if not self._target():
            return None
        if step is None:
            self.say("no step here")
            return None
        if action not in step.actions:
            can = ", ".join(step.actions) or "nothing"
            self.say(f"step {step.number} is {step.state}: cannot {action} it, only {can}", "warn")
            return None
        return step

    @work(group="ask", exclusive=True)
    async def action_undo(self) -> None:
        step = self._allowed("undo")
        if step is None:
            return
        what = step.undo or step.title
        if step.undo_confirm is None or step.undo_confirm == "y":
            label = f"y undoes step {step.number}, Esc cancels: {what}"
            confirm = await self.ask(Question(label, keys=_YES, guarded=True))
        else:
            confirm = await self._type_out(step.undo_confirm, f"undo step {step.number}: {what}")
        if confirm is not None:
            await self._send(step, "undo", confirm=confirm)

    @work(group="ask", exclusive=True)
    async def action_verify(self) -> None:
        if self.news is None:
            return
        waits = (step for step in self._steps if step.type.startswith("wait"))
        step = next((each for each in waits if "run" in each.actions), None)
        view = self.news.view
        if step is not None and self.may_change():
            self.query_one("#runbook", LineList).go(step.id)
            await self._run(step)
        elif view.verified:
            self.say("verified: the signal held after the mitigation; R resolves", "ok")
        else:
            lacks = "; ".join(view.resolve_lacks) or "no signal condition has held yet"
            self.say(f"not verified: {lacks}", "warn")

    @work(group="ask", exclusive=True)
    async def action_abort(self) -> None:
        ref = self._target()
        if not ref:
            return
        reason = await self._reason(ref, "break the runbook off; why:", "ABORT", must=True)
        if reason is not None:
            await self.do(lambda: self.tocsin.desk.abort_run(ref, reason=reason))

    @work(group="ask", exclusive=True)
    async def action_runbook(self) -> None:
        if self.news is None:
            return
        run = self.news.view.run
        name = run.runbook if run is not None else ""
        if not name:
            name = self.query_one("#runbook", LineList).key.removeprefix("start:")
        if not name:
            self.say("no runbook here")
            return
        text = await self.fetch(lambda: self.tocsin.desk.runbook_text(name))
        if text is not None:
            self.app.push_screen(Reading(f"runbook {name}", text_lines(text, self.face)))

    @work(group="ask", exclusive=True)
    async def action_export(self) -> None:
        ref = self.ref
        label = "write the review to (.md or .json):"
        typed = await self.ask(Question(label, initial=f"{ref}.md", check=needed))
        if typed is None:
            return
        path = Path(typed)
        form = "json" if path.suffix == ".json" else "md"
        text = await self.fetch(lambda: self.tocsin.desk.review(ref, form=form))
        if text is None:
            return
        try:
            await asyncio.to_thread(write_private, path, text)
        except OSError as error:
            self.say(f"cannot write {path}: {error.strerror}", "warn")
        else:
            self.say(f"review written to {path}", "ok")


def _first_check(view: IncidentView | None) -> StepView | None:
    """The current step, when a person's start of the runbook may run it at once."""
    run = view.run if view is not None else None
    step = next((step for step in run.steps if step.current), None) if run is not None else None
    if step is None or "run" not in step.actions:
        return None
    return step if step.effect == "read_only" and step.confirm is None else None
