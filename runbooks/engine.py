"""The engine: `advance(runbook, run, event, now)` gives the next run, and does nothing itself.

It is a pure function. The caller stores the new run and its entries in one transaction and carries
out the effects afterwards; after a crash it sends `Recovered`. Deadlines are in the run value and
become real when the caller sends `Tick` (`runs.next_deadline` says when).
"""

from __future__ import annotations

from datetime import datetime
from typing import assert_never

import msgspec

from runbooks import attempts, waits
from runbooks.allow import NOTHING, AllowList
from runbooks.events import (
    Abort,
    Advance,
    AttemptBegun,
    AttemptFinished,
    Done,
    Event,
    Fail,
    LeaseExpired,
    Recovered,
    RunStep,
    SignalObserved,
    Skip,
    Start,
    StartAttempt,
    Tick,
    Undo,
    Watch,
)
from runbooks.model import Automatic, Effect, Manual, ManualUndo, Runbook, Step, WaitSignal
from runbooks.params import ParamError, bind
from runbooks.requests import digest
from runbooks.runs import (
    DONE_STEPS,
    Facts,
    Outcome,
    Purpose,
    Run,
    RunState,
    StepRun,
    StepState,
    decode_run,
    encode_run,
    next_deadline,
)
from runbooks.turns import ENGINE, Refused, Turn, refuse

__all__ = ["advance", "decode_run", "encode_run", "new_run", "next_deadline"]

MAX_NOTE = 2_000


def new_run(runbook: Runbook, run_id: str, incident: Facts, now: datetime) -> Run:
    """A run that nobody has started yet."""
    return Run(
        id=run_id,
        runbook_id=runbook.id,
        runbook_version=runbook.spec.version,
        runbook_sha256=runbook.sha256,
        incident=incident,
        created_at=now,
        steps=tuple(StepRun(id=step.id) for step in runbook.steps),
    )


def advance(
    runbook: Runbook, run: Run, event: Event, now: datetime, allow: AllowList = NOTHING
) -> Advance:
    """What an event does to a run.

    Args:
        runbook: the file the run started from, byte for byte.
        run: the stored value.
        event: what happened.
        now: aware UTC time.
        allow: the operator's allow-list; without one nothing is carried out.

    Returns:
        The new run with effects and entries, or the same run with a refusal.
    """
    turn = Turn(runbook, run, now, allow)
    try:
        if run.runbook_sha256 != runbook.sha256 and not isinstance(event, Abort):
            hint = "abort it and start a new one, or give back the file it started from"
            refuse("changed", "the runbook's file is not the one this run started from", hint)
        _take(turn, event)
        _settle(turn)
    except Refused as refused:
        return Advance(run, refusal=refused.refusal)
    if turn.run == run and not turn.effects and not turn.entries:
        return Advance(run)
    changed = msgspec.structs.replace(turn.run, revision=run.revision + 1)
    return Advance(changed, tuple(turn.effects), tuple(turn.entries))


def unbegun(
    runbook: Runbook, run: Run, now: datetime, allow: AllowList = NOTHING
) -> tuple[StartAttempt, ...]:
    """The attempts that are written down and not begun, as they were asked for.

    For a carrier that did not make the transition itself; it is told which it may begin when it
    sends `AttemptBegun`. One that could not be asked for any more is left out; its deadline comes.

    Args:
        runbook: the file the run started from.
        run: the stored value.
        now: aware UTC time.
        allow: the operator's allow-list.
    """
    turn = Turn(runbook, run, now, allow)
    return tuple(asked for step in run.steps for asked in _asked(turn, step))


def _asked(turn: Turn, step: StepRun) -> tuple[StartAttempt, ...]:
    """The attempt of a step that is under way, if it can still be asked for."""
    try:
        asked = attempts.asked_for(turn, step)
    except Refused:
        return ()
    return () if asked is None else (asked,)


def _take(turn: Turn, event: Event) -> None:  # noqa: C901, PLR0912 - one line for each kind of event
    match event:
        case Start():
            _start(turn, event)
        case RunStep():
            _run_step(turn, event)
        case Done():
            _done(turn, event)
        case Fail():
            _fail(turn, event)
        case Skip():
            _skip(turn, event)
        case Undo():
            _undo(turn, event)
        case Abort():
            _abort(turn, event)
        case AttemptBegun():
            attempts.begin(turn, event)
        case AttemptFinished():
            attempts.finish(turn, event)
        case SignalObserved():
            waits.observe(turn, event)
        case LeaseExpired():
            _lease_expired(turn, event)
        case Recovered():
            _recover(turn, event)
        case Tick():
            _tick(turn)
        case _:
            assert_never(event)


# -- people -----------------------------------------------------------------------------------


def _start(turn: Turn, event: Start) -> None:
    if turn.run.state is not RunState.PENDING:
        refuse("state", f"the run is {turn.run.state} already")
    try:
        params = bind(turn.runbook.spec.params, event.params, event.configured)
    except ParamError as error:
        refuse("value", str(error))
    turn.run = msgspec.structs.replace(
        turn.run,
        state=RunState.WAITING_INPUT,
        actor=event.actor,
        params=params,
        started_at=turn.now,
    )
    version = f"{turn.runbook.id} v{turn.runbook.spec.version}"
    turn.write(
        "run",
        f"run {turn.run.id} of {version} started",
        event.actor,
        state=turn.run.state.value,
        sha256=turn.runbook.sha256,
    )


def _run_step(turn: Turn, event: RunStep) -> None:
    spec, step = turn.step(event.step), turn.at(event.step)
    blocked = turn.blocked(spec)
    if blocked is not None:
        raise Refused(blocked)
    _may_start(step, again=event.again)
    if isinstance(spec, Manual):
        turn.move(step, StepState.RUNNING, f"{event.actor} is at it", event.actor)
    elif isinstance(spec, WaitSignal):
        waits.start(turn, spec, step, event.actor)
    else:
        _confirmed(turn, step.id, Purpose.RUN, event)
        attempts.start(turn, step, Purpose.RUN, event.actor)


def _may_start(step: StepRun, *, again: bool) -> None:
    if step.state is StepState.RUNNING:
        refuse("state", f"{step.id} is running, started by {step.actor}")
    if step.state is StepState.UNKNOWN and not again:
        hint = "look what became of it and say done or failed; or run it again on purpose"
        refuse("state", f"the outcome of {step.id} is unknown", hint)
    if step.state in DONE_STEPS and not again:
        said = step.state.replace("_", " ")
        refuse("state", f"{step.id} is {said} already", "run it again on purpose")


def _confirmed(turn: Turn, step: str, purpose: Purpose, event: RunStep | Undo) -> None:
    """Check that the person confirmed this harm and saw this request."""
    call = attempts.call_of(turn, step, purpose)
    _confirm(turn, call.effect, event.confirm)
    if event.request_sha256 is not None:
        request = attempts.rendered(turn, call)
        if digest(request) != event.request_sha256:
            refuse("changed", "the request is not the one that was shown", "look again")


def _confirm(turn: Turn, effect: Effect, confirm: str | None) -> None:
    given = (confirm or "").strip()
    if effect is Effect.REVERSIBLE and given.lower() not in {"y", "yes"}:
        refuse("confirm", "it changes production and can be taken back", "confirm with y")
    if effect is Effect.DESTRUCTIVE and given != turn.run.incident.id:
        hint = f"type {turn.run.incident.id} to run it"
        refuse("confirm", "it changes production and cannot be taken back", hint)


def _done(turn: Turn, event: Done) -> None:
    spec, step = turn.step(event.step), turn.at(event.step)
    if step.state is StepState.UNKNOWN:
        note = event.note.strip()[:MAX_NOTE]
        if not note:
            refuse("value", "say how you know that it worked", "a note is needed here")
        rolled = step.attempt is not None and step.attempt.purpose is Purpose.ROLLBACK
        state = StepState.ROLLED_BACK if rolled else StepState.SUCCEEDED
        turn.move(step, state, f"by {event.actor}'s word: {note}", event.actor)
        return
    if not isinstance(spec, Manual):
        refuse("state", f"{step.id} is not done by hand")
    if step.state not in {StepState.PENDING, StepState.RUNNING, StepState.FAILED}:
        refuse("state", f"{step.id} is {step.state} already")
    blocked = turn.blocked(spec)
    if blocked is not None:
        raise Refused(blocked)
    try:
        captured = bind(spec.capture, event.captured)
    except ParamError as error:
        refuse("value", str(error))
    step = msgspec.structs.replace(step, captured=captured)
    for name, value in captured.items():
        if value is not None:
            turn.write("capture", f"step {step.id}: {name} is {value}", event.actor, step.id)
    turn.move(step, StepState.SUCCEEDED, event.note.strip()[:MAX_NOTE] or "done", event.actor)


def _fail(turn: Turn, event: Fail) -> None:
    step = turn.at(event.step)
    reason = _reason(event.reason)
    _started(turn)
    if step.state is StepState.RUNNING and step.under_way:
        refuse("state", f"{step.id} is running", "wait for it, or abort the run")
    if step.state not in {StepState.PENDING, StepState.RUNNING, StepState.UNKNOWN}:
        refuse("state", f"{step.id} is {step.state} already")
    turn.move(step, StepState.FAILED, reason, event.actor)


def _skip(turn: Turn, event: Skip) -> None:
    step = turn.at(event.step)
    reason = _reason(event.reason)
    _started(turn)
    if step.state is StepState.RUNNING and step.under_way:
        refuse("state", f"{step.id} is running", "wait for it, or abort the run")
    if step.state in DONE_STEPS:
        refuse("state", f"{step.id} is {step.state} already")
    turn.move(step, StepState.SKIPPED, reason, event.actor)


def _reason(text: str) -> str:
    reason = text.strip()[:MAX_NOTE]
    if not reason:
        refuse("value", "a reason is needed")
    return reason


def _started(turn: Turn) -> None:
    if turn.run.state is RunState.PENDING:
        refuse("state", "the run is not started")


def _undo(turn: Turn, event: Undo) -> None:
    spec, step = turn.step(event.step), turn.at(event.step)
    _started(turn)
    if isinstance(spec, WaitSignal) or spec.rollback is None:
        refuse("state", f"{step.id} has no rollback")
    if step.state not in {StepState.SUCCEEDED, StepState.FAILED, StepState.UNKNOWN}:
        refuse("state", f"{step.id} is {step.state}; there is nothing to take back")
    step = attempts.over(turn, step)
    if isinstance(spec.rollback, ManualUndo):
        _confirm(turn, spec.rollback.effect, event.confirm)
        said = event.note.strip()[:MAX_NOTE] or "rolled back by hand"
        turn.move(step, StepState.ROLLED_BACK, said, event.actor)
        return
    _confirmed(turn, step.id, Purpose.ROLLBACK, event)
    attempts.start(turn, step, Purpose.ROLLBACK, event.actor)


def _abort(turn: Turn, event: Abort) -> None:
    reason = _reason(event.reason)
    if turn.run.state is RunState.ABORTED:
        refuse("state", "the run is aborted already")
    for step in turn.run.steps:
        if step.state is not StepState.RUNNING:
            continue
        attempt = step.attempt
        if attempt is not None and attempt.outcome is Outcome.RUNNING:
            turn.move(step, StepState.UNKNOWN, "the run was aborted while it ran", event.actor)
        elif step.retry_at is not None:
            turn.move(step, StepState.FAILED, "the run was aborted", event.actor)
        else:
            turn.move(step, StepState.SKIPPED, "the run was aborted", event.actor)
    turn.run = msgspec.structs.replace(turn.run, state=RunState.ABORTED, ended_at=turn.now)
    turn.write("run", f"run {turn.run.id} aborted: {reason}", event.actor, state="aborted")


# -- machines ---------------------------------------------------------------------------------


def _lease_expired(turn: Turn, event: LeaseExpired) -> None:
    step = turn.at(event.step)
    if step.attempt is None or step.attempt.number != event.attempt:
        refuse("stale", f"attempt {event.attempt} of {event.step} is not the newest")
    attempts.lost(turn, step, "whoever ran it went silent")


def _recover(turn: Turn, event: Recovered) -> None:
    """What was begun has no carrier any more; waits, and what is not begun, are asked for."""
    for step in turn.run.steps:
        if step.state is not StepState.RUNNING:
            continue
        if step.watching is not None:
            watching = step.watching
            turn.effects.append(Watch(step=step.id, signal=watching.signal, series=watching.series))
        elif (
            step.attempt is None
            or step.attempt.outcome is not Outcome.RUNNING
            or (step.id, step.attempt.number) in event.ours
        ):
            continue
        elif step.attempt.begun is False:
            turn.effects += _asked(turn, step)
        else:
            attempts.lost(turn, step, "the process stopped while it ran")


def _tick(turn: Turn) -> None:
    for step in turn.run.steps:
        if step.retry_at is not None and step.retry_at <= turn.now:
            attempts.again(turn, step, "the delay is over")
        elif step.state is not StepState.RUNNING:
            continue
        elif step.watching is not None:
            waits.tick(turn, step)
        elif (
            step.attempt is not None
            and step.attempt.outcome is Outcome.RUNNING
            and step.attempt.deadline <= turn.now
        ):
            attempts.silent(turn, step)


# -- what follows by itself -------------------------------------------------------------------


def _settle(turn: Turn) -> None:
    """Skip what its condition rules out, start what starts by itself, and name the run's state."""
    if turn.run.state in {RunState.PENDING, RunState.ABORTED}:
        return
    for spec in turn.runbook.steps:
        step = turn.at(spec.id)
        if step.state is not StepState.PENDING or turn.missing(spec):
            continue
        holds = turn.condition(spec)
        if holds is False:
            turn.move(step, StepState.SKIPPED, f"not needed: {spec.condition} is false", ENGINE)
        elif holds and _starts_itself(spec):
            _start_itself(turn, spec, step)
    state = _state(turn.run)
    if state is turn.run.state:
        return
    over = state in {RunState.SUCCEEDED, RunState.FAILED}
    turn.run = msgspec.structs.replace(turn.run, state=state, ended_at=turn.now if over else None)
    said = state.replace("_", " ")
    turn.write("run", f"run {turn.run.id} is {said}", ENGINE, state=state.value)


def _starts_itself(spec: Step) -> bool:
    return isinstance(spec, (Automatic, WaitSignal)) and spec.auto


def _start_itself(turn: Turn, spec: Step, step: StepRun) -> None:
    """Start an automatic step; one that is refused waits for a person, who will be told why."""
    try:
        if isinstance(spec, WaitSignal):
            waits.start(turn, spec, step, ENGINE)
        elif isinstance(spec, Automatic) and spec.effect is Effect.READ_ONLY:
            attempts.start(turn, step, Purpose.RUN, ENGINE)
    except Refused as refused:
        turn.move(step, StepState.FAILED, f"did not start: {refused.refusal.text}", ENGINE)


def _state(run: Run) -> RunState:
    states = {step.state for step in run.steps}
    if StepState.RUNNING in states:
        return RunState.RUNNING
    if StepState.UNKNOWN in states:
        return RunState.WAITING_INPUT
    if StepState.FAILED in states:
        return RunState.PAUSED if StepState.PENDING in states else RunState.FAILED
    return RunState.WAITING_INPUT if StepState.PENDING in states else RunState.SUCCEEDED
