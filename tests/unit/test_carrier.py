"""Whether an attempt that waited for its turn may still begin."""

from __future__ import annotations

from datetime import timedelta

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.carrier import withheld
from runbooks.allow import NOTHING, AllowedCommand, AllowList
from runbooks.engine import advance, new_run, unbegun
from runbooks.events import (
    Abort,
    AttemptBegun,
    AttemptFinished,
    Done,
    Event,
    Fail,
    LeaseExpired,
    Recovered,
    RunStep,
    Skip,
    Start,
    StartAttempt,
    Tick,
    Undo,
)
from runbooks.load import load_runbook
from runbooks.model import Effect
from runbooks.runs import Facts, Run
from tests.making import T0

BOOK = load_runbook(
    """
apiVersion: runbook/v1
id: leave-a-mark
version: 1
title: Leave a mark
steps:
  - id: mark
    type: command
    title: Mark
    effect: EFFECT
    argv: [mark, "on"]
    timeout: 20s
    rollback: {type: command, effect: reversible, argv: [mark, "off"]}
""".replace("EFFECT", "reversible"),
    "mark.yaml",
)


BEGUN = AttemptBegun(step="mark", attempt=1)


def allowing(path: str) -> AllowList:
    command = AllowedCommand(path=path, args=((),), max_effect=Effect.REVERSIBLE)
    return AllowList(commands=(command,))


ALLOW = allowing("/opt/mark")


def seconds(count: float) -> timedelta:
    return timedelta(seconds=count)


def asked() -> tuple[Run, StartAttempt]:
    """A run whose step a person has confirmed, and what is to be carried out."""
    run = new_run(BOOK, "r1", Facts(id="INC-1"), T0)
    run = advance(BOOK, run, Start(actor="ada"), T0, ALLOW).run
    change = advance(BOOK, run, RunStep(step="mark", actor="ada", confirm="y"), T0, ALLOW)
    assert change.refusal is None, change.refusal
    (effect,) = change.effects
    assert isinstance(effect, StartAttempt)
    return change.run, effect


def why(run: Run | None, at: float = 1, allow: AllowList = ALLOW, *, ours: bool = True) -> str:
    return withheld(run, asked()[1], T0 + seconds(at), allow, ours=ours)


def after(*events: Event, at: float = 1) -> Run:
    run, _ = asked()
    for event in events:
        run = advance(BOOK, run, event, T0 + seconds(at), ALLOW).run
    return run


def test_an_attempt_whose_turn_comes_in_time_may_begin() -> None:
    """Ours, recorded as running, allowed, and with room for all of its 20 s."""
    run, _ = asked()
    assert why(run) == ""
    assert why(run, 15) == ""


@pytest.mark.parametrize(
    ("run", "at", "allow", "ours", "said"),
    [
        (asked()[0], 1.0, ALLOW, False, "not surely ours"),
        (None, 1.0, ALLOW, True, "run is gone"),
        (asked()[0], 16.0, ALLOW, True, "after 16 s of waiting"),
        (asked()[0], 1.0, NOTHING, True, "allow-list"),
        (asked()[0], 1.0, allowing("/usr/local/mark"), True, "names /usr/local/mark"),
        (after(BEGUN), 1.0, ALLOW, True, "begun before"),
        (after(BEGUN, Recovered()), 1.0, ALLOW, True, "became unknown"),
        (after(Abort(actor="ada", reason="no")), 1.0, ALLOW, True, "became unknown"),
        (
            after(BEGUN, Recovered(), RunStep(step="mark", actor="ada", confirm="y", again=True)),
            1.0,
            ALLOW,
            True,
            "attempt 2 was started",
        ),
    ],
)
def test_why_an_attempt_does_not_begin(
    run: Run | None, at: float, allow: AllowList, ours: bool, said: str
) -> None:
    """Each reason alone is enough, and says which it was."""
    assert said in why(run, at, allow, ours=ours)


EVENTS = st.sampled_from(
    [
        Tick(),
        BEGUN,
        Recovered(),
        Recovered(frozenset({("mark", 1)})),
        LeaseExpired(step="mark", attempt=1),
        AttemptFinished(step="mark", attempt=1, ok=True, status=0),
        AttemptFinished(step="mark", attempt=1, ok=False, unknown=True),
        RunStep(step="mark", actor="ada", confirm="y", again=True),
        Done(step="mark", actor="ada", note="seen"),
        Fail(step="mark", actor="ada", reason="no"),
        Skip(step="mark", actor="ada", reason="no"),
        Undo(step="mark", actor="ada", confirm="y"),
        Abort(actor="ada", reason="no"),
    ]
)


@given(st.lists(st.tuples(EVENTS, st.floats(0, 30)), max_size=6))
def test_what_may_begin_is_what_the_stored_run_still_asks_for(
    happened: list[tuple[Event, float]],
) -> None:
    """Whatever happens while it waits: the engine would ask for the same, and nobody gave it up."""
    run, effect = asked()
    at = 0.0
    for event, later in happened:
        at += later
        run = advance(BOOK, run, event, T0 + seconds(at), ALLOW).run
    if not why(run, at):
        assert effect in unbegun(BOOK, run, T0 + seconds(at), ALLOW)
        assert at <= 15
    step = run.step("mark")
    assert step is not None
    if len(step.attempts) > 1:
        assert why(run, at)


def test_the_deadline_that_is_stored_counts() -> None:
    """Not the one that the process remembers."""
    run, _ = asked()
    (step,) = run.steps
    sooner = msgspec.structs.replace(step.attempts[0], deadline=T0 + seconds(20))
    run = msgspec.structs.replace(run, steps=(msgspec.structs.replace(step, attempts=(sooner,)),))
    assert "deadline" in why(run, 1)
