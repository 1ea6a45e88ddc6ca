"""A start with other signals: what did not change goes on, and no event is passed over."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import msgspec
import pytest

from monitor.store.decision_rows import Point
from monitor.stream.signals import Plan, Signal, plan
from monitor.stream.sources.source import Partition
from runbooks.expressions import parse
from tests.scenario.conftest import QUIET, StageFor
from tests.scenario.stage import MINUTE, Stage, Tape
from tests.scenario.test_stories import bad_call, minute, play

BEGIN = int(QUIET.onset.timestamp())
Changed = Callable[[Sequence[Signal]], list[Signal]]


def added(signals: Sequence[Signal]) -> list[Signal]:
    """A rate more, before all others: the cells are laid out anew."""
    refusals = next(one for one in signals if one.name == "refusal_rate")
    k = parse("outcome.status == 'answered'")
    return [msgspec.structs.replace(refusals, name="mine", title="Mine", k=k), *signals]


def redefined(signals: Sequence[Signal]) -> list[Signal]:
    """Refusals count something else under their name."""
    k = parse("outcome.status == 'answered'")
    return [
        msgspec.structs.replace(one, k=k) if one.name == "refusal_rate" else one for one in signals
    ]


def left_out(signals: Sequence[Signal]) -> list[Signal]:
    """No refusals."""
    return [one for one in signals if one.name != "refusal_rate"]


@pytest.fixture(autouse=True)
def _latest(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever has no position begins at the end of the log, as with `begin: latest`."""

    def start(tape: Tape, _partition: Partition, offset: int | None) -> None:
        tape._at = len(tape.records) if offset is None else offset

    monkeypatch.setattr(Tape, "start", start)


def by(stage: Stage, change: Changed) -> Plan:
    """The plan of the stage, changed."""
    return plan(change(stage.configured.plan.signals))


def start_with(stage: Stage, chosen: Plan) -> None:
    """The process is killed, and another begins with these signals."""
    stage.configured = replace(stage.configured, plan=chosen)
    stage.restart()


def missed(stage: Stage, minutes: int) -> None:
    """Minutes in which nobody reads, the second with a never-event."""
    for number in range(minutes):
        for feature in ("chat", "search"):
            stage.feed(minute(stage.now, feature=feature))
        if number == 1:
            stage.feed([bad_call(stage.now, 9_000_001)])
        stage.now += MINUTE


def points(stage: Stage, signal: str, since: int = 0) -> dict[int, list[Point]]:
    """What was judged."""
    with stage.store.read() as tx:
        return tx.decisions.points(signal, since, 2 * BEGIN)


def counted(stage: Stage) -> int:
    """Records of any fate, as the signals in force have counted them."""
    with stage.store.read() as tx:
        pipeline = tx.stream.known_pipeline(stage.configured.plan)
        assert pipeline is not None
        (part,) = tx.stream.partitions(pipeline)
    return sum(part.totals.values())


def night(stage: Stage, *changes: Changed | None) -> list[Any]:
    """Changes with three minutes down each, then refusals; everything that was found."""
    old = stage.configured.plan
    for change in changes:
        missed(stage, 3)
        start_with(stage, old if change is None else by(stage, change))
        stage.tick()
        play(stage, 2)
    play(stage, 8, refused={"chat": 7})
    return [
        (i.signal, dict(i.dimensions), i.detected_at, i.impact_at, i.paged_at)
        for i in stage.incidents()
    ]


@pytest.mark.parametrize("changes", [(added,), (added, None), (left_out, None)])
def test_what_did_not_change_finds_what_it_would_have_found(
    stage_for: StageFor, changes: tuple[Changed | None, ...]
) -> None:
    """With a rate more, with it taken out again, or with refusals left out for five minutes and
    back: the same incidents at the same minutes, and the same points of the same buckets."""
    unchanged, changed = stage_for(), stage_for()
    assert night(changed, *changes) == night(unchanged, *[None] * len(changes))
    assert [i.signal for i in changed.incidents()] == ["denied_tool_ran", "refusal_rate"]
    for signal in ("error_rate", "refusal_rate"):
        if left_out not in changes or signal == "error_rate":
            assert points(changed, signal) == points(unchanged, signal)
    assert counted(changed) == counted(unchanged)
    assert not any(
        item.entry.kind == "GAP" for i in changed.incidents() for item in changed.timeline(i)
    )


def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What decide says of other signals."""
    return [one.message for one in caplog.records if one.name == "monitor.definitions"]


def test_only_what_is_new_warms_up(stage_for: StageFor, caplog: pytest.LogCaptureFixture) -> None:
    """The rate that came has no past; one that is defined otherwise has none under its name. Both
    are said, and a process that is killed soon after knows it too."""
    stage = stage_for()
    chosen = plan(added(redefined(stage.configured.plan.signals)))
    with caplog.at_level(logging.INFO):
        start_with(stage, chosen)
        play(stage, 3)
    (told,) = said(caplog)
    assert "mine, refusal_rate warm up, new or defined anew" in told
    assert "are left out" not in told
    assert any("counted by other signals from offset" in one.message for one in caplog.records)
    start_with(stage, chosen)
    play(stage, 3)
    for signal, states in (("mine", {"w"}), ("refusal_rate", {"w"}), ("error_rate", {"q", "w"})):
        found = points(stage, signal, since=BEGIN)
        assert len(found) >= 4
        assert {point.state for row in found.values() for point in row} <= states
    assert stage.incidents() == []
    assert len(said(caplog)) == 1


def test_what_was_counted_and_not_judged_is_judged_for_those_that_counted_it(
    stage_for: StageFor,
) -> None:
    """While nobody decided, refusals rose: by the new signals they are found all the same, and the
    new rate, which nobody counted then, has no points of it instead of zeros."""
    stage = stage_for()
    for _ in range(8):
        for feature in ("chat", "search"):
            stage.feed(minute(stage.now, feature=feature, refused=7 if feature == "chat" else 1))
        stage.now += MINUTE
        for _ in range(2):
            stage.ingest.step(stage.now, timeout_s=0)
        stage.ingest.flush(stage.now)
    start_with(stage, by(stage, added))
    stage.tick()
    assert stage.only().signal == "refusal_rate"
    assert len(points(stage, "refusal_rate", since=BEGIN)) >= 7
    assert points(stage, "mine") == {}
    play(stage, 3)
    assert points(stage, "mine")
    assert all(point.k for row in points(stage, "mine").values() for point in row)
