"""Runs: what people, attempts and the clock do to them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest

from runbooks.allow import NOTHING, AllowedCommand, AllowedHttp, AllowList
from runbooks.engine import advance, decode_run, encode_run, new_run, next_deadline
from runbooks.events import (
    Abort,
    Advance,
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
    StopAttempt,
    Tick,
    Undo,
    Watch,
)
from runbooks.load import load_runbook
from runbooks.model import Effect, Runbook
from runbooks.outlook import next_step, preview, undo_order, verification
from runbooks.requests import CommandRequest, HttpRequest
from runbooks.runs import Facts, Outcome, Purpose, Run, RunState, StepState

START = datetime(2026, 11, 22, 3, 0, tzinfo=UTC)
TEXT = """
apiVersion: runbook/v1
id: contain
version: 3
title: Contain
params:
  tool: {type: enum, values: [shell, mail], default: mail}
  api: {type: url, default: "http://127.0.0.1:1"}
  limit: {type: number}
secrets: {T: {from: env, name: CTL}}
steps:
  - {id: look, type: command, title: Look, effect: read_only, argv: [ctl, list, "${params.tool}"],
     timeout: 10s, capture: {version: {pointer: /v/0/id}}}
  - {id: judge, type: manual, title: Judge,
     capture: {verdict: {type: enum, values: [attack, benign], required: true},
               n: {type: int, default: 0}}}
  - id: disable
    type: command
    title: Disable ${params.tool}
    effect: destructive
    argv: [ctl, disable, "${params.tool}", "${incident.id}"]
    env: {CTL: "${secrets.T}"}
    if: steps.judge.verdict == 'attack'
    needs: [judge]
    rollback: {type: command, argv: [ctl, enable, "${params.tool}"], timeout: 5s}
  - {id: flag, type: http, title: Flag, effect: reversible, idempotent: true, method: PUT,
     base: "${params.api}", path: [flags, "${steps.look.version}"], json: {on: true},
     retry: {max: 2, delay: 30s, on_status: [503]}, needs: [look]}
  - {id: verify, type: wait_signal, title: Verify, signal: "${incident.signal}", op: "<",
     value: "${incident.threshold}", for: 3m, timeout: 20m, needs: [disable, flag]}
  - {id: tell, type: manual, title: Tell, rollback: {type: manual, text: Take it back}}
"""
ALLOW = AllowList(
    commands=(AllowedCommand(path="/opt/ctl", args=((),), max_effect=Effect.DESTRUCTIVE),),
    http=(
        AllowedHttp(
            origin="http://127.0.0.1:1",
            methods=("PUT", "GET"),
            paths=("/",),
            max_effect=Effect.REVERSIBLE,
        ),
    ),
    secrets=("CTL",),
)
FACTS = Facts(
    id="INC-7",
    severity="SEV2",
    signal="misuse_rate",
    series={"feature": "chat"},
    baseline=0.01,
    threshold=0.05,
)


class Story:
    """A run with a movable clock; every accepted event is checked for what always holds."""

    def __init__(self, text: str = TEXT, facts: Facts = FACTS, allow: AllowList = ALLOW) -> None:
        self.runbook: Runbook = load_runbook(text, "r.yaml")
        self.now = START
        self.allow = allow
        self.run: Run = new_run(self.runbook, "run-1", facts, START)
        self.entries: list[str] = []

    def send(self, event: Event, after: float = 1.0) -> Advance:
        self.now += timedelta(seconds=after)
        advanced = advance(self.runbook, self.run, event, self.now, self.allow)
        if advanced.refusal is not None:
            assert advanced.run is self.run
            assert not advanced.effects
            assert not advanced.entries
        else:
            assert decode_run(encode_run(advanced.run)) == advanced.run
        self.run = advanced.run
        self.entries += [entry.text for entry in advanced.entries]
        return advanced

    def refused(self, event: Event) -> str:
        advanced = self.send(event)
        assert advanced.refusal is not None
        return f"{advanced.refusal.code}: {advanced.refusal.text} {advanced.refusal.hint}"

    def state(self, step: str) -> str:
        found = self.run.step(step)
        assert found is not None
        return found.state.value

    def start(self) -> Story:
        assert self.send(Start(actor="mira")).refusal is None
        return self

    def looked(self) -> Story:
        self.start().send(RunStep(step="look", actor="mira"))
        self.send(
            AttemptFinished(
                step="look", attempt=1, ok=True, status=0, output='{"v": [{"id": "v41"}]}'
            )
        )
        return self

    def judged(self, verdict: str = "attack") -> Story:
        self.looked().send(Done(step="judge", actor="mira", captured={"verdict": verdict}))
        return self

    def disabled(self) -> Story:
        self.judged().send(RunStep(step="disable", actor="mira", confirm="INC-7"))
        return self


def test_a_run_goes_from_start_to_success() -> None:
    """The whole road: read, judge, change with confirmation, verify by the signal, tell."""
    story = Story().disabled()
    story.send(AttemptFinished(step="disable", attempt=1, ok=True, status=0))
    story.send(RunStep(step="flag", actor="mira", confirm="y"))
    story.send(AttemptFinished(step="flag", attempt=1, ok=True, status=204))
    watch = story.send(RunStep(step="verify", actor="mira")).effects
    assert watch == (Watch(step="verify", signal="misuse_rate", series={"feature": "chat"}),)
    for minute in range(1, 5):
        at = story.now + timedelta(minutes=1)
        assert story.state("verify") == "running", minute
        story.send(SignalObserved(step="verify", value=0.01, at=at), after=60)
    assert story.state("verify") == "succeeded"
    assert verification(story.runbook, story.run).passed
    story.send(Done(step="tell", actor="jo", note="posted"))
    assert story.run.state is RunState.SUCCEEDED
    assert story.run.ended_at == story.now
    assert any("PASS: misuse_rate < 0.05 for 3m" in text for text in story.entries)


def test_nothing_happens_before_the_start() -> None:
    """A run that is not started takes no step and no tick."""
    story = Story()
    assert "not started" in story.refused(RunStep(step="look", actor="m"))
    assert "not started" in story.refused(Done(step="judge", actor="m"))
    assert "not started" in story.refused(Skip(step="judge", actor="m", reason="x"))
    assert story.send(Tick()).refusal is None
    assert story.run.revision == 0
    story.start()
    assert "already" in story.refused(Start(actor="m"))


def test_parameters_are_checked_at_the_start() -> None:
    """A value that does not fit refuses the start; configuration fills what people leave out."""
    story = Story()
    assert "is not one of" in story.refused(Start(actor="m", params={"tool": "rm -rf"}))
    assert "no such parameter" in story.refused(Start(actor="m", params={"x": 1}))
    story.send(Start(actor="m", params={"tool": "shell"}, configured={"tool": "mail", "x": 1}))
    assert story.run.params == {"tool": "shell", "api": "http://127.0.0.1:1", "limit": None}


def test_without_an_allow_list_nothing_is_carried_out() -> None:
    """The engine asks the list for every attempt; the default list is empty."""
    story = Story(allow=NOTHING).start()
    assert story.refused(RunStep(step="look", actor="m")).startswith("allow: the command ctl")
    assert story.state("look") == "pending"


def test_an_attempt_is_written_down_before_it_starts() -> None:
    """The effect carries the rendered request, the allowed path, a deadline and a stable key."""
    story = Story().start()
    (effect,) = story.send(RunStep(step="look", actor="mira")).effects
    assert isinstance(effect, StartAttempt)
    assert effect.request == CommandRequest(("ctl", "list", "mail"), Effect.READ_ONLY)
    assert (effect.executable, effect.timeout) == ("/opt/ctl", timedelta(seconds=10))
    attempt = story.run.steps[0].attempt
    assert attempt is not None
    assert attempt.outcome is Outcome.RUNNING
    assert attempt.key == effect.key == "run-1:look:1"
    assert next_deadline(story.run) == attempt.deadline == story.now + timedelta(seconds=25)


def test_captures_feed_later_steps_and_are_checked() -> None:
    """A value from a JSON answer is used by reference; one that could mislead is not taken."""
    story = Story().looked()
    assert story.run.steps[0].captured == {"version": "v41"}
    shown = preview(story.runbook, story.run, "flag", story.now, ALLOW)
    assert isinstance(shown.request, HttpRequest)
    assert shown.request.url == "http://127.0.0.1:1/flags/v41"
    for output in ('{"v": [{"id": "--force"}]}', '{"v": [{"id": "a b"}]}', "[", "null", "9" * 9000):
        other = Story().start()
        other.send(RunStep(step="look", actor="m"))
        other.send(AttemptFinished(step="look", attempt=1, ok=True, status=0, output=output))
        assert other.run.steps[0].captured == {}
        assert "no value yet" in other.refused(RunStep(step="flag", actor="m", confirm="y"))


@pytest.mark.parametrize("confirm", [None, "", "y", "yes", "inc-7", "INC-8"])
def test_a_destructive_step_wants_the_incident_typed(confirm: str | None) -> None:
    """Nothing but the id confirms it, and the refusal says what to type."""
    story = Story().judged()
    said = story.refused(RunStep(step="disable", actor="m", confirm=confirm))
    assert said.startswith("confirm:")
    assert "type INC-7" in said


def test_a_reversible_step_wants_a_yes() -> None:
    """`y` confirms it."""
    story = Story().looked()
    assert "confirm with y" in story.refused(RunStep(step="flag", actor="m"))
    assert "confirm with y" in story.refused(RunStep(step="flag", actor="m", confirm="n"))
    assert story.send(RunStep(step="flag", actor="m", confirm="Y")).refusal is None


def test_what_is_confirmed_is_what_was_shown() -> None:
    """A digest of another request voids the confirmation."""
    story = Story().judged()
    shown = preview(story.runbook, story.run, "disable", story.now, ALLOW)
    assert (shown.confirm, shown.shown) == ("INC-7", "ctl disable mail INC-7")
    assert shown.undo == "ctl enable mail"
    event = RunStep(step="disable", actor="m", confirm="INC-7", request_sha256="0" * 64)
    assert story.refused(event).startswith("changed:")
    good = RunStep(step="disable", actor="m", confirm="INC-7", request_sha256=shown.request_sha256)
    assert story.send(good).refusal is None


def test_a_condition_skips_and_needs_hold_back() -> None:
    """A false condition skips with its reason; an open one and a missing need refuse."""
    story = Story().start()
    assert "waits for judge" in story.refused(RunStep(step="disable", actor="m", confirm="INC-7"))
    story = Story().judged("benign")
    assert story.state("disable") == "skipped"
    assert any("not needed: steps.judge.verdict == 'attack' is false" in e for e in story.entries)


def test_two_people_do_not_run_the_same_step() -> None:
    """The second hears who was first."""
    story = Story().disabled()
    said = story.refused(RunStep(step="disable", actor="jo", confirm="INC-7"))
    assert "is running, started by mira" in said


def test_a_done_step_runs_again_only_on_purpose() -> None:
    """A repeated keypress is refused; `again` is a decision."""
    story = Story().looked()
    assert "on purpose" in story.refused(RunStep(step="look", actor="m"))
    assert story.send(RunStep(step="look", actor="m", again=True)).refusal is None


@pytest.mark.parametrize("event", [LeaseExpired(step="disable", attempt=1), Recovered()])
def test_a_lost_change_is_unknown_and_never_repeated(event: Event) -> None:
    """After a crash the step asks for a person; ticks change nothing."""
    story = Story().disabled()
    assert story.send(event).effects == ()
    assert story.state("disable") == "unknown"
    assert story.run.state is RunState.WAITING_INPUT
    assert next_step(story.runbook, story.run) == "disable"
    for _ in range(5):
        assert story.send(Tick(), after=3600).effects == ()
    assert "look what became of it" in story.refused(
        RunStep(step="disable", actor="m", confirm="INC-7")
    )
    assert "a note is needed" in story.refused(Done(step="disable", actor="m"))
    story.send(Done(step="disable", actor="m", note="ctl list says off"))
    assert story.state("disable") == "succeeded"


def test_silence_past_the_deadline_is_a_lost_attempt() -> None:
    """The deadline is in the run; a tick after it makes the outcome unknown."""
    story = Story().disabled()
    deadline = next_deadline(story.run)
    assert deadline is not None
    story.now = deadline - timedelta(seconds=2)
    story.send(Tick())
    assert story.state("disable") == "running"
    story.send(Tick())
    assert story.state("disable") == "unknown"


def test_a_late_answer_settles_an_unknown_step() -> None:
    """A report that arrives after all is believed, unless a person has spoken."""
    story = Story().disabled()
    story.send(Recovered())
    story.send(AttemptFinished(step="disable", attempt=1, ok=True, status=0))
    assert story.state("disable") == "succeeded"
    story = Story().disabled()
    story.send(Recovered())
    story.send(Fail(step="disable", actor="m", reason="still on"))
    story.send(AttemptFinished(step="disable", attempt=1, ok=True, status=0))
    assert story.state("disable") == "failed"
    assert any("attempt 1 ok" in text for text in story.entries)


def test_a_lost_read_only_step_repeats_a_bounded_number_of_times() -> None:
    """It runs again with the same key, and fails in the end."""
    story = Story().start()
    story.send(RunStep(step="look", actor="m"))
    keys = set()
    for number in (2, 3):
        (effect,) = story.send(Recovered()).effects
        assert isinstance(effect, StartAttempt)
        assert effect.attempt == number
        keys.add(effect.key)
    assert keys == {"run-1:look:1"}
    assert story.send(Recovered()).effects == ()
    assert story.state("look") == "failed"


def test_a_retry_waits_for_its_time_and_ends() -> None:
    """A status worth it is tried again after the delay; the last failure stays."""
    story = Story().looked()
    story.send(RunStep(step="flag", actor="m", confirm="y"))
    for number in (1, 2):
        story.send(AttemptFinished(step="flag", attempt=number, ok=True, status=503))
        assert next_deadline(story.run) == story.now + timedelta(seconds=30)
        assert story.send(Tick(), after=20).effects == ()
        (effect,) = story.send(Tick(), after=20).effects
        assert isinstance(effect, StartAttempt)
        assert effect.key == "run-1:flag:1"
    story.send(AttemptFinished(step="flag", attempt=3, ok=True, status=503))
    assert story.state("flag") == "failed"
    assert story.run.state is RunState.PAUSED
    assert next_deadline(story.run) is None


def test_another_status_and_an_unknown_outcome_are_not_retried() -> None:
    """Only what the author listed repeats; an answer that was lost asks for a person."""
    story = Story().looked()
    story.send(RunStep(step="flag", actor="m", confirm="y"))
    story.send(AttemptFinished(step="flag", attempt=1, ok=True, status=400))
    assert story.state("flag") == "failed"
    story.send(RunStep(step="flag", actor="m", confirm="y"))
    story.send(AttemptFinished(step="flag", attempt=2, ok=False, unknown=True, detail="timeout"))
    assert story.state("flag") == "unknown"
    assert story.send(Tick(), after=600).effects == ()


def test_stale_reports_are_refused() -> None:
    """An attempt reports once, and only the newest counts."""
    story = Story().disabled()
    assert "not the newest" in story.refused(AttemptFinished(step="disable", attempt=2, ok=True))
    story.send(AttemptFinished(step="disable", attempt=1, ok=False, detail="spawn failed"))
    assert story.state("disable") == "failed"
    assert "has ended" in story.refused(AttemptFinished(step="disable", attempt=1, ok=True))
    assert "no attempt under way" in story.refused(LeaseExpired(step="disable", attempt=1))


def test_a_step_is_taken_back_with_its_own_confirmation() -> None:
    """Undo runs the rollback and leaves the step rolled back."""
    story = Story().disabled()
    story.send(AttemptFinished(step="disable", attempt=1, ok=True, status=0))
    assert undo_order(story.runbook, story.run) == ["disable"]
    assert "confirm with y" in story.refused(Undo(step="disable", actor="m"))
    (effect,) = story.send(Undo(step="disable", actor="m", confirm="y")).effects
    assert isinstance(effect, StartAttempt)
    assert isinstance(effect.request, CommandRequest)
    assert effect.request.argv == ("ctl", "enable", "mail")
    assert story.run.steps[2].attempts[-1].purpose is Purpose.ROLLBACK
    story.send(AttemptFinished(step="disable", attempt=2, ok=True, status=0))
    assert story.state("disable") == "rolled_back"
    assert "nothing to take back" in story.refused(Undo(step="disable", actor="m", confirm="y"))


def test_a_manual_rollback_is_said_by_the_person() -> None:
    """Without a machine's rollback the note is what happened."""
    story = Story().start()
    story.send(Done(step="tell", actor="m"))
    assert "confirm" in story.refused(Undo(step="tell", actor="m"))
    story.send(Undo(step="tell", actor="m", confirm="y", note="retracted"))
    assert story.state("tell") == "rolled_back"
    assert "no rollback" in story.refused(Undo(step="judge", actor="m"))


def test_abort_stops_what_runs_and_keeps_the_facts() -> None:
    """A running change is unknown afterwards, its late answer still counts, undo still works."""
    story = Story().disabled()
    assert "reason" in story.refused(Abort(actor="m", reason=" "))
    effects = story.send(Abort(actor="m", reason="wrong runbook")).effects
    assert effects == (StopAttempt(step="disable", attempt=1),)
    assert story.run.state is RunState.ABORTED
    assert story.state("disable") == "unknown"
    assert "aborted" in story.refused(RunStep(step="flag", actor="m", confirm="y"))
    story.send(AttemptFinished(step="disable", attempt=1, ok=True, status=0))
    assert story.state("disable") == "succeeded"
    assert story.send(Undo(step="disable", actor="m", confirm="y")).refusal is None
    story.send(AttemptFinished(step="disable", attempt=2, ok=True, status=0))
    assert story.state("disable") == "rolled_back"
    assert story.run.state is RunState.ABORTED


def test_another_file_is_refused() -> None:
    """A run goes on with the bytes it started from; only aborting needs no file."""
    story = Story().start()
    story.runbook = load_runbook(TEXT + "# edited\n", "r.yaml")
    assert story.refused(RunStep(step="look", actor="m")).startswith("changed:")
    assert story.send(Abort(actor="m", reason="edited")).refusal is None


def test_manual_steps_check_what_is_filled_in() -> None:
    """Required fields, types and unknown names are checked; failed steps can be done after all."""
    story = Story().looked()
    assert "verdict: is required" in story.refused(Done(step="judge", actor="m"))
    bad = Done(step="judge", actor="m", captured={"verdict": "maybe", "x": 1})
    assert "x: no such parameter" in story.refused(bad)
    story.send(RunStep(step="judge", actor="m"))
    assert story.state("judge") == "running"
    story.send(Fail(step="judge", actor="m", reason="cannot tell"))
    assert story.run.state is RunState.PAUSED
    story.send(Done(step="judge", actor="m", captured={"verdict": "attack", "n": "3"}))
    assert story.run.steps[1].captured == {"verdict": "attack", "n": 3}
    assert "not done by hand" in story.refused(Done(step="flag", actor="m"))


def test_a_run_fails_when_nothing_is_open_and_something_failed() -> None:
    """Skipping the failed step turns it into success."""
    story = Story().judged("benign")
    for name in ("flag", "verify", "tell"):
        story.send(Skip(step=name, actor="m", reason="not needed"))
    assert story.run.state is RunState.SUCCEEDED
    story = Story().judged("benign")
    story.send(Skip(step="flag", actor="m", reason="x"))
    story.send(Fail(step="verify", actor="m", reason="x"))
    story.send(Skip(step="tell", actor="m", reason="x"))
    failed = story.run
    assert failed.state is RunState.FAILED
    story.send(Skip(step="verify", actor="m", reason="measured by hand"))
    assert story.run.state is RunState.SUCCEEDED


def test_steps_nobody_knows_are_refused() -> None:
    """A wrong id is an answer, not a crash."""
    story = Story().start()
    for event in (
        RunStep(step="zz", actor="m"),
        Done(step="zz", actor="m"),
        Skip(step="zz", actor="m", reason="x"),
        AttemptFinished(step="zz", attempt=1, ok=True),
        SignalObserved(step="zz", value=1.0, at=START),
        LeaseExpired(step="zz", attempt=1),
    ):
        assert "no step" in story.refused(event)
    with pytest.raises(KeyError):
        preview(story.runbook, story.run, "zz", START)


def test_a_run_of_another_format_is_refused() -> None:
    """Old code does not guess at a newer run."""
    data = encode_run(Story().run).replace(b'"format":1', b'"format":2')
    with pytest.raises(msgspec.ValidationError, match="format 2"):
        decode_run(data)


SHIPPED = sorted(Path("runbooks/library").glob("*.yaml"))


@pytest.mark.parametrize("path", SHIPPED, ids=[path.stem for path in SHIPPED])
def test_a_shipped_runbook_can_be_worked_to_the_end(path: Path) -> None:
    """With a change API that answers, each shipped runbook goes to success and is verified."""
    source = path.read_text("utf-8")
    allow = AllowList(
        http=(
            AllowedHttp(
                origin="http://127.0.0.1:8090",
                methods=("GET", "POST"),
                paths=("/",),
                max_effect=Effect.REVERSIBLE,
            ),
        )
    )
    story = Story(source, allow=allow)
    queue = list(
        story.send(Start(actor="mira", configured={"change_api": "http://127.0.0.1:8090"})).effects
    )
    answer = '{"current": "v41", "previous": "v40", "policy": "p", "threshold_before": 0.5}'
    verdicts = {"cause": "release", "verdict": "injection"}
    for _ in range(60):
        if queue:
            effect = queue.pop(0)
            if isinstance(effect, StartAttempt):
                event: Event = AttemptFinished(
                    step=effect.step, attempt=effect.attempt, ok=True, status=200, output=answer
                )
                queue += story.send(event).effects
            elif isinstance(effect, Watch):
                for _ in range(6):
                    at = story.now + timedelta(minutes=1)
                    event = SignalObserved(step=effect.step, value=0.01, at=at)
                    queue += story.send(event, after=60).effects
            continue
        name = next_step(story.runbook, story.run)
        if name is None:
            break
        shown = preview(story.runbook, story.run, name, story.now, allow)
        assert shown.refusal is None, shown
        if shown.request is None:
            spec = story.runbook.step(name)
            wanted = getattr(spec, "capture", {})
            captured = {k: v for k, v in verdicts.items() if k in wanted}
            event = Done(step=name, actor="mira", captured=captured)
        else:
            event = RunStep(step=name, actor="mira", confirm=shown.confirm)
        advanced = story.send(event)
        assert advanced.refusal is None, advanced.refusal
        queue += advanced.effects
    assert story.run.state is RunState.SUCCEEDED
    assert verification(story.runbook, story.run).passed
    assert StepState.SKIPPED in {step.state for step in story.run.steps}
