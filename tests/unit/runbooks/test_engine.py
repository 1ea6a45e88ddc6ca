"""Runs: what people do to them."""

from __future__ import annotations

from datetime import timedelta

import msgspec
import pytest

from runbooks.allow import NOTHING
from runbooks.engine import decode_run, encode_run
from runbooks.events import (
    Abort,
    AttemptFinished,
    Done,
    Fail,
    LeaseExpired,
    RunStep,
    SignalObserved,
    Skip,
    Start,
    StartAttempt,
    Tick,
    Undo,
    Watch,
)
from runbooks.load import load_runbook
from runbooks.model import Effect
from runbooks.outlook import preview, undo_order, verification
from runbooks.requests import CommandRequest
from runbooks.runs import Purpose, RunState
from tests.unit.runbooks.story import ALLOW, START, TEXT, Story


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
    story.send(Abort(actor="m", reason="wrong runbook"))
    assert story.run.state is RunState.ABORTED
    assert story.state("disable") == "unknown"
    assert "aborted" in story.refused(RunStep(step="flag", actor="m", confirm="y"))
    story.send(AttemptFinished(step="disable", attempt=1, ok=True, status=0))
    assert story.state("disable") == "succeeded"
    assert story.send(Undo(step="disable", actor="m", confirm="y")).refusal is None
    story.send(AttemptFinished(step="disable", attempt=2, ok=True, status=0))
    assert story.state("disable") == "rolled_back"
    assert story.run.state is RunState.ABORTED


def test_an_undo_waits_for_what_is_still_out_in_the_world() -> None:
    """After an abort the command may still run: its rollback waits until it reported or is lost."""
    undo = Undo(step="disable", actor="m", confirm="y")
    for wait in ("report", "lease", "deadline"):
        story = Story().disabled()
        story.send(Abort(actor="m", reason="wrong runbook"))
        refused = story.refused(undo)
        assert "attempt 1 of disable is still out in the world" in refused
        assert "wait until it has reported, at the latest at" in refused
        if wait == "report":
            story.send(AttemptFinished(step="disable", attempt=1, ok=False, status=1))
        elif wait == "lease":
            story.send(LeaseExpired(step="disable", attempt=1))
        advanced = story.send(undo, after=3600.0 if wait == "deadline" else 1.0)
        assert advanced.refusal is None
        (effect,) = advanced.effects
        assert isinstance(effect, StartAttempt)
        assert effect.attempt == 2


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


def test_a_changed_production_voids_an_older_proof() -> None:
    """A verification counts only if it began after the last change ended."""
    story = Story().judged("benign")
    story.send(RunStep(step="flag", actor="m", confirm="y"))
    story.send(AttemptFinished(step="flag", attempt=1, ok=True, status=200))
    story.send(RunStep(step="verify", actor="m"))
    assert not verification(story.runbook, story.run).passed
    for _ in range(4):
        at = story.now + timedelta(minutes=1)
        story.send(SignalObserved(step="verify", value=0.0, at=at), after=60)
    assert verification(story.runbook, story.run).passed
    story.send(RunStep(step="flag", actor="m", confirm="y", again=True))
    checked = verification(story.runbook, story.run)
    assert not checked.passed
    assert "measure again" in checked.reason


def test_a_preview_says_what_stands_in_the_way() -> None:
    """Need, missing value and allow-list are each named; a manual step wants nothing typed."""
    story = Story().start()
    shown = preview(story.runbook, story.run, "disable", story.now, ALLOW)
    assert shown.refusal is not None
    assert shown.refusal.code == "needs"
    assert shown.title == "Disable mail"
    assert preview(story.runbook, story.run, "judge", story.now).confirm == ""
    looked = Story().looked()
    denied = preview(looked.runbook, looked.run, "flag", looked.now, NOTHING)
    assert denied.refusal is not None
    assert denied.refusal.code == "allow"
    undo = preview(looked.runbook, looked.run, "disable", looked.now, ALLOW, Purpose.ROLLBACK)
    assert (undo.effect, undo.shown, undo.confirm) == (Effect.REVERSIBLE, "ctl enable mail", "y")
