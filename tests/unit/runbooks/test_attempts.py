"""Attempts: written down, reported, lost, repeated."""

from __future__ import annotations

from datetime import timedelta

import pytest

from runbooks.allow import NOTHING
from runbooks.engine import decode_run, encode_run, next_deadline, unbegun
from runbooks.events import (
    AttemptBegun,
    AttemptFinished,
    Done,
    Event,
    Fail,
    LeaseExpired,
    Recovered,
    RunStep,
    StartAttempt,
    Tick,
)
from runbooks.model import Effect
from runbooks.outlook import next_step, preview, under_way
from runbooks.requests import CommandRequest, HttpRequest
from runbooks.runs import Outcome, RunState
from tests.unit.runbooks.story import ALLOW, Story


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
    assert under_way(story.run) == [("look", 1)]
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


@pytest.mark.parametrize("event", [LeaseExpired(step="disable", attempt=1), Recovered()])
def test_a_lost_change_is_unknown_and_never_repeated(event: Event) -> None:
    """After a crash the step asks for a person; ticks change nothing."""
    story = Story().disabled().begun("disable")
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
    story = Story().disabled().begun("disable")
    deadline = next_deadline(story.run)
    assert deadline is not None
    story.now = deadline - timedelta(seconds=2)
    story.send(Tick())
    assert story.state("disable") == "running"
    story.send(Tick())
    assert story.state("disable") == "unknown"


def test_what_nobody_has_begun_is_carried_out_after_a_crash() -> None:
    """It is asked for once more as it was; once begun it may not begin again."""
    story = Story().judged()
    (asked,) = story.send(RunStep(step="disable", actor="mira", confirm="INC-7")).effects
    assert story.send(Recovered()).effects == (asked,)
    assert unbegun(story.runbook, story.run, story.now, story.allow) == (asked,)
    assert story.send(Recovered(frozenset({("disable", 1)}))).effects == ()
    story.begun("disable")
    assert unbegun(story.runbook, story.run, story.now, story.allow) == ()
    assert "begun before" in story.refused(AttemptBegun(step="disable", attempt=1))
    assert "not the newest" in story.refused(AttemptBegun(step="disable", attempt=2))
    story.send(Recovered(frozenset({("disable", 1)})))
    assert story.state("disable") == "running"
    story.send(AttemptFinished(step="disable", attempt=1, ok=True, status=0))
    assert "not under way" in story.refused(AttemptBegun(step="disable", attempt=1))


def test_what_nobody_could_begin_in_time_has_failed() -> None:
    """It cannot have changed anything: nobody has to look, and it may run again."""
    story = Story().disabled()
    story.send(Tick(), after=3600)
    assert story.state("disable") == "failed"
    assert any("nobody could begin it" in text for text in story.entries)
    again = RunStep(step="disable", actor="mira", confirm="INC-7", again=True)
    assert story.send(again).refusal is None


def test_a_run_from_before_attempts_were_marked_asks_a_person() -> None:
    """Whether its attempt was begun nobody knows: it is not asked for again."""
    story = Story().disabled()
    stored = encode_run(story.run).replace(b'"begun":false', b'"begun":null')
    story.run = decode_run(stored)
    assert story.send(Recovered()).effects == ()
    assert story.state("disable") == "unknown"


def test_a_late_answer_settles_an_unknown_step() -> None:
    """A report that arrives after all is believed, unless a person has spoken."""
    story = Story().disabled().begun("disable")
    story.send(Recovered())
    story.send(AttemptFinished(step="disable", attempt=1, ok=True, status=0))
    assert story.state("disable") == "succeeded"
    story = Story().disabled().begun("disable")
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
        (effect,) = story.begun("look").send(Recovered()).effects
        assert isinstance(effect, StartAttempt)
        assert effect.attempt == number
        keys.add(effect.key)
    assert keys == {"run-1:look:1"}
    assert story.begun("look").send(Recovered()).effects == ()
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
