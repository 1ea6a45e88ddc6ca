"""One turn of a run: the value while an event works on it, and what the event leaves behind.

The pieces of the engine change a run only through a turn, and a turn writes an entry for every
change of state, so that nothing happens that the timeline does not tell.
"""

from __future__ import annotations

from datetime import datetime
from typing import NoReturn

import msgspec

from runbooks.allow import AllowList
from runbooks.compiling import KEYS
from runbooks.events import Effect, Entry, Refusal
from runbooks.model import Runbook, Secret, Step
from runbooks.nodes import names
from runbooks.references import Reference, Value, resolved
from runbooks.runs import DONE_STEPS, OPEN_STEPS, Run, RunState, StepRun, StepState

ENGINE = "engine"
"""The actor of what happens by itself."""


class Refused(Exception):
    """An event that cannot be taken now."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.text)
        self.refusal = refusal


def refuse(code: str, text: str, hint: str = "") -> NoReturn:
    """End the turn: nothing happens, and this is why."""
    raise Refused(Refusal(code, text, hint))


class Turn:
    """A run, the event's time, and what has come of the event so far."""

    def __init__(self, runbook: Runbook, run: Run, now: datetime, allow: AllowList) -> None:
        self.runbook = runbook
        self.run = run
        self.now = now
        self.allow = allow
        self.effects: list[Effect] = []
        self.entries: list[Entry] = []

    def step(self, name: str) -> Step:
        """The step of the runbook, or a refusal."""
        step = self.runbook.step(name)
        if step is None:
            refuse("state", f"there is no step {name!r}")
        return step

    def at(self, name: str) -> StepRun:
        """The step of the run."""
        found = self.run.step(name)
        if found is None:
            refuse("state", f"there is no step {name!r}")
        return found

    def number(self, name: str) -> int:
        """The step's place in the list, from 1, as people call it."""
        return next(i for i, step in enumerate(self.runbook.steps, 1) if step.id == name)

    def put(self, step: StepRun) -> None:
        """Replace one step of the run."""
        steps = tuple(step if old.id == step.id else old for old in self.run.steps)
        self.run = msgspec.structs.replace(self.run, steps=steps)

    def write(self, kind: str, text: str, actor: str, step: str = "", **data: Value) -> None:
        """Add a fact for the timeline."""
        self.entries.append(Entry(kind=kind, text=text, actor=actor, step=step, data=data))

    def move(self, step: StepRun, state: StepState, reason: str, actor: str) -> StepRun:
        """Bring a step into a state, with its entry."""
        ended = None if state in OPEN_STEPS else self.now
        started = self.now if state is StepState.RUNNING else step.started_at
        moved = msgspec.structs.replace(
            step,
            state=state,
            reason=reason,
            actor=actor,
            started_at=started,
            ended_at=ended,
            retry_at=None,
            watching=step.watching if state is StepState.RUNNING else None,
        )
        self.put(moved)
        text = f"step {self.number(step.id)} {step.id}: {state.replace('_', ' ')}"
        self.write(
            "step",
            f"{text}, {reason}" if reason else text,
            actor,
            step.id,
            state=state.value,
            was=step.state.value,
        )
        return moved

    # -- values ----------------------------------------------------------------------------------

    def look_up(self, found: Reference) -> Value:
        """The value of a reference in this run."""
        captured = {step.id: step.captured for step in self.run.steps}
        return resolved(found, self.run.params, captured, self.run.incident.values())

    def secret(self, name: str) -> Secret:
        """Where a secret is found."""
        return self.runbook.spec.secrets[name]

    def condition(self, step: Step) -> bool | None:
        """Whether the step's condition holds; None while a step it asks about is open."""
        if step.condition is None:
            return True
        asked = {name.split(".")[1] for name in names(step.condition.root) if name[:6] == "steps."}
        for other in self.run.steps:
            if other.id.replace("-", "_") in asked and other.state in OPEN_STEPS:
                return None
        steps = {
            other.id.replace("-", "_"): {**other.captured, "state": other.state.value}
            for other in self.run.steps
        }
        scope = {
            "params": self.run.params,
            "steps": steps,
            "incident": self.run.incident.values(),
        }
        return step.condition.compile(KEYS)(scope)

    def missing(self, step: Step) -> list[str]:
        """The steps that must be done first and are not."""
        return [name for name in step.needs if self.at(name).state not in DONE_STEPS]

    def blocked(self, step: Step) -> Refusal | None:
        """Why the step cannot start, whoever asks."""
        if self.run.state is RunState.PENDING:
            return Refusal("state", "the run is not started")
        if self.run.state is RunState.ABORTED:
            return Refusal("state", "the run is aborted", "start a new one")
        missing = self.missing(step)
        if missing:
            hint = "do it, or skip it with a reason"
            return Refusal("needs", f"waits for {', '.join(missing)}", hint)
        if self.condition(step) is None:
            return Refusal("condition", f"its condition is open: {step.condition}")
        return None
