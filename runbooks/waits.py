"""Waiting until a signal has stayed on the right side of a value for a while.

The stretch is measured on the samples' own time, not on the clock of who reads them, so a replay
and a live run agree; the timeout is measured on the clock. Only samples from after the start count:
what the signal did before the mitigation proves nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import timedelta
from typing import Final

import msgspec

from runbooks.durations import spell
from runbooks.events import SignalObserved, Watch
from runbooks.model import NoData, WaitSignal
from runbooks.references import Value, reference
from runbooks.runs import StepRun, StepState, Watching
from runbooks.turns import ENGINE, Turn, refuse

_HOLDS: Final[dict[str, Callable[[float, float], bool]]] = {
    "<": lambda value, limit: value < limit,
    "<=": lambda value, limit: value <= limit,
    ">": lambda value, limit: value > limit,
    ">=": lambda value, limit: value >= limit,
}


def start(turn: Turn, spec: WaitSignal, step: StepRun, actor: str) -> None:
    """Begin to watch.

    Raises:
        Refused: the signal or the limit has no value in this run.
    """
    signal = _resolved(turn, spec.signal)
    if not signal or not isinstance(signal, str):
        refuse("value", "the incident has no signal to wait for", "skip the step with a reason")
    watching = Watching(
        signal=signal,
        series=dict(turn.run.incident.series if spec.series is None else spec.series),
        op=spec.op,
        limit=_limit(turn, spec),
        started_at=turn.now,
        hold_seconds=spec.hold.total_seconds(),
        timeout_at=None if spec.timeout is None else turn.now + spec.timeout,
        stale_at=turn.now + spec.no_data_after,
    )
    step = msgspec.structs.replace(step, watching=watching)
    turn.move(step, StepState.RUNNING, f"waits for {described(watching)}", actor)
    turn.effects.append(Watch(step=step.id, signal=signal, series=watching.series))


def described(watching: Watching) -> str:
    """The condition in words: `refusal_rate < 0.2 for 5m`."""
    hold = spell(timedelta(seconds=watching.hold_seconds))
    return f"{watching.signal} {watching.op} {watching.limit:.4g} for {hold}"


def observe(turn: Turn, event: SignalObserved) -> None:
    """Take one sample."""
    step = turn.at(event.step)
    watching = step.watching
    spec = turn.step(event.step)
    if step.state is not StepState.RUNNING or watching is None or not isinstance(spec, WaitSignal):
        refuse("stale", f"{event.step} does not wait")
    if event.at <= watching.started_at or (
        watching.last_at is not None and event.at <= watching.last_at
    ):
        refuse("stale", "the sample is not newer than what is known")
    value = event.value if event.value is not None and math.isfinite(event.value) else None
    gap = watching.last_at is not None and event.at - watching.last_at > spec.no_data_after
    good = value is not None and _HOLDS[watching.op](value, watching.limit)
    kept = watching.since if good and not gap else None
    since = (kept or event.at) if good else None
    stale_at = watching.stale_at if value is None else turn.now + spec.no_data_after
    new = msgspec.structs.replace(
        watching, since=since, last_at=event.at, last_value=value, stale_at=stale_at
    )
    turn.put(msgspec.structs.replace(step, watching=new))
    _say(turn, step.id, watching, new)
    if since is not None and (event.at - since).total_seconds() >= watching.hold_seconds:
        said = f"PASS: {described(new)}, now {value:.4g}"
        turn.move(turn.at(step.id), StepState.SUCCEEDED, said, ENGINE)


def tick(turn: Turn, step: StepRun) -> None:
    """Look at the deadlines of a wait."""
    watching = step.watching
    spec = turn.step(step.id)
    if watching is None or not isinstance(spec, WaitSignal):
        return
    last = "no sample" if watching.last_value is None else f"last {watching.last_value:.4g}"
    if watching.timeout_at is not None and watching.timeout_at <= turn.now:
        said = f"FAIL: {described(watching)} did not happen in time, {last}"
        turn.move(step, StepState.FAILED, said, ENGINE)
    elif watching.stale_at <= turn.now:
        if spec.no_data is NoData.FAIL:
            said = f"FAIL: no data of {watching.signal} for {spec.no_data_after}"
            turn.move(step, StepState.FAILED, said, ENGINE)
            return
        new = msgspec.structs.replace(
            watching, since=None, last_value=None, stale_at=turn.now + spec.no_data_after
        )
        turn.put(msgspec.structs.replace(step, watching=new))
        if watching.since is not None or watching.last_value is not None:
            said = f"no data of {watching.signal} for {spec.no_data_after}: the count starts afresh"
            turn.write("signal", said, ENGINE, step.id)


def _say(turn: Turn, step: str, old: Watching, new: Watching) -> None:
    """Write down that the stretch began or broke; samples in between are not news."""
    shown = "no data" if new.last_value is None else f"{new.last_value:.4g}"
    if old.since is None and new.since is not None:
        turn.write("signal", f"{new.signal} {shown}: {described(new)} begins", ENGINE, step)
    elif old.since is not None and new.since is None:
        turn.write("signal", f"{new.signal} {shown}: the count starts afresh", ENGINE, step)
    elif old.since is not None and new.since != old.since:
        text = f"{new.signal} {shown}: a gap in the data, the count starts afresh"
        turn.write("signal", text, ENGINE, step)


def _resolved(turn: Turn, element: str) -> Value:
    found = reference(element)
    return element if found is None else turn.look_up(found)


def _limit(turn: Turn, spec: WaitSignal) -> float:
    value: Value = spec.value
    if isinstance(spec.value, str):
        value = _resolved(turn, spec.value)
    try:
        number = float(value) if value is not None else math.nan
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        hint = "start the run with a value for it, or skip the step with a reason"
        refuse("value", f"{spec.value} has no number in this run", hint)
    return number * spec.times
