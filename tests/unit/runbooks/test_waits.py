"""Waiting for a signal: what counts, what breaks the count, what ends it."""

from __future__ import annotations

from datetime import timedelta

import pytest

from runbooks.events import Recovered, RunStep, SignalObserved, Tick, Watch
from runbooks.outlook import under_way, verification, watches
from runbooks.runs import Facts
from tests.unit.runbooks.story import FACTS, Story

MINUTE = timedelta(minutes=1)


def waiting(extra: str = "", facts: Facts = FACTS, op: str = "<", value: str = "0.05") -> Story:
    text = f"""
apiVersion: runbook/v1
id: w
version: 1
title: W
steps:
  - {{id: w, type: wait_signal, title: W, signal: "${{incident.signal}}", op: "{op}",
     value: {value}, for: 3m, timeout: 20m{extra}}}
"""
    return Story(text, facts).start()


def begun(story: Story) -> Story:
    assert story.send(RunStep(step="w", actor="m")).refusal is None
    return story


def sample(story: Story, value: float | None, minutes: float = 1.0) -> None:
    """A sample at the clock's new time."""
    at = story.now + minutes * MINUTE
    story.send(SignalObserved(step="w", value=value, at=at), after=60 * minutes)


def test_it_passes_after_an_unbroken_stretch() -> None:
    """Three minutes between the first and the last good sample, not three samples."""
    story = begun(waiting())
    for _ in range(3):
        sample(story, 0.01)
        assert story.state("w") == "running"
    sample(story, 0.01)
    assert story.state("w") == "succeeded"
    assert verification(story.runbook, story.run).passed


@pytest.mark.parametrize("breaking", [0.05, 0.9, None, float("nan"), float("inf")])
def test_a_bad_sample_or_none_starts_the_count_afresh(breaking: float | None) -> None:
    """A value at the limit, over it, or no value at all breaks the stretch."""
    story = begun(waiting())
    for value in (0.01, 0.01, 0.01, breaking, 0.01, 0.01, 0.01):
        sample(story, value)
        assert story.state("w") == "running"
    sample(story, 0.01)
    assert story.state("w") == "succeeded"
    assert sum("starts afresh" in text for text in story.entries) == 1


def test_a_gap_breaks_the_count() -> None:
    """Two good samples far apart prove nothing about the time between."""
    story = begun(waiting())
    sample(story, 0.01)
    sample(story, 0.01, minutes=4)
    assert story.state("w") == "running"
    assert any("a gap in the data" in text for text in story.entries)


def test_what_was_before_the_start_does_not_count() -> None:
    """Old, repeated and reordered samples are refused."""
    story = begun(waiting())
    begin = story.now
    for at in (begin - MINUTE, begin):
        assert "not newer" in story.refused(SignalObserved(step="w", value=0.0, at=at))
    event = SignalObserved(step="w", value=0.0, at=begin + MINUTE)
    assert story.send(event).refusal is None
    assert "not newer" in story.refused(event)
    assert "not newer" in story.refused(
        SignalObserved(step="w", value=0.0, at=begin + timedelta(seconds=30))
    )


def test_it_gives_up_at_its_timeout() -> None:
    """The timeout runs on the clock of the daemon and says the last value."""
    story = begun(waiting())
    sample(story, 0.2)
    story.send(Tick(), after=1_100)
    assert story.state("w") == "running"
    story.send(Tick(), after=60)
    assert story.state("w") == "failed"
    assert "FAIL: misuse_rate < 0.05 for 3m did not happen in time" in story.entries[-2]
    checked = verification(story.runbook, story.run)
    assert not checked.passed
    assert "FAIL" in checked.reason


def test_silence_waits_or_fails_as_the_author_wants() -> None:
    """`no_data: wait` breaks the count and says so once; `no_data: fail` ends the step."""
    story = begun(waiting())
    sample(story, 0.01)
    for _ in range(4):
        story.send(Tick(), after=181)
    assert story.state("w") == "running"
    assert sum("no data" in text for text in story.entries) == 1
    story = begun(waiting(", no_data: fail"))
    sample(story, 0.01)
    story.send(Tick(), after=181)
    assert story.state("w") == "failed"


def test_after_a_crash_the_signal_is_asked_for_again() -> None:
    """The stretch goes on: it is in the run value."""
    story = begun(waiting())
    sample(story, 0.01)
    (effect,) = story.send(Recovered()).effects
    assert effect == Watch(step="w", signal="misuse_rate", series={"feature": "chat"})
    assert watches(story.run) == [effect]
    assert under_way(story.run) == []
    for _ in range(3):
        sample(story, 0.01)
    assert story.state("w") == "succeeded"
    assert watches(story.run) == []


@pytest.mark.parametrize(
    ("op", "good", "bad"), [("<", 0.01, 0.05), ("<=", 0.05, 0.06), (">", 0.06, 0.05)]
)
def test_both_sides_can_be_waited_for(op: str, good: float, bad: float) -> None:
    """The operator is the author's; a signal that should rise can be waited for too."""
    story = begun(waiting(op=op))
    sample(story, bad)
    for _ in range(3):
        sample(story, good)
    assert story.state("w") == "running"
    sample(story, good)
    assert story.state("w") == "succeeded"


def test_the_limit_can_come_from_the_incident() -> None:
    """A multiple of the baseline is a limit; an incident without one refuses."""
    story = begun(waiting(", times: 3", value='"${incident.baseline}"'))
    watching = story.run.steps[0].watching
    assert watching is not None
    assert watching.limit == pytest.approx(0.03)
    bare = waiting(value='"${incident.baseline}"', facts=Facts(id="INC-8", signal="s"))
    assert "has no number in this run" in bare.refused(RunStep(step="w", actor="m"))
    declared = waiting(facts=Facts(id="INC-9"))
    assert "no signal to wait for" in declared.refused(RunStep(step="w", actor="m"))


def test_a_series_of_its_own_can_be_watched() -> None:
    """The file may name another series than the incident's."""
    story = begun(waiting(", series: {surface: api}"))
    watching = story.run.steps[0].watching
    assert watching is not None
    assert watching.series == {"surface": "api"}


def test_an_automatic_wait_that_cannot_start_says_why() -> None:
    """It fails with its reason instead of being silently open."""
    story = waiting(", auto: true", facts=Facts(id="INC-9"))
    assert story.state("w") == "failed"
    assert any("did not start: the incident has no signal" in text for text in story.entries)
