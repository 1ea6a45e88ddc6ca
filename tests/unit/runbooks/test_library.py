"""The shipped runbooks, worked to the end."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from runbooks.allow import AllowedHttp, AllowList
from runbooks.events import (
    AttemptFinished,
    Done,
    Event,
    RunStep,
    SignalObserved,
    Start,
    StartAttempt,
)
from runbooks.events import Effect as Effects
from runbooks.model import Effect
from runbooks.outlook import next_step, preview, verification
from runbooks.runs import RunState, StepState
from tests.unit.runbooks.story import Story

ANSWER = '{"current": "v41", "previous": "v40", "policy": "p", "threshold_before": 0.5}'
VERDICTS = {"cause": "release", "verdict": "injection"}


def answered(story: Story, effect: Effects) -> tuple[Effects, ...]:
    """What a good change API and a falling signal say to an effect, and what follows."""
    if isinstance(effect, StartAttempt):
        finished = AttemptFinished(
            step=effect.step, attempt=effect.attempt, ok=True, status=200, output=ANSWER
        )
        return story.send(finished).effects
    followed: tuple[Effects, ...] = ()
    for _ in range(6):
        at = story.now + timedelta(minutes=1)
        sample = SignalObserved(step=effect.step, value=0.01, at=at)
        followed += story.send(sample, after=60).effects
    return followed


def worked(story: Story, name: str, allow: AllowList) -> Event:
    """What a person does with the next step."""
    shown = preview(story.runbook, story.run, name, story.now, allow)
    assert shown.refusal is None, shown
    if shown.request is not None:
        return RunStep(step=name, actor="mira", confirm=shown.confirm)
    wanted = getattr(story.runbook.step(name), "capture", {})
    captured = {key: value for key, value in VERDICTS.items() if key in wanted}
    return Done(step=name, actor="mira", captured=captured)


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
    for _ in range(60):
        if queue:
            queue += answered(story, queue.pop(0))
            continue
        name = next_step(story.runbook, story.run)
        if name is None:
            break
        advanced = story.send(worked(story, name, allow))
        assert advanced.refusal is None, advanced.refusal
        queue += advanced.effects
    assert story.run.state is RunState.SUCCEEDED
    assert verification(story.runbook, story.run).passed
    assert StepState.SKIPPED in {step.state for step in story.run.steps}
