"""What explains a spike, and which change: the first line of the page, from the events on."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from monitor.stream.series import dims_of
from tests.scenario.conftest import StageFor
from tests.scenario.stage import MINUTE, Stage
from tests.scenario.traffic import event


def play(stage: Stage, minutes: int, *, refused: dict[str, int]) -> None:
    """Let minutes pass with 20 turns a feature, half of them by each model."""
    for _ in range(minutes):
        for place, feature in enumerate(("chat", "search")):
            models = ("gpt-4o",) if feature == "search" else ("gpt-4o", "safety-v42")
            for number in range(20):
                model = models[number % len(models)]
                turn: dict[str, Any] = {"gen_ai": {"request_model": model}}
                bad = feature == "chat" and number // 2 < refused.get(model, 0)
                at = stage.now + timedelta(seconds=2 + 2 * number)
                key = int(at.timestamp()) * 10 + place
                status = "refused" if bad or number == 19 else "answered"
                stage.feed([event(at, key, feature=feature, status=status, **turn)])
        stage.advance()


def test_the_page_names_the_model_and_the_release_that_names_it(stage_for: StageFor) -> None:
    """A release that names the model which explains the spike is named before nearer changes."""
    stage = stage_for()
    desk = stage.desk()
    desk.add_change(
        kind="release",
        title="safety v42",
        at=stage.now - 5 * MINUTE,
        dimensions={"model": "safety-v42"},
    )
    desk.add_change(kind="flag", title="new colours", at=stage.now - MINUTE)
    elsewhere = {"feature": "search"}
    desk.add_change(kind="flag", title="of search", at=stage.now, dimensions=elsewhere)
    play(stage, 8, refused={"safety-v42": 7})
    first, second, third = stage.pages()[0]["lines"]
    assert "; model safety-v42 explains " in first
    assert ", first seen 12:00 UTC; after release safety v42" in first
    assert second.endswith("chat in prod")
    assert third.startswith("release safety v42 ")
    assert ", names model safety-v42" in third
    assert "of search" not in third


def test_a_spike_of_all_models_blames_none(stage_for: StageFor) -> None:
    """Where both models refuse alike no model is named, and a change of one is not believed."""
    stage = stage_for()
    play(stage, 40, refused={})
    desk = stage.desk()
    desk.add_change(kind="release", title="prompt v7", dimensions={"feature": "chat"})
    play(stage, 10, refused={"safety-v42": 6, "gpt-4o": 6})
    first = stage.pages()[0]["lines"][0]
    assert " explains " not in first
    assert first.endswith("; after release prompt v7")


def test_the_causes_are_kept_with_the_alert(stage_for: StageFor) -> None:
    """What the page says can be read back from the store, share and first sight with it."""
    stage = stage_for()
    play(stage, 8, refused={"safety-v42": 7})
    with stage.store.read() as tx:
        alerts = tx.incidents.alerts_of(stage.only().uuid)
    signals = {one.name: one for one in stage.configured.plan.signals}
    lead = next(one for one in alerts if "feature" in one.dimensions)
    assert dims_of(signals[lead.signal], lead.dimensions) == ("prod", "chat")
    cause = lead.causes[0]
    assert dict(cause.dimensions) == {"model": "safety-v42"}
    assert 0.7 <= cause.share <= 1.0
    assert cause.first_seen is not None
