"""What holds for a run whatever people, machines and the clock do, in any order."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from runbooks.allow import AllowedCommand, AllowedHttp, AllowList
from runbooks.engine import advance, decode_run, encode_run, new_run, next_deadline, unbegun
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
    SignalObserved,
    Skip,
    Start,
    StartAttempt,
    Tick,
    Undo,
)
from runbooks.load import load_runbook
from runbooks.model import Automatic, Effect, WaitSignal
from runbooks.outlook import next_step, preview, undo_order, verification
from runbooks.runs import Facts, Outcome, Purpose, Run, RunState, StepState

RUNBOOK = load_runbook(
    """
apiVersion: runbook/v1
id: any
version: 1
title: T
steps:
  - {id: read, type: command, title: T, effect: read_only, argv: [ctl, a], auto: true,
     retry: {max: 1, delay: 20s}}
  - {id: ask, type: manual, title: T, capture: {go: {type: bool, required: true}},
     rollback: {type: manual, text: x}}
  - {id: harm, type: command, title: T, effect: destructive, argv: [ctl, b], needs: [ask],
     if: steps.ask.go == true, rollback: {type: command, argv: [ctl, c], effect: destructive}}
  - {id: change, type: http, title: T, effect: reversible, method: POST, base: "http://x", path: /y,
     rollback: {type: http, method: POST, base: "http://x", path: /z}}
  - {id: again, type: http, title: T, effect: reversible, idempotent: true, method: POST,
     base: "http://x", path: /y, retry: {max: 2, delay: 10s, on_status: [503]}}
  - {id: wait, type: wait_signal, title: T, signal: s, op: "<", value: 0.5, for: 2m, timeout: 10m,
     needs: [read]}
  - {id: strict, type: wait_signal, title: T, signal: s, op: ">", value: 0.5, for: 1m,
     no_data: fail, auto: true, needs: [wait]}
""",
    "any.yaml",
)
ALLOW = AllowList(
    commands=(AllowedCommand(path="/opt/ctl", args=((),), max_effect=Effect.DESTRUCTIVE),),
    http=(
        AllowedHttp(
            origin="http://x", methods=("POST",), paths=("/",), max_effect=Effect.DESTRUCTIVE
        ),
    ),
)
START = datetime(2026, 1, 1, tzinfo=UTC)
STEPS = st.sampled_from([step.id for step in RUNBOOK.steps])
SLIPS = st.sampled_from(["", "", "", "n", "y", "INC-1"])
"""What a person types instead of what is asked for; empty: they type what is asked for."""


class RunMachine(RuleBasedStateMachine):
    """Random events at random times; the invariants are checked after each."""

    def __init__(self) -> None:
        super().__init__()
        self.now = START
        self.run: Run = new_run(RUNBOOK, "r1", Facts(id="INC-1", signal="s"), START)
        self.asked: dict[tuple[str, Purpose], int] = {}
        self.begun: set[tuple[str, int]] = set()

    def send(self, event: Event) -> None:
        before = self.run
        result = advance(RUNBOOK, before, event, self.now, ALLOW)
        assert advance(RUNBOOK, before, event, self.now, ALLOW) == result, "it is a function"
        if result.refusal is not None:
            assert result.run is before
            assert not result.entries
            assert not result.effects
            return
        self.run = result.run
        self.told(before, result)
        if isinstance(event, (RunStep, Undo)):
            purpose = Purpose.RUN if isinstance(event, RunStep) else Purpose.ROLLBACK
            key = (event.step, purpose)
            self.asked[key] = self.asked.get(key, 0) + 1
        if isinstance(event, Tick):
            deadline = next_deadline(self.run)
            assert deadline is None or deadline > self.now, "a tick leaves nothing due"

    def told(self, before: Run, result: Any) -> None:
        """Every change of a state has its entry, every effect its attempt."""
        for old, new in zip(before.steps, result.run.steps, strict=True):
            if old.state is not new.state:
                told = [e for e in result.entries if e.kind == "step" and e.step == new.id]
                assert told
                assert told[-1].data["state"] == new.state.value
        if before.state is not result.run.state:
            assert [e for e in result.entries if e.kind == "run"]
        for effect in result.effects:
            if isinstance(effect, StartAttempt):
                step = result.run.step(effect.step)
                assert step is not None
                assert step.attempts[effect.attempt - 1].outcome is Outcome.RUNNING
        assert result.run.revision == before.revision + (result.run != before)

    @initialize()
    def start(self) -> None:
        self.send(Start(actor="p"))

    def typed(self, step: str, purpose: Purpose, slip: str) -> str:
        return slip or preview(RUNBOOK, self.run, step, self.now, ALLOW, purpose).confirm

    @rule(step=STEPS, slip=SLIPS, again=st.booleans())
    def run_step(self, step: str, slip: str, again: bool) -> None:
        confirm = self.typed(step, Purpose.RUN, slip)
        self.send(RunStep(step=step, actor="p", confirm=confirm, again=again))

    @rule(step=STEPS, slip=SLIPS)
    def undo(self, step: str, slip: str) -> None:
        confirm = self.typed(step, Purpose.ROLLBACK, slip)
        self.send(Undo(step=step, actor="p", confirm=confirm))

    @rule()
    def decide_to_harm(self) -> None:
        """The way to the destructive step, which chance alone seldom finds."""
        self.send(Done(step="ask", actor="p", captured={"go": True}))
        self.send(RunStep(step="harm", actor="p", confirm="INC-1"))

    @rule(step=STEPS, go=st.sampled_from([{}, {"go": True}, {"go": False}]))
    def done(self, step: str, go: dict[str, bool]) -> None:
        self.send(Done(step=step, actor="p", note="seen", captured=go))

    @rule(step=STEPS, skip=st.booleans())
    def give_up(self, step: str, skip: bool) -> None:
        kind = Skip if skip else Fail
        self.send(kind(step=step, actor="p", reason="r"))

    def under_way(self) -> list[str]:
        """The steps with an attempt out in the world."""
        return [
            step.id
            for step in self.run.steps
            if step.attempt is not None and step.attempt.outcome is Outcome.RUNNING
        ]

    @precondition(lambda self: bool(self.under_way()))
    @rule(
        pick=st.integers(0, 6),
        ok=st.booleans(),
        unknown=st.booleans(),
        status=st.sampled_from([None, 0, 1, 200, 503]),
    )
    def reported(self, pick: int, ok: bool, unknown: bool, status: int | None) -> None:
        names = self.under_way()
        self.finished(names[pick % len(names)], ok, unknown, status, 0)

    @rule(
        step=STEPS,
        ok=st.booleans(),
        unknown=st.booleans(),
        status=st.sampled_from([None, 0, 1, 200, 503]),
        stale=st.integers(0, 1),
    )
    def guessed(self, step: str, ok: bool, unknown: bool, status: int | None, stale: int) -> None:
        self.finished(step, ok, unknown, status, stale)

    def finished(self, step: str, ok: bool, unknown: bool, status: int | None, stale: int) -> None:
        found = self.run.step(step)
        assert found is not None
        number = max(1, len(found.attempts) - stale)
        self.send(AttemptFinished(step=step, attempt=number, ok=ok, unknown=unknown, status=status))

    @rule(step=STEPS)
    def lease(self, step: str) -> None:
        found = self.run.step(step)
        assert found is not None
        self.send(LeaseExpired(step=step, attempt=len(found.attempts)))

    @rule(step=STEPS)
    def begin(self, step: str) -> None:
        """A carrier sets about it; a second one must be refused."""
        found = self.run.step(step)
        assert found is not None
        number, before = len(found.attempts), self.run
        self.send(AttemptBegun(step=step, attempt=number))
        if self.run != before:
            assert (step, number) not in self.begun
            self.begun.add((step, number))

    @rule()
    def crash(self) -> None:
        """What was begun is not asked for again."""
        self.run = decode_run(encode_run(self.run))
        for asked in unbegun(RUNBOOK, self.run, self.now, ALLOW):
            assert (asked.step, asked.attempt) not in self.begun
        self.send(Recovered())
        for asked in unbegun(RUNBOOK, self.run, self.now, ALLOW):
            assert (asked.step, asked.attempt) not in self.begun

    @rule(
        step=st.sampled_from(["wait", "strict"]),
        value=st.sampled_from([None, 0.1, 0.9, float("nan")]),
        ago=st.integers(-30, 90),
    )
    def sample(self, step: str, value: float | None, ago: int) -> None:
        self.send(SignalObserved(step=step, value=value, at=self.now - timedelta(seconds=ago)))

    @rule(seconds=st.sampled_from([0, 1, 30, 60, 200, 900]))
    def time_passes(self, seconds: int) -> None:
        self.now += timedelta(seconds=seconds)
        self.send(Tick())

    @rule(sure=st.integers(0, 9))
    def abort(self, sure: int) -> None:
        if sure == 0:
            self.send(Abort(actor="p", reason="r"))

    @invariant()
    def it_survives_a_store(self) -> None:
        data = encode_run(self.run)
        assert decode_run(data) == self.run
        assert encode_run(decode_run(data)) == data

    @invariant()
    def nothing_that_changes_the_world_repeats_without_a_person(self) -> None:
        for step in self.run.steps:
            spec = RUNBOOK.step(step.id)
            if not isinstance(spec, Automatic):
                assert not step.attempts
                continue
            for purpose in Purpose:
                made = [a for a in step.attempts if a.purpose is purpose]
                undo = spec.rollback
                effect = spec.effect
                if purpose is Purpose.ROLLBACK and undo is not None:
                    effect = undo.effect
                if effect is Effect.DESTRUCTIVE:
                    assert all(attempt.actor == "p" for attempt in made)
                safe = effect is Effect.READ_ONLY or (purpose is Purpose.RUN and spec.idempotent)
                if not safe:
                    assert len(made) <= self.asked.get((step.id, purpose), 0)

    @invariant()
    def attempts_are_in_order_and_one_at_a_time(self) -> None:
        for step in self.run.steps:
            assert [a.number for a in step.attempts] == list(range(1, len(step.attempts) + 1))
            under_way = [a for a in step.attempts if a.outcome is Outcome.RUNNING]
            assert len(under_way) <= 1
            if under_way and self.run.state is not RunState.ABORTED:
                assert step.state is StepState.RUNNING
            assert (step.watching is not None) <= (step.state is StepState.RUNNING)
            assert (step.retry_at is not None) <= (step.state is StepState.RUNNING)

    @invariant()
    def the_run_is_in_the_state_its_steps_say(self) -> None:
        states = {step.state for step in self.run.steps}
        if self.run.state is RunState.SUCCEEDED:
            assert states <= {StepState.SUCCEEDED, StepState.SKIPPED, StepState.ROLLED_BACK}
        if self.run.state is RunState.ABORTED or self.run.state is RunState.PENDING:
            return
        assert (StepState.RUNNING in states) == (self.run.state is RunState.RUNNING)

    @invariant()
    def the_views_never_fail(self) -> None:
        verified = verification(RUNBOOK, self.run)
        if verified.passed:
            step = self.run.step(verified.step)
            assert step is not None
            assert step.state is StepState.SUCCEEDED
            assert isinstance(RUNBOOK.step(verified.step), WaitSignal)
        next_step(RUNBOOK, self.run)
        for name in undo_order(RUNBOOK, self.run):
            preview(RUNBOOK, self.run, name, self.now, ALLOW, Purpose.ROLLBACK)
        for spec in RUNBOOK.steps:
            preview(RUNBOOK, self.run, spec.id, self.now, ALLOW)


def test_an_undo_waits_for_the_attempt_that_an_abort_left_in_the_world() -> None:
    """Found by chance once: abort, then undo, while the destructive command was still running."""
    machine = RunMachine()
    machine.start()
    machine.decide_to_harm()
    machine.begin("harm")
    machine.abort(0)
    for seconds in (0, 1):
        machine.time_passes(seconds)
        machine.undo("harm", "")
        machine.attempts_are_in_order_and_one_at_a_time()
        assert "harm" in machine.under_way()
    machine.time_passes(900)
    machine.undo("harm", "")
    machine.attempts_are_in_order_and_one_at_a_time()
    harm = machine.run.step("harm")
    assert harm is not None
    assert [a.outcome for a in harm.attempts] == [Outcome.UNKNOWN, Outcome.RUNNING]


RunMachine.TestCase.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
TestRun = RunMachine.TestCase
