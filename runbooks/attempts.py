"""Attempts: starting a request, taking its answer, and what to do when there is none.

The rule under all of it: an attempt is written down before it starts, and what may have changed the
world is never repeated without a person. Read-only steps repeat by themselves, a bounded number of
times; a reversible step only on a definite failure and only if its author called it idempotent.
"""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Final

import msgspec

from runbooks.allow import Decision, allowed
from runbooks.events import AttemptBegun, AttemptFinished, StartAttempt
from runbooks.model import (
    Command,
    CommandUndo,
    Effect,
    Http,
    HttpUndo,
    Retry,
    timeout_of,
)
from runbooks.references import Value, spelled
from runbooks.requests import RenderError, Request, digest, render
from runbooks.runs import Attempt, Outcome, Purpose, StepRun, StepState
from runbooks.turns import ENGINE, Turn, refuse

Call = Http | Command | HttpUndo | CommandUndo

GRACE: Final = timedelta(seconds=15)
"""After the timeout, for ending the process and reporting."""
MAX_LOST: Final = 2
"""Automatic repeats of a read-only step whose attempts vanish."""
MAX_CAPTURE_INPUT: Final = 64 * 1024


def call_of(turn: Turn, step: str, purpose: Purpose) -> Call:
    """What an attempt carries out: the step itself or its rollback; a refusal if there is none."""
    spec = turn.step(step)
    call = spec if purpose is Purpose.RUN else getattr(spec, "rollback", None)
    if not isinstance(call, (Http, Command, HttpUndo, CommandUndo)):
        refuse("state", f"{step} has nothing to carry out for {purpose}")
    return call


def rendered(turn: Turn, call: Call) -> Request:
    """The request, or a refusal that says which value is missing."""
    try:
        return render(call, turn.look_up, turn.secret)
    except RenderError as error:
        refuse("value", str(error), "fill in the step or parameter it comes from")


def permitted(turn: Turn, request: Request) -> Decision:
    """The allow-list's yes, or a refusal with its no."""
    decision = allowed(request, turn.allow)
    if not decision.allowed:
        refuse("allow", decision.reason, "the operator's allow-list decides what may run")
    return decision


def start(turn: Turn, step: StepRun, purpose: Purpose, actor: str, *, repeat: bool = False) -> None:
    """Write an attempt down and ask for it to be carried out.

    Args:
        turn: the turn.
        step: the step, in any state.
        purpose: the step or its rollback.
        actor: who asked for it.
        repeat: it repeats the newest attempt and carries its key.

    Raises:
        Refused: a value is missing or the allow-list does not name it.
    """
    call = call_of(turn, step.id, purpose)
    request = rendered(turn, call)
    decision = permitted(turn, request)
    timeout = timeout_of(turn.runbook.spec, call) or turn.runbook.spec.defaults.timeout
    number = len(step.attempts) + 1
    newest = step.attempt
    attempt = Attempt(
        number=number,
        purpose=purpose,
        key=newest.key if repeat and newest else f"{turn.run.id}:{step.id}:{number}",
        request_sha256=digest(request),
        started_at=turn.now,
        deadline=turn.now + timeout + GRACE,
        actor=actor,
        begun=False,
    )
    retries = step.retries + 1 if repeat else 0
    step = msgspec.structs.replace(step, attempts=(*step.attempts, attempt), retries=retries)
    if step.state is StepState.RUNNING:
        turn.put(msgspec.structs.replace(step, retry_at=None))
    else:
        verb = "rolling back" if purpose is Purpose.ROLLBACK else "started"
        turn.move(step, StepState.RUNNING, verb, actor)
    _tell(turn, step.id, attempt, request)
    turn.effects.append(
        StartAttempt(
            step=step.id,
            attempt=number,
            request=request,
            executable=decision.executable,
            timeout=timeout,
            key=attempt.key,
        )
    )


def asked_for(turn: Turn, step: StepRun) -> StartAttempt | None:
    """The attempt that waits to be begun, as it was asked for; None when there is none.

    Raises:
        Refused: a value is missing, the allow-list does not name it, or it is another request now.
    """
    attempt = step.attempt
    if step.state is not StepState.RUNNING or attempt is None:
        return None
    if attempt.outcome is not Outcome.RUNNING or attempt.begun or attempt.deadline <= turn.now:
        return None
    call = call_of(turn, step.id, attempt.purpose)
    request = rendered(turn, call)
    if digest(request) != attempt.request_sha256:
        refuse("changed", f"{step.id} would send another request than the one written down")
    return StartAttempt(
        step=step.id,
        attempt=attempt.number,
        request=request,
        executable=permitted(turn, request).executable,
        timeout=timeout_of(turn.runbook.spec, call) or turn.runbook.spec.defaults.timeout,
        key=attempt.key,
    )


def _tell(turn: Turn, step: str, attempt: Attempt, request: Request) -> None:
    """Write down what is about to be carried out."""
    numbers = f"step {turn.number(step)} {step}: {attempt.purpose} attempt {attempt.number}"
    turn.write(
        "attempt",
        f"{numbers}: {request.shown[:500]}",
        attempt.actor,
        step,
        attempt=attempt.number,
        purpose=attempt.purpose.value,
        request_sha256=attempt.request_sha256,
    )


def begin(turn: Turn, event: AttemptBegun) -> None:
    """Write down that an attempt is being carried out: it can be lost now, and begins only once.

    Raises:
        Refused: it was begun before, has ended, or is not the newest.
    """
    step = turn.at(event.step)
    attempt = step.attempt
    if attempt is None or attempt.number != event.attempt:
        refuse("stale", f"attempt {event.attempt} of {event.step} is not the newest")
    if step.state is not StepState.RUNNING or attempt.outcome is not Outcome.RUNNING:
        refuse("stale", f"attempt {event.attempt} of {event.step} is not under way")
    if attempt.begun:
        refuse("stale", f"attempt {event.attempt} of {event.step} was begun before")
    begun = msgspec.structs.replace(attempt, begun=True)
    turn.put(msgspec.structs.replace(step, attempts=(*step.attempts[:-1], begun)))


def finish(turn: Turn, event: AttemptFinished) -> None:
    """Take the answer of an attempt, also one that comes late."""
    step = turn.at(event.step)
    attempt = step.attempt
    if attempt is None or attempt.number != event.attempt:
        refuse("stale", f"attempt {event.attempt} of {event.step} is not the newest")
    if attempt.outcome not in {Outcome.RUNNING, Outcome.UNKNOWN}:
        refuse("stale", f"attempt {event.attempt} of {event.step} has ended")
    if attempt.outcome is Outcome.UNKNOWN and event.unknown:
        refuse("stale", f"attempt {event.attempt} of {event.step} is unknown already")
    call = call_of(turn, step.id, attempt.purpose)
    succeeded = event.ok and not event.unknown and _expected(call, event.status)
    outcome = Outcome.OK if succeeded else Outcome.UNKNOWN if event.unknown else Outcome.FAILED
    step = _ended(turn, step, outcome, event)
    if step.state not in {StepState.RUNNING, StepState.UNKNOWN}:
        return  # a person has said what became of the step; the attempt's outcome stays a fact
    if succeeded:
        _succeed(turn, step, attempt.purpose, event)
    elif event.unknown:
        _lose(turn, step, "its outcome is unknown")
    else:
        _fail(turn, step, attempt.purpose, call, event)


def lost(turn: Turn, step: StepRun, why: str) -> None:
    """Nobody will report on the running attempt any more."""
    attempt = step.attempt
    if attempt is None or attempt.outcome is not Outcome.RUNNING:
        refuse("stale", f"{step.id} has no attempt under way")
    report = AttemptFinished(
        step=step.id, attempt=attempt.number, ok=False, unknown=True, detail=why
    )
    step = _ended(turn, step, Outcome.UNKNOWN, report)
    if step.state is StepState.RUNNING:
        _lose(turn, step, why)


def silent(turn: Turn, step: StepRun) -> None:
    """The deadline of the running attempt is over: one that nobody has begun failed, for sure."""
    attempt = step.attempt
    if attempt is None or attempt.begun is not False or attempt.outcome is not Outcome.RUNNING:
        lost(turn, step, "nothing was heard of it in time")
        return
    text = "not carried out: nobody could begin it in time"
    finish(turn, AttemptFinished(step=step.id, attempt=attempt.number, ok=False, detail=text))


def over(turn: Turn, step: StepRun) -> StepRun:
    """The step with no attempt out in the world: one of which nothing was heard in time is lost.

    Aborting a run moves its steps on, and cannot call back a request that is on its way.

    Raises:
        Refused: an attempt is under way; to start its rollback beside it would race with it.
    """
    attempt = step.attempt
    if attempt is None or not step.under_way:
        return step
    if turn.now < attempt.deadline:
        refuse(
            "state",
            f"attempt {attempt.number} of {step.id} is still out in the world",
            f"wait until it has reported, at the latest at {attempt.deadline:%H:%M:%S} UTC",
        )
    silent(turn, step)
    return turn.at(step.id)


def again(turn: Turn, step: StepRun, why: str) -> None:
    """Repeat the newest attempt without a person; a refusal ends the step as failed."""
    attempt = step.attempt
    assert attempt is not None
    turn.write("attempt", f"step {step.id} is repeated: {why}", ENGINE, step.id)
    blocked = _refusal(turn, step, attempt.purpose)
    if blocked:
        turn.move(step, StepState.FAILED, f"cannot be repeated: {blocked}", ENGINE)
    else:
        start(turn, step, attempt.purpose, ENGINE, repeat=True)


def _refusal(turn: Turn, step: StepRun, purpose: Purpose) -> str:
    try:
        request = render(call_of(turn, step.id, purpose), turn.look_up, turn.secret)
    except RenderError as error:
        return str(error)
    decision = allowed(request, turn.allow)
    return "" if decision.allowed else decision.reason


def _expected(call: Call, status: int | None) -> bool:
    if status is None:
        return True
    return status in (
        call.expect.status if isinstance(call, (Http, HttpUndo)) else call.expect.exit
    )


def _ended(turn: Turn, step: StepRun, outcome: Outcome, event: AttemptFinished) -> StepRun:
    """Write the attempt's outcome down."""
    attempt = step.attempts[-1]
    ended = msgspec.structs.replace(
        attempt,
        outcome=outcome,
        ended_at=turn.now,
        status=event.status,
        output_sha256=event.output_sha256[:64],
        detail=event.detail[:300],
    )
    step = msgspec.structs.replace(step, attempts=(*step.attempts[:-1], ended))
    turn.put(step)
    status = "" if event.status is None else f", status {event.status}"
    detail = f", {event.detail[:300]}" if event.detail else ""
    seconds = (turn.now - attempt.started_at).total_seconds()
    turn.write(
        "attempt",
        f"step {turn.number(step.id)} {step.id}: {attempt.purpose} attempt {attempt.number} "
        f"{outcome}{status}{detail} after {seconds:.1f} s",
        ENGINE,
        step.id,
        attempt=attempt.number,
        outcome=outcome.value,
        status=event.status,
        output_sha256=ended.output_sha256,
    )
    return step


def _succeed(turn: Turn, step: StepRun, purpose: Purpose, event: AttemptFinished) -> None:
    if purpose is Purpose.ROLLBACK:
        turn.move(step, StepState.ROLLED_BACK, "rolled back", ENGINE)
        return
    captured = captures(turn, step.id, event.output)
    step = msgspec.structs.replace(step, captured={**step.captured, **captured})
    turn.move(step, StepState.SUCCEEDED, "done", ENGINE)


def _fail(turn: Turn, step: StepRun, purpose: Purpose, call: Call, event: AttemptFinished) -> None:
    said = event.detail or ("" if event.status is None else f"status {event.status}")
    retry = _policy(call)
    if (
        retry is not None
        and step.state is StepState.RUNNING
        and step.retries < retry.max
        and _worth_it(retry, call, event.status)
    ):
        turn.put(msgspec.structs.replace(step, retry_at=turn.now + retry.delay))
        text = f"step {step.id} is tried again in {retry.delay}"
        turn.write("attempt", text, ENGINE, step.id, retry=step.retries + 1)
        return
    failed = "the rollback failed" if purpose is Purpose.ROLLBACK else "failed"
    turn.move(step, StepState.FAILED, f"{failed}: {said}" if said else failed, ENGINE)


def _policy(call: Call) -> Retry | None:
    """The retry that the step may have: asked again here, whatever a loader let through."""
    if not isinstance(call, (Http, Command)):
        return None
    repeatable = call.effect is Effect.READ_ONLY or (
        call.effect is Effect.REVERSIBLE and call.idempotent
    )
    return call.retry if repeatable else None


def _worth_it(retry: Retry, call: Call, status: int | None) -> bool:
    """Whether the failure is one that the author wants repeated."""
    wanted = retry.on_status if isinstance(call, (Http, HttpUndo)) else retry.on_exit
    return not wanted or status in wanted


def _lose(turn: Turn, step: StepRun, why: str) -> None:
    """Repeat what only looks; for the rest ask the person."""
    attempt = step.attempts[-1]
    call = call_of(turn, step.id, attempt.purpose)
    if call.effect is Effect.READ_ONLY and step.state is StepState.RUNNING:
        if step.retries < MAX_LOST:
            again(turn, step, why)
        else:
            turn.move(step, StepState.FAILED, f"{why}, {step.retries + 1} times", ENGINE)
    elif step.state is StepState.RUNNING:
        turn.move(step, StepState.UNKNOWN, f"{why}: look, then say done or failed", ENGINE)


def captures(turn: Turn, name: str, output: str) -> dict[str, Value]:
    """What a step takes out of its answer; what is missing or does not match is left out."""
    spec = turn.step(name)
    wanted = spec.capture if isinstance(spec, (Http, Command)) else {}
    if not wanted:
        return {}
    try:
        data: object = msgspec.json.decode(output[:MAX_CAPTURE_INPUT])
    except (msgspec.DecodeError, ValueError, RecursionError):
        data = None
    found: dict[str, Value] = {}
    for key, capture in wanted.items():
        value = _pointed(data, capture.pointer)
        text = spelled(value) if isinstance(value, (str, int, float, bool)) else ""
        if text and not text.startswith("-") and re.fullmatch(capture.pattern, text, re.ASCII):
            found[key] = text
            turn.write("capture", f"step {name}: {key} is {text}", ENGINE, name)
        else:
            said = f"step {name}: the answer holds no usable {key} at {capture.pointer}"
            turn.write("capture", said, ENGINE, name)
    return found


def _pointed(data: object, pointer: str) -> object:
    for part in pointer.split("/")[1:]:
        if isinstance(data, dict):
            data = data.get(part)
        elif isinstance(data, list) and part.isdecimal() and int(part[:6]) < len(data):
            data = data[int(part[:6])]
        else:
            return None
    return data
