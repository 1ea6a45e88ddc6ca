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
    Watch,
)
from runbooks.model import Effect
from runbooks.outlook import next_step, preview, verification
from runbooks.runs import RunState, StepState
from tests.unit.runbooks.story import Story

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
