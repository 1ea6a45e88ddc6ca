"""What a person sees before they act: the next step, what it would do, and whether it is proven.

Pure views of a run. The screen and the command line show the same ones, so that what is confirmed
is what was shown, down to the digest of the request.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from runbooks import attempts
from runbooks.allow import NOTHING, AllowList, Decision, allowed
from runbooks.events import Refusal, Watch
from runbooks.model import Automatic, Effect, Manual, ManualUndo, Runbook, Step, WaitSignal
from runbooks.references import displayed
from runbooks.requests import Request, digest
from runbooks.runs import Outcome, Purpose, Run, StepRun, StepState
from runbooks.turns import Refused, Turn


@dataclass(frozen=True, slots=True, kw_only=True)
class Preview:
    """One step as it would run now. All text may quote outside values; the sink encodes it."""

    step: str
    number: int
    """From 1."""
    title: str
    text: str
    effect: Effect
    confirm: str
    """What to type: empty, `y`, or the incident's id."""
    request: Request | None = None
    shown: str = ""
    """The request in one line."""
    request_sha256: str = ""
    """Send it back with the confirmation."""
    undo: str = ""
    """How it can be taken back; empty when it cannot."""
    refusal: Refusal | None = None
    """Why it cannot start now."""


@dataclass(frozen=True, slots=True)
class Verification:
    """Whether a measured signal shows that the mitigation worked."""

    passed: bool
    reason: str
    step: str = ""
    at: datetime | None = None


def preview(
    runbook: Runbook,
    run: Run,
    step: str,
    now: datetime,
    allow: AllowList = NOTHING,
    purpose: Purpose = Purpose.RUN,
) -> Preview:
    """What `RunStep` (or `Undo`, by `purpose`) would do.

    Raises:
        KeyError: the runbook has no such step.
    """
    spec = runbook.step(step)
    if spec is None:
        raise KeyError(step)
    turn = Turn(runbook, run, now, allow)
    effect, refusal = spec.effect, turn.blocked(spec)
    request: Request | None = None
    if purpose is Purpose.ROLLBACK and not isinstance(spec, WaitSignal) and spec.rollback:
        effect = spec.rollback.effect
    if isinstance(spec, Automatic) and not (
        purpose is Purpose.ROLLBACK and isinstance(spec.rollback, ManualUndo)
    ):
        try:
            request = attempts.rendered(turn, attempts.call_of(turn, step, purpose))
            decision = allowed(request, allow)
            refusal = refusal or _denied(decision)
        except Refused as refused:
            refusal = refusal or refused.refusal
    return Preview(
        step=step,
        number=turn.number(step),
        title=displayed(spec.title, turn.look_up),
        text=displayed(spec.text, turn.look_up),
        effect=effect,
        confirm={Effect.REVERSIBLE: "y", Effect.DESTRUCTIVE: run.incident.id}.get(effect, "")
        if isinstance(spec, Automatic) or purpose is Purpose.ROLLBACK
        else "",
        request=request,
        shown="" if request is None else request.shown,
        request_sha256="" if request is None else digest(request),
        undo=_undo(spec, turn),
        refusal=refusal,
    )


def _denied(decision: Decision) -> Refusal | None:
    return None if decision.allowed else Refusal("allow", decision.reason)


def _undo(spec: Step, turn: Turn) -> str:
    """The rollback in one line, with values not known yet as their references."""
    if isinstance(spec, WaitSignal) or spec.rollback is None:
        return ""
    if isinstance(spec.rollback, ManualUndo):
        return displayed(spec.rollback.text, turn.look_up)
    try:
        return attempts.rendered(turn, spec.rollback).shown
    except Refused:
        return f"a {spec.rollback.effect} rollback, once the step has run"


def next_step(runbook: Runbook, run: Run) -> str | None:
    """Where the cursor belongs: a step whose outcome a person must settle, else the first to do."""
    for wanted in ({StepState.UNKNOWN}, {StepState.FAILED}, {StepState.PENDING}):
        for step in run.steps:
            spec = runbook.step(step.id)
            if step.state in wanted and spec is not None:
                turn = Turn(runbook, run, run.created_at, NOTHING)
                if wanted != {StepState.PENDING} or turn.blocked(spec) is None:
                    return step.id
    return None


def undo_order(runbook: Runbook, run: Run) -> list[str]:
    """The steps that can be taken back, the newest change first."""
    done = [
        (step.ended_at, step.id)
        for step in run.steps
        if step.state in {StepState.SUCCEEDED, StepState.FAILED, StepState.UNKNOWN}
        and (spec := runbook.step(step.id)) is not None
        and not isinstance(spec, WaitSignal)
        and spec.rollback is not None
        and (step.attempts or isinstance(spec, Manual))
    ]
    floor = run.created_at
    return [name for _, name in sorted(done, key=lambda pair: pair[0] or floor, reverse=True)]


def verification(runbook: Runbook, run: Run) -> Verification:
    """Whether a verifying wait passed that began after the last change to production ended."""
    changed = _last_change(runbook, run)
    ended: list[tuple[datetime, StepRun]] = []
    for step in run.steps:
        spec = runbook.step(step.id)
        if isinstance(spec, WaitSignal) and spec.verify and step.ended_at is not None:
            ended.append((step.ended_at, step))
    if not ended:
        return Verification(False, "no wait for the signal has ended yet")
    latest = max(ended, key=lambda pair: pair[0])[1]
    if latest.state is not StepState.SUCCEEDED:
        return Verification(False, latest.reason, latest.id, latest.ended_at)
    if latest.actor != "engine":
        said = f"{latest.id} was not measured: {latest.reason}"
        return Verification(False, said, latest.id, latest.ended_at)
    if changed is not None and (latest.started_at is None or latest.started_at < changed):
        said = f"{latest.id} began before the last change; measure again"
        return Verification(False, said, latest.id, latest.ended_at)
    return Verification(True, latest.reason, latest.id, latest.ended_at)


def _last_change(runbook: Runbook, run: Run) -> datetime | None:
    """When the newest attempt that may have changed something ended (or began, if it has not)."""
    times: list[datetime] = []
    for step in run.steps:
        spec = runbook.step(step.id)
        if isinstance(spec, Automatic):
            for attempt in step.attempts:
                undo = spec.rollback if attempt.purpose is Purpose.ROLLBACK else None
                effect = undo.effect if undo is not None else spec.effect
                if effect is not Effect.READ_ONLY and attempt.outcome is not Outcome.FAILED:
                    times.append(attempt.ended_at or attempt.started_at)
        elif isinstance(spec, Manual) and spec.effect is not Effect.READ_ONLY and step.ended_at:
            times.append(step.ended_at)
    return max(times, default=None)


def watches(run: Run) -> list[Watch]:
    """The signals that running waits want samples of."""
    return [
        Watch(step=step.id, signal=step.watching.signal, series=step.watching.series)
        for step in run.steps
        if step.state is StepState.RUNNING and step.watching is not None
    ]


def under_way(run: Run) -> list[tuple[str, int]]:
    """Step and number of every attempt that is out in the world."""
    return [
        (step.id, step.attempt.number)
        for step in run.steps
        if step.attempt is not None and step.under_way
    ]
